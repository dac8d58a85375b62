"""Interrupt commands with Ctrl-C, and resume them."""

from __future__ import annotations

import os
import signal
import time

import h5py
import numpy as np
import pytest
from command_runs import interruption, names_in, spawn, wait_for
from datasets import CONFIGURATION, RATE

from dafxtool import presets, storage
from dafxtool.dataset.render import rerender_row


def interrupt_when(condition, *arguments: object) -> tuple[int, str]:
    """Send Ctrl-C to the process group, as a terminal does, once condition() is true."""
    if not hasattr(os, "killpg"):
        pytest.skip("on Windows, Ctrl-C reaches all processes of a terminal")
    process = spawn(*arguments, start_new_session=True)
    until = time.monotonic() + 120
    while not condition() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    code, _, stderr = wait_for(process)
    return code, stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_render_is_resumed(succeed, recordings, tmp_path, workers):
    output = tmp_path / "pairs.h5"
    arguments = (
        *("render", recordings, "-o", output, "--effect", "reverb", "--pairs-per-effect", 2000),
        *("--sample-rate", RATE, "--segment-seconds", 0.5, "--workers", workers),
    )

    def has_started() -> bool:
        partial = storage.partial_path(output)
        try:
            with h5py.File(partial, "r", locking=False) as file:
                return bool(file["done"][:].any())
        except (OSError, KeyError):
            return False

    code, stderr = interrupt_when(has_started, *arguments)
    assert "--resume to continue" in interruption(code, stderr)
    assert not output.exists()
    succeed(*arguments, "--resume", "-q")
    with storage.Hdf5Reader(output, storage.PAIRS) as reader:
        assert len(reader) == 2000
        stored = reader.rows(np.array([0, 1999]))
    np.testing.assert_array_equal(rerender_row(output, 1999), stored[1])


def test_an_interruption_while_workers_start_shows_no_traceback(recordings, tmp_path):
    """A worker imports for a second after its start, and Ctrl-C in a terminal reaches it, too."""
    output = tmp_path / "pairs.h5"
    partial = storage.partial_path(output)
    arguments = ("render", recordings, "-o", output, "--sample-rate", RATE, "--workers", 2)
    code, stderr = interrupt_when(partial.exists, *arguments)
    assert "--resume to continue" in interruption(code, stderr)
    assert names_in(tmp_path) <= {partial.name}


def test_an_interrupted_training_is_resumed(succeed, spectrograms_file, tmp_path):
    run = tmp_path / "run"
    config = tmp_path / "quick.toml"
    config.write_text(presets.to_toml(CONFIGURATION))
    arguments = ("train", spectrograms_file, "-o", run, "--device", "cpu", "--config", config)
    metrics = run / "metrics.csv"

    def has_started() -> bool:
        return metrics.exists() and len(metrics.read_text().splitlines()) > 1

    code, stderr = interrupt_when(has_started, *arguments, "--steps", 100_000)
    line = interruption(code, stderr)
    assert line.startswith("Interrupted. ") and "is kept" in line and str(run) in line
    rows = metrics.read_text().splitlines()
    reached = int(rows[-1].split(",")[0])
    answer = succeed(*arguments, "--resume", "--steps", reached + 10, "-q", "--json")
    assert answer["steps"] == reached + 10
    steps = [int(row.split(",")[0]) for row in metrics.read_text().splitlines()[1:]]
    assert steps == sorted(set(steps))
