"""Is what a file says of itself what is written there? It may come from a stranger.

A digest tells damage, not intent: whoever makes a file makes its digest too. So that no later line
meets a text where it counts on a number, everything is looked at once, when the file is opened.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import lru_cache
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from dafxtool.config import SPLITS, SegmentConfig, SpectrogramConfig
from dafxtool.effects.effect import Effect
from dafxtool.storage.layout import (
    LATENTS,
    PAIRS,
    SPECTROGRAMS,
    Labels,
)

OF_RECORDING = {"path": str, "folder": str}
OF_RENDERED_RECORDING = {
    **OF_RECORDING,
    **{"split": str, "sample_rate": int, "n_channels": int, "n_samples": int, "track": int},
    "n_samples_native": int,
}


def check_labels(labels: Labels) -> None:
    """ValueError where rows are labelled with what the file does not know."""
    n_rows = len(labels)
    for name, known in (
        ("effect", labels.effects),
        ("recording", labels.recordings),
        ("split", SPLITS),
    ):
        codes = getattr(labels, name)
        if codes.shape != (n_rows,) or not ((codes >= 0) & (codes < len(known))).all():
            raise ValueError(f"{name!r} of some rows is none of {len(known)}")
    if labels.setting.ndim != 2 or {
        n_rows,
        len(labels.setting),
        len(labels.setting_text),
        len(labels.offset),
    } != {n_rows}:
        raise ValueError("its columns differ in length")


def check_descriptions(kind: str, configuration: Any, labels: Labels) -> None:
    """An error of DAMAGES, or a ConfigError, where the texts do not describe such a file.

    kind  of the file: pairs, spectrograms or latents
    """
    effects = [Effect.from_dict(described) for described in labels.effects]
    for effect in effects:
        check_types(effect)
    _check_settings(effects, labels)
    for recording in labels.recordings:
        _check_table(recording, OF_RENDERED_RECORDING if kind == PAIRS else OF_RECORDING)
    if kind == PAIRS:
        _check_table(configuration, {"segments": dict})
        check_types(SegmentConfig(**configuration["segments"]))
    elif kind == SPECTROGRAMS:
        _check_table(
            configuration, {"spectrogram": dict, "mean": float, "deviation": float, "pairs": dict}
        )
        check_types(SpectrogramConfig(**configuration["spectrogram"]))
    elif kind == LATENTS:
        _check_table(configuration, {"run": str, "n_content": int, "scale": list})


def _check_settings(effects: Sequence[Effect], labels: Labels) -> None:
    """ValueError where a parameter has no value, or none of its choices."""
    for index, effect in enumerate(effects):
        values = labels.setting[labels.effect == index]
        if values.shape[1] < len(effect.parameters):
            raise ValueError(f"{effect.name!r} has more parameters than there are columns")
        for column, parameter in zip(values.T, effect.parameters, strict=False):
            highest = len(parameter.choices) - 1 if parameter.choices else math.inf
            if not (np.isfinite(column).all() and (np.round(column) <= highest).all()):
                raise ValueError(f"{parameter.name!r} of some rows has no value that there is")
            if parameter.choices and (column < 0).any():
                raise ValueError(f"{parameter.name!r} of some rows has no value that there is")


def _check_table(table: Any, wanted: Mapping[str, Any]) -> None:
    if not isinstance(table, dict):
        raise TypeError(f"{table!r:.40} is no table")
    for name, hint in wanted.items():
        if not _fits(table[name], hint):
            raise TypeError(f"{name} = {table[name]!r:.40} is of another type")


def check_types(made: Any) -> None:
    """TypeError where a dataclass, or one in it, holds what its annotations do not tell of."""
    kind: type = type(made)
    hints = _hints(kind)
    for each in fields(made):
        value = getattr(made, each.name)
        if not _fits(value, hints[each.name]):
            raise TypeError(f"{each.name} = {value!r:.40} is of another type")
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
