"""Write the HDF5 files, so that nothing that was reported as written is lost.

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
    DAMAGES,
    FORMAT_VERSION,
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

BYTES_BETWEEN_SENDINGS = 1 << 26  # so that the disk works along, and little is left for the end


class Hdf5Writer:
    """Rows of a file that is being written, in any order; use `writing_rows` to get one."""

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
        self._line = np.zeros(self.n_rows, np.int64)  # of each row, in its effect's settings
        for index in range(len(contents.effects)):
            rows = contents.rows_of(index)
            self._line[rows] = np.arange(len(rows))
        self._unsent_bytes = 0  # that the system may still hold back
        self._by_row = {name for name, array in self._arrays.items() if array.row_is_chunk}

    def done(self) -> NDArray[np.bool_]:
        """Which rows are written (n_rows,). Those that were lost are tried again by a resume."""
        marked = self.marked()
        if "lost" in self._arrays and self._partial != self.path:
            marked[marked] = self._arrays["lost"].read()[marked] == b""
        return marked

    def failed(self) -> dict[int, str]:
        """Rows that `done` counts and that hold nothing, and why: of a complete file."""
        if "lost" not in self._arrays:
            return {}
        reasons, done = self._arrays["lost"].read(), self.done()
        rows = np.flatnonzero(done & (reasons != b"")).tolist()
        return {row: reasons[row].decode("utf-8", "replace") for row in rows}

    def marked(self) -> NDArray[np.bool_]:
        """Which rows are written or lost (n_rows,)."""
        return self._arrays["done"].read().astype(bool)

    def put(
        self, rows: int | NDArray[np.int64], **columns: NDArray[Any] | Sequence[NDArray[Any]]
    ) -> None:
        """Write rows of the named columns, then mark them as done.

        rows     the first of neighbouring rows, or each of them (n,), in any order
        columns  (n, ...), or a list of n rows that lie anywhere, which saves copying them;
                 `setting` (n, max_parameters) goes into the tables of the rows' effects
        """
        count = len(next(iter(columns.values())))
        where = np.arange(rows, rows + count) if isinstance(rows, int) else np.asarray(rows)
        if count and not 0 <= where.min() <= where.max() < self.n_rows:
            raise IndexError(f"rows {where.min()} to {where.max()} of {self.n_rows}")
        order = np.argsort(where)
        if (np.diff(where[order]) == 0).any():
            raise ValueError(f"a row of {where.tolist()} is there twice")
        effect, setting = columns.pop("effect", None), columns.pop("setting", None)
        if effect is not None and not np.array_equal(effect, self._effect[where]):
            raise ValueError("effect is not the one that the rows were laid out for")
        for name, values in columns.items():
            if name in ("setting_text", "lost"):
                self._check_length(name, np.asarray(values))
            shapes = {np.shape(each) for each in values}
            if len(values) != count or shapes - {self._arrays[name].row_shape}:
                raise ValueError(f"{name} has {len(values)} rows of {shapes} for {count} rows")
        with _disk_errors(self.path):
            for name, values in columns.items():
                self._write(name, where, order, values)
            if setting is not None:
                self._write_settings(where, np.asarray(setting, np.float64))
            self._file.flush()
            self._write("done", where, order, np.ones(count, "u1"))
            self._file.flush()
            self._unsent_bytes += sum(count * self._arrays[name].row_bytes for name in columns)
            if self._unsent_bytes >= BYTES_BETWEEN_SENDINGS:
                files.send_to_disk(self._partial)
                self._unsent_bytes = 0

    def _check_length(self, name: str, texts: NDArray[Any]) -> None:
        """ValueError where a text would be cut."""
        longest, room = texts.dtype.itemsize, self._arrays[name].dtype.itemsize
        if longest > room:
            longest = int(np.char.str_len(texts).max(initial=0))
        if longest > room:
            raise ValueError(f"{name} has a text of {longest} bytes, there is room for {room}")

    def _write_settings(self, where: NDArray[np.int64], setting: NDArray[np.float64]) -> None:
        effect = self._effect[where]
        for index in set(effect.tolist()):
            array = self._settings[index]
            if array is None:
                continue
            chosen = np.flatnonzero(effect == index)
            chosen = chosen[np.argsort(where[chosen])]
            n_parameters = array.dtype.itemsize // 8 - 1
            lines = np.empty((len(chosen), 1 + n_parameters))  # a line is numbers of 8 bytes
            lines[:, 1:] = setting[chosen, :n_parameters]
            lines.view(np.int64)[:, 0] = where[chosen]
            array.write(self._line[where[chosen]], lines.view(array.dtype)[:, 0])

    def _write(
        self,
        name: str,
        where: NDArray[np.int64],
        order: NDArray[np.int64],
        values: NDArray[Any] | Sequence[NDArray[Any]],
    ) -> None:
        array = self._arrays[name]
        if name in self._by_row:
            for row, each in zip(where.tolist(), values, strict=True):
                array.write_chunk(row, each)
        elif len(where):
            array.write(where[order], np.asarray(values)[order])

    def dtype(self, name: str) -> np.dtype[Any]:
        return self._arrays[name].dtype


@contextlib.contextmanager
def writing_rows(
    path: Path,
    kind: str,
    columns: Mapping[str, tuple[tuple[int, ...], Any]],
    effect: NDArray[np.int64],
    configuration: Mapping[str, Any],
    effects: Sequence[Mapping[str, Any]],
    recordings: Sequence[Mapping[str, Any]],
    resume: bool = False,
    overwrite: bool = False,
    rows_a_chunk: int = 1,
    tables: Mapping[str, NDArray[Any]] | None = None,
    attributes: Mapping[str, float | int | str] | None = None,
) -> Iterator[Hdf5Writer]:
    """A writer for `path`, renamed to it when the block ends and every row is done.

    The disk is asked for all the space at the start, so that a full one is met then and not hours
    later. Where nothing was written, nothing is left behind.

    columns        name -> (shape of a row, dtype); the first one is the bulk, chunked by row; those
                   of the labels are added
    effect         (n,) index into `effects` of each row
    configuration  stored with the file, and compared before a partial file is taken up again
    tables         of TABLES, what only this kind of file has
    attributes     of the bulk
    """
    path = _behind_links(path)
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
        rows_a_chunk,
    )
    keep = resume and not overwrite
    if not (keep and path.exists()):
        with sole_writer(path):  # until the file has its name
            check_output(path, resume, overwrite)  # again: another process may have been quicker
            if not (keep and path.exists()):
                with _writing(path, keep, contents) as writer:
                    yield writer
                return
    with open_file(path, kind) as complete_file:  # there is nothing left to do
        _check_same(Arrays(complete_file, path), complete_file, contents.configuration, path)
        yield Hdf5Writer(complete_file, path, path, contents)


@contextlib.contextmanager
def _writing(path: Path, resume: bool, contents: Contents) -> Iterator[Hdf5Writer]:
    partial = partial_path(path)
    with _disk_errors(path):
        begun = partial.exists() and _opens(partial)  # which refuses one that is being written
        if resume and begun:
            file = _lock(partial, "r+")
            _check_same(Arrays(file, path), file, contents.configuration, path)
        else:
            partial.unlink(missing_ok=True)
            file = _begin(path, contents)
    is_empty = False  # until it is known: a second Ctrl-C may come before that
    try:
        try:
            writer = Hdf5Writer(file, path, partial, contents)
        except KeyError as error:  # a part of the file is not there any more
            raise FormatError(
                f"{path} is damaged ({error.args[0]}): start again with --overwrite."
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
        raise InputError(f"{path}: not every row was written; run again with --resume.")
    with _disk_errors(path):
        files.sync(partial)
        files.replace(partial, path)


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
        check_unlocked(path)
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


def _check_same(arrays: Arrays, file: h5py.File, saved: str, path: Path) -> None:
    try:
        if read_attribute(file, "format_version") != FORMAT_VERSION:
            file.close()
            raise ConfigError(
                f"{path} was begun by another version of dafxtool: start again with --overwrite."
            )
        found = bytes(arrays.read("configuration")[()]).decode()
    except DAMAGES as error:
        file.close()
        raise FormatError(f"{path} is damaged ({error}): start again with --overwrite.") from error
    if found == saved:
        return
    old, new = json.loads(found), json.loads(saved)
    names = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
    file.close()
    raise ConfigError(
        f"{path} was begun with another {', '.join(names)}: resume with the same options, or start "
        "again with --overwrite."
    )


def _begin(path: Path, contents: Contents) -> h5py.File:
    """A new partial file, laid out, with its place on the disk secured."""
    n_bytes = contents.n_bytes()
    _check_space(path, n_bytes)
    partial = partial_path(path)
    try:
        partial.touch(exist_ok=False)
        files.reserve(partial, n_bytes)  # so that a quota is met while HDF5 has nothing open
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
    """DiskError where a file of n_bytes has no place beside path."""
    free = shutil.disk_usage(path.parent).free
    if n_bytes > free:
        raise DiskError(
            f"{path} cannot be written, because it needs {_megabytes(n_bytes)} and the disk has "
            f"{_megabytes(free)} left: free some space, choose another --output, or make less."
        )


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:,.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:,.1f} MB"


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
