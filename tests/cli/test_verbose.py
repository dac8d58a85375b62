"""Check that -v prints what was chosen and why, and that nothing prints it without -v."""

from __future__ import annotations

import os

import pytest
from command_runs import SMALL

QUIET_SMALL = tuple(argument for argument in SMALL if argument != "-q")


@pytest.fixture
def folder(tmp_path, monkeypatch, pairs_file, run_folder):
    """Change to a folder with two pairs files and a run."""
    monkeypatch.chdir(tmp_path)
    for name, seconds in (("old.h5", 100), ("new.h5", 10)):
        (tmp_path / name).write_bytes(pairs_file.read_bytes())
        age = (tmp_path / name).stat().st_mtime - seconds
        os.utime(name, (age, age))
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "small-1").symlink_to(run_folder)
    return tmp_path


def test_render_prints_configuration_workers_effects_and_skipped_files(
    invoke, recordings, tmp_path
):
    (tmp_path / "text.wav").write_text("no audio")
    arguments = (recordings, tmp_path, *QUIET_SMALL, "--pairs-per-effect", 1)
    arguments = (*arguments, "--effect", "delay:mix=25")
    outputs = {}
    for flags in ((), ("-v",)):
        result = invoke("render", *arguments, *flags, "-o", tmp_path / "p.h5", "--overwrite")
        assert result.exit_code == 0, result.output
        outputs[flags] = result.stderr
    details = [
        "configuration: preset",
        "segments.sample_rate = 8000",
        "--workers 1",
        "effect delay: mix=25 fixed",
        f"skipped {tmp_path}/text.wav: not a recording",
    ]
    for detail in details:
        assert detail in outputs["-v",]
        assert detail not in outputs[()]


@pytest.mark.parametrize("command", ["embed", "reconstruct", "sweep", "evaluate"])
def test_commands_print_the_newest_file_the_run_device_and_threads(invoke, folder, command):
    limits = {
        "sweep": ("--values", 2, "--segments", 1, "--effect", "low-pass"),
        "evaluate": ("--midpoints", 0, "--sounds", 0),
    }
    result = invoke(command, "-v", "--device", "cpu", *limits.get(command, ()))
    assert result.exit_code == 0, result.output
    assert "run runs/small-1, the newest run, on cpu, " in result.stderr
    assert "of torch" in result.stderr
    if command == "evaluate":
        assert "which the run was trained on" in result.stderr
    else:
        assert "using new.h5 (pairs" in result.stderr
        assert "newest of 2" in result.stderr


def test_spectrogram_prints_the_device(invoke, folder):
    sizes = ("--n-fft", 256, "--hop-length", 64, "--window-length", 256)
    result = invoke("spectrogram", "-v", "--device", "cpu", *sizes)
    assert result.exit_code == 0, result.output
    assert "using new.h5" in result.stderr
    assert "computing spectrograms on cpu" in result.stderr
    assert "spectrogram.n_fft = 256" in result.stderr
