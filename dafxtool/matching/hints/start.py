"""Define the starting point of the search for one effect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dafxtool.effects.effect import Effect

DEVIATION = 0.1  # expected error of a parameter without a hint, as a share of the range


@dataclass(frozen=True)
class Start:
    """A setting to start from, and the expected error of each value.

    setting     values of all or some parameters; others have their default
    deviations  standard deviation of a parameter as a share of its range; 0 fixes it
    phase       of the oscillator, in cycles
    score       error of the hint, to choose between starts of one effect; lower is better
    """

    effect: Effect
    setting: Mapping[str, float] = field(default_factory=dict)
    deviations: Mapping[str, float] = field(default_factory=dict)
    phase: float = 0.0
    score: float = 0.0


def clipped(effect: Effect, setting: Mapping[str, float]) -> dict[str, float]:
    """Clip values to the ranges of their parameters."""
    limits = {p.name: p for p in effect.parameters}
    return {
        name: float(min(max(value, limits[name].minimum), limits[name].maximum))
        for name, value in setting.items()
    }


def fitted(start: Start, effect: Effect, held: Mapping[str, float]) -> Start | None:
    """Return a start for an effect with its ranges here; None if it has other parameters.

    held  fixed values
    """
    names = {parameter.name for parameter in effect.parameters}
    if names != set(start.setting):
        return None
    setting = clipped(effect, dict(start.setting) | dict(held))
    return replace(start, effect=effect, setting=setting)
