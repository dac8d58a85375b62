"""Read the arrays of an HDF5 file that have one line per row, including settings tables."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from dafxtool.storage.layout import TABLES


def row_arrays(path: Path) -> dict[str, NDArray]:
    """Read name -> values. The first column of a settings table is the row number."""
    arrays: dict[str, NDArray] = {}

    def add(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset) and name not in (*TABLES, "configuration"):
            arrays[name] = item[:]

    with h5py.File(path, "r") as file:
        file.visititems(add)
    return arrays


def take_rows(
    arrays: dict[str, NDArray], rows: NDArray, complete: dict[str, NDArray]
) -> dict[str, NDArray]:
    """Select rows of arrays.

    complete  arrays of the complete file: its settings tables give the row of each line, which a
              partial file may lack
    """
    return {
        name: values[np.isin(complete[name]["row"], rows)]
        if name.startswith("settings/")
        else values[rows]
        for name, values in arrays.items()
    }
