"""Propose rooms of several sizes and levels, from which a refinement reaches the others."""

from __future__ import annotations

from itertools import product

from dafxtool.effects.effect import Effect
from dafxtool.matching.hints.start import Start, clipped
from dafxtool.matching.pair import Pair

SIZES = (25.0, 55.0, 85.0)  # %
MIXES = (20.0, 45.0)  # %


def starts(pair: Pair, effect: Effect) -> list[Start]:
    """Propose size and mix; damping and width have their defaults."""
    return [
        Start(effect, clipped(effect, {"size": size, "mix": mix}))
        for size, mix in product(SIZES, MIXES)
    ]
