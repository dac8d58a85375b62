"""Read the HDF5 files, which may be damaged or come from a stranger."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dafxtool.config import SpectrogramConfig
from dafxtool.errors import ConfigError, FormatError, InputError
from dafxtool.storage.labels import read_labels
from dafxtool.storage.layout import (
    BULK,
    DAMAGES,
    FORMAT_VERSION,
    LATENTS,
    MADE_BY,
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

HAND_MADE = "written_by_hand"  # in the configuration of pairs that `render` did not write


class Hdf5Reader:
    """A complete file, open for reading: `labels`, `configuration` and the bulk, by rows."""

    def __init__(self, path: Path, kind: str) -> None:
        self.path = path
        self._file = open_file(path, kind)
        try:
            self.kind = kind
            self._arrays = Arrays(self._file, path)
            check_row_arrays(self._arrays, kind)
            self._bulk = self._arrays.find(BULK[kind], may_be_packed=True)
            self._row_is_chunk = row_is_chunk(self._bulk)
            self._tables = {
                name: self._arrays.read(name) for name in TABLES if name in self._arrays
            }
            self._check_checksum()
            self._kept = self._rows_kept()
            self.configuration = self._read_configuration()
            self.labels = read_labels(self._arrays, self._tables, *self._segment_size())
            if self._kept is not None:
                self.labels = self.labels.take(self._kept)
            check_descriptions(kind, self.configuration, self.labels)
            self._check_bulk()
        except FileProblem as error:
            self._file.close()
            raise FormatError(
                f"{path} is no complete {kind} file: {error}. Make it again with 'dafxtool "
                f"{MADE_BY[kind]}', or see docs/formats.md."
            ) from error
        except (*DAMAGES, ConfigError, InputError) as error:
            self._file.close()
            raise FormatError(
                f"{path} is damaged ({_reason(error)}). Make it again with 'dafxtool "
                f"{MADE_BY[kind]}'."
            ) from error
        except FormatError:
            self._file.close()
            raise

    def __enter__(self) -> Hdf5Reader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def row_shape(self) -> tuple[int, ...]:
        return tuple(self._bulk.shape[1:])

    @property
    def bytes_a_row(self) -> int:
        return int(np.prod(self._bulk.shape[1:])) * int(self._bulk.dtype.itemsize)

    def fingerprint(self) -> str:
        """SHA-256 of the configuration and all labels: other pairs have another one."""
        labels = self.labels
        found = hashlib.sha256(json.dumps(self.configuration, sort_keys=True).encode())
        found.update(json.dumps([labels.effects, labels.recordings], sort_keys=True).encode())
        for name in ("effect", "setting", "recording", "offset", "split"):
            found.update(np.ascontiguousarray(getattr(labels, name)).tobytes())
        return found.hexdigest()

    def rows(self, rows: NDArray[np.int64] | slice) -> NDArray[Any]:
        """Rows of the bulk, in the order asked for, in the type stored."""
        try:
            if isinstance(rows, slice):
                if self._kept is None and not self._row_is_chunk:
                    return np.asarray(self._bulk[rows])
                rows = np.arange(len(self))[rows]
            if len(rows) == 0:
                return np.empty((0, *self.row_shape), self._bulk.dtype)
            unique, inverse = np.unique(rows, return_inverse=True)
            if unique[0] < 0 or unique[-1] >= len(self):
                raise InputError(
                    f"{self.path} has rows 0 to {len(self) - 1}, not {unique[0]} to {unique[-1]}."
                )
            where = unique if self._kept is None else self._kept[unique]
            if self._row_is_chunk:
                return self._read_chunks(where, inverse)
            return np.asarray(self._read_sorted(where))[inverse]
        except (OSError, RuntimeError) as error:
            raise FormatError(
                f"{self.path} cannot be read ({_reason(error)}). Make it again."
            ) from error

    def _read_chunks(self, where: NDArray[np.int64], inverse: NDArray[np.int64]) -> NDArray[Any]:
        """Rows of the file, each straight to all its places in what was asked for."""
        output = np.empty((len(inverse), *self.row_shape), self._bulk.dtype)
        first = (0,) * (output.ndim - 1)
        known: dict[int, int] = {}
        for position in np.argsort(inverse, kind="stable").tolist():  # forward through the file
            row = int(where[inverse[position]])
            if row in known:
                output[position] = output[known[row]]
                continue
            known[row] = position
            self._bulk.id.read_direct_chunk((row, *first), out=output[position].ravel().view("u1"))
        return output

    def _read_sorted(self, unique: NDArray[np.int64]) -> NDArray[Any]:
        """Runs of neighbouring rows in one read each: an h5py index list is far slower."""
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

    def column(self, name: str) -> NDArray[Any]:
        """A further column, e.g. the standardisation of each spectrogram."""
        try:
            values = np.asarray(self._file[name][:])
            return values if self._kept is None else values[self._kept]
        except KeyError as error:
            raise FormatError(f"{self.path} has no column {name!r}. Make it again.") from error
        except (OSError, RuntimeError) as error:
            raise FormatError(
                f"{self.path} cannot be read ({_reason(error)}). Make it again."
            ) from error

    def table(self, name: str) -> NDArray[Any]:
        """A further table, e.g. the scale of latents."""
        if name not in self._tables:
            raise FormatError(f"{self.path} has no table {name!r}. Make it again.")
        return self._tables[name]

    def failed(self) -> dict[int, str]:
        """Rows of the file that hold no pair, and why; the rows of this reader go without them."""
        if "lost" not in self._arrays:
            return {}
        reasons = self._arrays.read("lost")
        return {
            row: reasons[row].decode("utf-8", "replace")
            for row in np.flatnonzero(reasons != b"").tolist()
        }

    def _rows_kept(self) -> NDArray[np.int64] | None:
        """The rows that hold something, None where all do."""
        failed = self.failed()
        if not failed:
            return None
        return np.setdiff1d(np.arange(len(self._bulk)), list(failed))

    def _check_checksum(self) -> None:
        """FileProblem where configuration and tables are not what was written."""
        if "checksum" not in self._file.attrs:
            return  # written by hand
        text = self._arrays.read("configuration").tobytes()
        contents: list[bytes | NDArray[Any]] = [text, *self._tables.values()]
        if read_attribute(self._file, "checksum") != checksum(contents):
            raise FileProblem("its configuration or tables are not what was written (checksum)")

    def _read_configuration(self) -> dict[str, Any]:
        if "configuration" in self._arrays:
            saved: dict[str, Any] = json.loads(bytes(self._arrays.read("configuration")[()]))
            return saved
        if self.kind != PAIRS:
            raise FileProblem("the array 'configuration' is missing")
        return _hand_made_configuration(self._arrays, self._tables)

    def _segment_size(self) -> tuple[int, int]:
        """Sample rate of the rows in Hz and their length, 1 where a file does not say."""
        about = self.configuration.get("segments" if self.kind == PAIRS else "spectrogram", {})
        return int(about.get("sample_rate", 1)), int(about.get("n_samples", 1))

    def _check_bulk(self) -> None:
        """FileProblem where the shape of a row is not what the configuration says."""
        wanted: tuple[int | str, ...] = ("n", "n_latent")
        if self.kind == PAIRS:
            wanted = ("n", 2, self._segment_size()[1])
        elif self.kind == SPECTROGRAMS:
            wanted = ("n", 2, *SpectrogramConfig(**self.configuration["spectrogram"]).shape)
        check_shape(BULK[self.kind], self._bulk.shape, wanted)
        if self.kind == LATENTS:
            n_latent = self._bulk.shape[1]
            check_shape("scale", self.table("scale").shape, (n_latent,))
            parts = read_table("parts", self.table("parts"))
            stops = [0, *(part["stop"] for part in parts)]
            if [part["start"] for part in parts] != stops[:-1] or stops[-1] != n_latent:
                raise FileProblem(f"the table 'parts' does not divide {n_latent} numbers")


def _hand_made_configuration(arrays: Arrays, tables: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """The least that a configuration of pairs says, from the arrays themselves."""
    audio = arrays.find(BULK[PAIRS], may_be_packed=True)
    check_shape(BULK[PAIRS], audio.shape, ("n", 2, "n_samples"))
    if "sample_rate" not in audio.attrs:
        raise FileProblem("the attribute 'sample_rate' (Hz) of the array 'audio' is missing")
    kind = h5py.h5a.open(audio.id, b"sample_rate").get_type().get_class()
    if kind not in (h5py.h5t.INTEGER, h5py.h5t.FLOAT):
        raise FileProblem("the attribute 'sample_rate' of the array 'audio' is no number")
    labels = [arrays.read(name) for name in ("effect", "split", "recording")]
    return {
        "segments": {
            "sample_rate": int(audio.attrs["sample_rate"]),
            "n_samples": int(audio.shape[2]),
        },
        HAND_MADE: checksum([*labels, *tables.values()]),  # tells two such files apart
    }


def kind_of(path: Path) -> str | None:
    """The kind of a dafxtool file, None for anything else that can be read."""
    _check_there(path, "check the name")
    try:
        with h5py.File(path, "r") as file:
            if read_attribute(file, "format_version") != FORMAT_VERSION:
                return None
            found = read_attribute(file, "kind")
            return found if found in BULK else None
    except DAMAGES:
        return None


def _reason(error: BaseException) -> str:
    """An error's text on one line, to stand in brackets in a sentence."""
    is_key = isinstance(error, KeyError)  # whose text is in quotes
    return " ".join(str(error.args[0] if is_key and error.args else error).split())


