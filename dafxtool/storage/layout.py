"""What is in the HDF5 files: their kinds, the columns that rows have, and what marks them.

`docs/formats.md` lists the arrays with shape, dtype and unit.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dafxtool.config import SPLITS
from dafxtool.errors import FormatError

FORMAT_VERSION = 1
PAIRS, SPECTROGRAMS, LATENTS = "pairs", "spectrograms", "latents"
# What h5py and json raise for a file that is damaged.
DAMAGES = (
    *(OSError, RuntimeError, KeyError, ValueError, TypeError),
    *(AttributeError, IndexError, OverflowError, MemoryError, RecursionError),
)
LONGEST_NUMBER = 64  # bytes, of a float32 written without an exponent
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


def label_columns(
    effects: Sequence[Mapping[str, Any]], max_parameters: int
) -> dict[str, tuple[tuple[int, ...], Any]]:
    """The columns that pairs, spectrograms and latents have in common.

    effects  descriptions, as Effect.to_dict() gives them
    """
    longest = max((_longest_setting_text(effect) for effect in effects), default=0)
    return {
        "effect": ((), "i4"),
        "setting": ((max_parameters,), "f8"),
        "setting_text": ((), f"S{max(128 + 64 * max_parameters, longest)}"),
        "recording": ((), "i4"),
        "offset": ((), "i8"),
        "split": ((), "i1"),
    }


def _longest_setting_text(effect: Mapping[str, Any]) -> int:
    """Bytes, at the most, of the effect's name with the name and value of each parameter."""
    return len(effect["name"].encode()) + sum(
        len(each["name"].encode())
        + max(LONGEST_NUMBER, *(len(choice.encode()) for choice in each["choices"]), 0)
        + len("=,")
        for each in effect["parameters"]
    )


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


def checksum(texts: Sequence[str]) -> int:
    """A number that tells whether texts are what they were (CRC-32)."""
    return zlib.crc32("\n".join(texts).encode("utf-8", "surrogateescape"))


def row_is_chunk(array: h5py.Dataset) -> bool:
    """Does each row lie in the file as one run of plain bytes? HDF5 copies them twice otherwise."""
    stored = array.id.get_create_plist()
    return bool(
        array.ndim > 1 and array.chunks == (1, *array.shape[1:]) and not stored.get_nfilters()
    )


def check_inside(file: h5py.File, path: Path) -> None:
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
