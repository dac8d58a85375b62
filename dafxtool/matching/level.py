"""Give a chain the level of its reference, which the search does not hear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dafxtool.effects.builtin import builtin_effects
from dafxtool.effects.parameter import to_float32
from dafxtool.matching.candidate import LEVEL_PARAMETERS
from dafxtool.matching.chain import Stage, render_chain
from dafxtool.matching.objective import SILENT_RMS, Array, rms

SAME_LEVEL_DB = 0.1  # less than this needs no gain


def level_difference_db(audio: Array, reference: Array) -> float:
    """Return by how many dB the reference is louder, as RMS levels; 0 where one is silent."""
    ours, theirs = rms(audio), rms(reference)
    if min(ours, theirs) < SILENT_RMS:
        return 0.0
    return float(20 * np.log10(theirs / ours))


def settle_level(
    stages: Sequence[Stage],
    dry: Array,
    reference: Array,
    sample_rate: int,
    held: Sequence[str] = (),
    start: int = 0,
) -> tuple[Stage, ...]:
    """Set the last stage's own level parameter so that the levels agree; the rest is a gain.

    held   parameters of the last stage that stay as they are
    start  first sample that counts
    """
    settled = list(stages)
    difference = level_difference_db(
        render_chain(settled, dry, sample_rate)[start:], reference[start:]
    )
    if settled and settled[-1].effect.plugin is None:
        names = LEVEL_PARAMETERS.get(settled[-1].effect.name, ())
        if names and not set(names) & set(held):
            settled[-1], taken = _raised(settled[-1], names, difference)
            difference -= taken
    if abs(difference) > SAME_LEVEL_DB:
        gain = builtin_effects()["gain"]
        limits = gain.parameter("gain")
        value = to_float32(float(np.clip(difference, limits.minimum, limits.maximum)))
        settled.append(Stage(gain, {"gain": value}))
    return tuple(settled)


def _raised(stage: Stage, names: Sequence[str], difference: float) -> tuple[Stage, float]:
    """Raise the parameters together by as much of the difference as their ranges allow."""
    low, high = -np.inf, np.inf
    for name in names:
        parameter = stage.effect.parameter(name)
        low = max(low, parameter.minimum - stage.setting[name])
        high = min(high, parameter.maximum - stage.setting[name])
    taken = float(np.clip(difference, min(low, 0.0), max(high, 0.0)))
    changed = {name: to_float32(stage.setting[name] + taken) for name in names}
    return replace(stage, setting=dict(stage.setting) | changed), taken
