"""The examples run as they stand, small."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dafxtool.audio.example_recordings import CLIPS
from dafxtool.audio.io import load_audio

EXAMPLES = Path(__file__).parent.parent / "examples"


def run_example(folder: Path, *command: str, **environment: str) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_tried_here():
    tried = Path(__file__).read_text()
    for path in EXAMPLES.iterdir():
        assert path.name in tried, f"{path.name} is never run"


def test_render_and_listen(tmp_path):
    told = run_example(tmp_path, sys.executable, str(EXAMPLES / "render_and_listen.py"))
    assert "delay 250 ms" in told
    dry, rate = load_audio(tmp_path / "lute.wav")
    wet, _ = load_audio(tmp_path / "lute-delay-250ms.wav")
    assert (rate, len(wet)) == (24_000, len(dry))


def test_train_map_and_interpolate(tmp_path):
    told = run_example(
        tmp_path, sys.executable, str(EXAMPLES / "train_and_map.py"), "recordings", "12", "4"
    )
    assert "held-out segments -> map.png" in told
    assert (tmp_path / "map.png").stat().st_size > 10_000
    told = run_example(tmp_path, sys.executable, str(EXAMPLES / "interpolate.py"))
    assert "t0.50-wet.wav" in told
    assert (tmp_path / "steps.png").exists()


def test_invert_magnitude_says_that_the_known_phase_is_worth_most(tmp_path):
    told = run_example(tmp_path, sys.executable, str(EXAMPLES / "invert_magnitude.py"))
    decibels = {line[:12].strip(): float(line[12:].split()[0]) for line in told.splitlines()}
    assert decibels["best"] < decibels["fast"] < decibels["griffin-lim"]
    assert decibels["known phase"] < decibels["griffin-lim"]


@pytest.mark.slow
def test_the_study_makes_its_figures(tmp_path):
    for clip in CLIPS:
        if clip.family != "drums":
            clip.write_wav(tmp_path / "speakers" / clip.family / f"{clip.title}.wav")
    small = {"PAIRS": "16", "TRAIN": "--steps 2", "PRESET": "small", "MAP": "--method pca"}
    command = ("bash", str(EXAMPLES / "study.sh"), "speakers", "out")
    told = run_example(tmp_path, *command, **small)
    assert told.rstrip().endswith("figures in out")
    figures = {path.name for path in (tmp_path / "out").glob("figure-*.png")}
    assert figures == {
        "figure-map-two.png",
        "figure-map-four.png",
        "figure-reconstruction.png",
        "figure-effects.png",
        "figure-recordings.png",
    }
