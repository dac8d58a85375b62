"""A starting point of the search for one effect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dafxtool.effects.effect import Effect
from dafxtool.effects.parameter import Parameter

DEVIATION = 0.1  # of a coordinate that nothing is known about, in parts of the range


@dataclass(frozen=True)
class Start:
    """Values to start from, and how far off each may be.

    setting     values of all or some parameters; the default stands for the others
    deviations  standard deviation of a parameter in parts of its range; 0 holds it
    phase       of the oscillator, in cycles
    score       the hint's own error, to choose between starts of one effect; lower is better
    """

    effect: Effect
    setting: Mapping[str, float] = field(default_factory=dict)
    deviations: Mapping[str, float] = field(default_factory=dict)
    phase: float = 0.0
    score: float = 0.0


def clipped(effect: Effect, setting: Mapping[str, float]) -> dict[str, float]:
    """Return the values moved to the nearest end of their range where they lie beyond it."""
    limits = {p.name: p for p in effect.parameters}
    return {
        name: float(min(max(value, limits[name].minimum), limits[name].maximum))
        for name, value in setting.items()
    }


def usual_range(parameter: Parameter) -> tuple[float, float]:
    """Return the values between which settings are mostly set."""
    low, high = parameter.usual_ends()
    return parameter.from_normalised(low), parameter.from_normalised(high)
