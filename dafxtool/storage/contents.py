"""Create the arrays of a new file, with all their space, before the first row is written."""

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

OVERHEAD_BYTES = 1 << 16  # about the size of the structures of HDF5


@dataclass(frozen=True)
class Contents:
    """Contents of a new file: what it holds from the start, and the types of its rows.

    columns         name -> (shape of a row, dtype); the first is the bulk, chunked by row
    effect          (n,) index of the effect of each row
    configuration   JSON
    tables          further arrays, complete
    attributes      of the bulk
    rows_per_chunk  of the bulk
    """

    kind: str
    columns: Mapping[str, tuple[tuple[int, ...], Any]]
    effect: NDArray[np.int64]
    configuration: str
    effects: Sequence[Mapping[str, Any]]
    tables: Mapping[str, NDArray[Any]]
    attributes: Mapping[str, float | int | str]
    rows_per_chunk: int

    @property
    def n_rows(self) -> int:
        return len(self.effect)

    def rows_of(self, index: int) -> NDArray[np.int64]:
        """Return the rows of an effect."""
        return np.flatnonzero(self.effect == index)

    def settings(self) -> Iterator[tuple[str, np.dtype[Any], int]]:
        """Yield name, dtype and length of each settings table."""
        for index, effect in enumerate(self.effects):
            if effect["parameters"]:
                dtype = settings_type([parameter["name"] for parameter in effect["parameters"]])
                yield table_name(effect["name"]), dtype, len(self.rows_of(index))

    def n_bytes(self) -> int:
        """Estimate the size of the file."""
        row_bytes = sum(
            int(np.prod(shape, dtype=np.float64)) * np.dtype(dtype).itemsize
            for shape, dtype in self.columns.values()
        )
        settings = sum(dtype.itemsize * count for _, dtype, count in self.settings())
        tables = sum(table.nbytes for table in self.tables.values())
        return (
            self.n_rows * row_bytes + settings + tables + len(self.configuration) + OVERHEAD_BYTES
        )


def lay_out(file: h5py.File, contents: Contents) -> None:
    """Create every array, and write everything but the rows."""
    n_rows, configuration = contents.n_rows, contents.configuration.encode()
    tables = {name: contents.tables[name] for name in TABLES if name in contents.tables}
    _set_attribute(file, "kind", contents.kind)
    file.attrs["format_version"] = FORMAT_VERSION
    file.attrs["checksum"] = checksum([configuration, *tables.values()])
    saved = json.loads(configuration)
    seed = saved.get("seed", saved.get("pairs", {}).get("seed"))
    if seed is not None:  # latents have none
        file.attrs["seed"] = seed
    versions = {"dafxtool": __version__, "h5py": h5py.__version__, "numpy": np.__version__}
    for name, version in versions.items():
        _set_attribute(file, f"{name}_version", version)
    for index, (name, (shape, dtype)) in enumerate(contents.columns.items()):
        rows = contents.rows_per_chunk if index == 0 else max(1, n_rows)
        _preallocate(file, name, (n_rows, *shape), np.dtype(dtype), rows)
    _preallocate(file, "done", (n_rows,), np.dtype("u1"), max(1, n_rows), fill=True)
    if n_rows:
        RowArray(file["effect"]).write(np.arange(n_rows), contents.effect)
    group = file.create_group(SETTINGS)
    for name, dtype, count in contents.settings():
        _preallocate(group, name, (count,), dtype, max(1, count))
    for name, value in contents.attributes.items():
        _set_attribute(file[BULK[contents.kind]], name, value)
    # A dataset, because an attribute can hold only 64 KB.
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
    rows_per_chunk: int,
    fill: bool = False,
) -> None:
    """Create a growable dataset with all of its chunks allocated in the file."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((min(rows_per_chunk, max(1, shape[0])), *shape[1:]))
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_ALLOC if fill else h5py.h5d.FILL_TIME_NEVER)
    properties.set_obj_track_times(False)
    space = h5py.h5s.create_simple(shape, (h5py.h5s.UNLIMITED, *shape[1:]))
    type_id = h5py.h5t.py_create(dtype, logical=True)
    h5py.h5d.create(file.id, name.encode(), type_id, space, dcpl=properties)


class RowArray:
    """Dataset of one value per row.

    Keeps the properties that writing needs, because h5py looks them up at each access.
    """

    def __init__(self, array: h5py.Dataset) -> None:
        self.array = array  # kept open: h5py hides errors when a dataset is closed
        self.dtype: np.dtype[Any] = array.dtype
        self.row_shape: tuple[int, ...] = array.shape[1:]
        self.row_bytes = self.dtype.itemsize * math.prod(self.row_shape)
        self.row_is_chunk = row_is_chunk(array)
        self._type = array.id.get_type()

    def read(self) -> NDArray[Any]:
        """Read all rows."""
        return np.asarray(self.array[:])

    def write_chunk(self, row: int, values: NDArray[Any]) -> None:
        """Write one row that is a chunk, without the cache of HDF5."""
        data = np.ascontiguousarray(values, dtype=self.dtype)
        self.array.id.write_direct_chunk((row, *(0 for _ in self.row_shape)), data)

    def write(self, rows: NDArray[np.int64], values: NDArray[Any]) -> None:
        """Write increasing rows in one call: h5py needs 0.1 ms for each row of a list."""
        space, zeros = self.array.id.get_space(), (0,) * len(self.row_shape)
        breaks = (np.flatnonzero(np.diff(rows) > 1) + 1).tolist()
        operation = h5py.h5s.SELECT_SET
        for first, last in zip([0, *breaks], [*breaks, len(rows)], strict=True):
            start, size = (int(rows[first]), *zeros), (last - first, *self.row_shape)
            space.select_hyperslab(start, size, op=operation)
            operation = h5py.h5s.SELECT_OR
        data = np.ascontiguousarray(values, dtype=self.dtype)
        memory = h5py.h5s.create_simple(data.shape)
        self.array.id.write(memory, space, data, mtype=self._type)
