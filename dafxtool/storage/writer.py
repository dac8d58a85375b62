"""Writing the HDF5 files, so that nothing that was reported as written is lost.

A file that is being written bears a temporary name, `.NAME.partial`, beside its final one and is
renamed when it is complete. Every array is laid out in full before the first row: after that a row
changes bytes of data and never the file's structure, so a process killed at any moment leaves a
file that opens. A row counts as written when its mark in `done` is set, which happens only after
its data was flushed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dafxtool import __version__
from dafxtool.errors import (
    ConfigError,
    DiskError,
    InputError,
    OutputExistsError,
)
from dafxtool.storage.layout import (
    DAMAGES,
    FORMAT_VERSION,
    check_inside,
    checksum,
    row_is_chunk,
)
from dafxtool.storage.reader import open_file
from dafxtool.utils import files, locks
from dafxtool.utils.files import REMEDIES, disk_sentence

BYTES_BETWEEN_SENDINGS = 1 << 26  # so that the disk works along, and little is left for the end
LAYOUT_BYTES = 1 << 16  # about what HDF5 needs for itself


class Hdf5Writer:
    """Rows of a file that is being written, in any order; use `writing_rows` to get one."""

    def __init__(self, file: h5py.File, path: Path, partial: Path) -> None:
        self.path = path
        self._file = file
        self._partial = partial
        self.n_rows = int(file["done"].shape[0])
        # Held open: h5py swallows what goes wrong when a dataset is closed, and a full disk does.
        self._arrays = {name: file[name] for name in file if name not in ("effects", "recordings")}
        self._unsent_bytes = 0  # that the system may still hold back
        self._row_bytes = {
            name: array.dtype.itemsize * math.prod(array.shape[1:])
            for name, array in self._arrays.items()
        }
        self._by_row = {name for name, array in self._arrays.items() if row_is_chunk(array)}

    def done(self) -> NDArray[np.bool_]:
        """Which rows are written (n_rows,). Those that were lost are tried again by a resume."""
        marked = self.marked()
        if "lost" in self._arrays and self._partial != self.path:
            marked[marked] = self._arrays["lost"][:][marked] == b""
        return marked

    def lost(self) -> dict[int, str]:
        """Rows that `done` counts and that hold nothing, and why: of a complete file."""
        if "lost" not in self._arrays:
            return {}
        reasons, done = self._arrays["lost"][:], self.done()
        rows = np.flatnonzero(done & (reasons != b"")).tolist()
        return {row: reasons[row].decode("utf-8", "replace") for row in rows}

    def marked(self) -> NDArray[np.bool_]:
        """Which rows are written or lost (n_rows,)."""
        return np.asarray(self._arrays["done"][:], dtype=bool)

    def put(
        self, rows: int | NDArray[np.int64], **columns: NDArray[Any] | Sequence[NDArray[Any]]
    ) -> None:
        """Write rows of the named columns, then mark them as done.

        rows     the first of neighbouring rows, or each of them (n,), in any order
        columns  (n, ...), or a list of n rows that lie anywhere, which saves copying them
        """
        count = len(next(iter(columns.values())))
        where = np.arange(rows, rows + count) if isinstance(rows, int) else np.asarray(rows)
        if count and not 0 <= where.min() <= where.max() < self.n_rows:
            raise IndexError(f"rows {where.min()} to {where.max()} of {self.n_rows}")
        order = np.argsort(where)
        if (np.diff(where[order]) == 0).any():
            raise ValueError(f"a row of {where.tolist()} is there twice")
        for name, values in columns.items():
            shapes = {np.shape(each) for each in values}
            if len(values) != count or shapes - {self._arrays[name].shape[1:]}:
                raise ValueError(f"{name} has {len(values)} rows of {shapes} for {count} rows")
        with _disk_errors(self.path):
            for name, values in columns.items():
                self._write(name, where, order, values)
            self._file.flush()
            self._write("done", where, order, np.ones(count, "u1"))
            self._file.flush()
            self._unsent_bytes += sum(count * self._row_bytes[name] for name in columns)
            if self._unsent_bytes >= BYTES_BETWEEN_SENDINGS:
                files.send_to_disk(self._partial)
                self._unsent_bytes = 0

    def _write(
        self,
        name: str,
        where: NDArray[np.int64],
        order: NDArray[np.int64],
        values: NDArray[Any] | Sequence[NDArray[Any]],
    ) -> None:
        array = self._arrays[name]
        if name in self._by_row:
            first = (0,) * (array.ndim - 1)
            for row, each in zip(where.tolist(), values, strict=True):
                whole = np.ascontiguousarray(each, dtype=array.dtype)
                array.id.write_direct_chunk((row, *first), whole)
        elif len(where):
            _write_at(array, where[order], np.asarray(values)[order])

    def dtype(self, name: str) -> np.dtype[Any]:
        return self._arrays[name].dtype


def _write_at(array: h5py.Dataset, rows: NDArray[np.int64], values: NDArray[Any]) -> None:
    """Increasing rows in one go: h5py writes a list of rows one by one, each in 0.1 ms."""
    breaks = np.flatnonzero(np.diff(rows) > 1) + 1
    space, nothing = array.id.get_space(), (0,) * (array.ndim - 1)
    combined = h5py.h5s.SELECT_SET
    for run in np.split(rows, breaks):
        space.select_hyperslab((int(run[0]), *nothing), (len(run), *array.shape[1:]), op=combined)
        combined = h5py.h5s.SELECT_OR
    whole = np.ascontiguousarray(values, dtype=array.dtype)
    array.id.write(h5py.h5s.create_simple(whole.shape), space, whole)


@contextlib.contextmanager
def writing_rows(
    path: Path,
    kind: str,
    columns: Mapping[str, tuple[tuple[int, ...], Any]],
    n_rows: int,
    configuration: Mapping[str, Any],
    effects: Sequence[Mapping[str, Any]],
    recordings: Sequence[Mapping[str, Any]],
    resume: bool = False,
    overwrite: bool = False,
    rows_a_chunk: int = 1,
) -> Iterator[Hdf5Writer]:
    """A Writer for `path`, renamed to it when the block ends and every row is done.

    The disk is asked for all the space at the start, so that a full one is met then and not hours
    later. Where nothing was written, nothing is left behind.

    columns        name -> (shape of a row, dtype); the first one is the bulk, chunked by row
    configuration  stored with the file, and compared before a partial file is taken up again
    """
    path = _behind_links(path)
    check_output(path, resume, overwrite)
    saved = json.dumps(configuration, sort_keys=True)
    keep = resume and not overwrite
    if not (keep and path.exists()):
        with locks.sole_writer(path):  # until the file has its name
            check_output(path, resume, overwrite)  # again: another process may have been quicker
            if not (keep and path.exists()):
                laid_out = (columns, n_rows, saved, effects, recordings, rows_a_chunk)
                with _writing(path, kind, keep, *laid_out) as writer:
                    yield writer
                return
    with open_file(path, kind) as complete_file:  # there is nothing left to do
        _check_same(complete_file, saved, path)
        yield Hdf5Writer(complete_file, path, path)


@contextlib.contextmanager
def _writing(
    path: Path,
    kind: str,
    resume: bool,
    columns: Mapping[str, tuple[tuple[int, ...], Any]],
    n_rows: int,
    saved: str,
    *described: Any,
) -> Iterator[Hdf5Writer]:
    partial = partial_path(path)
    with _disk_errors(path):
        begun = partial.exists() and _opens(partial)  # which refuses one that is being written
        if resume and begun:
            file = _lock(partial, "r+")
            check_inside(file, path)
            _check_same(file, saved, path)
        else:
            partial.unlink(missing_ok=True)
            file = _begin(path, kind, columns, n_rows, saved, *described)
    is_empty = False  # until it is known: a second Ctrl-C may come before that
    try:
        writer = Hdf5Writer(file, path, partial)
        try:
            yield writer
        finally:
            is_empty = not writer.done().any()
            complete = bool(writer.marked().all())
    finally:
        with contextlib.suppress(OSError, RuntimeError):
            file.close()
        if is_empty:
            partial.unlink(missing_ok=True)
    if not complete:
        raise InputError(f"{path}: not every row was written; run again with --resume.")
    with _disk_errors(path):
        _sync(partial)
        os.replace(partial, path)


def partial_path(path: Path) -> Path:
    """Where a file lies while it is being written."""
    return path.with_name(f".{path.name}.partial")


def _behind_links(path: Path) -> Path:
    """The file that is replaced: a link stays and leads to the new one."""
    return path.resolve() if path.is_symlink() else path


def check_output(path: Path, resume: bool, overwrite: bool) -> None:
    """Refuse an output that `writing_rows` would refuse, before the work and not after it."""
    path = _behind_links(path)
    with _disk_errors(path):
        locks.check_unlocked(path)
        _check_free(path, partial_path(path), resume, overwrite)


def _check_free(path: Path, partial: Path, resume: bool, overwrite: bool) -> None:
    if path.is_dir():
        raise DiskError(f"{path} cannot be written, because that is a folder: give a file name.")
    if path.exists() and not overwrite and not resume:
        raise OutputExistsError(
            f"{path} exists already: choose another name with --output, or replace it with "
            "--overwrite."
        )
    if partial.exists() and not resume and not overwrite:
        raise OutputExistsError(
            f"{path} was begun and not finished: go on with --resume, or start again with "
            "--overwrite."
        )


def _opens(path: Path) -> bool:
    """False for the remains of a process that died before its file was laid out."""
    try:
        with h5py.File(path, "r") as file:
            return "done" in file and "laid_out" in file.attrs
    except BlockingIOError as error:
        raise OutputExistsError(
            f"{path} is being written by another process: wait for it, or choose another output."
        ) from error
    except DAMAGES as error:
        if getattr(error, "errno", None):
            raise  # the disk's fault, not the file's: what is in it may be hours of work
        return False


def _lock(path: Path, mode: str) -> h5py.File:
    try:
        return h5py.File(path, mode, locking=True)
    except BlockingIOError as error:
        raise OutputExistsError(
            f"{path} is being written by another process: wait for it, or choose another output."
        ) from error


def _check_same(file: h5py.File, saved: str, path: Path) -> None:
    found = str(file.attrs.get("configuration", "{}"))
    if found == saved:
        return
    old, new = json.loads(found), json.loads(saved)
    names = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
    file.close()
    raise ConfigError(
        f"{path} was begun with another {', '.join(names)}: resume with the same options, or start "
        "again with --overwrite."
    )


def _begin(
    path: Path,
    kind: str,
    columns: Mapping[str, tuple[tuple[int, ...], Any]],
    n_rows: int,
    *described: Any,
) -> h5py.File:
    """A new partial file, laid out, with its place on the disk secured."""
    row_bytes = sum(
        int(np.prod(shape, dtype=np.float64)) * np.dtype(dtype).itemsize
        for shape, dtype in columns.values()
    )
    saved, effects, recordings = described[:3]
    texts = json.dumps([saved, *map(dict, effects), *map(dict, recordings)])
    n_bytes = n_rows * row_bytes + LAYOUT_BYTES + len(texts)
    _check_space(path, n_bytes)
    partial = partial_path(path)
    try:
        partial.touch(exist_ok=False)
        _reserve(partial, n_bytes)  # so that a quota is met while HDF5 has nothing open
    finally:
        partial.unlink(missing_ok=True)
    file = _lock(partial, "x")
    try:
        _lay_out(file, kind, columns, n_rows, *described)
        _reserve(partial)
    except BaseException:
        with contextlib.suppress(OSError, RuntimeError):
            file.close()
        partial.unlink(missing_ok=True)
        raise
    return file


def _check_space(path: Path, n_bytes: int) -> None:
    """DiskError where a file of n_bytes has no place beside path."""
    free = shutil.disk_usage(path.parent).free
    if n_bytes > free:
        raise DiskError(
            f"{path} cannot be written, because it needs {_megabytes(n_bytes)} and the disk has "
            f"{_megabytes(free)} left: free some space, choose another --output, or make less."
        )


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:,.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:,.1f} MB"


def _reserve(partial: Path, n_bytes: int = 0) -> None:
    """Give every byte of the file its place: HDF5 does not survive a disk that fills up.

    n_bytes  how many are wanted where the file has fewer yet
    """
    if not hasattr(os, "posix_fallocate"):
        return
    descriptor = os.open(partial, os.O_RDWR)
    try:
        os.posix_fallocate(descriptor, 0, max(1, n_bytes, os.fstat(descriptor).st_size))
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
    finally:
        os.close(descriptor)


def _lay_out(
    file: h5py.File,
    kind: str,
    columns: Mapping[str, tuple[tuple[int, ...], Any]],
    n_rows: int,
    configuration: str,
    effects: Sequence[Mapping[str, Any]],
    recordings: Sequence[Mapping[str, Any]],
    rows_a_chunk: int,
) -> None:
    file.attrs["kind"] = kind
    file.attrs["format_version"] = FORMAT_VERSION
    file.attrs["configuration"] = configuration
    tables = [[json.dumps(dict(row)) for row in table] for table in (effects, recordings)]
    file.attrs["digest"] = checksum([configuration, *tables[0], *tables[1]])
    saved = json.loads(configuration)
    seed = saved.get("seed", saved.get("pairs", {}).get("seed"))
    if seed is not None:  # latents have none: nothing about them is random
        file.attrs["seed"] = seed
    file.attrs["versions"] = json.dumps(
        {"dafxtool": __version__, "h5py": h5py.__version__, "numpy": np.__version__}
    )
    for index, (name, (shape, dtype)) in enumerate(columns.items()):
        rows = rows_a_chunk if index == 0 else max(1, n_rows)
        _preallocate(file, name, (n_rows, *shape), np.dtype(dtype), rows)
    _preallocate(file, "done", (n_rows,), np.dtype("u1"), max(1, n_rows), fill=True)
    text = h5py.string_dtype("utf-8")
    for name, table in zip(("effects", "recordings"), tables, strict=True):
        file.create_dataset(name, data=table, dtype=text)
    file.attrs["laid_out"] = True
    file.flush()


def _preallocate(
    file: h5py.File,
    name: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    rows_a_chunk: int,
    fill: bool = False,
) -> None:
    """A growable dataset all of whose chunks have their place in the file from the start."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((min(rows_a_chunk, max(1, shape[0])), *shape[1:]))
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_ALLOC if fill else h5py.h5d.FILL_TIME_NEVER)
    properties.set_obj_track_times(False)
    space = h5py.h5s.create_simple(shape, (h5py.h5s.UNLIMITED, *shape[1:]))
    type_id = h5py.h5t.py_create(dtype, logical=True)
    h5py.h5d.create(file.id, name.encode(), type_id, space, dcpl=properties)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:
        number = getattr(error, "errno", None)
        text = str(error)
        if number == errno.ENOSPC or "No space left" in text or "file write failed" in text:
            reason = "because the disk is full: free some space and go on with --resume"
        elif number in REMEDIES or number == errno.ENOENT:
            plain = OSError(number, os.strerror(number))
            raise DiskError(disk_sentence(plain, path)) from error
        else:
            raise DiskError(f"{path} cannot be written ({' '.join(text.split())}).") from error
        raise DiskError(f"{path} cannot be written, {reason}.") from error
