"""Write files atomically, and report disk errors as messages that name the output.

An output is written under a temporary name in its own folder and renamed once it is complete, so
that a file with the final name is never partial. Disk errors (full, read-only, no permission)
become a DiskError that names the output and a remedy.
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

ANOTHER_OUTPUT = "Choose another --output."
FREE_SPACE = "Free some space or choose another --output."

# Problem and remedy for each error number; other errors use the system's description.
REMEDIES = {
    errno.ENOSPC: ("the disk is full", FREE_SPACE),
    errno.EDQUOT: ("the disk quota is used up", FREE_SPACE),
    errno.EFBIG: ("larger than the file system allows", ANOTHER_OUTPUT),
    errno.EROFS: ("the file system is read-only", ANOTHER_OUTPUT),
    errno.EACCES: ("no permission to write", ANOTHER_OUTPUT),
    errno.EPERM: ("no permission to write", ANOTHER_OUTPUT),
    errno.EISDIR: ("is a folder", "Use the name of a file."),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", ANOTHER_OUTPUT),
    errno.EEXIST: ("a part of the path is a file, not a folder", ANOTHER_OUTPUT),
    errno.ENAMETOOLONG: ("the name is too long", "Use a shorter name."),
    errno.EIO: ("the disk failed", ANOTHER_OUTPUT),
}

PARTIAL = re.compile(r"\..+\.partial-(\d+)(\.[^.]*)?")  # results of partial_name

SAMPLED_BYTES = 4096  # of a fingerprint: at the start, in the middle and at the end

SYNC_FILE_RANGE_WRITE = 2  # of linux/fs.h

# Windows does not replace a file that another program, such as a virus scanner, has open.
IN_USE = (5, 32)  # ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION
MOST_TRIES, SECONDS_BETWEEN_TRIES = 20, 0.1

RESERVED_BYTES = 1 << 20  # size of a write


@contextmanager
def atomic_write(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary path to write to, and rename it to `path` after success.

    The temporary path is in the folder of `path` and has the same suffix, because some libraries
    choose the format by the suffix. Missing parent folders are created. On an error the temporary
    file is removed, and an existing file at `path` stays unchanged.

    OutputExistsError  path exists and overwrite is not set
    DiskError          the file cannot be written
    """
    path = Path(path)
    with disk_errors(path):
        _check_target(path)
        check_free(path, overwrite)
        path = path.resolve()  # replace the target of a link, not the link
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = partial_name(path)
        try:
            yield temporary
            _rename_complete(temporary, path, overwrite)
        finally:
            with suppress(OSError):
                temporary.unlink()


def check_free(path: Path, overwrite: bool) -> None:
    """Raise OutputExistsError if path exists and overwrite is not set."""
    if not overwrite and os.path.lexists(path):
        raise OutputExistsError(
            f"{path}: exists already. Use --overwrite or choose another --output."
        )


def unused_name(path: Path) -> Path:
    """Return path, or if it exists the first free name with -2, -3, ... before its suffix."""
    path = Path(path)
    candidate, number = path, 1
    while os.path.lexists(candidate):
        number += 1
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return candidate


def fingerprint(path: Path) -> tuple[int, int]:
    """Return a file's size in bytes and the CRC-32 of three samples, to notice changes.

    Samples keep this fast for whole datasets. A file that cannot be read gives (0, 0).
    """
    try:
        with open(path, "rb") as file:
            size, checksum = os.fstat(file.fileno()).st_size, 0
            for offset in (0, size // 2, max(0, size - SAMPLED_BYTES)):
                file.seek(offset)
                checksum = zlib.crc32(file.read(SAMPLED_BYTES), checksum)
    except OSError:
        return 0, 0
    return size, checksum


def partial_name(path: Path) -> Path:
    """Return this process's temporary name for path: hidden, in its folder, with its suffix."""
    return path.with_name(f".{path.stem}.partial-{os.getpid()}{path.suffix}")


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Convert an OSError while path is written to a DiskError that names path.

    path  a file, or a folder that files are written into

    An OSError that names another file, such as an unreadable input, is not converted.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or not _concerns(error, path):
            raise
        raise DiskError(disk_sentence(error, path)) from error


def disk_sentence(error: OSError, path: Path | str | None = None) -> str:
    """Return the message for a disk error: path, problem and remedy."""
    problem, remedy = REMEDIES.get(
        error.errno or 0,
        (error.strerror or str(error), "Check the disk, or choose another --output."),
    )
    return f"{path or error.filename or 'output'}: cannot be written ({problem}). {remedy}"


def _concerns(error: OSError, path: Path) -> bool:
    """Return whether an error is about path, one of its parent folders, or a file inside it."""
    if not isinstance(error.filename, str):
        return True  # errors of write(2) name no file
    named, expected = Path(error.filename).resolve(), Path(path).resolve()
    return (
        named in (expected, partial_name(expected))
        or named in expected.parents
        or expected in named.parents
    )


def _check_target(path: Path) -> None:
    """Refuse folders, which a file cannot replace, and devices and pipes."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():
        raise DiskError(f"{path}: is not an ordinary file. {ANOTHER_OUTPUT}")


def send_to_disk(path: Path) -> None:
    """Ask the system to write a file's cached bytes to the disk now, without waiting.

    Otherwise the system writes them many seconds later, and `sync` takes longer. This gives no
    guarantee that the bytes are on the disk. Does nothing without sync_file_range(2).
    """
    if not sys.platform.startswith("linux"):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        offset, n_bytes = ctypes.c_int64(0), ctypes.c_int64(0)  # 0 bytes: to the end of the file
        ctypes.CDLL(None).sync_file_range(descriptor, offset, n_bytes, SYNC_FILE_RANGE_WRITE)
    finally:
        os.close(descriptor)


def sync(path: Path) -> None:
    """Wait until all bytes of a file are on the disk."""
    with open(path, "rb+") as file:  # Windows syncs only files opened for writing
        os.fsync(file.fileno())


def replace(source: Path, target: Path) -> None:
    """Rename source to target, which it replaces; try again for a while if target is in use."""
    for attempt in range(1, MOST_TRIES + 1):
        try:
            os.replace(source, target)
            return
        except PermissionError as error:
            if getattr(error, "winerror", None) not in IN_USE or attempt == MOST_TRIES:
                raise
        time.sleep(SECONDS_BETWEEN_TRIES)


def reserve(path: Path, n_bytes: int = 0) -> None:
    """Allocate disk space for every byte of an existing file, and keep its content.

    n_bytes  minimum size of the file afterwards; it is extended with zeros
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
        for offset in range(0, size, RESERVED_BYTES):
            n_block = min(RESERVED_BYTES, size - offset)
            file.seek(offset)
            block = file.read(n_block)  # zeros where the file has a hole
            file.seek(offset)
            file.write(block.ljust(n_block, b"\0"))


def _rename_complete(temporary: Path, path: Path, overwrite: bool) -> None:
    """Rename the complete file once its bytes are on the disk."""
    sync(temporary)
    check_free(path, overwrite)  # again, because another process may have created it meanwhile
    replace(temporary, path)
