"""Recordings that are damaged, unreadable, oddly named, or that change or vanish during a command.

Each is read, or refused in one sentence that names it.
"""

from __future__ import annotations

import builtins
import os
from pathlib import Path

import numpy as np
import pytest
from audio_files import encode_bytes, noise, wav_bytes
from datasets import RATE, SEGMENTS, SPLIT, chosen, write_recordings

from dafxtool.audio.find_recordings import find_recordings
from dafxtool.audio.writer import save_audio
from dafxtool.config import SplitConfig
from dafxtool.dataset.recordings import build_catalogue
from dafxtool.dataset.segments import draw_segment
from dafxtool.errors import InputError, RecordingError

pytestmark = pytest.mark.robustness

ALL_TRAIN = SplitConfig(validation=0.0, test=0.0)


@pytest.fixture
def bad_recordings(tmp_path, monkeypatch):
    """A folder of good and bad recordings, and the error of each bad one by its name."""
    folder = write_recordings(tmp_path / "recordings")
    recording = encode_bytes(noise(4000, 2), 44_100, "WAV", "PCM_16")
    contents = {
        "cut-off.wav": recording[:5000],
        "empty.flac": b"",
        "nan.wav": wav_bytes(3, 1, 32, 4, np.full(9000, np.nan, "<f4").tobytes(), rate=RATE),
        "text.mp3": b"To be, or not to be\n" * 100,
        "new\nline.wav": b"no sound",
        "\x1b[31mred.wav": b"no sound",
        os.fsdecode(b"bytes-\xff.wav"): b"no sound",
    }
    for name, data in contents.items():
        try:
            (folder / name).write_bytes(data)
        except OSError:
            pytest.skip("this file system does not take such a name")
    (folder / "round.wav").symlink_to("round.wav")
    (folder / "nowhere.wav").symlink_to("nothing.wav")
    (folder / "again").symlink_to(folder)
    locked = folder / "locked.wav"
    locked.write_bytes(recording)

    def guarded(path, *arguments, **options):
        """Open a file, without permission for one of them: tests may run as root."""
        if str(path) == str(locked):
            raise PermissionError(13, "Permission denied", str(path))
        return builtins.open(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", guarded)
    return folder, {
        "cut-off.wav": ": truncated",
        "empty.flac": ": empty",
        "nan.wav": ": holds NaN or infinite",
        "text.mp3": ": not a recording",
        "new\\nline.wav": ": not a recording",
        "\\x1b[31mred.wav": ": not a recording",
        "bytes-\\udcff.wav": ": not a recording",
        "round.wav": ": cannot be read (Too many levels of symbolic links)",
        "nowhere.wav": ": does not exist",
        "locked.wav": ": cannot be read (Permission denied)",
    }


SMALL = ("--segment-seconds", "0.5", "--sample-rate", RATE, "--effect", "gain", "--workers", 1)


def test_unreadable_recordings_are_listed_by_reason(invoke, bad_recordings, tmp_path):
    folder, reasons = bad_recordings
    amount = ("--pairs-per-effect", 60)  # enough to draw a segment of the recording with NaN
    done = invoke("render", folder, "-o", tmp_path / "pairs.h5", *SMALL, *amount)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    listed = lines[lines.index(f"{len(reasons)} recordings skipped:") + 1 :]
    listed = [line for line in listed if line.startswith("  ")]  # warnings come after them
    alone = {name: reason for name, reason in reasons.items() if "not a rec" not in reason}
    (together,) = [each for each in listed if "files: " in each]
    assert len(listed) == len(alone) + 1
    assert together.startswith(f"  {len(reasons) - len(alone)} files: not a recording that can be")
    assert together.count(", ...)") == 1 and together.count(".wav") == 3
    for name, reason in alone.items():
        (line,) = [each for each in listed if each.startswith(f"  {folder}/{name}: ")]
        assert reason in line and line.endswith(".")
    assert "\x1b" not in done.output
    strict = invoke("render", folder, "-o", tmp_path / "s.h5", *SMALL, *amount, "--strict")
    assert strict.exit_code == 1
    assert len(strict.stderr.splitlines()[-1]) < 500 and "Error: " in strict.stderr
    assert not (tmp_path / "s.h5").exists()


@pytest.mark.parametrize("name", ["cut-off.wav", "new\nline.wav", "nan.wav", "round.wav"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("embed", "{bad}", "-o", "{out}/l.h5"),
        ("interpolate", "{bad}", "--effect", "delay", "--effect", "overdrive", "-o", "{out}/i.png"),
        ("reconstruct", "{bad}", "--effect", "delay", "-o", "{out}/r.png"),
        ("sweep", "{bad}", "--effect", "overdrive", "-o", "{out}/s.png"),
        ("invert", "{spectrograms}", "--phase-from", "{bad}", "-o", "{out}/i.wav"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_other_commands_refuse_a_bad_recording(
    *, invoke, bad_recordings, run_folder, spectrograms_file, tmp_path, arguments, name
):
    folder, reasons = bad_recordings
    named = {"bad": folder / name, "out": tmp_path, "spectrograms": spectrograms_file}
    command = [word.format(**named) for word in arguments]
    run = () if command[0] == "invert" else ("--run", run_folder, "--device", "cpu")
    done = invoke(*command, *run, "-q")
    assert done.exit_code == 1, done.output
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("Error: ")
    shown = name.replace("\n", "\\n")
    assert f"{folder}/{shown}: " in lines[0]
    assert reasons[shown] in lines[0] or "broken symbolic link" in lines[0]


def test_a_recording_of_one_sample_is_rendered(invoke, tmp_path):
    (tmp_path / "in").mkdir()
    save_audio(tmp_path / "in" / "click.wav", np.array([0.5], np.float32), RATE)
    output = ("-o", tmp_path / "pairs.h5", "--short", "pad", "--min-mean-square", 0)
    done = invoke("render", tmp_path / "in", *output, *SMALL, "--pairs-per-effect", 2)
    assert done.exit_code == 0, done.output


def test_a_silent_recording_is_refused(invoke, tmp_path):
    save_audio(tmp_path / "silent.wav", np.zeros(RATE, np.float32), RATE)
    output = ("-o", tmp_path / "pairs.h5", *SMALL, "--pairs-per-effect", 2)
    done = invoke("render", tmp_path / "silent.wav", *output)
    assert done.exit_code == 1
    assert "was louder than a mean square of 1e-05" in done.stderr
    assert not (tmp_path / "pairs.h5").exists()


@pytest.mark.parametrize("change", ["vanishes", "grows", "replaced"])
def test_a_file_that_changes_before_it_is_read_is_refused(tmp_path, change):
    folder = write_recordings(tmp_path / "recordings")
    catalogue = build_catalogue([folder], SEGMENTS, ALL_TRAIN)
    for recording in catalogue.recordings:
        path = Path(recording.path)
        if change == "vanishes":
            path.unlink()
        elif change == "grows":
            with path.open("ab") as file:
                file.write(bytes(100))
        else:
            path.write_bytes(encode_bytes(noise(4000, 2), 44_100, "WAV", "PCM_16"))
    problem = "vanished" if change == "vanishes" else "changed"
    rng = np.random.default_rng(0)
    with pytest.raises(RecordingError, match=f"{problem} since it was first read"):
        draw_segment(catalogue, "train", SEGMENTS, rng)
    with pytest.raises(RecordingError, match=f"{problem} since it was first read"):
        draw_segment(catalogue, "train", SEGMENTS, rng, strict=True)


def test_a_recording_that_vanishes_while_rendering_is_skipped(tmp_path, monkeypatch):
    from dafxtool.dataset import plan
    from dafxtool.dataset.render import render

    folder = write_recordings(tmp_path / "recordings")
    deleted = folder / "plucks" / "0.wav"
    build = plan.build_catalogue

    def build_then_delete(*arguments, **options):
        catalogue = build(*arguments, **options)
        deleted.unlink()
        return catalogue

    monkeypatch.setattr(plan, "build_catalogue", build_then_delete)
    result = render([folder], tmp_path / "pairs.h5", chosen("gain"), SEGMENTS, SPLIT, 40, seed=1)
    assert result.n_pairs == 40
    assert [path for path, _ in result.skipped] == [str(deleted)]
    assert "has vanished since it was first read" in result.skipped[0][1]


@pytest.mark.parametrize("name", ["round", "nowhere"])
def test_a_broken_link_is_refused(tmp_path, name):
    (tmp_path / "round").symlink_to("round")
    (tmp_path / "nowhere").symlink_to("nothing")
    with pytest.raises(InputError, match=f"{name}: a broken symbolic link"):
        find_recordings([tmp_path / name])
