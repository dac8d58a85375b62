"""Lock an output, so that one process at a time writes it.

filelock uses locks of the operating system, which end with their process even if it is killed.
"""

from __future__ import annotations

import errno
import os
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

# If the owner ends at this moment it removes the lock file, and filelock has to try again.
SECONDS_TO_TRY, SECONDS_BETWEEN_TRIES = 0.05, 0.01

# Errors of file systems without locks.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)

# Locks of this process: lock file -> (process, thread) of the owner.
_owners: dict[Path, tuple[int, int]] = {}


@contextmanager
def sole_writer(path: Path, is_folder: bool = False) -> Iterator[None]:
    """Prevent other processes from writing path, a file or a folder of files.

    The hidden lock file is in the folder of path, or inside path if that is a folder. Missing
    folders are created, and removed again if they stay empty. Temporary files that killed processes
    left are removed. The thread that owns a lock may enter again. Nothing is locked on a file
    system without locks.

    OutputExistsError  another process is writing there
    DiskError          nothing can be written there
    """
    lock_file, owner = _lock_file(path, is_folder), (os.getpid(), threading.get_ident())
    if _owners.get(lock_file) == owner:
        yield
        return
    created: list[Path] = []
    try:
        with disk_errors(lock_file.parent):
            created = _create_folders(lock_file.parent)
            lock = _acquire(lock_file, path)
        _owners[lock_file] = owner
        try:
            _remove_partial_files(path, is_folder)
            yield
        finally:
            del _owners[lock_file]
            # Removed while locked, so that a process that has opened it meanwhile tries again.
            with suppress(OSError):  # on Windows only filelock can remove it, on release
                lock_file.unlink()
            if lock:
                lock.release()
    finally:
        for folder in reversed(created):
            with suppress(OSError):
                folder.rmdir()


def check_unlocked(path: Path, is_folder: bool = False) -> None:
    """Raise OutputExistsError while another process is the sole writer of path."""
    lock_file = _lock_file(path, is_folder)
    is_own = lock_file in _owners and _owners[lock_file][0] == os.getpid()
    if is_own or not lock_file.exists():
        return
    with suppress(OSError):  # the lock fails for another reason than an owner
        if lock := _acquire(lock_file, path):
            with suppress(OSError):
                lock_file.unlink()
            lock.release()


def _lock_file(path: Path, is_folder: bool) -> Path:
    """Return the lock file of path; inside a folder, because its parent may be read-only."""
    if is_folder:
        return path.resolve() / ".lock"
    return path.parent.resolve() / f".{path.name}.lock"


def _create_folders(folder: Path) -> list[Path]:
    """Create a folder and its parents; return the new ones, outermost first."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing[::-1]


def _acquire(lock_file: Path, path: Path) -> BaseFileLock | None:
    """Acquire a lock and write this process's ID to its file; None if locks are not supported."""
    import filelock

    # With on_acquired, filelock never falls back to lock files that remain after a crash.
    lock = filelock.FileLock(lock_file, thread_local=False, on_acquired=_write_process_id)
    try:
        lock.acquire(SECONDS_TO_TRY, poll_interval=SECONDS_BETWEEN_TRIES)
    except filelock.Timeout as timeout:
        if not lock_file.exists():
            lock_file.touch()  # raises the reason why filelock could not create it either
        raise OutputExistsError(
            f"{path}: is being written by another process{_read_process_id(lock_file)}. Wait for "
            "it or choose another --output."
        ) from timeout
    except NotImplementedError:
        return None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return None
    return lock


def _write_process_id(descriptor: int) -> None:
    with suppress(OSError):  # on a full disk the lock works without the ID
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, f" {os.getpid()}".encode())  # Windows locks the first byte


def _read_process_id(lock_file: Path) -> str:
    """Return " (process ID 123)", or nothing if the file does not contain one."""
    try:
        with open(lock_file, "rb", buffering=0) as file:
            file.seek(1)
            number = file.read(20).decode("ascii", "replace")
    except OSError:
        return ""
    return f" (process ID {number})" if number.isdigit() else ""


def _remove_partial_files(path: Path, is_folder: bool) -> None:
    """Remove temporary files of processes that have ended."""
    if is_folder:
        files = [Path(folder, name) for folder, _, names in os.walk(path) for name in names]
    else:
        pattern = re.compile(f"{re.escape(f'.{path.stem}.partial-')}\\d+{re.escape(path.suffix)}")
        files = [each for each in path.parent.iterdir() if pattern.fullmatch(each.name)]
    for file in files:
        match = PARTIAL.fullmatch(file.name)
        if match and not _is_alive(int(match[1])):
            with suppress(OSError):
                file.unlink()


def _is_alive(process_id: int) -> bool:
    import psutil

    try:
        return bool(psutil.pid_exists(process_id))
    except OverflowError:
        return False
