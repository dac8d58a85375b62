"""Reading the HDF5 files, which may be damaged or come from a stranger."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dafxtool import heaps
from dafxtool.errors import ConfigError, FormatError, InputError
from dafxtool.storage.layout import (
    BULK,
    DAMAGES,
    FORMAT_VERSION,
    LATENTS,
    PAIRS,
    SPECTROGRAMS,
    Labels,
    check_inside,
    checksum,
    row_is_chunk,
)
from dafxtool.storage.validation import check_descriptions, check_labels


class Hdf5Reader:
    """A complete file, open for reading: `labels`, `configuration` and the bulk, by rows."""

    def __init__(self, path: Path, kind: str) -> None:
        self.path = path
        self._file = open_file(path, kind)
        try:
            self.kind = kind
            check_inside(self._file, path)
            self._check_arrays()
            self._check_texts()
            self.configuration: dict[str, Any] = json.loads(_attribute(self._file, "configuration"))
            self._kept = self._rows_kept()
            self.labels = self._read_labels()
            if self._kept is not None:
                self.labels = self.labels.take(self._kept)
            check_labels(self.labels)
            check_descriptions(kind, self.configuration, self.labels)
            self._bulk = self._file[BULK[kind]]
            self._row_is_chunk = row_is_chunk(self._bulk)
            n_kept = len(self._bulk) if self._kept is None else len(self._kept)
            if n_kept != len(self.labels) or not np.issubdtype(self._bulk.dtype, np.floating):
                raise FormatError(f"{path}: {BULK[kind]!r} does not fit its labels: make it again.")
        except (*DAMAGES, ConfigError, InputError) as error:
            self._file.close()
            raise FormatError(
                f"{path} is damaged or incomplete ({_reason(error)}): make it again."
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

    def identity(self) -> str:
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
                f"{self.path} cannot be read ({_reason(error)}): make it again."
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
            raise FormatError(f"{self.path} has no column {name!r}: make it again.") from error
        except (OSError, RuntimeError) as error:
            raise FormatError(
                f"{self.path} cannot be read ({_reason(error)}): make it again."
            ) from error

    def _check_arrays(self) -> None:
        """ValueError where an array cannot be what was written.

        libhdf5 crashes on types that damage makes, and fills the memory with shapes that it makes.
        """
        n_bytes = self._file.id.get_filesize()
        for name in self._file:
            array = self._file[name]
            if not isinstance(array, h5py.Dataset):
                raise ValueError(f"{name!r} is no array")
            is_text = h5py.check_string_dtype(array.dtype) is not None
            if array.dtype.kind not in "iufS" and not is_text:
                raise ValueError(f"{name!r} has a type that is never written")
            if math.prod(array.shape) * array.dtype.itemsize > n_bytes:
                raise ValueError(f"{name!r} would be larger than the file")

    def _check_texts(self) -> None:
        """ValueError where the texts are not those that were written, or cannot be read."""
        for name in ("effects", "recordings"):
            table = self._file[name]
            position = table.id.get_offset()
            if position and not heaps.texts_are_sound(self.path, position, table.size):
                raise ValueError(f"the heap of {name!r} is broken")
        texts = [
            _attribute(self._file, "configuration"),
            *(text for name in ("effects", "recordings") for text in self._file[name].asstr()[:]),
        ]
        if "digest" in self._file.attrs and _attribute(self._file, "digest") != checksum(texts):
            raise ValueError("its texts are not those that were written")

    def lost(self) -> dict[int, str]:
        """Rows of the file that hold no pair, and why; the rows of this reader go without them."""
        if "lost" not in self._file:
            return {}
        reasons = np.asarray(self._file["lost"][:])
        return {
            row: reasons[row].decode("utf-8", "replace")
            for row in np.flatnonzero(reasons != b"").tolist()
        }

    def _rows_kept(self) -> NDArray[np.int64] | None:
        """The rows that hold something, None where all do."""
        lost = self.lost()
        if not lost:
            return None
        return np.setdiff1d(np.arange(len(self._file["lost"])), list(lost))

    def _read_labels(self) -> Labels:
        file = self._file
        return Labels(
            effect=np.asarray(file["effect"][:], dtype=np.int64),
            setting=np.asarray(file["setting"][:], dtype=np.float64),
            setting_text=[text.decode("utf-8", "replace") for text in file["setting_text"][:]],
            recording=np.asarray(file["recording"][:], dtype=np.int64),
            offset=np.asarray(file["offset"][:], dtype=np.int64),
            split=np.asarray(file["split"][:], dtype=np.int64),
            effects=[json.loads(text) for text in file["effects"].asstr()[:]],
            recordings=[json.loads(text) for text in file["recordings"].asstr()[:]],
        )


def kind_of(path: Path) -> str | None:
    """The kind of a dafxtool file, None for anything else that can be read."""
    _check_there(path, "check the name")
    try:
        with _opened(path) as file:
            return str(_attribute(file, "kind")) or None
    except DAMAGES:
        return None


def _opened(path: Path) -> h5py.File:
    if not heaps.front_is_sound(path, ("kind", "configuration")):
        raise OSError("its heap is broken")
    return h5py.File(path, "r")


def _attribute(file: h5py.File, name: str) -> Any:
    """A text or a whole number; libhdf5 crashes on other types that damage makes of them.

    KeyError where there is none, ValueError where it is neither
    """
    kind = h5py.h5a.open(file.id, name.encode()).get_type()
    is_text = kind.get_class() == h5py.h5t.STRING and kind.is_variable_str()
    if not is_text and kind.get_class() != h5py.h5t.INTEGER:
        raise ValueError(f"{name!r} is neither a text nor a number")
    value = file.attrs[name]
    return str(value) if is_text else int(value)


def _reason(error: BaseException) -> str:
    """An error's text on one line, to stand in brackets in a sentence."""
    return " ".join(str(error.args[0] if error.args else error).split())


def _check_there(path: Path, remedy: str) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a file.")
    if not path.is_file():
        raise InputError(f"{path} does not exist: {remedy}.")


def open_file(path: Path, kind: str) -> h5py.File:
    made_by = {PAIRS: "render", SPECTROGRAMS: "spectrogram", LATENTS: "embed"}[kind]
    _check_there(path, f"make it with 'dafxtool {made_by}'")
    try:
        file = _opened(path)
    except DAMAGES as error:
        raise FormatError(
            f"{path} is no HDF5 file that can be opened, or is not finished: wanted a {kind} file, "
            f"made by 'dafxtool {made_by}'."
        ) from error
    try:
        found = str(_attribute(file, "kind"))
        version = _attribute(file, "format_version")
    except DAMAGES:
        found, version = "an unknown kind of file", 0
    if found != kind:
        file.close()
        raise FormatError(f"{path} holds {found}, not {kind}: make it with 'dafxtool {made_by}'.")
    if version != FORMAT_VERSION:
        file.close()
        raise FormatError(
            f"{path} has format version {version}, this dafxtool reads {FORMAT_VERSION}: make it "
            "again."
        )
    return file
