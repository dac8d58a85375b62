"""Check the errors of commands with wrong inputs, options and outputs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_runs import SMALL, names_in
from datasets import RATE

from dafxtool import storage
from dafxtool.audio.writer import save_audio
from dafxtool.dataset.render import rerender_row


@pytest.fixture(scope="module")
def wrong(tmp_path_factory, pairs_file, spectrograms_file) -> Path:
    """Create files that are damaged or of another kind. No test writes into the folder."""
    folder = tmp_path_factory.mktemp("wrong")
    noise = np.random.default_rng(0).bytes(20_000)
    (folder / "text.wav").write_text("no sound")
    (folder / "noise.wav").write_bytes(noise)
    (folder / "noise.h5").write_bytes(noise)
    (folder / "cut.h5").write_bytes(pairs_file.read_bytes()[:-5000])
    (folder / "cut-spectrograms.h5").write_bytes(spectrograms_file.read_bytes()[:9000])
    (folder / "folder").mkdir()
    (folder / "folder.h5").mkdir()
    (folder / "no-run").mkdir()
    (folder / "damaged-run" / "checkpoints").mkdir(parents=True)
    (folder / "damaged-run" / "checkpoints" / "last.pt").write_bytes(noise)
    (folder / "key.toml").write_text("[training]\nmax_step = 3\n")
    (folder / "type.toml").write_text('[segments]\nsample_rate = "24 kHz"\n')
    (folder / "nan.toml").write_text("[training]\nbeta = nan\n")
    (folder / "broken.toml").write_text("[[[\n")
    save_audio(folder / "silence.wav", np.zeros(RATE, np.float32), RATE)
    return folder


@pytest.fixture(scope="module")
def longer(recordings, tmp_path_factory) -> Path:
    """Render pairs whose segments are longer than those of the run."""
    from datasets import SEGMENTS, SPLIT, chosen

    from dafxtool.config import SegmentConfig
    from dafxtool.dataset.render import render

    segments = SegmentConfig(sample_rate=RATE, n_samples=2 * SEGMENTS.n_samples)
    output = tmp_path_factory.mktemp("longer") / "pairs.h5"
    render([recordings], output, chosen("gain"), segments, SPLIT, 4)
    return output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{wrong}/missing.wav",), "missing.wav: does not exist"),
        (("{wrong}/text.wav",), "text.wav: not a recording"),
        (("{wrong}/noise.wav",), "noise.wav: not a recording"),
        (("{wrong}/folder",), "holds no recordings"),
        (("{wrong}/silence.wav",), "no segment of the train recordings was louder"),
        (("{wet}", "--effect", "overdrive:drive=999"), "expected 0 to 60 dB"),
        (("{wet}", "--effect", "overdrive:drive=nan"), "expected 0 to 60 dB"),
        (("{wet}", "--effect", "overdriv"), "Did you mean overdrive"),
        (("{wet}", "--effect", "overdrive:driv=20"), "Did you mean drive"),
        (("{wet}", "--effect", "gain", "--effect", "gain"), "named twice"),
        (("{wet}", "--plugin", "{wrong}/missing.vst3"), "no plugin"),
        (("{wet}", "--plugin", "{wrong}/text.wav"), "not a VST3 plugin"),
        (("{wet}", "--config", "{wrong}/key.toml"), "Did you mean max_steps"),
        (("{wet}", "--config", "{wrong}/type.toml"), "expected int"),
        (("{wet}", "--config", "{wrong}/nan.toml"), "beta: not a finite number"),
        (("{wet}", "--config", "{wrong}/broken.toml"), "not a TOML file"),
        (("{wet}", "--config", "{wrong}/missing.toml"), "does not exist"),
        (("{wet}", "--validation", 0.6, "--test", 0.6), "no recordings left for training"),
        (("{wet}", "--channel", "left"), "first, mean, loudest, or a number"),
        (("{wet}", "--channel", 3), "no channel 3"),
        (("{wet}", "--short", "skip", "--segment-seconds", 60), "--short join"),
        (("{wet}", "--settings", "grid", "--steps", 10**9), "expected at most 100,000"),
        (("{wet}", "--settings", "sweep", "--steps", 10**9), "expected at most 100,000"),
        (("{wet}", "--pairs-per-effect", 10**15), "out of range"),
        (("{wet}", "--pairs-per-effect", 50_000, "--segment-seconds", 900), "the disk has"),
    ],
)
def test_render_reports_wrong_inputs(fail, wrong, pluck, tmp_path, arguments, message):
    paths = {"wrong": wrong, "wet": pluck}
    filled = [str(argument).format(**paths) for argument in arguments]
    error = fail("render", *SMALL, *filled, "-o", tmp_path / "pairs.h5")
    assert message in error
    assert names_in(tmp_path) == set()


@pytest.mark.parametrize(
    "arguments",
    [
        ("render", "--preset", "week7"),
        ("render", "--seed", "-1"),
        ("render", "--segment-seconds", "nan"),
        ("render", "--validation", "inf"),
        ("render", "-o", ""),
        ("train", "--learning-rate", "nan"),
        ("train", "--epochs", "nan"),
        ("train", "--seed", str(10**30)),
        ("spectrogram", "--n-fft", str(10**9)),
        ("interpolate",),
        ("interpolate", "a.wav", "--start-a", "nan"),
        ("interpolate", "a.wav", "--steps", "1"),
        ("invert", "--method", "magic"),
        ("map", "--method", "t-sne"),
    ],
)
def test_invalid_options_are_usage_errors(fail, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    fail(*arguments, status=2)
    assert names_in(tmp_path) == set()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("spectrogram", "{wrong}/missing.h5"), "missing.h5: does not exist"),
        (("spectrogram", "{wrong}/noise.h5"), "not an HDF5 file that can be opened"),
        (("spectrogram", "{wrong}/cut.h5"), "not an HDF5 file that can be opened"),
        (("spectrogram", "{wrong}/folder.h5"), "a folder"),
        (("spectrogram", "{spectrograms}"), "holds spectrograms, not pairs"),
        (("spectrogram", "{pairs}", "--hop-length", 9999), "hop_length: more than half"),
        (("train", "{wrong}/cut-spectrograms.h5"), "not an HDF5 file that can be opened"),
        (("train", "{wrong}/noise.h5"), "not an HDF5 file that can be opened"),
        (("train", "{wrong}/missing.h5"), "does not exist"),
        (("train", "{spectrograms}", "--device", "cuda:99"), "dafxtool doctor"),
        (("embed", "{wrong}/missing.wav", "--run", "{run}"), "does not exist"),
        (("embed", "{wrong}/text.wav", "--run", "{run}"), "not a recording"),
        (("embed", "{wrong}/silence.wav", "--run", "{run}"), "silence"),
        (("embed", "{wrong}/noise.h5", "--run", "{run}"), "not an HDF5 file that can be opened"),
        (("embed", "{pairs}", "--run", "{wrong}/nowhere"), "nowhere: does not exist"),
        (("embed", "{pairs}", "--run", "{wrong}/no-run"), "no checkpoint"),
        (("embed", "{pairs}", "--run", "{wrong}/damaged-run"), "not a checkpoint"),
        (("embed", "{pairs}", "--run", "{pairs}"), "not a checkpoint"),
        (("embed", "{longer}", "--run", "{run}"), "Render with the run's preset"),
        (("embed", "{pairs}"), "the run pretrained"),
        (("reconstruct", "{pairs}", "--run", "{run}", "--row", 999), "row 999 does not exist"),
        (("reconstruct", "{spectrograms}", "--run", "{run}"), "holds spectrograms, not pairs"),
        (("reconstruct", "{longer}", "--run", "{run}"), "Render with the run's preset"),
        (("reconstruct", "{wrong}/folder", "--run", "{run}"), "holds no recordings"),
        (("reconstruct", "{pluck}", "--run", "{run}", "--csv", "r.txt"), ".csv"),
        (("interpolate", "{wrong}/text.wav", "--run", "{run}"), "not a recording"),
        (("interpolate", "{wrong}/missing.wav", "--run", "{run}"), "does not exist"),
        (("interpolate", "{pluck}", "--run", "{run}", "--start-a", 99), "1.50 s of audio"),
        (("interpolate", "{pluck}", "--run", "{run}", "-o", "i.jpg"), ".png, .svg or .pdf"),
        (("interpolate", "{pluck}", "--run", "{run}", "--audio", "{pairs}"), "is a file"),
        (("map", "{wrong}/noise.h5", "--run", "{run}"), "not an HDF5 file that can be opened"),
        (("map", "{pairs}", "--run", "{run}", "-o", "map"), ".png, .svg or .pdf"),
        (("invert", "{pairs}"), "found pairs"),
        (("invert", "{wrong}/text.wav"), "not a file with magnitudes"),
        (("invert", "{spectrograms}", "--row", 999), "row 999 does not exist"),
        (("invert", "{spectrograms}", "-o", "i.mp3"), ".wav or .flac"),
        (("invert",), "dafxtool spectrogram"),
        (("demo", "-o", "{pairs}"), "is a file"),
        (("effects", "delai"), "Did you mean delay"),
    ],
)
def test_commands_report_wrong_inputs(
    *, fail, wrong, longer, pluck, pairs_file, spectrograms_file, run_folder, tmp_path, monkeypatch,
    arguments, message,
):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    paths = {
        **{"wrong": wrong, "pluck": pluck, "run": run_folder, "longer": longer},
        **{"pairs": pairs_file, "spectrograms": spectrograms_file},
    }
    assert message in fail(*(str(argument).format(**paths) for argument in arguments))
    assert names_in(tmp_path) == set()


def test_a_mixture_of_kinds_is_refused(fail, pairs_file, pluck, run_folder, tmp_path):
    for command in ("reconstruct", "map"):
        arguments = (pairs_file, pluck, "--run", run_folder, "-o", tmp_path / "x.png")
        assert "alone" in fail(command, *arguments, status=2)
    arguments = (pairs_file, pluck, "--run", run_folder, "-o", tmp_path / "x.csv")
    assert "one HDF5 file" in fail("embed", *arguments, status=2)


def test_one_effect_is_too_few_for_one_recording(fail, pluck, run_folder):
    arguments = ("interpolate", pluck, "--run", run_folder, "--effect", "delay")
    assert "1 effect for 1 recording (expected two" in fail(*arguments, status=2)


@pytest.mark.parametrize("name", ["folder.h5", "file/inside.h5", "x" * 300 + ".h5"])
def test_an_impossible_output_is_refused_before_rendering(fail, pluck, tmp_path, name):
    (tmp_path / "folder.h5").mkdir()
    (tmp_path / "file").touch()
    for flags in ((), ("--overwrite",), ("--resume",)):
        error = fail("render", pluck, "-o", tmp_path / name, *SMALL, *flags)
        assert "rendering" not in error
    assert names_in(tmp_path) == {"folder.h5", "file"}


def test_figures_and_tables_are_replaced_with_overwrite_only(
    succeed, fail, pairs_file, run_folder, tmp_path
):
    arguments = ("reconstruct", pairs_file, "--run", run_folder, "-q", "-o", tmp_path / "r.png")
    succeed(*arguments, "--csv", tmp_path / "r.csv")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert "--overwrite" in fail(*arguments)
    (tmp_path / "r.png").unlink()
    assert "r.csv: exists already" in fail(*arguments, "--csv", tmp_path / "r.csv")
    assert (tmp_path / "r.csv").read_bytes() == before[tmp_path / "r.csv"]
    succeed(*arguments, "--csv", tmp_path / "r.csv", "--overwrite")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


NAMES = (
    "two\nlines.wav",
    "quote\"'s$HOME.wav",
    "Ünïcode 音.wav",
    b"bytes-\xff.wav",
    "\x1b[31m.wav",
)


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_recordings_may_have_any_name(*, succeed, fail, invoke, pluck, run_folder, tmp_path, name):
    path = tmp_path / os.fsdecode(name)
    try:
        shutil.copy(pluck, path)
    except OSError:
        pytest.skip("this file system does not take such a name")
    output = tmp_path / "pairs.h5"
    succeed("render", path, "-o", output, "--effect", "gain", "--pairs-per-effect", 2, *SMALL)
    with storage.Hdf5Reader(output, storage.PAIRS) as reader:
        assert reader.labels.path_of(0) == str(path)
        stored = reader.rows(slice(0, 1))[0]
    np.testing.assert_array_equal(rerender_row(output, 0), stored)
    folder = ("-o", tmp_path / "folder", "--effect", "gain", "--pairs-per-effect", 1)
    succeed("render", path, *folder, *SMALL)
    answer = succeed("render", path, *folder, *SMALL, "--overwrite", "--json")
    assert answer["n_pairs"] == 1
    run = ("--run", run_folder, "-q")
    for suffix in (".csv", ".npz", ".h5"):
        succeed("embed", path, *run, "-o", tmp_path / f"l{suffix}")
    shown = succeed("reconstruct", path, *run, "-o", tmp_path / "r.png", "--effect", "gain")
    assert "\x1b" not in shown
    succeed("interpolate", path, path, *run, "-o", tmp_path / "i.png", "--steps", 2)
    path.write_text("no sound")
    assert "not a recording" in fail("interpolate", path, *run, "-o", tmp_path / "j.png")
    pair = invoke("embed", pluck, path, *run, "-o", tmp_path / "m.csv")
    assert pair.exit_code == 0
    assert "1 recording skipped" in pair.stdout
    assert "\x1b" not in pair.stdout
    assert len(pair.stdout.splitlines()) == 4  # with the remark that pluck is training data
