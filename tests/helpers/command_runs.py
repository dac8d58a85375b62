"""Run commands in tests: constants of small renders, processes, and error messages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from datasets import N_SAMPLES, RATE

SMALL = ("--sample-rate", RATE, "--segment-seconds", N_SAMPLES / RATE, "--workers", 1, "-q")
FIGURES = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}


def error_sentence(exit_status: int, stderr: str, status: int = 1) -> str:
    """Check that the last line of standard error is the only error; return its message."""
    assert exit_status == status, stderr
    assert "Traceback" not in stderr
    assert "Exception ignored" not in stderr
    errors = [line for line in stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, stderr
    assert stderr.rstrip().endswith(errors[0]), "the message is not the last line"
    return errors[0].removeprefix("Error: ")


def interruption(exit_status: int, stderr: str) -> str:
    """Check that a command ended by Ctrl-C, without an error; return its last line."""
    assert exit_status == 130, stderr
    assert not {"Traceback", "Exception ignored", "Error"} & set(stderr.split()), stderr
    return stderr.rstrip().splitlines()[-1]


def spawn(*arguments: object, **options) -> subprocess.Popen[str]:
    """Start a command in a separate process."""
    command = [sys.executable, "-m", "dafxtool", *map(os.fspath, map(str, arguments))]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **pipes, **options)


def names_in(folder: Path) -> set[str]:
    """Return the relative paths of all files and folders, with hidden ones."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def is_figure(path: Path) -> bool:
    return path.read_bytes().startswith(FIGURES[path.suffix]) and path.stat().st_size > 5000


def wait_for(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Return exit status, standard output and standard error of a process."""
    stdout, stderr = process.communicate(timeout=120)
    return process.returncode, stdout, stderr
