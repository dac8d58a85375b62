"""The HDF5 files: the one place that knows the names in them."""

from __future__ import annotations

from dafxtool.storage.layout import (
    LATENTS,
    LONGEST_REASON,
    PAIRS,
    SPECTROGRAMS,
    Labels,
    encode_texts,
    label_rows,
    some_positions,
)
from dafxtool.storage.reader import HAND_MADE, Hdf5Reader, kind_of
from dafxtool.storage.tables import make_table, read_table
from dafxtool.storage.writer import (
    Hdf5Writer,
    check_output,
    partial_path,
    writing_rows,
)

# Names that other modules use.
Reader = Hdf5Reader
Writer = Hdf5Writer

__all__ = [
    "HAND_MADE",
    "LATENTS",
    "LONGEST_REASON",
    "PAIRS",
    "SPECTROGRAMS",
    "Hdf5Reader",
    "Hdf5Writer",
    "Labels",
    "check_output",
    "encode_texts",
    "kind_of",
    "label_rows",
    "make_table",
    "partial_path",
    "read_table",
    "some_positions",
    "writing_rows",
]
