"""Read and write the HDF5 files. Only this package knows the names in them."""

from __future__ import annotations

from dafxtool.storage.layout import (
    GAINS,
    IMPORTED,
    LATENTS,
    LONGEST_REASON,
    PAIRS,
    SPECTROGRAMS,
    Labels,
    encode_texts,
    label_rows,
    some_positions,
)
from dafxtool.storage.reader import WRITTEN_BY_HAND, Hdf5Reader, kind_of
from dafxtool.storage.tables import make_table, read_table
from dafxtool.storage.writer import (
    Hdf5Writer,
    check_output,
    open_writer,
    partial_path,
)

__all__ = [
    "GAINS",
    "IMPORTED",
    "LATENTS",
    "LONGEST_REASON",
    "PAIRS",
    "SPECTROGRAMS",
    "WRITTEN_BY_HAND",
    "Hdf5Reader",
    "Hdf5Writer",
    "Labels",
    "check_output",
    "encode_texts",
    "kind_of",
    "label_rows",
    "make_table",
    "open_writer",
    "partial_path",
    "read_table",
    "some_positions",
]
