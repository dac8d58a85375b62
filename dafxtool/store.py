"""The HDF5 files: the one place that knows the names in them.

A file that is being written bears a temporary name, `.NAME.partial`, beside its final one and is
renamed when it is complete. Every array is laid out in full before the first row: after that a row
changes bytes of data and never the file's structure, so a process killed at any moment leaves a
file that opens. A row counts as written when its mark in `done` is set, which happens only after
its data was flushed. `docs/formats.md` lists the arrays with shape, dtype and unit.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dafxtool import __version__, files, heaps
from dafxtool.errors import (
    ConfigError,
    DiskError,
    FormatError,
    InputError,
    OutputExistsError,
)
from dafxtool.files import REMEDIES, disk_sentence
from dafxtool.segments import SPLITS

FORMAT_VERSION = 1
PAIRS, SPECTROGRAMS, LATENTS = "pairs", "spectrograms", "latents"
BYTES_BETWEEN_SENDINGS = 1 << 26  # so that the disk works along, and little is left for the end
LAYOUT_BYTES = 1 << 16  # about what HDF5 needs for itself
# What h5py and json raise for a file that is damaged.
DAMAGES = (
    *(OSError, RuntimeError, KeyError, ValueError, TypeError),
    *(AttributeError, IndexError, OverflowError, MemoryError, RecursionError),
)
BULK = {PAIRS: "audio", SPECTROGRAMS: "spectrogram", LATENTS: "latent"}


@dataclass(frozen=True)
class Labels:
    """What each row is and where it came from; row i of every array belongs together.

    effect         (n,) index into effects
    setting        (n, max_parameters) values in the parameters' units, NaN behind the last one
    setting_text   (n,) the setting as `--effect` takes it
    recording      (n,) index into recordings
    offset         (n,) samples from the recording's start
    split          (n,) index into SPLITS
    effects        descriptions, as Effect.to_dict() gives them
    recordings     table: path, folder, split, sample_rate, n_channels, n_samples, track
    """

    effect: NDArray[np.int64]
    setting: NDArray[np.float64]
    setting_text: list[str]
    recording: NDArray[np.int64]
    offset: NDArray[np.int64]
    split: NDArray[np.int64]
    effects: list[dict[str, Any]]
    recordings: list[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.effect)

    @property
    def effect_names(self) -> list[str]:
        return [effect["name"] for effect in self.effects]

    def effect_of(self, row: int) -> str:
        return str(self.effects[self.effect[row]]["name"])

    def path_of(self, row: int) -> str:
        return str(self.recordings[self.recording[row]]["path"])

    def folder_of(self, row: int) -> str:
        return str(self.recordings[self.recording[row]]["folder"])

    def split_of(self, row: int) -> str:
        return SPLITS[self.split[row]]

    def setting_of(self, row: int) -> dict[str, float]:
        names = [p["name"] for p in self.effects[self.effect[row]]["parameters"]]
        return {name: float(v) for name, v in zip(names, self.setting[row], strict=False)}

    def rows_of(self, splits: Sequence[str]) -> NDArray[np.int64]:
        codes = [SPLITS.index(split) for split in splits]
        return np.flatnonzero(np.isin(self.split, codes))

    def take(self, rows: NDArray[np.int64]) -> Labels:
        return Labels(
            self.effect[rows],
            self.setting[rows],
            [self.setting_text[row] for row in rows],
            self.recording[rows],
            self.offset[rows],
            self.split[rows],
            self.effects,
            self.recordings,
        )


def some_positions(n_rows: int, most: int) -> NDArray[np.int64]:
    """At most so many positions of n_rows, in order, drawn anew for each size but always the same.

    Not at even steps: effects take turns in a file, and steps of their number meet one alone.
    """
    drawn = np.random.default_rng([7, n_rows]).permutation(n_rows)[:most]
    return np.sort(drawn)


class Writer:
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
        self._by_row = {name for name, array in self._arrays.items() if _row_is_chunk(array)}

    def done(self) -> NDArray[np.bool_]:
        """Which rows are written (n_rows,). Those that were lost are tried again by a resume."""
        marked = self.marked()
        if "lost" in self._arrays and self._partial != self.path:
            marked[marked] = self._arrays["lost"][:][marked] == b""
        return marked

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


def _row_is_chunk(array: h5py.Dataset) -> bool:
    """Does each row lie in the file as one run of plain bytes? HDF5 copies them twice otherwise."""
    stored = array.id.get_create_plist()
    return bool(
        array.ndim > 1 and array.chunks == (1, *array.shape[1:]) and not stored.get_nfilters()
    )


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
) -> Iterator[Writer]:
    """A Writer for `path`, renamed to it when the block ends and every row is done.

    The disk is asked for all the space at the start, so that a full one is met then and not hours
    later. Where nothing was written, nothing is left behind.

    columns        name -> (shape of a row, dtype); the first one is the bulk, chunked by row
    configuration  stored with the file, and compared before a partial file is taken up again
    """
    check_output(path, resume, overwrite)
    saved = json.dumps(configuration, sort_keys=True)
    keep = resume and not overwrite
    if not (keep and path.exists()):
        with files.sole_writer(path):  # until the file has its name
            check_output(path, resume, overwrite)  # again: another process may have been quicker
            if not (keep and path.exists()):
                laid_out = (columns, n_rows, saved, effects, recordings, rows_a_chunk)
                with _writing(path, kind, resume, *laid_out) as writer:
                    yield writer
                return
    with _open(path, kind) as complete_file:  # there is nothing left to do
        _check_same(complete_file, saved, path)
        yield Writer(complete_file, path, path)


@contextlib.contextmanager
def _writing(
    path: Path,
    kind: str,
    resume: bool,
    columns: Mapping[str, tuple[tuple[int, ...], Any]],
    n_rows: int,
    saved: str,
    *described: Any,
) -> Iterator[Writer]:
    partial = partial_path(path)
    with _disk_errors(path):
        begun = partial.exists() and _opens(partial)  # which refuses one that is being written
        if resume and begun:
            file = _lock(partial, "r+")
            _check_inside(file, path)
            _check_same(file, saved, path)
        else:
            partial.unlink(missing_ok=True)
            file = _begin(path, kind, columns, n_rows, saved, *described)
    is_empty = False  # until it is known: a second Ctrl-C may come before that
    try:
        writer = Writer(file, path, partial)
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


def check_output(path: Path, resume: bool, overwrite: bool) -> None:
    """Refuse an output that `writing_rows` would refuse, before the work and not after it."""
    with _disk_errors(path):
        files.check_unlocked(path)
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


def _check_inside(file: h5py.File, path: Path) -> None:
    """FormatError where an array lies elsewhere: a stranger's file may name any file of this disk.

    HDF5 would follow it, read it into a report, or write over it.
    """
    for name in file:
        inside = isinstance(file.get(name, getlink=True), h5py.HardLink)
        item = file[name] if inside else None
        if isinstance(item, h5py.Dataset):
            inside = not item.is_virtual and not item.external
        if not inside:
            file.close()
            raise FormatError(
                f"{path}: {name!r} leads to another place, which may be any file of yours: make "
                "the file again, or ask for one that holds its data itself."
            )


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
    file.attrs["digest"] = _digest([configuration, *tables[0], *tables[1]])
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


def label_columns(max_parameters: int) -> dict[str, tuple[tuple[int, ...], Any]]:
    """The columns that pairs, spectrograms and latents have in common."""
    return {
        "effect": ((), "i4"),
        "setting": ((max_parameters,), "f8"),
        "setting_text": ((), f"S{128 + 64 * max_parameters}"),
        "recording": ((), "i4"),
        "offset": ((), "i8"),
        "split": ((), "i1"),
    }


# Of pairs: why a row holds no pair. Readers leave such rows out; nearly always there is none.
MOST_REASON = 240
LOST_COLUMN: dict[str, tuple[tuple[int, ...], Any]] = {"lost": ((), f"S{2 * MOST_REASON}")}


def label_rows(labels: Labels, rows: slice) -> dict[str, NDArray[Any]]:
    """Rows of labels as `Writer.put` takes them."""
    return {
        "effect": labels.effect[rows],
        "setting": labels.setting[rows],
        "setting_text": encode_texts(labels.setting_text[rows]),
        "recording": labels.recording[rows],
        "offset": labels.offset[rows],
        "split": labels.split[rows],
    }


def encode_texts(texts: Sequence[str]) -> NDArray[Any]:
    return np.array([text.encode() for text in texts])


class Reader:
    """A complete file, open for reading: `labels`, `configuration` and the bulk, by rows."""

    def __init__(self, path: Path, kind: str) -> None:
        self.path = path
        self._file = _open(path, kind)
        try:
            self.kind = kind
            _check_inside(self._file, path)
            self._check_arrays()
            self._check_texts()
            self.configuration: dict[str, Any] = json.loads(_attribute(self._file, "configuration"))
            self._kept = self._rows_kept()
            self.labels = self._read_labels()
            if self._kept is not None:
                self.labels = self.labels.take(self._kept)
            _check_labels(self.labels)
            self._bulk = self._file[BULK[kind]]
            self._row_is_chunk = _row_is_chunk(self._bulk)
            n_kept = len(self._bulk) if self._kept is None else len(self._kept)
            if n_kept != len(self.labels) or not np.issubdtype(self._bulk.dtype, np.floating):
                raise FormatError(f"{path}: {BULK[kind]!r} does not fit its labels: make it again.")
        except DAMAGES as error:
            self._file.close()
            raise FormatError(
                f"{path} is damaged or incomplete ({_reason(error)}): make it again."
            ) from error
        except FormatError:
            self._file.close()
            raise

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def row_shape(self) -> tuple[int, ...]:
        return tuple(self._bulk.shape[1:])

    @property
    def bytes_a_row(self) -> int:
        return int(np.prod(self._bulk.shape[1:])) * int(self._bulk.dtype.itemsize)

    def rows(self, rows: NDArray[np.int64] | slice) -> NDArray[Any]:
        """Rows of the bulk, in the order asked for, in the type stored."""
        try:
            if isinstance(rows, slice):
                if self._kept is None and not self._row_is_chunk:
                    return np.asarray(self._bulk[rows])
                rows = np.arange(len(self))[rows]
            if len(rows) == 0:
                return np.empty((0, *self.row_shape), self._bulk.dtype)
            unique, inverse = np.unique(rows, return_inverse=True)
            if unique[0] < 0 or unique[-1] >= len(self):
                raise InputError(
                    f"{self.path} has rows 0 to {len(self) - 1}, not {unique[0]} to {unique[-1]}."
                )
            where = unique if self._kept is None else self._kept[unique]
            if self._row_is_chunk:
                return self._read_chunks(where, inverse)
            return np.asarray(self._read_sorted(where))[inverse]
        except (OSError, RuntimeError) as error:
            raise FormatError(
                f"{self.path} cannot be read ({_reason(error)}): make it again."
            ) from error

    def _read_chunks(self, where: NDArray[np.int64], inverse: NDArray[np.int64]) -> NDArray[Any]:
        """Rows of the file, each straight to all its places in what was asked for."""
        output = np.empty((len(inverse), *self.row_shape), self._bulk.dtype)
        first = (0,) * (output.ndim - 1)
        known: dict[int, int] = {}
        for position in np.argsort(inverse, kind="stable").tolist():  # forward through the file
            row = int(where[inverse[position]])
            if row in known:
                output[position] = output[known[row]]
                continue
            known[row] = position
            self._bulk.id.read_direct_chunk((row, *first), out=output[position].ravel().view("u1"))
        return output

    def _read_sorted(self, unique: NDArray[np.int64]) -> NDArray[Any]:
        """Runs of neighbouring rows in one read each: an h5py index list is far slower."""
        breaks = np.flatnonzero(np.diff(unique) > 1) + 1
        runs = np.split(unique, breaks)
        output = np.empty((len(unique), *self.row_shape), self._bulk.dtype)
        position = 0
        for run in runs:
            self._bulk.read_direct(
                output, np.s_[run[0] : run[-1] + 1], np.s_[position : position + len(run)]
            )
            position += len(run)
        return output

    def column(self, name: str) -> NDArray[Any]:
        """A further column, e.g. the standardisation of each spectrogram."""
        try:
            values = np.asarray(self._file[name][:])
            return values if self._kept is None else values[self._kept]
        except KeyError as error:
            raise FormatError(f"{self.path} has no column {name!r}: make it again.") from error
        except (OSError, RuntimeError) as error:
            raise FormatError(
                f"{self.path} cannot be read ({_reason(error)}): make it again."
            ) from error

    def _check_arrays(self) -> None:
        """ValueError where an array cannot be what was written.

        libhdf5 crashes on types that damage makes, and fills the memory with shapes that it makes.
        """
        n_bytes = self._file.id.get_filesize()
        for name in self._file:
            array = self._file[name]
            if not isinstance(array, h5py.Dataset):
                raise ValueError(f"{name!r} is no array")
            is_text = h5py.check_string_dtype(array.dtype) is not None
            if array.dtype.kind not in "iufS" and not is_text:
                raise ValueError(f"{name!r} has a type that is never written")
            if math.prod(array.shape) * array.dtype.itemsize > n_bytes:
                raise ValueError(f"{name!r} would be larger than the file")

    def _check_texts(self) -> None:
        """ValueError where the texts are not those that were written, or cannot be read."""
        for name in ("effects", "recordings"):
            table = self._file[name]
            position = table.id.get_offset()
            if position and not heaps.texts_are_sound(self.path, position, table.size):
                raise ValueError(f"the heap of {name!r} is broken")
        texts = [
            _attribute(self._file, "configuration"),
            *(text for name in ("effects", "recordings") for text in self._file[name].asstr()[:]),
        ]
        if "digest" in self._file.attrs and _attribute(self._file, "digest") != _digest(texts):
            raise ValueError("its texts are not those that were written")

    def lost(self) -> dict[int, str]:
        """Rows of the file that hold no pair, and why; the rows of this reader go without them."""
        if "lost" not in self._file:
            return {}
        reasons = np.asarray(self._file["lost"][:])
        return {
            row: reasons[row].decode("utf-8", "replace")
            for row in np.flatnonzero(reasons != b"").tolist()
        }

    def _rows_kept(self) -> NDArray[np.int64] | None:
        """The rows that hold something, None where all do."""
        lost = self.lost()
        if not lost:
            return None
        return np.setdiff1d(np.arange(len(self._file["lost"])), list(lost))

    def _read_labels(self) -> Labels:
        file = self._file
        return Labels(
            effect=np.asarray(file["effect"][:], dtype=np.int64),
            setting=np.asarray(file["setting"][:], dtype=np.float64),
            setting_text=[text.decode("utf-8", "replace") for text in file["setting_text"][:]],
            recording=np.asarray(file["recording"][:], dtype=np.int64),
            offset=np.asarray(file["offset"][:], dtype=np.int64),
            split=np.asarray(file["split"][:], dtype=np.int64),
            effects=[json.loads(text) for text in file["effects"].asstr()[:]],
            recordings=[json.loads(text) for text in file["recordings"].asstr()[:]],
        )


def kind_of(path: Path) -> str | None:
    """The kind of a dafxtool file, None for anything else that can be read."""
    _check_there(path, "check the name")
    try:
        with _opened(path) as file:
            return str(_attribute(file, "kind")) or None
    except DAMAGES:
        return None


def _opened(path: Path) -> h5py.File:
    if not heaps.front_is_sound(path, ("kind", "configuration")):
        raise OSError("its heap is broken")
    return h5py.File(path, "r")


def _attribute(file: h5py.File, name: str) -> Any:
    """A text or a whole number; libhdf5 crashes on other types that damage makes of them.

    KeyError where there is none, ValueError where it is neither
    """
    kind = h5py.h5a.open(file.id, name.encode()).get_type()
    is_text = kind.get_class() == h5py.h5t.STRING and kind.is_variable_str()
    if not is_text and kind.get_class() != h5py.h5t.INTEGER:
        raise ValueError(f"{name!r} is neither a text nor a number")
    value = file.attrs[name]
    return str(value) if is_text else int(value)


def _digest(texts: Sequence[str]) -> int:
    """A number that tells whether texts are what they were (CRC-32)."""
    return zlib.crc32("\n".join(texts).encode("utf-8", "surrogateescape"))


def _check_labels(labels: Labels) -> None:
    """ValueError where rows are labelled with what the file does not know."""
    n_rows = len(labels)
    for name, known in (
        ("effect", labels.effects),
        ("recording", labels.recordings),
        ("split", SPLITS),
    ):
        codes = getattr(labels, name)
        if codes.shape != (n_rows,) or not ((codes >= 0) & (codes < len(known))).all():
            raise ValueError(f"{name!r} of some rows is none of {len(known)}")
    if labels.setting.ndim != 2 or {
        n_rows,
        len(labels.setting),
        len(labels.setting_text),
        len(labels.offset),
    } != {n_rows}:
        raise ValueError("its columns differ in length")


def _reason(error: BaseException) -> str:
    """An error's text on one line, to stand in brackets in a sentence."""
    return " ".join(str(error.args[0] if error.args else error).split())


def _check_there(path: Path, remedy: str) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a file.")
    if not path.is_file():
        raise InputError(f"{path} does not exist: {remedy}.")


def _open(path: Path, kind: str) -> h5py.File:
    made_by = {PAIRS: "render", SPECTROGRAMS: "spectrogram", LATENTS: "embed"}[kind]
    _check_there(path, f"make it with 'dafxtool {made_by}'")
    try:
        file = _opened(path)
    except DAMAGES as error:
        raise FormatError(
            f"{path} is no HDF5 file that can be opened, or is not finished: wanted a {kind} file, "
            f"made by 'dafxtool {made_by}'."
        ) from error
    try:
        found = str(_attribute(file, "kind"))
        version = _attribute(file, "format_version")
    except DAMAGES:
        found, version = "an unknown kind of file", 0
    if found != kind:
        file.close()
        raise FormatError(f"{path} holds {found}, not {kind}: make it with 'dafxtool {made_by}'.")
    if version != FORMAT_VERSION:
        file.close()
        raise FormatError(
            f"{path} has format version {version}, this dafxtool reads {FORMAT_VERSION}: make it "
            "again."
        )
    return file


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
