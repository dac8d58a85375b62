"""Check the contents of a file before use: it may be damaged or malicious.

A checksum detects damage, but not intent: the author of a file also writes its checksum. Everything
is therefore checked once, when the file is opened. Types are checked before values are read,
because libhdf5 crashes on some damaged types and hangs on variable-length text.
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

# Arrays of one value per row, with the expected type, in the order of the checks.
ROW_ARRAYS = {
    "row": "integers",
    "effect": "integers or an enum of effect names",
    "split": "an enum of train, validation and test",
    "recording": "integers",
    "offset": "integers",
    "setting_text": "fixed-length text",
    "lost": "fixed-length text",
    "mean": "floating-point numbers",
    "std": "floating-point numbers",
    "dry_gain_db": "floating-point numbers",
    "wet_gain_db": "floating-point numbers",
}
REQUIRED = ("effect", "split", "recording")
LARGEST_COMPRESSION = 1100  # of gzip, the largest ratio among the common filters
H5T = h5py.h5t


class Arrays:
    """The arrays of a file, each checked before it is used.

    FormatError for an array that is a link to another file: HDF5 would follow the link and read any
    file of this disk into a report, or overwrite it.
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
            is_own = group.id.links.get_info(name.encode()).type == h5py.h5l.TYPE_HARD
            item = group[name] if is_own else None
            if isinstance(item, h5py.Dataset):
                stored = item.id.get_create_plist()
                is_virtual = stored.get_layout() == h5py.h5d.VIRTUAL
                is_own = not is_virtual and not stored.get_external_count()
            if not is_own:
                group.file.close()
                raise FormatError(
                    f"{path}: {prefix + name!r} leads to another file, which may be any file of "
                    "this computer. Make the file again, or ask for one without links."
                )
            self._items[prefix + name] = item

    def __contains__(self, name: str) -> bool:
        return name in self._items

    def find(
        self, name: str, expected: str = "text of a fixed length", may_be_compressed: bool = False
    ) -> h5py.Dataset:
        """Return an array after a check of its type and size.

        expected           type that the error names for variable-length text
        may_be_compressed  the array may be larger in memory than the file

        FileProblem where it is missing, or has a type or size that dafxtool never writes.
        """
        if name not in self._items:
            raise FileProblem(f"the array {name!r} is missing")
        array = self._items[name]
        if not isinstance(array, h5py.Dataset):
            raise FileProblem(f"{name!r} is a group, expected an array")
        kind = array.id.get_type()
        _check_type(name, kind, expected)
        n_bytes, limit = math.prod(array.shape) * kind.get_size(), self._n_bytes
        if may_be_compressed and array.id.get_create_plist().get_nfilters():
            limit *= LARGEST_COMPRESSION
        if n_bytes > limit:
            raise FileProblem(
                f"{name!r} of shape {array.shape} takes {n_bytes:,} bytes, more than the file has"
            )
        return array

    def read(self, name: str) -> NDArray[Any]:
        """Read an array."""
        return np.asarray(self.find(name)[()])


def _check_type(name: str, hdf5_type: Any, expected: str, is_column: bool = False) -> None:
    """Raise FileProblem for an HDF5 type that dafxtool never writes."""
    kind = hdf5_type.get_class()
    if kind == H5T.STRING and hdf5_type.is_variable_str():
        raise FileProblem(f"{name!r} is variable-length text, expected {expected}")
    if kind == H5T.COMPOUND and not is_column:
        for index in range(hdf5_type.get_nmembers()):
            _check_type(name, hdf5_type.get_member_type(index), expected, is_column=True)
    elif kind == H5T.ARRAY and is_column:
        _check_type(name, hdf5_type.get_super(), expected, is_column=True)
    elif kind not in (H5T.INTEGER, H5T.FLOAT, H5T.STRING, H5T.ENUM):
        raise FileProblem(f"{name!r} has an unsupported type")