def _check_there(path: Path, remedy: str) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a file.")
    if not path.is_file():
        raise InputError(f"{path} does not exist: {remedy}.")


def open_file(path: Path, kind: str) -> h5py.File:
    """An HDF5 file of that kind and of this format version."""
    _check_there(path, f"make it with 'dafxtool {MADE_BY[kind]}'")
    try:
        file = h5py.File(path, "r")
    except DAMAGES as error:
        raise FormatError(
            f"{path} is no HDF5 file that can be opened, or is not finished: wanted a {kind} file, "
            f"made by 'dafxtool {MADE_BY[kind]}'."
        ) from error
    try:
        problem = _other_kind(file, kind)
    except FileProblem as error:
        problem = f"is no {kind} file: {error}. See docs/formats.md"
    except DAMAGES as error:
        problem = f"is damaged ({_reason(error)}). Make it again with 'dafxtool {MADE_BY[kind]}'"
    if problem:
        file.close()
        raise FormatError(f"{path} {problem}.")
    return file


def _other_kind(file: h5py.File, kind: str) -> str:
    """What is wrong with a file's kind or version; empty where nothing is."""
    if "format_version" not in file.attrs:
        return f"holds an unknown kind of file, not {kind}: make it with 'dafxtool {MADE_BY[kind]}'"
    version = read_attribute(file, "format_version")
    if version != FORMAT_VERSION:
        command = next((MADE_BY[each] for each in BULK if BULK[each] in file), MADE_BY[kind])
        return (
            f"has format version {version}, this dafxtool reads version {FORMAT_VERSION}. Make it "
            f"again with 'dafxtool {command}'"
        )
    found = read_attribute(file, "kind") if "kind" in file.attrs else "an unknown kind of file"
    if found != kind:
        return f"holds {found}, not {kind}: make it with 'dafxtool {MADE_BY[kind]}'"
    return ""
