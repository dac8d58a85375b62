"""Ctrl-C and SIGTERM that cannot get lost.

Python raises KeyboardInterrupt wherever it happens to be; inside a destructor or a weak reference's
callback it is printed and forgotten, and the command goes on. So the command line's handler also
notes it, and every loop that tells its progress looks at the note.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# Ctrl-C and a job queue's way of saying the same: SIGTERM, or SIGBREAK on Windows.
SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)
]

# A signal belongs to the process, and so do these. No Event: its lock would be taken twice by a
# handler that is interrupted by the next signal, and the process would stand still for ever.
_noted = False
_deferred = False
_usual_hook = sys.unraisablehook


def watch() -> None:
    """Note interrupts from now on; earlier ones are forgotten. Only the main thread can."""
    global _noted, _deferred, _usual_hook
    _noted = _deferred = False
    if sys.unraisablehook is not _forgotten:
        _usual_hook, sys.unraisablehook = sys.unraisablehook, _forgotten
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, _interrupted)


def _forgotten(what: Any) -> None:
    """Python has forgotten an exception; of one that was noted nobody needs to hear."""
    if not (issubclass(what.exc_type, KeyboardInterrupt) and _noted):
        _usual_hook(what)


def leave(told: bool) -> None:
    """The command has ended by an interrupt.

    A further one means nothing until that is told, and ends the process at once afterwards.
    """
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL if told else signal.SIG_IGN)


def _interrupted(number: int, frame: FrameType | None) -> None:
    global _noted
    impatient, _noted = _noted, True
    if impatient or not _deferred:
        raise KeyboardInterrupt


def is_behind(error: BaseException) -> bool:
    """Did an interrupt bring the error about?

    One that arrives while Python takes or gives back a lock makes a RuntimeError of its own.
    """
    earlier = error.__context__
    return earlier is not None and (isinstance(earlier, KeyboardInterrupt) or is_behind(earlier))


@contextmanager
def deferred() -> Iterator[None]:
    """In here an interrupt is noted and waits for `check`; a second one does not wait."""
    global _deferred
    _deferred = True
    try:
        yield
    finally:
        _deferred = False


def check() -> None:
    """Raise the KeyboardInterrupt that was noted and, as it seems, got lost."""
    global _noted
    if _noted:
        _noted = False
        raise KeyboardInterrupt
