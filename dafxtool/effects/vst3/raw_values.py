"""Set and read the raw values of a plugin instance's parameters, exactly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dafxtool.effects.parameter import to_float32

TOLERANCE = 1e-4  # of raw values: rounding of a plugin's state is smaller
MOST_STEPS = 1 << 15  # a parameter with more steps is continuous


def set_raw_values(plugin: Any, raw: Mapping[int, float]) -> None:
    """Set parameters by their index, exactly."""
    # The parameters are requested each time: processing can move them in memory, and setting an
    # old one then crashes.
    parameters = plugin._parameters
    for index, value in raw.items():
        parameters[index].raw_value = value


def get_raw_values(plugin: Any) -> list[float]:
    """Return the raw value of every parameter, as the host knows it."""
    return [float(parameter.raw_value) for parameter in plugin._parameters]


def round_to_step(n_steps: int, raw: float) -> float:
    """Round a raw value to the nearest step of a parameter that has few enough steps."""
    if not 2 <= n_steps <= MOST_STEPS:
        return to_float32(raw)
    return to_float32(round(raw * (n_steps - 1)) / (n_steps - 1))


def restore_state(plugin: Any) -> bool:
    """Make the host read every value from the plugin, not from its memory; False if it cannot."""
    try:
        plugin.raw_state = plugin.raw_state
    except Exception:  # pedalboard passes on any error of the plugin
        return False
    return True


def is_kept(parameter: Any, requested: float, actual: float) -> bool:
    """Return whether a raw value is the requested one, or is displayed as the same text."""
    if abs(actual - requested) <= TOLERANCE:
        return True
    low, high, first, second = (
        parameter.get_text_for_raw_value(value) for value in (0.0, 1.0, requested, actual)
    )
    return bool(low != high and first == second)