def read_attribute(file: h5py.File, name: str) -> Any:
    """Read an attribute that is text or a whole number. libhdf5 crashes on some other types.

    KeyError where there is none, FileProblem for another type.
    """
    hdf5_type = h5py.h5a.open(file.id, name.encode()).get_type()
    if hdf5_type.get_class() == H5T.STRING and hdf5_type.is_variable_str():
        raise FileProblem(
            f"the attribute {name!r} is variable-length text, expected a fixed length, as "
            "numpy.bytes_(...) gives"
        )
    if hdf5_type.get_class() not in (H5T.STRING, H5T.INTEGER):
        raise FileProblem(f"the attribute {name!r} is neither text nor a whole number")
    value = file.attrs[name]
    return value.decode() if isinstance(value, bytes) else int(value)


def check_row_arrays(arrays: Arrays, kind: str) -> None:
    """Raise FileProblem for a missing array, or one of another type or length than the rows."""
    bulk = arrays.find(BULK[kind], may_be_compressed=True)
    if not np.issubdtype(bulk.dtype, np.floating):
        raise FileProblem(f"{BULK[kind]!r} has type {bulk.dtype}, expected float32 or float16")
    for name, expected in ROW_ARRAYS.items():
        if name not in arrays and name not in REQUIRED:
            continue
        array = arrays.find(name, expected)
        is_text, is_float = "text" in expected, "floating" in expected
        if array.dtype.kind not in ("S" if is_text else "f" if is_float else "iu"):
            raise FileProblem(f"{name!r} has type {array.dtype}, expected {expected}")
        if array.shape != bulk.shape[:1]:
            raise FileProblem(
                f"{name!r} has shape {array.shape}, expected {bulk.shape[:1]}: one for each row of "
                f"{BULK[kind]!r}"
            )


def check_shape(name: str, actual: Sequence[int], expected: Sequence[int | str]) -> None:
    """Raise FileProblem for another shape; text in `expected` stands for any length."""
    fits = len(actual) == len(expected) and all(
        isinstance(length, str) or length == size
        for size, length in zip(actual, expected, strict=False)
    )
    if not fits:
        shape = f"({', '.join(map(str, expected))})"
        raise FileProblem(f"{name!r} has shape {tuple(actual)}, expected {shape}")


def check_descriptions(kind: str, configuration: Any, labels: Labels) -> None:
    """Check that configuration and effects describe a file of this kind.

    Raises one of DAMAGE_ERRORS, or ConfigError.
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
    """Raise FileProblem for a value that is not finite, or not one of the choices."""
    for index, effect in enumerate(effects):
        values = labels.setting[labels.effect == index]
        for column, parameter in zip(values.T, effect.parameters, strict=False):
            fits = np.isfinite(column).all()
            if fits and parameter.choices:
                highest = len(parameter.choices) - 1
                fits = (column >= 0).all() and (np.round(column) <= highest).all()
            if not fits:
                raise FileProblem(
                    f"a setting of {parameter.name!r} in 'settings/{effect.name}' is not a finite "
                    "number, or not one of its choices"
                )


def _check_table(table: Any, expected: Mapping[str, Any]) -> None:
    """Raise FileProblem for a missing key of the configuration, or a value of another type."""
    if not isinstance(table, dict):
        raise FileProblem(f"the configuration is {table!r:.40}, expected a table")
    for name, hint in expected.items():
        if name not in table or not _fits(table[name], hint):
            raise FileProblem(
                f"the configuration has {name} = {table.get(name)!r:.40}, expected {hint.__name__}"
            )


def check_types(instance: Any) -> None:
    """Raise FileProblem where a field of a dataclass, or of one in it, has another type."""
    kind: type = type(instance)
    hints = _hints(kind)
    for each in fields(instance):
        value = getattr(instance, each.name)
        if not _fits(value, hints[each.name]):
            raise FileProblem(f"{each.name} = {value!r:.40} has an unexpected type")
        for inner in value if isinstance(value, tuple) else (value,):
            if is_dataclass(inner):
                check_types(inner)


@lru_cache(maxsize=64)
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _fits(value: Any, hint: Any) -> bool:
    """Check a value against a type hint."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if parts[1:] == (Ellipsis,):
            return all(_fits(each, parts[0]) for each in value)
        return len(value) == len(parts) and all(map(_fits, value, parts))
    if hint is float:  # JSON does not distinguish 1 and 1.0
        return isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer too large for a float
        return False
