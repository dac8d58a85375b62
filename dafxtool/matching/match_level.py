"""Adjust the level of a chain to its reference, because the search ignores the level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dafxtool.effects.builtin import builtin_effects
from dafxtool.effects.parameter import to_float32
from dafxtool.matching.chain import Stage, render_chain
from dafxtool.matching.objective import SILENT_RMS, Array, rms
from dafxtool.matching.search.candidate import LEVEL_PARAMETERS

SAME_LEVEL_DB = 0.1  # smaller differences get no gain stage


def level_difference_db(audio: Array, reference: Array) -> float:
    """Return the RMS level of the reference over that of the audio in dB; 0 if one is silent."""
    own, expected = rms(audio), rms(reference)
    if min(own, expected) < SILENT_RMS:
        return 0.0
    return float(20 * np.log10(expected / own))


def match_level(
    stages: Sequence[Stage],
    dry: Array,
    reference: Array,
    sample_rate: int,
    held: Sequence[str] = (),
    start: int = 0,
) -> tuple[Stage, ...]:
    """Set the level parameter of the last stage so that the levels agree; add a gain for the rest.

    held   parameters of the last stage that are fixed
    start  first sample that counts
    """
    result = list(stages)
    difference = level_difference_db(
        render_chain(result, dry, sample_rate)[start:], reference[start:]
    )
    if result and result[-1].effect.plugin is None:
        names = LEVEL_PARAMETERS.get(result[-1].effect.name, ())
        if names and not set(names) & set(held):
            result[-1], change = _raise_level(result[-1], names, difference)
            difference -= change
    if abs(difference) > SAME_LEVEL_DB:
        gain = builtin_effects()["gain"]
        limits = gain.parameter("gain")
        value = to_float32(float(np.clip(difference, limits.minimum, limits.maximum)))
        result.append(Stage(gain, {"gain": value}))
    return tuple(result)


def _raise_level(stage: Stage, names: Sequence[str], difference: float) -> tuple[Stage, float]:
    """Raise the parameters together by as much of the difference as their ranges allow."""
    low, high = -np.inf, np.inf
    for name in names:
        parameter = stage.effect.parameter(name)
        low = max(low, parameter.minimum - stage.setting[name])
        high = min(high, parameter.maximum - stage.setting[name])
    change = float(np.clip(difference, min(low, 0.0), max(high, 0.0)))
    changed = {name: to_float32(stage.setting[name] + change) for name in names}
    return replace(stage, setting=dict(stage.setting) | changed), change
