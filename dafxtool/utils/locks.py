"""?."""

from __future__ import annotations

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

from dafxtool.errors import OutputExistsError
from dafxtool.utils.files import PARTIAL, disk_errors

NO_LINK = getattr(os, "O_NOFOLLOW", 0)

# Locks of this process: name of the lock -> (process, thread) that holds it.
_held: dict[Path, tuple[int, int]] = {}


@contextmanager
def sole_writer(path: Path, is_folder: bool = False) -> Iterator[None]:
    """In here no other process may write path, a file or a folder of files.

    The lock is the kernel's, on a hidden file beside path, or in it where it is a folder: it ends
    with the process, however that ends. Folders on the way are made, and removed again where
    nothing came into them. Temporary files that killed processes left of path are removed. The
    thread that holds a lock may enter again. On a file system without locks nothing is locked.

    OutputExistsError  another process is writing there
    DiskError          nothing can be written there
    """
    lock, owner = _lock_of(path, is_folder), (os.getpid(), threading.get_ident())
    if _held.get(lock) == owner:
        yield
        return
    made: list[Path] = []
    try:
        with disk_errors(lock.parent):
            made = _made_folders(lock.parent)
            descriptor = _lock(lock, path)
        _held[lock] = owner
        try:
            _remove_remains(path, is_folder)
            yield
        finally:
            del _held[lock]
            with suppress(OSError):
                lock.unlink()  # while it is held: who opened it meanwhile finds another one
            if descriptor is not None:
                os.close(descriptor)
    finally:
        for folder in reversed(made):
            with suppress(OSError):
                folder.rmdir()


def check_unlocked(path: Path, is_folder: bool = False) -> None:
    """OutputExistsError while another process is the sole writer of path."""
    lock = _lock_of(path, is_folder)
    if lock in _held and _held[lock][0] == os.getpid():
        return
    try:
        descriptor = os.open(lock, os.O_RDWR | NO_LINK)
    except OSError:
        return
    try:
        _flock(descriptor, path)
    finally:
        os.close(descriptor)


def _lock_of(path: Path, is_folder: bool) -> Path:
    """The lock's file: inside a folder, whose parent may not be ours to write in."""
    if is_folder:
        return path.resolve() / ".lock"
    return path.parent.resolve() / f".{path.name}.lock"


def _made_folders(folder: Path) -> list[Path]:
    """Make a folder and its parents; those that were not there, outermost first."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing[::-1]


def _lock(lock: Path, path: Path) -> int | None:
    """The open file that holds the lock, with this process's number in it."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | NO_LINK, 0o666)
        try:
            if not _flock(descriptor, path):
                os.close(descriptor)
                return None
            if _is_still(lock, descriptor):
                break
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # the one before has removed its file just now
    with suppress(OSError):  # a full disk takes no number, and a lock does not need one
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
    return descriptor


def _flock(descriptor: int, path: Path) -> bool:
    """Take the lock; False where the file system has none."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        found = os.read(descriptor, 20).decode("ascii", "replace")
        number = f" (number {found})" if found.isdigit() else ""
        raise OutputExistsError(
            f"{path} is being written by another process{number}: wait for it, or choose another "
            "--output."
        ) from error
    except OSError:
        return False
    return True


def _is_still(lock: Path, descriptor: int) -> bool:
    """Is the file that was opened the one that bears the name?"""
    try:
        return os.path.samestat(os.stat(lock), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _remove_remains(path: Path, is_folder: bool) -> None:
    """Remove temporary files of processes that are no more."""
    if is_folder:
        found = [Path(folder, name) for folder, _, names in os.walk(path) for name in names]
    else:
        wanted = re.compile(f"{re.escape(f'.{path.stem}.partial-')}\\d+{re.escape(path.suffix)}")
        found = [each for each in path.parent.iterdir() if wanted.fullmatch(each.name)]
    for each in found:
        left = PARTIAL.fullmatch(each.name)
        if left and not _is_alive(int(left[1])):
            with suppress(OSError):
                each.unlink()


def _is_alive(process: int) -> bool:
    if fcntl is None:
        return True  # there os.kill does what it says
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass  # somebody else's
    return True
