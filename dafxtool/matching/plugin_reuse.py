"""Decide whether a plugin may stay loaded between the evaluations of a search.

Loading a plugin takes 100 times as long as a new instance of it. A plugin with global state may
then depend on earlier evaluations, so both are compared first.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from dafxtool.effects.apply import apply
from dafxtool.effects.effect import Effect
from dafxtool.effects.parameter import Parameter
from dafxtool.errors import EffectError

TEST_SECONDS = 0.5
LARGEST_DIFFERENCE = 1e-4  # of the peak


@lru_cache(maxsize=16)
def stays_loaded(effect: Effect, sample_rate: int) -> bool:
    """Return whether a plugin gives the same audio if it stays loaded between two settings."""
    if effect.plugin is None or not effect.plugin.repeatable:
        return False
    rng = np.random.default_rng(0)
    noise = 0.1 * rng.standard_normal(round(TEST_SECONDS * sample_rate)).astype(np.float32)
    settings = [{p.name: _at(p, share) for p in effect.parameters} for share in (0.3, 0.6)]
    try:
        expected = apply(effect, noise, sample_rate, settings[0])[0]
        for setting in reversed(settings):
            found = apply(effect, noise, sample_rate, setting, keep_loaded=True)[0]
    except EffectError:
        return False
    peak = float(np.abs(expected).max())
    return float(np.abs(found - expected).max()) <= LARGEST_DIFFERENCE * peak


def _at(parameter: Parameter, share: float) -> float:
    """Return the value at a share (0 to 1) of the usual range or of the choices."""
    low, high = parameter.usual_ends()
    return parameter.from_normalised(low + share * (high - low))
