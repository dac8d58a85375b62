"""The HDF5 files: the one place that knows the names in them."""

from __future__ import annotations

from dafxtool.storage.layout import (
    LATENTS,
    LOST_COLUMN,
    MOST_REASON,
    PAIRS,
    SPECTROGRAMS,
    Labels,
    encode_texts,
    label_columns,
    label_rows,
    some_positions,
)
from dafxtool.storage.reader import Hdf5Reader, kind_of
from dafxtool.storage.writer import (
    Hdf5Writer,
    check_output,
    partial_path,
    writing_rows,
)

__all__ = [
    "LATENTS",
    "LOST_COLUMN",
    "MOST_REASON",
    "PAIRS",
    "SPECTROGRAMS",
    "Hdf5Reader",
    "Hdf5Writer",
    "Labels",
    "check_output",
    "encode_texts",
    "kind_of",
    "label_columns",
    "label_rows",
    "partial_path",
    "some_positions",
    "writing_rows",
]
