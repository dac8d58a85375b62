"""Ctrl-C and SIGTERM that cannot get lost.

Python raises KeyboardInterrupt wherever it happens to be; inside a destructor or a weak reference's
callback it is printed and forgotten, and the command goes on. So the command line's handler also
notes it, and every loop that tells its progress looks at the note.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType

_noted = threading.Event()  # a signal belongs to the process, and so does this


def watch() -> None:
    """Note interrupts from now on; earlier ones are forgotten. Only the main thread can."""
    _noted.clear()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _interrupted)
        signal.signal(signal.SIGTERM, _interrupted)  # a job queue's way of saying the same


def _interrupted(number: int, frame: FrameType | None) -> None:
    _noted.set()
    raise KeyboardInterrupt


def check() -> None:
    """Raise the KeyboardInterrupt that was noted and, as it seems, got lost."""
    if _noted.is_set():
        _noted.clear()
        raise KeyboardInterrupt
