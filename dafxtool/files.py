"""Files that are either whole or not there.

An output is written under a temporary name in its own folder and takes its real name only when it
is complete, so that whoever finds `pairs.csv` finds all of it. A command that writes for long keeps
others from the same output meanwhile, with a lock that ends with its process. What the disk has
against a file (full, read-only, no permission) becomes one sentence that names it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import sys
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dafxtool.errors import DiskError, OutputExistsError

try:
    import fcntl
except ImportError:  # Windows has no flock: there two commands are not kept apart
    fcntl = None  # type: ignore[assignment]

# What a disk says, and what a person can do about it. Any other OSError is told in its own words.
REMEDIES = {
    errno.ENOSPC: "the disk is full: free some space there, or write elsewhere with --output",
    errno.EDQUOT: "your quota is used up: free some space there, or write elsewhere with --output",
    errno.EFBIG: "it would be larger than that file system holds: write elsewhere with --output",
    errno.EROFS: "the file system is read-only: write elsewhere with --output",
    errno.EACCES: "there is no permission to write there: write elsewhere with --output",
    errno.EPERM: "there is no permission to write there: write elsewhere with --output",
    errno.EISDIR: "that is a folder: give a file name",
    errno.ENOTDIR: "a part of that path is a file, not a folder: give another name",
    errno.EEXIST: "a part of that path is a file, not a folder: give another name",
    errno.ENAMETOOLONG: "the name is too long: give a shorter one",
    errno.EIO: "the disk reports a failure of its own: write elsewhere with --output",
}

PARTIAL = re.compile(r"\..+\.partial-(\d+)(\.[^.]*)?")  # what partial_name makes

SAMPLED_BYTES = 4096  # at the beginning, in the middle and at the end

SYNC_FILE_RANGE_WRITE = 2  # of linux/fs.h

NO_LINK = getattr(os, "O_NOFOLLOW", 0)

# Locks of this process: name of the lock -> (process, thread) that holds it.
_held: dict[Path, tuple[int, int]] = {}


@contextmanager
def writing(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """A temporary path to write to; on leaving without an error it becomes `path`.

    The temporary path lies in the folder of `path` and keeps its suffix, so that a library that
    goes by suffixes writes the right kind of file. Parent folders are made. On an error nothing is
    left behind, and a file that was at `path` before is still there as it was.

    OutputExistsError  path exists and overwrite is not set
    DiskError          the disk does not take the file
    """
    path = Path(path)
    with disk_errors(path):
        _check_target(path)
        check_free(path, overwrite)
        path = path.resolve()  # behind a link, the file is replaced and the link stays
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = partial_name(path)
        try:
            yield temporary
            _settle(temporary, path, overwrite)
        finally:
            with suppress(OSError):
                temporary.unlink()


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


def check_free(path: Path, overwrite: bool) -> None:
    """OutputExistsError when something is at path and may not be overwritten."""
    if not overwrite and os.path.lexists(path):
        raise OutputExistsError(
            f"{path} exists already: choose another name with --output, or replace it with "
            "--overwrite."
        )


def free_name(path: Path) -> Path:
    """path itself where nothing has that name, else path with -2, -3, ... before its suffix."""
    path = Path(path)
    candidate, number = path, 1
    while os.path.lexists(candidate):
        number += 1
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return candidate


def shown_name(path: Path) -> str:
    """A file's name as text for people and figures; bytes that are none are written out."""
    return path.name.encode("utf-8", "backslashreplace").decode()


def fingerprint(path: Path) -> tuple[int, int]:
    """Length in bytes, and CRC-32 of a sample of them: not the same once a file was worked on.

    (0, 0) where it cannot be read. A sample, because whole datasets are looked at this way.
    """
    try:
        with open(path, "rb") as file:
            size, check = os.fstat(file.fileno()).st_size, 0
            for position in (0, size // 2, max(0, size - SAMPLED_BYTES)):
                file.seek(position)
                check = zlib.crc32(file.read(SAMPLED_BYTES), check)
    except OSError:
        return 0, 0
    return size, check


def partial_name(path: Path) -> Path:
    """The name under which this process writes path: hidden, beside it, of the same suffix."""
    return path.with_name(f".{path.stem}.partial-{os.getpid()}{path.suffix}")


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns an OSError of the disk, while path is being written, into a DiskError naming path.

    path  a file, or a folder that files are written into
    An OSError about another file (an input that cannot be read) passes through as it is.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or not _concerns(error, path):
            raise
        raise DiskError(disk_sentence(error, path)) from error


def disk_sentence(error: OSError, path: Path | str | None = None) -> str:
    """What to tell the user about an error of the disk."""
    found = error.strerror or str(error)
    remedy = REMEDIES.get(error.errno or 0, f"{found}: look at the disk, or write elsewhere")
    return f"{path or error.filename or 'The output'} cannot be written, because {remedy}."


def _concerns(error: OSError, path: Path) -> bool:
    """Is it about path, a folder on the way to it, or a file inside it?"""
    if not isinstance(error.filename, str):
        return True  # a write that failed names no file
    named, wanted = Path(error.filename).resolve(), Path(path).resolve()
    return (
        named in (wanted, partial_name(wanted))
        or named in wanted.parents
        or wanted in named.parents
    )


def _check_target(path: Path) -> None:
    """A folder cannot be replaced by a file, and a device or a pipe must not be."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():
        raise DiskError(f"{path} is no ordinary file: give --output the name of one.")


def send_to_disk(path: Path) -> None:
    """Have the system begin to write what it still holds back of a file, and do not wait for it.

    Without this it would begin after many seconds, or when somebody waits. Nothing is secured by
    it. Does nothing where there is no sync_file_range(2).
    """
    if not sys.platform.startswith("linux"):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        begin = ctypes.c_int64(0), ctypes.c_int64(0)  # from the first byte to the end
        ctypes.CDLL(None).sync_file_range(descriptor, *begin, SYNC_FILE_RANGE_WRITE)
    finally:
        os.close(descriptor)


def _settle(temporary: Path, path: Path, overwrite: bool) -> None:
    """Give the finished file its name, once its bytes are on the disk."""
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    check_free(path, overwrite)  # again: another process may have been quicker
    os.replace(temporary, path)
