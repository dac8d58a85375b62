"""Check how a command refuses its input."""

from __future__ import annotations

from typing import Any


def assert_refused(result: Any) -> str:
    """Assert exit status 1 without a traceback, and return the message."""
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    message: str = result.stderr
    return message
