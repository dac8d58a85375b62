"""Handle Ctrl-C and SIGTERM so that no interrupt is lost.

Python raises KeyboardInterrupt in whatever code is running. Inside a destructor or the callback of
a weak reference it is printed and ignored, and the command continues. The handler of the command
line therefore also records the interrupt, and every loop that reports progress checks the record.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# Ctrl-C, and what a job queue sends: SIGTERM, or SIGBREAK on Windows.
SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)
]

# Module variables, because a signal belongs to the process. A threading.Event would deadlock: a
# handler that is interrupted by the next signal would acquire the event's lock twice.
_is_pending = False
_is_deferred = False
_number = int(signal.SIGINT)  # of the last signal
_original_hook = sys.unraisablehook


def watch() -> None:
    """Install the handlers and forget earlier interrupts.

    Outside the main thread, which alone may install handlers, only the record is reset.
    """
    global _is_pending, _is_deferred, _number, _original_hook
    _is_pending = _is_deferred = False
    _number = int(signal.SIGINT)
    if sys.unraisablehook is not _report_unraisable:
        _original_hook, sys.unraisablehook = sys.unraisablehook, _report_unraisable
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, _handle)


def _report_unraisable(unraisable: Any) -> None:
    """Report an exception that Python ignores, except an interrupt that is recorded."""
    if not (issubclass(unraisable.exc_type, KeyboardInterrupt) and _is_pending):
        _original_hook(unraisable)


def leave(is_reported: bool) -> None:
    """Replace the handlers at the end of an interrupted command.

    is_reported  False: further interrupts are ignored until the first is reported. True: they end
                 the process at once
    """
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL if is_reported else signal.SIG_IGN)


def _handle(number: int, frame: FrameType | None) -> None:
    global _is_pending, _number
    is_second, _is_pending, _number = _is_pending, True, number
    if is_second or not _is_deferred:
        raise KeyboardInterrupt


def exit_status() -> int:
    """Return the exit status of an interrupted command by the convention of shells.

    128 and the number of the signal: 130 after Ctrl-C, 143 after SIGTERM.
    """
    return 128 + _number


def is_caused_by_interrupt(error: BaseException) -> bool:
    """Return whether an interrupt is in the context of an error.

    Python raises a RuntimeError if an interrupt arrives while it acquires or releases a lock.
    """
    context = error.__context__
    return context is not None and (
        isinstance(context, KeyboardInterrupt) or is_caused_by_interrupt(context)
    )


@contextmanager
def deferred() -> Iterator[None]:
    """Delay the first interrupt until `check` is called; a second one is raised at once."""
    global _is_deferred
    before, _is_deferred = _is_deferred, True
    try:
        yield
    finally:
        _is_deferred = before


def check() -> None:
    """Raise KeyboardInterrupt for a recorded interrupt that was delayed or ignored by Python."""
    global _is_pending
    if _is_pending:
        _is_pending = False
        raise KeyboardInterrupt
