"""Arrays of an HDF5 file that have one line per row, settings tables included."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from dafxtool.storage.layout import TABLES


def row_arrays(path: Path) -> dict[str, NDArray]:
    """Name -> values. Lines of a settings table name their row in their first column."""
    found: dict[str, NDArray] = {}

    def add(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset) and name not in (*TABLES, "configuration"):
            found[name] = item[:]

    with h5py.File(path, "r") as file:
        file.visititems(add)
    return found


def take_rows(
    arrays: dict[str, NDArray], rows: NDArray, whole: dict[str, NDArray]
) -> dict[str, NDArray]:
    """The same arrays with these rows alone.

    whole  of the complete file, whose settings tables say which line belongs to which row: in one
           that is being written, lines are empty yet
    """
    return {
        name: values[np.isin(whole[name]["row"], rows)]
        if name.startswith("settings/")
        else values[rows]
        for name, values in arrays.items()
    }
