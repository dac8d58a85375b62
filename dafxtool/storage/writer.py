"""Write the HDF5 files so that a killed process loses no finished row.

A file has the temporary name `.NAME.partial` beside its final one until it is complete. All arrays
are created in full before the first row. After that, a row changes bytes of data but never the
structure of the file, so a process killed at any moment leaves a file that opens. A row counts as
written when its mark in `done` is set, which happens only after its data was flushed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dafxtool.errors import (
    ConfigError,
    DiskError,
    FormatError,
    InputError,
    OutputExistsError,
)
from dafxtool.storage.contents import Contents, RowArray, lay_out
from dafxtool.storage.layout import (
    DAMAGE_ERRORS,
    FORMAT_VERSION,
    ROW,
    SETTINGS,
    label_columns,
    table_name,
)
from dafxtool.storage.reader import open_file
from dafxtool.storage.tables import effect_tables, make_table
from dafxtool.storage.validation import Arrays, read_attribute
from dafxtool.utils import files
from dafxtool.utils.files import REMEDIES, disk_sentence
from dafxtool.utils.locks import check_unlocked, sole_writer

BYTES_BETWEEN_SYNCS = 1 << 26  # so that the disk writes in parallel, and closing is quick


class Hdf5Writer:
    """Writer of the rows of a file, in any order; see `open_writer`."""

    def __init__(self, file: h5py.File, path: Path, partial: Path, contents: Contents) -> None:
        self.path = path
        self._file = file
        self._partial = partial
        self.n_rows = contents.n_rows
        self._arrays = {name: RowArray(file[name]) for name in (*contents.columns, "done")}
        self._effect = contents.effect
        self._settings = [
            RowArray(file[f"{SETTINGS}/{table_name(effect['name'])}"])
            if effect["parameters"]
            else None
            for effect in contents.effects
        ]
        self._line = np.zeros(self.n_rows, np.int64)  # of each row, in the settings of its effect
        for index in range(len(contents.effects)):
            rows = contents.rows_of(index)
            self._line[rows] = np.arange(len(rows))
        self._unsynced_bytes = 0
        self._by_row = {name for name, array in self._arrays.items() if array.row_is_chunk}

    def done(self) -> NDArray[np.bool_]:
        """Return which rows are written (n_rows,).

        Failed rows count in a complete file only: a resume tries them again.
        """
        marked = self.marked()
        if "lost" in self._arrays and self._partial != self.path:
            marked[marked] = self._arrays["lost"].read()[marked] == b""
        return marked

    def failed(self) -> dict[int, str]:
        """Return the failed rows among those done, with the reasons."""
        if "lost" not in self._arrays:
            return {}
        reasons, done = self._arrays["lost"].read(), self.done()
        rows = np.flatnonzero(done & (reasons != b"")).tolist()
        return {row: reasons[row].decode("utf-8", "replace") for row in rows}

    def read(self, name: str) -> NDArray[Any]:
        """Read a column; the values of rows that are not written are undefined."""
        return self._arrays[name].read()

    def marked(self) -> NDArray[np.bool_]:
        """Return which rows are written or failed (n_rows,)."""
        return self._arrays["done"].read().astype(bool)

    def put(
        self, rows: int | NDArray[np.int64], **columns: NDArray[Any] | Sequence[NDArray[Any]]
    ) -> None:
        """Write rows of the named columns, then mark them as done.

        rows     first of consecutive rows, or row numbers (n,) in any order
        columns  (n, ...), or a list of n rows, which saves a copy; `setting` (n, max_parameters)
                 goes into the settings tables; `row`, numbers of the pairs file, are else `rows`
        """
        count = len(next(iter(columns.values())))
        indices = np.arange(rows, rows + count) if isinstance(rows, int) else np.asarray(rows)
        if count and not 0 <= indices.min() <= indices.max() < self.n_rows:
            raise IndexError(f"rows {indices.min()} to {indices.max()} of {self.n_rows}")
        order = np.argsort(indices)
        if (np.diff(indices[order]) == 0).any():
            raise ValueError(f"a row of {indices.tolist()} is repeated")
        effect, setting = columns.pop("effect", None), columns.pop("setting", None)
        numbers = np.asarray(columns.pop(ROW, indices), np.int64)
        if ROW in self._arrays:
            columns[ROW] = numbers
        else:  # in a pairs file, the number of a row is its index
            numbers = indices
        if effect is not None and not np.array_equal(effect, self._effect[indices]):
            raise ValueError("effect differs from the effect that the file was created with")
        for name, values in columns.items():
            if name in ("setting_text", "lost"):
                self._check_length(name, np.asarray(values))
            shapes = {np.shape(each) for each in values}
            if len(values) != count or shapes - {self._arrays[name].row_shape}:
                raise ValueError(f"{name} has {len(values)} rows of {shapes} for {count} rows")
        with _disk_errors(self.path):
            for name, values in columns.items():
                self._write(name, indices, order, values)
            if setting is not None:
                self._write_settings(indices, numbers, np.asarray(setting, np.float64))
            self._file.flush()
            self._write("done", indices, order, np.ones(count, "u1"))
            self._file.flush()
            self._unsynced_bytes += sum(count * self._arrays[name].row_bytes for name in columns)
            if self._unsynced_bytes >= BYTES_BETWEEN_SYNCS:
                files.send_to_disk(self._partial)
                self._unsynced_bytes = 0

    def _check_length(self, name: str, texts: NDArray[Any]) -> None:
        """Raise ValueError for a text that would be truncated."""
        longest, most = texts.dtype.itemsize, self._arrays[name].dtype.itemsize
        if longest > most:
            longest = int(np.char.str_len(texts).max(initial=0))
        if longest > most:
            raise ValueError(f"{name} has a text of {longest} bytes (expected at most {most})")

    def _write_settings(
        self,
        indices: NDArray[np.int64],
        numbers: NDArray[np.int64],
        setting: NDArray[np.float64],
    ) -> None:
        """Write the settings of some rows, with their row numbers in the pairs file."""
        effect = self._effect[indices]
        for index in set(effect.tolist()):
            array = self._settings[index]
            if array is None:
                continue
            selected = np.flatnonzero(effect == index)
            selected = selected[np.argsort(indices[selected])]
            n_parameters = array.dtype.itemsize // 8 - 1
            lines = np.empty((len(selected), 1 + n_parameters))  # all columns have 8 bytes
            lines[:, 1:] = setting[selected, :n_parameters]
            lines.view(np.int64)[:, 0] = numbers[selected]
            array.write(self._line[indices[selected]], lines.view(array.dtype)[:, 0])

    def _write(
        self,
        name: str,
        indices: NDArray[np.int64],
        order: NDArray[np.int64],
        values: NDArray[Any] | Sequence[NDArray[Any]],
    ) -> None:
        array = self._arrays[name]
        if name in self._by_row:
            for row, each in zip(indices.tolist(), values, strict=True):
                array.write_chunk(row, each)
        elif len(indices):
            array.write(indices[order], np.asarray(values)[order])

    def dtype(self, name: str) -> np.dtype[Any]:
        """Return the dtype of a column."""
        return self._arrays[name].dtype


@contextlib.contextmanager
def open_writer(
    path: Path,
    kind: str,
    columns: Mapping[str, tuple[tuple[int, ...], Any]],
    effect: NDArray[np.int64],
    configuration: Mapping[str, Any],
    effects: Sequence[Mapping[str, Any]],
    recordings: Sequence[Mapping[str, Any]],
    resume: bool = False,
    overwrite: bool = False,
    rows_per_chunk: int = 1,
    tables: Mapping[str, NDArray[Any]] | None = None,
    attributes: Mapping[str, float | int | str] | None = None,
) -> Iterator[Hdf5Writer]:
    """Open a writer. The file gets its final name when the block ends and every row is done.

    All space on the disk is reserved at the start, so that a full disk is an error then and not
    hours later. A partial file without any row is removed.

    columns         name -> (shape of a row, dtype); the first is the bulk, chunked by row; label
                    columns are added
    effect          (n,) index into `effects` of each row
    configuration   stored in the file; a resume compares it
    resume          continue a partial file, or open a complete one
    overwrite       replace a file, partial or complete
    rows_per_chunk  of the bulk
    tables          those of TABLES that only this kind of file has
    attributes      of the bulk

    OutputExistsError, DiskError; ConfigError for a resume with another configuration.
    """
    path = _resolve_link(path)
    check_output(path, resume, overwrite)
    contents = Contents(
        kind,
        {**columns, **label_columns(effects, kind)},
        np.asarray(effect, np.int64),
        json.dumps(configuration, sort_keys=True),
        effects,
        {
            **effect_tables(effects),
            "recordings": make_table("recordings", recordings),
            **(tables or {}),
        },
        attributes or {},
        rows_per_chunk,
    )
    resume = resume and not overwrite
    if not (resume and path.exists()):
        with sole_writer(path):  # until the file has its final name
            check_output(path, resume, overwrite)  # again: another process may have been faster
            if not (resume and path.exists()):
                with _open_partial(path, resume, contents) as writer:
                    yield writer
                return
    with open_file(path, kind) as complete_file:  # nothing is left to write
        _check_same(Arrays(complete_file, path), complete_file, contents.configuration, path)
        yield Hdf5Writer(complete_file, path, path, contents)


@contextlib.contextmanager
def _open_partial(path: Path, resume: bool, contents: Contents) -> Iterator[Hdf5Writer]:
    """Open a writer of a new or resumed partial file, and rename the file at the end."""
    partial = partial_path(path)
    with _disk_errors(path):
        is_usable = partial.exists() and _is_usable(partial)  # an error if another process writes
        if resume and is_usable:
            file = _lock(partial, "r+")
            _check_same(Arrays(file, path), file, contents.configuration, path)
        else:
            partial.unlink(missing_ok=True)
            file = _create(path, contents)
    is_empty = False  # until it is known, in case a second Ctrl-C comes before
    try:
        try:
            writer = Hdf5Writer(file, path, partial, contents)
        except KeyError as error:  # an array is missing
            raise FormatError(
                f"{path}: is damaged ({error.args[0]}). Use --overwrite to start again."
            ) from error
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
        raise InputError(f"{path}: not every row was written. Run again with --resume.")
    with _disk_errors(path):
        files.sync(partial)
        files.replace(partial, path)


def partial_path(path: Path) -> Path:
    """Return the temporary path of a file until it is complete."""
    return path.with_name(f".{path.name}.partial")


def _resolve_link(path: Path) -> Path:
    """Return the file to replace, so that a symbolic link is kept and leads to the new file."""
    return path.resolve() if path.is_symlink() else path


def check_output(path: Path, resume: bool, overwrite: bool) -> None:
    """Raise the errors of `open_writer` for an existing output, before the work."""
    path = _resolve_link(path)
    with _disk_errors(path):
        check_unlocked(path)
        _check_unused(path, partial_path(path), resume, overwrite)


def _check_unused(path: Path, partial: Path, resume: bool, overwrite: bool) -> None:
    if path.is_dir():
        raise DiskError(f"{path}: is a folder (expected a file). Choose another name.")
    if not resume:
        files.check_free(path, overwrite)
    if partial.exists() and not resume and not overwrite:
        raise OutputExistsError(
            f"{path}: is not finished. Use --resume to continue, or --overwrite to start again."
        )


def _is_usable(path: Path) -> bool:
    """Return False for the file of a process that died before all arrays were created."""
    try:
        with h5py.File(path, "r") as file:
            return "done" in file and "laid_out" in file.attrs
    except BlockingIOError as error:
        raise OutputExistsError(
            f"{path}: is being written by another process. Wait for it, or choose another --output."
        ) from error
    except DAMAGE_ERRORS as error:
        if getattr(error, "errno", None):
            raise  # an error of the disk: the file may hold hours of work
        return False


def _lock(path: Path, mode: str) -> h5py.File:
    """Open a file that no other process has open."""
    try:
        return h5py.File(path, mode, locking=True)
    except BlockingIOError as error:
        raise OutputExistsError(
            f"{path}: is being written by another process. Wait for it, or choose another --output."
        ) from error


def _check_same(arrays: Arrays, file: h5py.File, configuration: str, path: Path) -> None:
    """Close the file and raise ConfigError where its configuration is another one."""
    try:
        if read_attribute(file, "format_version") != FORMAT_VERSION:
            file.close()
            raise ConfigError(
                f"{path}: was started by another version of dafxtool. Use --overwrite "
                "to start again."
            )
        stored = bytes(arrays.read("configuration")[()]).decode()
    except DAMAGE_ERRORS as error:
        file.close()
        raise FormatError(
            f"{path}: is damaged ({error}). Use --overwrite to start again."
        ) from error
    if stored == configuration:
        return
    old, new = json.loads(stored), json.loads(configuration)
    names = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
    file.close()
    raise ConfigError(
        f"{path}: was started with another {', '.join(names)}. Use --resume with the same "
        "options, or --overwrite to start again."
    )


def _create(path: Path, contents: Contents) -> h5py.File:
    """Create a partial file with all arrays and all of its space on the disk."""
    n_bytes = contents.n_bytes()
    _check_space(path, n_bytes)
    partial = partial_path(path)
    try:
        partial.touch(exist_ok=False)
        files.reserve(partial, n_bytes)  # so that a quota is exceeded before HDF5 opens the file
    finally:
        partial.unlink(missing_ok=True)
    file = _lock(partial, "x")
    try:
        lay_out(file, contents)
        # HDF5 does not survive a disk that fills up.
        files.reserve(partial)
    except BaseException:
        with contextlib.suppress(OSError, RuntimeError):
            file.close()
        partial.unlink(missing_ok=True)
        raise
    return file


def _check_space(path: Path, n_bytes: int) -> None:
    """Raise DiskError where n_bytes do not fit on the disk."""
    free = shutil.disk_usage(path.parent).free
    if n_bytes > free:
        raise DiskError(
            f"{path}: cannot be written (needs {_megabytes(n_bytes)}, the disk has "
            f"{_megabytes(free)} left). Free some space, choose another --output, or write fewer "
            "rows."
        )


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:,.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:,.1f} MB"


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """Convert errors of the disk and of HDF5 to DiskError."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        number = getattr(error, "errno", None)
        text = str(error)
        if number == errno.ENOSPC or "No space left" in text or "file write failed" in text:
            raise DiskError(
                f"{path}: cannot be written (the disk is full). Free some space and continue with "
                "--resume."
            ) from error
        if number in REMEDIES or number == errno.ENOENT:
            plain = OSError(number, os.strerror(number))
            raise DiskError(disk_sentence(plain, path)) from error
        raise DiskError(
            f"{path}: cannot be written ({' '.join(text.split())}). Check the disk, or choose "
            "another --output."
        ) from error
