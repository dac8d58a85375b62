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
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dafxtool.errors import DiskError, OutputExistsError

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

# Windows does not replace a file that another program has open, if only to look for viruses.
IN_USE = (5, 32)  # ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION
MOST_TRIES, SECONDS_BETWEEN_TRIES = 20, 0.1

RESERVED_BYTES = 1 << 20  # written at a time


@contextmanager
def atomic_write(path: Path, overwrite: bool = False) -> Iterator[Path]:
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


def check_free(path: Path, overwrite: bool) -> None:
    """OutputExistsError when something is at path and may not be overwritten."""
    if not overwrite and os.path.lexists(path):
        raise OutputExistsError(
            f"{path} exists already: choose another name with --output, or replace it with "
            "--overwrite."
        )


def unused_name(path: Path) -> Path:
    """path itself where nothing has that name, else path with -2, -3, ... before its suffix."""
    path = Path(path)
    candidate, number = path, 1
    while os.path.lexists(candidate):
        number += 1
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return candidate


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


def sync(path: Path) -> None:
    """Wait until the disk has all bytes of a file."""
    with open(path, "rb+") as file:  # Windows syncs only what may be written
        os.fsync(file.fileno())


def replace(source: Path, target: Path) -> None:
    """Give a file the name of another one, which it replaces; wait a little if that is in use."""
    for tries in range(1, MOST_TRIES + 1):
        try:
            os.replace(source, target)
            return
        except PermissionError as error:
            if getattr(error, "winerror", None) not in IN_USE or tries == MOST_TRIES:
                raise
        time.sleep(SECONDS_BETWEEN_TRIES)


def reserve(path: Path, n_bytes: int = 0) -> None:
    """Give every byte of an existing file its place on the disk; its content stays.

    n_bytes  smallest size of the file afterwards; what is added is zeros
    """
    with open(path, "rb+", buffering=0) as file:
        size = max(1, n_bytes, os.fstat(file.fileno()).st_size)
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(file.fileno(), 0, size)
                return
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                    raise
        for position in range(0, size, RESERVED_BYTES):
            n_block = min(RESERVED_BYTES, size - position)
            file.seek(position)
            block = file.read(n_block)  # zeros where the file has a hole
            file.seek(position)
            file.write(block.ljust(n_block, b"\0"))


def _settle(temporary: Path, path: Path, overwrite: bool) -> None:
    """Give the finished file its name, once its bytes are on the disk."""
    sync(temporary)
    check_free(path, overwrite)  # again: another process may have been quicker
    replace(temporary, path)
