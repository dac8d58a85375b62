"""Read the HDF5 files, which may be damaged or malicious."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dafxtool.config import SpectrogramConfig
from dafxtool.errors import ConfigError, FormatError, InputError
from dafxtool.storage.labels import read_labels
from dafxtool.storage.layout import (
    BULK,
    COMMAND_FOR,
    DAMAGE_ERRORS,
    FORMAT_VERSION,
    LATENTS,
    PAIRS,
    SPECTROGRAMS,
    TABLES,
    FileProblem,
    checksum,
    row_is_chunk,
)
from dafxtool.storage.tables import read_table
from dafxtool.storage.validation import (
    Arrays,
    check_descriptions,
    check_row_arrays,
    check_shape,
    read_attribute,
)
from dafxtool.utils.closing import Closing

# Key in the configuration of pairs that `render` did not write.
WRITTEN_BY_HAND = "written_by_hand"


class Hdf5Reader(Closing):
    """Reader of a complete file: `labels`, `configuration`, and the bulk by index.

    Failed pairs are left out. An index counts the other ones; `labels.row` is the row number in the
    pairs file, which users see.

    FormatError for a file that is damaged, unfinished or of another kind.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self.path = path
        self._file = open_file(path, kind)
        try:
            self.kind = kind
            self._arrays = Arrays(self._file, path)
            check_row_arrays(self._arrays, kind)
            self._bulk = self._arrays.find(BULK[kind], may_be_compressed=True)
            self._row_is_chunk = row_is_chunk(self._bulk)
            self._tables = {
                name: self._arrays.read(name) for name in TABLES if name in self._arrays
            }
            self._check_checksum()
            self._present = self._find_present_rows()
            self.configuration = self._read_configuration()
            self.labels = read_labels(self._arrays, self._tables, *self._segment_size())
            if self._present is not None:
                self.labels = self.labels.take(self._present)
            check_descriptions(kind, self.configuration, self.labels)
            self._check_bulk()
        except FileProblem as error:
            self._file.close()
            raise FormatError(
                f"{path}: is not a complete {kind} file: {error}. Make it again with 'dafxtool "
                f"{COMMAND_FOR[kind]}', or see docs/formats.md."
            ) from error
        except (*DAMAGE_ERRORS, ConfigError, InputError) as error:
            self._file.close()
            raise FormatError(
                f"{path}: is damaged ({_error_text(error)}). Make it again with 'dafxtool "
                f"{COMMAND_FOR[kind]}'."
            ) from error
        except FormatError:
            self._file.close()
            raise

    def close(self) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of a row of the bulk."""
        return tuple(self._bulk.shape[1:])

    @property
    def bytes_per_row(self) -> int:
        """Size of a row of the bulk."""
        return int(np.prod(self._bulk.shape[1:])) * int(self._bulk.dtype.itemsize)

    def fingerprint(self) -> str:
        """Compute the SHA-256 of the configuration and all labels."""
        labels = self.labels
        digest = hashlib.sha256(json.dumps(self.configuration, sort_keys=True).encode())
        digest.update(json.dumps([labels.effects, labels.recordings], sort_keys=True).encode())
        for name in ("effect", "setting", "recording", "offset", "split"):
            digest.update(np.ascontiguousarray(getattr(labels, name)).tobytes())
        if len(labels) and labels.row[-1] >= len(labels):  # failed pairs left gaps
            digest.update(labels.row.tobytes())
        return digest.hexdigest()

    def indices_of(self, rows: Sequence[int]) -> NDArray[np.int64]:
        """Return the indices of rows of the pairs file.

        InputError for a row that is not in this file, or whose pair failed.
        """
        return self.labels.indices_of(rows, self.path, self.failed())

    def rows(self, rows: NDArray[np.int64] | slice) -> NDArray[Any]:
        """Read the bulk at some indices, in the given order, in the stored dtype."""
        try:
            if isinstance(rows, slice):
                if self._present is None and not self._row_is_chunk:
                    return np.asarray(self._bulk[rows])
                rows = np.arange(len(self))[rows]
            if len(rows) == 0:
                return np.empty((0, *self.row_shape), self._bulk.dtype)
            unique, inverse = np.unique(rows, return_inverse=True)
            if unique[0] < 0 or unique[-1] >= len(self):
                raise InputError(
                    f"{self.path}: has indices 0 to {len(self) - 1}, not {unique[0]} to "
                    f"{unique[-1]}. Choose other ones."
                )
            where = unique if self._present is None else self._present[unique]
            if self._row_is_chunk:
                return self._read_chunks(where, inverse)
            return np.asarray(self._read_sorted(where))[inverse]
        except (OSError, RuntimeError) as error:
            raise FormatError(
                f"{self.path}: cannot be read ({_error_text(error)}). Make it again."
            ) from error

    def _read_chunks(self, where: NDArray[np.int64], inverse: NDArray[np.int64]) -> NDArray[Any]:
        """Read rows of the file as chunks, directly into the output."""
        output = np.empty((len(inverse), *self.row_shape), self._bulk.dtype)
        zeros = (0,) * (output.ndim - 1)
        first_position: dict[int, int] = {}
        for position in np.argsort(inverse, kind="stable").tolist():  # forward through the file
            row = int(where[inverse[position]])
            if row in first_position:
                output[position] = output[first_position[row]]
                continue
            first_position[row] = position
            self._bulk.id.read_direct_chunk((row, *zeros), out=output[position].ravel().view("u1"))
        return output

    def _read_sorted(self, unique: NDArray[np.int64]) -> NDArray[Any]:
        """Read each run of consecutive rows at once: an index list of h5py is far slower."""
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

    def column(self, name: str, rows: slice | None = None) -> NDArray[Any]:
        """Read another column, such as the `mean` of each spectrogram; all rows by default."""
        try:
            if rows is not None:
                where = np.arange(len(self)) if self._present is None else self._present
                return np.asarray(self._file[name][where[rows]])
            values = np.asarray(self._file[name][:])
            return values if self._present is None else values[self._present]
        except KeyError as error:
            raise FormatError(f"{self.path}: has no column {name!r}. Make it again.") from error
        except (OSError, RuntimeError) as error:
            raise FormatError(
                f"{self.path}: cannot be read ({_error_text(error)}). Make it again."
            ) from error

    def table(self, name: str) -> NDArray[Any]:
        """Return another table, such as the `scale` of latents."""
        if name not in self._tables:
            raise FormatError(f"{self.path}: has no table {name!r}. Make it again.")
        return self._tables[name]

    def failed(self) -> dict[int, str]:
        """Return the failed rows of the file and the reasons. They are no rows of this reader."""
        if "lost" not in self._arrays:
            return {}
        reasons = self._arrays.read("lost")
        return {
            row: reasons[row].decode("utf-8", "replace")
            for row in np.flatnonzero(reasons != b"").tolist()
        }

    def _find_present_rows(self) -> NDArray[np.int64] | None:
        """Return the rows without the failed ones; None where none failed."""
        failed = self.failed()
        if not failed:
            return None
        return np.setdiff1d(np.arange(len(self._bulk)), list(failed))

    def _check_checksum(self) -> None:
        """Raise FileProblem where the configuration or a table was changed."""
        if "checksum" not in self._file.attrs:
            return  # not written by dafxtool
        text = self._arrays.read("configuration").tobytes()
        contents: list[bytes | NDArray[Any]] = [text, *self._tables.values()]
        if read_attribute(self._file, "checksum") != checksum(contents):
            raise FileProblem("the checksum does not match its configuration and tables")

    def _read_configuration(self) -> dict[str, Any]:
        if "configuration" in self._arrays:
            saved: dict[str, Any] = json.loads(bytes(self._arrays.read("configuration")[()]))
            return saved
        if self.kind != PAIRS:
            raise FileProblem("the array 'configuration' is missing")
        return _configuration_of_arrays(self._arrays, self._tables)

    def _segment_size(self) -> tuple[int, int]:
        """Return the sample rate (Hz) and the length of a row; 1 where they are unknown."""
        values = self.configuration.get("segments" if self.kind == PAIRS else "spectrogram", {})
        return int(values.get("sample_rate", 1)), int(values.get("n_samples", 1))

    def _check_bulk(self) -> None:
        """Raise FileProblem where the shape of the bulk contradicts the configuration."""
        expected: tuple[int | str, ...] = ("n", "n_latent")
        if self.kind == PAIRS:
            expected = ("n", 2, self._segment_size()[1])
        elif self.kind == SPECTROGRAMS:
            expected = ("n", 2, *SpectrogramConfig(**self.configuration["spectrogram"]).shape)
        check_shape(BULK[self.kind], self._bulk.shape, expected)
        if self.kind == LATENTS:
            n_latent = self._bulk.shape[1]
            check_shape("scale", self.table("scale").shape, (n_latent,))
            parts = read_table("parts", self.table("parts"))
            stops = [0, *(part["stop"] for part in parts)]
            if [part["start"] for part in parts] != stops[:-1] or stops[-1] != n_latent:
                raise FileProblem(f"the table 'parts' does not divide {n_latent} dimensions")


def _configuration_of_arrays(arrays: Arrays, tables: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Make a minimal configuration of pairs from the arrays."""
    audio = arrays.find(BULK[PAIRS], may_be_compressed=True)
    check_shape(BULK[PAIRS], audio.shape, ("n", 2, "n_samples"))
    if "sample_rate" not in audio.attrs:
        raise FileProblem("the attribute 'sample_rate' (Hz) of the array 'audio' is missing")
    kind = h5py.h5a.open(audio.id, b"sample_rate").get_type().get_class()
    if kind not in (h5py.h5t.INTEGER, h5py.h5t.FLOAT):
        raise FileProblem("the attribute 'sample_rate' of the array 'audio' is not a number")
    labels = [arrays.read(name) for name in ("effect", "split", "recording")]
    return {
        "segments": {
            "sample_rate": int(audio.attrs["sample_rate"]),
            "n_samples": int(audio.shape[2]),
        },
        WRITTEN_BY_HAND: checksum(
            [*labels, *tables.values()]
        ),  # so that other such files have another fingerprint
    }


