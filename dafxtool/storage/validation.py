"""Check what a file contains before it is used. It may be damaged, or come from a stranger.

A checksum detects damage, not intent: whoever writes a file writes its checksum too. Everything is
therefore checked once, when the file is opened, so that no later line meets text where it expects
a number. Types are read from the file's own description first: libhdf5 crashes on some that damage
makes, and hangs on variable-length text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import h5py
import numpy as np
from numpy.typing import NDArray

from dafxtool.config import SegmentConfig, SpectrogramConfig
from dafxtool.effects.effect import Effect
from dafxtool.errors import FormatError
from dafxtool.storage.layout import (
    BULK,
    LATENTS,
    PAIRS,
    SETTINGS,
    SPECTROGRAMS,
    FileProblem,
    Labels,
)

# Bulk and labels in the order in which they are checked and described.
ROW_ARRAYS = {
    "effect": "integers or an enum of effect names",
    "split": "an enum of train, validation and test",
    "recording": "integers",
    "offset": "integers",
    "setting_text": "fixed-length text",
    "lost": "fixed-length text",
    "mean": "floating-point numbers",
    "std": "floating-point numbers",
}
REQUIRED = ("effect", "split", "recording")
LARGEST_COMPRESSION = 1100  # of gzip, the least dense that is common
H5T = h5py.h5t


class Arrays:
    """The arrays of a file, opened once, each checked before it is used.

    FormatError where an array lies elsewhere: a stranger's file may name any file of this disk.
    HDF5 would follow it, read it into a report, or write over it.
    """

    def __init__(self, file: h5py.File, path: Path) -> None:
        self._n_bytes = file.id.get_filesize()
        self._items: dict[str, h5py.Dataset | h5py.Group] = {}
        self._add(file, "", path)
        settings = self._items.get(SETTINGS)
        if isinstance(settings, h5py.Group):
            self._add(settings, f"{SETTINGS}/", path)

    def _add(self, group: h5py.Group, prefix: str, path: Path) -> None:
        for name in group:
            inside = group.id.links.get_info(name.encode()).type == h5py.h5l.TYPE_HARD
            item = group[name] if inside else None
            if isinstance(item, h5py.Dataset):
                stored = item.id.get_create_plist()
                is_virtual = stored.get_layout() == h5py.h5d.VIRTUAL
                inside = not is_virtual and not stored.get_external_count()
            if not inside:
                group.file.close()
                raise FormatError(
                    f"{path}: {prefix + name!r} leads to another place, which may be any file of "
                    "yours. Make the file again, or ask for one that holds its data itself."
                )
            self._items[prefix + name] = item

    def __contains__(self, name: str) -> bool:
        return name in self._items

    def find(
        self, name: str, wanted: str = "text of a fixed length", may_be_packed: bool = False
    ) -> h5py.Dataset:
        """An array of a type that is written, and of a size that fits the file.

        wanted         named in place of text of variable length
        may_be_packed  whether it may be compressed, and then take more memory than the file
        """
        if name not in self._items:
            raise FileProblem(f"the array {name!r} is missing")
        array = self._items[name]
        if not isinstance(array, h5py.Dataset):
            raise FileProblem(f"{name!r} is a group, expected an array")
        kind = array.id.get_type()
        _check_type(name, kind, wanted)
        n_bytes, limit = math.prod(array.shape) * kind.get_size(), self._n_bytes
        if may_be_packed and array.id.get_create_plist().get_nfilters():
            limit *= LARGEST_COMPRESSION
        if n_bytes > limit:
            raise FileProblem(
                f"{name!r} of shape {array.shape} would take {n_bytes:,} bytes, more than the file "
                "has"
            )
        return array

    def read(self, name: str) -> NDArray[Any]:
        """All of an array."""
        return np.asarray(self.find(name)[()])


def _check_type(name: str, found: Any, wanted: str, is_column: bool = False) -> None:
    kind = found.get_class()
    if kind == H5T.STRING and found.is_variable_str():
        raise FileProblem(f"{name!r} is variable-length text, expected {wanted}")
    if kind == H5T.COMPOUND and not is_column:
        for index in range(found.get_nmembers()):
            _check_type(name, found.get_member_type(index), wanted, is_column=True)
    elif kind == H5T.ARRAY and is_column:
        _check_type(name, found.get_super(), wanted, is_column=True)
    elif kind not in (H5T.INTEGER, H5T.FLOAT, H5T.STRING, H5T.ENUM):
        raise FileProblem(f"{name!r} has a type that is never written")


def read_attribute(file: h5py.File, name: str) -> Any:
    """A text or a whole number; libhdf5 crashes on other types that damage makes of them.

    KeyError where there is none
    """
    found = h5py.h5a.open(file.id, name.encode()).get_type()
    if found.get_class() == H5T.STRING and found.is_variable_str():
        raise FileProblem(
            f"the attribute {name!r} is variable-length text, expected a fixed length: write it "
            "with numpy.bytes_(...)"
        )
    if found.get_class() not in (H5T.STRING, H5T.INTEGER):
        raise FileProblem(f"the attribute {name!r} is neither text nor a whole number")
    value = file.attrs[name]
    return value.decode() if isinstance(value, bytes) else int(value)


def check_row_arrays(arrays: Arrays, kind: str) -> None:
    """FileProblem where an array of one value per row is missing, or of another type or length."""
    bulk = arrays.find(BULK[kind], may_be_packed=True)
    if not np.issubdtype(bulk.dtype, np.floating):
        raise FileProblem(f"{BULK[kind]!r} has type {bulk.dtype}, expected float32 or float16")
    for name, wanted in ROW_ARRAYS.items():
        if name not in arrays and name not in REQUIRED:
            continue
        array = arrays.find(name, wanted)
        is_text, is_float = "text" in wanted, "floating" in wanted
        if array.dtype.kind not in ("S" if is_text else "f" if is_float else "iu"):
            raise FileProblem(f"{name!r} has type {array.dtype}, expected {wanted}")
        if array.shape != bulk.shape[:1]:
            raise FileProblem(
                f"{name!r} has shape {array.shape}, expected {bulk.shape[:1]}: one for each row of "
                f"{BULK[kind]!r}"
            )


def check_shape(name: str, found: Sequence[int], wanted: Sequence[int | str]) -> None:
    """FileProblem where the shape differs; a text in `wanted` stands for any length."""
    fits = len(found) == len(wanted) and all(
        isinstance(length, str) or length == size
        for size, length in zip(found, wanted, strict=False)
    )
    if not fits:
        shape = f"({', '.join(map(str, wanted))})"
        raise FileProblem(f"{name!r} has shape {tuple(found)}, expected {shape}")


def check_descriptions(kind: str, configuration: Any, labels: Labels) -> None:
    """An error of DAMAGES, or a ConfigError, where the texts do not describe such a file.

    kind  of the file: pairs, spectrograms or latents
    """
    effects = [Effect.from_dict(described) for described in labels.effects]
    for effect in effects:
        if not effect.name or not all(parameter.name for parameter in effect.parameters):
            raise FileProblem("an effect, or one of its parameters, has no name")
        check_types(effect)
    _check_settings(effects, labels)
    if kind == PAIRS:
        _check_table(configuration, {"segments": dict})
        check_types(SegmentConfig(**configuration["segments"]))
    elif kind == SPECTROGRAMS:
        _check_table(
            configuration, {"spectrogram": dict, "mean": float, "std": float, "pairs": dict}
        )
        check_types(SpectrogramConfig(**configuration["spectrogram"]))
    elif kind == LATENTS:
        _check_table(configuration, {"run": str})


def _check_settings(effects: Sequence[Effect], labels: Labels) -> None:
    """FileProblem where a parameter has no value, or none of its choices."""
    for index, effect in enumerate(effects):
        values = labels.setting[labels.effect == index]
        for column, parameter in zip(values.T, effect.parameters, strict=False):
            fits = np.isfinite(column).all()
            if fits and parameter.choices:
                highest = len(parameter.choices) - 1
                fits = (column >= 0).all() and (np.round(column) <= highest).all()
            if not fits:
                raise FileProblem(
                    f"a setting of {parameter.name!r} in 'settings/{effect.name}' is no number, or "
                    "none of its choices"
                )


def _check_table(table: Any, wanted: Mapping[str, Any]) -> None:
    if not isinstance(table, dict):
        raise FileProblem(f"the configuration is {table!r:.40}, expected a table")
    for name, hint in wanted.items():
        if name not in table or not _fits(table[name], hint):
            raise FileProblem(
                f"the configuration has {name} = {table.get(name)!r:.40}, expected {hint.__name__}"
            )


def check_types(made: Any) -> None:
    """FileProblem where a dataclass, or one in it, holds what its annotations do not allow."""
    kind: type = type(made)
    hints = _hints(kind)
    for each in fields(made):
        value = getattr(made, each.name)
        if not _fits(value, hints[each.name]):
            raise FileProblem(f"{each.name} = {value!r:.40} is of another type than expected")
        for inner in value if isinstance(value, tuple) else (value,):
            if is_dataclass(inner):
                check_types(inner)


@lru_cache(maxsize=64)
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _fits(value: Any, hint: Any) -> bool:
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if parts[1:] == (Ellipsis,):
            return all(_fits(each, parts[0]) for each in value)
        return len(value) == len(parts) and all(map(_fits, value, parts))
    if hint is float:  # JSON knows no difference between 1 and 1.0
        return isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False
