"""Define names, types and tables of the HDF5 files.

All text has a fixed length: libhdf5 hangs on damaged variable-length text, and some readers cannot
read it. The length is that of the longest text, so nothing is truncated. Text is UTF-8; other bytes
of a path are stored unchanged (Python's surrogateescape).

`docs/formats.md` lists the arrays with shape, dtype and unit.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dafxtool.config import SPLITS
from dafxtool.errors import InputError

FORMAT_VERSION = 2
PAIRS, SPECTROGRAMS, LATENTS = "pairs", "spectrograms", "latents"
BULK = {PAIRS: "audio", SPECTROGRAMS: "spectrogram", LATENTS: "latent"}
COMMAND_FOR = {PAIRS: "render", SPECTROGRAMS: "spectrogram", LATENTS: "embed"}
IMPORTED = "imported"  # value of "settings" in the configuration of pairs that were imported
SETTINGS = "settings"  # group with one table per effect
ROW = "row"  # first column of these tables, and an array of spectrograms and latents
MANY_PARAMETERS = "values"  # their second column, an array, for an effect with too many parameters
# Tables that do not have one line per row, in the order of the checksum.
TABLES = (
    *("effects", "parameters", "choices", "curves", "left_out", "recordings", "parts", "scale"),
    "stages",
)
# Exceptions of h5py and json for a damaged file.
DAMAGE_ERRORS = (
    *(OSError, RuntimeError, KeyError, ValueError, TypeError),
    *(AttributeError, IndexError, OverflowError, MemoryError, RecursionError),
)
GAINS = ("dry_gain_db", "wet_gain_db")  # of pairs
LONGEST_NUMBER = 64  # bytes of a float32 without an exponent
LONGEST_REASON = 480  # bytes of the reason why a pair failed
LARGEST_TYPE = 60_000  # bytes: HDF5 stores a type in a header of at most 64 KB


class FileProblem(ValueError):
    """A problem of a file, as a clause that names the array: what was found and expected."""


@dataclass(frozen=True)
class Labels:
    """Labels of the rows of a file: effect, setting and source. Index i of every array is one row.

    row            (n,) increasing number of the row in the pairs file, where failed pairs leave
                   gaps
    effect         (n,) index into effects
    setting        (n, max_parameters) values in the parameters' units, NaN after the last one
    setting_text   (n,) the setting as `--effect` takes it
    recording      (n,) index into recordings
    offset         (n,) samples from the recording's start
    split          (n,) index into SPLITS
    effects        descriptions as of Effect.to_dict()
    recordings     rows of a table: path, folder, split, sample_rate, n_channels, n_samples, track
    gains_db       (n, 2) of dry and wet, from the level of the recording; NaN where unknown
    """

    row: NDArray[np.int64]
    effect: NDArray[np.int64]
    setting: NDArray[np.float64]
    setting_text: list[str]
    recording: NDArray[np.int64]
    offset: NDArray[np.int64]
    split: NDArray[np.int64]
    effects: list[dict[str, Any]]
    recordings: list[dict[str, Any]]
    gains_db: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 2)))

    def __post_init__(self) -> None:
        if len(self.gains_db) != len(self.effect):
            object.__setattr__(self, "gains_db", np.full((len(self.effect), 2), np.nan))

    def __len__(self) -> int:
        return len(self.effect)

    @property
    def effect_names(self) -> list[str]:
        """Names of the effects, in the order of their indices."""
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
        """Return the value of each parameter."""
        names = [p["name"] for p in self.effects[self.effect[row]]["parameters"]]
        return {name: float(v) for name, v in zip(names, self.setting[row], strict=False)}

    def rows_of(self, splits: Sequence[str]) -> NDArray[np.int64]:
        """Return the indices of the rows of some splits, increasing."""
        codes = [SPLITS.index(split) for split in splits]
        return np.flatnonzero(np.isin(self.split, codes))

    def indices_of(
        self, rows: Sequence[int], path: Path, failed: Mapping[int, str] | None = None
    ) -> NDArray[np.int64]:
        """Return the indices of rows of the pairs file. InputError for a row that is not there.

        path    of the file with these labels, for the message
        failed  failed rows and the reasons
        """
        indices = np.searchsorted(self.row, np.asarray(rows, np.int64))
        for row, index in zip(rows, indices.tolist(), strict=True):
            if index < len(self) and self.row[index] == row:
                continue
            if failed and row in failed:
                raise InputError(
                    f"{path}: row {row} has no audio, because its pair failed when it was "
                    f"rendered: {failed[row].rstrip('.')}. Choose another row."
                )
            span = f"{self.row[0]} to {self.row[-1]}" if len(self) else "none"
            gaps = ", with gaps" if len(self) and self.row[-1] - self.row[0] >= len(self) else ""
            raise InputError(
                f"{path}: row {row} does not exist (found {span}{gaps}). Choose another row."
            )
        return indices

    def take(self, rows: NDArray[np.int64]) -> Labels:
        """Return the labels at some indices."""
        return Labels(
            self.row[rows],
            self.effect[rows],
            self.setting[rows],
            [self.setting_text[row] for row in rows],
            self.recording[rows],
            self.offset[rows],
            self.split[rows],
            self.effects,
            self.recordings,
            self.gains_db[rows],
        )


def some_positions(n_rows: int, most: int) -> NDArray[np.int64]:
    """Sample at most `most` of n_rows indices, sorted; always the same ones for the same sizes.

    They are random because effects alternate in a file: regular steps may meet one effect only.
    """
    sample = np.random.default_rng([7, n_rows]).permutation(n_rows)[:most]
    return np.sort(sample)


def label_columns(
    effects: Sequence[Mapping[str, Any]], kind: str
) -> dict[str, tuple[tuple[int, ...], Any]]:
    """List the label arrays with one value per row: name -> (shape of a row, dtype).

    effects  descriptions as of Effect.to_dict()
    """
    longest = max((longest_setting_text(effect) for effect in effects), default=1)
    columns: dict[str, tuple[tuple[int, ...], Any]] = {
        "effect": ((), enum_type([effect["name"] for effect in effects], "i4")),
        "split": ((), enum_type(SPLITS, "i1")),
        "recording": ((), "i4"),
        "offset": ((), "i8"),
        "setting_text": ((), text_type(longest)),
    }
    if kind == PAIRS:
        columns["lost"] = ((), text_type(LONGEST_REASON))
        columns |= dict.fromkeys(GAINS, ((), "f8"))
    else:
        columns[ROW] = ((), "i8")
    return columns


def longest_setting_text(effect: Mapping[str, Any]) -> int:
    """Return an upper bound of the length of a setting text of an effect, in bytes."""
    names = [effect["name"], *(each["effect"]["name"] for each in effect.get("stages", ()))]
    return sum(len(encode_text(name)) + len(" > ") for name in names) + sum(
        len(encode_text(each["name"]))
        + max(LONGEST_NUMBER, *(len(encode_text(choice)) for choice in each["choices"]), 0)
        + len("=,-99999")  # equal choices are numbered
        for each in effect["parameters"]
    )


def label_rows(labels: Labels, rows: slice) -> dict[str, NDArray[Any]]:
    """Return a part of the labels as arguments of `Hdf5Writer.put`."""
    return {
        ROW: labels.row[rows],
        "effect": labels.effect[rows],
        "setting": labels.setting[rows],
        "setting_text": encode_texts(labels.setting_text[rows]),
        "recording": labels.recording[rows],
        "offset": labels.offset[rows],
        "split": labels.split[rows],
    }


# Types


def text_type(n_bytes: int) -> np.dtype[Any]:
    """Return the dtype of UTF-8 text of a fixed length, padded with zeros."""
    return h5py.string_dtype("utf-8", max(1, n_bytes))


def enum_type(names: Sequence[str], base: str) -> np.dtype[Any]:
    """Return an enum dtype of names, from 0; plain integers if HDF5 cannot store so many."""
    enum = h5py.enum_dtype({name: code for code, name in enumerate(names)}, base)
    return enum if fits_header(enum) else np.dtype(base)


def settings_type(parameters: Sequence[str]) -> np.dtype[Any]:
    """Return the dtype of a settings table: the row number, then each parameter."""
    named = np.dtype([(ROW, "<i8"), *((column_name(each), "<f8") for each in parameters)])
    if fits_header(named):
        return named
    return np.dtype([(ROW, "<i8"), (MANY_PARAMETERS, "<f8", (len(parameters),))])


def fits_header(dtype: np.dtype[Any]) -> bool:
    """Estimate whether HDF5 can store a type: 8 bytes more than each name, and 56 for a column."""
    enum = h5py.check_enum_dtype(dtype)
    names, each = (enum, 16) if enum is not None else (dtype.names or (), 72)
    return sum(len(encode_text(name)) + each for name in names) < LARGEST_TYPE


def column_name(parameter: str) -> str:
    """Return the name of the column of a parameter."""
    return f"{ROW}-parameter" if parameter == ROW else parameter


def table_name(effect: str) -> str:
    """Return the name of the settings table of an effect, escaped: a slash would make a group."""
    escaped = effect.replace("%", "%25").replace("/", "%2F")
    return escaped.replace(".", "%2E") if set(escaped) == {"."} else escaped


# Text


def encode_text(text: str) -> bytes:
    """Encode text in UTF-8; other bytes of a path stay unchanged."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that does not encode a byte
        return text.encode("utf-8", "replace")


def decode_text(text: bytes) -> str:
    """Decode what `encode_text` wrote."""
    return text.decode("utf-8", "surrogateescape")


def encode_texts(texts: Iterable[str], most: int | None = None) -> NDArray[Any]:
    """Encode texts for `Hdf5Writer.put`; longer ones are truncated to `most` bytes."""
    encoded = [encode_text(text) for text in texts]
    if most is not None:
        encoded = [each[:most].decode("utf-8", "ignore").encode() for each in encoded]
    return np.array(encoded, dtype=f"S{max(1, *map(len, encoded), 1)}")


def checksum(contents: Iterable[bytes | NDArray[Any]]) -> int:
    """Compute the CRC-32 of the bytes of texts and tables, concatenated."""
    value = 0
    for each in contents:
        value = zlib.crc32(each if isinstance(each, bytes) else each.tobytes(), value)
    return value


def row_is_chunk(array: h5py.Dataset) -> bool:
    """Check whether each row is one chunk of plain bytes, which is read without extra copies."""
    stored = array.id.get_create_plist()
    return bool(
        array.ndim > 1 and array.chunks == (1, *array.shape[1:]) and not stored.get_nfilters()
    )