def kind_of(path: Path) -> str | None:
    """Return the kind of a dafxtool file, None for any other file."""
    _check_file_exists(path, "Check the name")
    try:
        with h5py.File(path, "r") as file:
            if read_attribute(file, "format_version") != FORMAT_VERSION:
                return None
            kind = read_attribute(file, "kind")
            return kind if kind in BULK else None
    except DAMAGE_ERRORS:
        return None


def _error_text(error: BaseException) -> str:
    """Return the text of an error on one line."""
    is_key = isinstance(error, KeyError)  # whose text is in quotes
    return " ".join(str(error.args[0] if is_key and error.args else error).split())


def _check_file_exists(path: Path, remedy: str) -> None:
    if path.is_dir():
        raise InputError(f"{path}: is a folder (expected a file). Choose another name.")
    if not path.is_file():
        raise InputError(f"{path}: does not exist. {remedy}.")


def open_file(path: Path, kind: str) -> h5py.File:
    """Open an HDF5 file of a kind and of this format version; FormatError for any other."""
    _check_file_exists(path, f"Make it with 'dafxtool {COMMAND_FOR[kind]}'")
    try:
        file = h5py.File(path, "r")
    except DAMAGE_ERRORS as error:
        raise FormatError(
            f"{path}: is not an HDF5 file that can be opened, or is not finished. Make a {kind} "
            f"file with 'dafxtool {COMMAND_FOR[kind]}'."
        ) from error
    try:
        problem = _kind_problem(file, kind)
    except FileProblem as error:
        problem = f"is not a {kind} file: {error}. See docs/formats.md"
    except DAMAGE_ERRORS as error:
        problem = (
            f"is damaged ({_error_text(error)}). Make it again with 'dafxtool {COMMAND_FOR[kind]}'"
        )
    if problem:
        file.close()
        raise FormatError(f"{path}: {problem}.")
    return file


def _kind_problem(file: h5py.File, kind: str) -> str:
    """Describe a wrong kind or format version; empty where both are right."""
    if "format_version" not in file.attrs:
        return f"holds unknown data, not {kind}. Make it with 'dafxtool {COMMAND_FOR[kind]}'"
    version = read_attribute(file, "format_version")
    if version != FORMAT_VERSION:
        command = next(
            (COMMAND_FOR[each] for each in BULK if BULK[each] in file), COMMAND_FOR[kind]
        )
        return (
            f"has format version {version}, this dafxtool reads version {FORMAT_VERSION}. Make it "
            f"again with 'dafxtool {command}'"
        )
    stored_kind = read_attribute(file, "kind") if "kind" in file.attrs else "unknown data"
    if stored_kind != kind:
        return f"holds {stored_kind}, not {kind}. Make it with 'dafxtool {COMMAND_FOR[kind]}'"
    return ""
