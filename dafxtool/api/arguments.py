"""Convert arguments of the Python functions: text to paths, one value to a list."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from dafxtool.config import SPLITS
from dafxtool.effects.effect import EffectChoice
from dafxtool.errors import InputError
from dafxtool.utils.progress import SILENT, Progress

PathLike: TypeAlias = "str | os.PathLike[str]"
Paths: TypeAlias = "PathLike | Iterable[PathLike] | None"
EffectLike: TypeAlias = "str | EffectChoice"
Effects: TypeAlias = "EffectLike | Iterable[EffectLike] | None"
T = TypeVar("T")

__all__ = ["SILENT", "EffectLike", "Effects", "PathLike", "Paths", "Progress"]


def as_path(path: PathLike | None) -> Path | None:
    return None if path is None else Path(path)


def as_paths(paths: Paths) -> list[Path]:
    """Return one path, several or None as a list."""
    if paths is None:
        return []
    if isinstance(paths, (str, os.PathLike)):
        return [Path(paths)]
    return [Path(path) for path in paths]


def as_effects(effects: Effects) -> list[EffectLike]:
    """Return one effect, several or None as a list."""
    if effects is None:
        return []
    if isinstance(effects, (str, EffectChoice)):
        return [effects]
    return list(effects)


def as_splits(split: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """Return split names; "all" is every split, None leaves the choice to the stage."""
    if split is None:
        return None
    names = SPLITS if split == "all" else (split,) if isinstance(split, str) else tuple(split)
    for name in names:
        if name not in SPLITS:
            raise InputError(f"unknown split {name!r}. Use {', '.join(SPLITS)} or all.")
    return names


def is_hdf5(path: Path) -> bool:
    return path.suffix.lower() in (".h5", ".hdf5")


def reading_values(channel: str | int | None, min_mean_square: float | None) -> dict[str, Any]:
    """Return the values of a segment configuration that are given, by name."""
    reading = {"channel": None if channel is None else str(channel)}
    return {
        name: value
        for name, value in {**reading, "min_mean_square": min_mean_square}.items()
        if value is not None
    }
