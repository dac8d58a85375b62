"""Define the fixtures of the command tests: recordings, and commands that succeed or fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_runs import error_sentence
from datasets import write_recordings


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    return write_recordings(tmp_path_factory.mktemp("recordings"))


@pytest.fixture(scope="module")
def pluck(recordings) -> Path:
    return recordings / "plucks" / "1.wav"


@pytest.fixture(scope="module")
def other(recordings) -> Path:
    return recordings / "swells" / "2.wav"


@pytest.fixture
def succeed(invoke):
    """Run a command that succeeds; return its output, or with --json the object."""

    def run(*arguments):
        result = invoke(*arguments)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout) if "--json" in arguments else result.stdout

    return run


@pytest.fixture
def fail(invoke):
    """Run a command that fails with a status, by default 1; return its message."""

    def run(*arguments, status=1):
        result = invoke(*arguments)
        assert isinstance(result.exception, SystemExit), repr(result.exception)
        return error_sentence(result.exit_code, result.stderr, status)

    return run
