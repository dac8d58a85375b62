"""Let one process at a time write an output.

The lock is the operating system's, through filelock: it ends with its process, however that ends.
"""

from __future__ import annotations

import errno
import os

try:
    import fcntl
except ImportError:  # replaced by filelock when the branches meet
    fcntl = None  # type: ignore[assignment]
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dafxtool.errors import OutputExistsError
from dafxtool.utils.files import PARTIAL, disk_errors

if TYPE_CHECKING:
    from filelock import BaseFileLock

# A holder that ends at this moment removes the lock's file; filelock then tries again.
SECONDS_TO_TRY, SECONDS_BETWEEN_TRIES = 0.05, 0.01

# What the system says where a file system has no locks.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)

# Locks of this process: file of the lock -> (process, thread) that holds it.
_held: dict[Path, tuple[int, int]] = {}


@contextmanager
def sole_writer(path: Path, is_folder: bool = False) -> Iterator[None]:
    """Keep other processes from writing path, a file or a folder of files.

    The lock's file is hidden beside path, or inside it if that is a folder. Missing folders are
    created, and removed again if they stay empty. Temporary files of path that killed processes
    left behind are removed. The thread that holds a lock may enter again. On a file system without
    locks nothing is locked.

    OutputExistsError  another process is writing there
    DiskError          nothing can be written there
    """
    lock_file, owner = _lock_file(path, is_folder), (os.getpid(), threading.get_ident())
    if _held.get(lock_file) == owner:
        yield
        return
    created: list[Path] = []
    try:
        with disk_errors(lock_file.parent):
            created = _create_folders(lock_file.parent)
            lock = _acquire(lock_file, path)
        _held[lock_file] = owner
        try:
            _remove_remains(path, is_folder)
            yield
        finally:
            del _held[lock_file]
            with suppress(OSError):  # Windows lets filelock alone remove it, on release
                lock_file.unlink()  # while it is locked: who has opened it meanwhile tries again
            if lock:
                lock.release()
    finally:
        for folder in reversed(created):
            with suppress(OSError):
                folder.rmdir()


def check_unlocked(path: Path, is_folder: bool = False) -> None:
    """Raise OutputExistsError while another process is the sole writer of path."""
    lock_file = _lock_file(path, is_folder)
    is_own = lock_file in _held and _held[lock_file][0] == os.getpid()
    if is_own or not lock_file.exists():
        return
    with suppress(OSError):  # a lock that cannot be had for such a reason is nobody's
        if lock := _acquire(lock_file, path):
            with suppress(OSError):
                lock_file.unlink()
            lock.release()


def _lock_file(path: Path, is_folder: bool) -> Path:
    """Return where the lock of path lies: inside a folder, whose parent may not be writable."""
    if is_folder:
        return path.resolve() / ".lock"
    return path.parent.resolve() / f".{path.name}.lock"


def _create_folders(folder: Path) -> list[Path]:
    """Create a folder and its parents; return the new ones, outermost first."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing[::-1]


def _acquire(lock_file: Path, path: Path) -> BaseFileLock | None:
    """Take a lock and store this process's number in its file; None where there are no locks."""
    import filelock

    # With on_acquired, filelock uses the system's locks only, never a file that outlives a crash.
    lock = filelock.FileLock(lock_file, thread_local=False, on_acquired=_write_number)
    try:
        lock.acquire(SECONDS_TO_TRY, poll_interval=SECONDS_BETWEEN_TRIES)
    except filelock.Timeout as timeout:
        number = _read_number(lock_file)
        raise OutputExistsError(
            f"{path} is being written by another process{number}: wait for it, or choose another "
            "--output."
        ) from timeout
    except NotImplementedError:
        return None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return None
    return lock


def _write_number(descriptor: int) -> None:
    with suppress(OSError):  # a full disk takes no number, and a lock does not need one
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, f" {os.getpid()}".encode())  # Windows lets nobody read the first byte


def _read_number(lock_file: Path) -> str:
    try:
        with open(lock_file, "rb", buffering=0) as file:
            file.seek(1)
            number = file.read(20).decode("ascii", "replace")
    except OSError:
        return ""
    return f" (number {number})" if number.isdigit() else ""


def _remove_remains(path: Path, is_folder: bool) -> None:
    """Remove temporary files of processes that have ended."""
    if is_folder:
        found = [Path(folder, name) for folder, _, names in os.walk(path) for name in names]
    else:
        pattern = re.compile(f"{re.escape(f'.{path.stem}.partial-')}\\d+{re.escape(path.suffix)}")
        found = [each for each in path.parent.iterdir() if pattern.fullmatch(each.name)]
    for each in found:
        match = PARTIAL.fullmatch(each.name)
        if match and not _is_alive(int(match[1])):
            with suppress(OSError):
                each.unlink()


def _is_alive(process: int) -> bool:
    import psutil

    try:
        return bool(psutil.pid_exists(process))
    except OverflowError:
        return False
