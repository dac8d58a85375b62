"""Ctrl-C and SIGTERM that cannot get lost.

Python raises KeyboardInterrupt wherever it happens to be; inside a destructor or a weak reference's
callback it is printed and forgotten, and the command goes on. So the command line's handler also
notes it, and every loop that tells its progress looks at the note.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_noted = threading.Event()  # a signal belongs to the process, and so do these
_deferred = threading.Event()


def watch() -> None:
    """Note interrupts from now on; earlier ones are forgotten. Only the main thread can."""
    _noted.clear()
    _deferred.clear()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _interrupted)
        signal.signal(signal.SIGTERM, _interrupted)  # a job queue's way of saying the same


def _interrupted(number: int, frame: FrameType | None) -> None:
    impatient = _noted.is_set()
    _noted.set()
    if not _deferred.is_set() or impatient:
        raise KeyboardInterrupt


@contextmanager
def deferred() -> Iterator[None]:
    """In here an interrupt is noted and waits for `check`; a second one does not wait."""
    _deferred.set()
    try:
        yield
    finally:
        _deferred.clear()


def check() -> None:
    """Raise the KeyboardInterrupt that was noted and, as it seems, got lost."""
    if _noted.is_set():
        _noted.clear()
        raise KeyboardInterrupt
