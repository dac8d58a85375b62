"""Lay out a new file: every array has its place before the first row is written."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dafxtool import __version__
from dafxtool.storage.layout import (
    BULK,
    FORMAT_VERSION,
    SETTINGS,
    TABLES,
    checksum,
    row_is_chunk,
    settings_type,
    table_name,
    text_type,
)

LAYOUT_BYTES = 1 << 16  # about what HDF5 needs for itself


@dataclass(frozen=True)
class Contents:
    """Everything that a file holds from the start, and what its rows will be.

    columns        name -> (shape of a row, dtype); the first one is the bulk, chunked by row
    effect         (n,) index of each row's effect
    configuration  JSON
    tables         further arrays, complete already
    attributes     of the bulk: what a reader needs to know of it
    """

    kind: str
    columns: Mapping[str, tuple[tuple[int, ...], Any]]
    effect: NDArray[np.int64]
    configuration: str
    effects: Sequence[Mapping[str, Any]]
    tables: Mapping[str, NDArray[Any]]
    attributes: Mapping[str, float | int | str]
    rows_a_chunk: int

    @property
    def n_rows(self) -> int:
        return len(self.effect)

    def rows_of(self, index: int) -> NDArray[np.int64]:
        """Rows of an effect."""
        return np.flatnonzero(self.effect == index)

    def settings(self) -> Iterator[tuple[str, np.dtype[Any], int]]:
        """Name, type and length of each table of settings."""
        for index, effect in enumerate(self.effects):
            if effect["parameters"]:
                dtype = settings_type([parameter["name"] for parameter in effect["parameters"]])
                yield table_name(effect["name"]), dtype, len(self.rows_of(index))

    def n_bytes(self) -> int:
        """About the size of the file."""
        row_bytes = sum(
            int(np.prod(shape, dtype=np.float64)) * np.dtype(dtype).itemsize
            for shape, dtype in self.columns.values()
        )
        settings = sum(dtype.itemsize * count for _, dtype, count in self.settings())
        tables = sum(table.nbytes for table in self.tables.values())
        return self.n_rows * row_bytes + settings + tables + len(self.configuration) + LAYOUT_BYTES


def lay_out(file: h5py.File, contents: Contents) -> None:
    """Give every array its place, and write what is known before the first row."""
    n_rows, configuration = contents.n_rows, contents.configuration.encode()
    tables = {name: contents.tables[name] for name in TABLES if name in contents.tables}
    _set_attribute(file, "kind", contents.kind)
    file.attrs["format_version"] = FORMAT_VERSION
    file.attrs["checksum"] = checksum([configuration, *tables.values()])
    saved = json.loads(configuration)
    seed = saved.get("seed", saved.get("pairs", {}).get("seed"))
    if seed is not None:  # latents have none: nothing about them is random
        file.attrs["seed"] = seed
    versions = {"dafxtool": __version__, "h5py": h5py.__version__, "numpy": np.__version__}
    for name, version in versions.items():
        _set_attribute(file, f"{name}_version", version)
    for index, (name, (shape, dtype)) in enumerate(contents.columns.items()):
        rows = contents.rows_a_chunk if index == 0 else max(1, n_rows)
        _preallocate(file, name, (n_rows, *shape), np.dtype(dtype), rows)
    _preallocate(file, "done", (n_rows,), np.dtype("u1"), max(1, n_rows), fill=True)
    if n_rows:
        RowArray(file["effect"]).write(np.arange(n_rows), contents.effect)
    group = file.create_group(SETTINGS)
    for name, dtype, count in contents.settings():
        _preallocate(group, name, (count,), dtype, max(1, count))
    for name, value in contents.attributes.items():
        _set_attribute(file[BULK[contents.kind]], name, value)
    # A dataset, because an attribute holds 64 KB at most.
    text = np.array(configuration, text_type(len(configuration)))
    file.create_dataset("configuration", data=text, dtype=text.dtype)
    for name, table in tables.items():
        file.create_dataset(name, data=table, dtype=table.dtype)
    file.attrs["laid_out"] = 1
    file.flush()


def _set_attribute(item: h5py.File | h5py.Dataset, name: str, value: float | int | str) -> None:
    if isinstance(value, str):
        item.attrs.create(name, np.bytes_(value), dtype=text_type(len(value.encode())))
    else:
        item.attrs[name] = value


def _preallocate(
    file: h5py.File | h5py.Group,
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


class RowArray:
    """An array of one value per row, with what writing asks of it: h5py works it out each time."""

    def __init__(self, array: h5py.Dataset) -> None:
        self.array = array  # held open: h5py swallows what goes wrong when a dataset is closed
        self.dtype: np.dtype[Any] = array.dtype
        self.row_shape: tuple[int, ...] = array.shape[1:]
        self.row_bytes = self.dtype.itemsize * math.prod(self.row_shape)
        self.row_is_chunk = row_is_chunk(array)
        self._type = array.id.get_type()

    def read(self) -> NDArray[Any]:
        return np.asarray(self.array[:])

    def write_chunk(self, row: int, values: NDArray[Any]) -> None:
        """One row that is a chunk, past HDF5's cache."""
        whole = np.ascontiguousarray(values, dtype=self.dtype)
        self.array.id.write_direct_chunk((row, *(0 for _ in self.row_shape)), whole)

    def write(self, rows: NDArray[np.int64], values: NDArray[Any]) -> None:
        """Increasing rows in one go: h5py writes a list of rows one by one, each in 0.1 ms."""
        space, nothing = self.array.id.get_space(), (0,) * len(self.row_shape)
        breaks = (np.flatnonzero(np.diff(rows) > 1) + 1).tolist()
        combined = h5py.h5s.SELECT_SET
        for first, last in zip([0, *breaks], [*breaks, len(rows)], strict=True):
            start, size = (int(rows[first]), *nothing), (last - first, *self.row_shape)
            space.select_hyperslab(start, size, op=combined)
            combined = h5py.h5s.SELECT_OR
        whole = np.ascontiguousarray(values, dtype=self.dtype)
        memory = h5py.h5s.create_simple(whole.shape)
        self.array.id.write(memory, space, whole, mtype=self._type)
