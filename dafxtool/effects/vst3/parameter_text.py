"""Derive ranges, units and choices of plugin parameters from the texts that a plugin displays.

A VST3 plugin stores its parameters as raw values from 0 to 1, and explains them only as text. Texts
at evenly spaced raw values become a range in a unit, or a list of choices. Where this fails (no
numbers, or not monotonic) the range is 0 to 1 without a unit. A raw value is a normalised value of
Parameter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np

from dafxtool.effects.effect import HIGHEST_FREQUENCY
from dafxtool.effects.parameter import Parameter, split_number

N_PROBES = 101  # texts read for each parameter
MOST_CHOICES = 64
MOST_SWITCH_NUMBERS = 8  # up to this many different numbers are choices, not a range

# Parameters for the host, not for the user. This is only a hint where trials decide nothing: see
# `vst3.audit`.
NOT_A_SETTING = re.compile(
    r"buffer size|sample rate|latency|(current )?(program|preset)|bypass|midi cc .*"
    r"|(gain reduction|.*meter)( \d+)?",
    re.IGNORECASE,
)
UNITS = {  # lower case: (unit, base unit, factor to the base unit)
    "hz": ("Hz", "Hz", 1.0),
    "khz": ("kHz", "Hz", 1000.0),
    "ms": ("ms", "ms", 1.0),
    "msec": ("ms", "ms", 1.0),
    "s": ("s", "ms", 1000.0),
    "sec": ("s", "ms", 1000.0),
    "db": ("dB", "dB", 1.0),
}


def describe_parameter(parameter: Any, name: str, load_value: float) -> Parameter:
    """Describe a plugin's parameter by its range and unit, or by its choices.

    parameter   of pedalboard
    load_value  raw value after loading, which becomes the default
    """
    label = (parameter.label or "").strip()
    steps = parameter.num_steps
    if 2 <= steps <= MOST_CHOICES:
        positions = np.linspace(0.0, 1.0, steps)
        texts = [text.strip() for text in _texts(parameter, positions)]
        described = _choices_of_steps(name, label, positions, texts)
    else:
        positions = np.linspace(0.0, 1.0, N_PROBES)
        texts = [text.strip() for text in _texts(parameter, positions)]
        described = _range_of_numbers(name, label, positions, texts, load_value)
        described = described or _choices_of_runs(name, label, positions, texts)
    described = described or Parameter(name, "", 0.0, 1.0, 0.0)
    described = replace(described, description=parameter.name.strip())
    return replace(described, default=described.from_normalised(load_value))


def limit_frequency(parameter: Parameter, sample_rate: int) -> Parameter:
    """Return the parameter with frequencies up to 0.45 of the sample rate (Hz) only.

    Plugins offer 20 kHz at any sample rate, and some then return NaN.
    """
    highest = HIGHEST_FREQUENCY * sample_rate * {"Hz": 1.0, "kHz": 0.001}.get(parameter.unit, 0.0)
    if parameter.choices or not 0.0 < highest < parameter.maximum or parameter.minimum >= highest:
        return parameter
    points = parameter.positions or (
        (0.0, 1.0) if parameter.scale == "linear" else np.linspace(0.0, 1.0, N_PROBES)
    )
    table = {float(point): parameter.from_normalised(point) for point in points}
    table = {point: value for point, value in table.items() if value < highest}
    table[parameter.to_normalised(highest)] = highest
    positions = tuple(sorted(table))
    return replace(
        parameter,
        maximum=highest,
        default=min(parameter.default, highest),
        scale="tabulated",
        positions=positions,
        values=tuple(table[position] for position in positions),
    )


def _texts(parameter: Any, positions: np.ndarray) -> list[str]:
    """Read the text of a parameter at each raw value."""
    texts = [parameter.get_text_for_raw_value(float(position)) or "" for position in positions]
    if len(set(texts)) > 1:
        return texts
    # Some plugins return the text of the current value, whichever value is requested.
    before = parameter.raw_value
    texts = []
    for position in positions:
        parameter.raw_value = float(position)
        texts.append(parameter.string_value or "")
    parameter.raw_value = before
    return texts


def _choices_of_steps(
    name: str, label: str, positions: np.ndarray, texts: Sequence[str]
) -> Parameter | None:
    """Return a parameter with one choice for each step; None if two steps have the same text."""
    numbers = [split_number(text)[0] for text in texts]
    if numbers == [0.0, 1.0]:
        texts = ["off", "on"]
    if len(set(texts)) < len(texts):
        return None
    return _with_choices(name, label, list(positions), texts)


def _choices_of_runs(
    name: str, label: str, positions: np.ndarray, texts: Sequence[str]
) -> Parameter | None:
    """Return a choice for each run of equal texts, at its middle; None if there are too many."""
    runs = list(_runs(positions, texts))
    if not 2 <= len(runs) <= MOST_CHOICES:
        return None
    if [split_number(text)[0] for _, text in runs] == [0.0, 1.0]:
        runs = [(position, text) for (position, _), text in zip(runs, ("off", "on"), strict=True)]
    return _with_choices(name, label, [run[0] for run in runs], [run[1] for run in runs])


def _with_choices(
    name: str, label: str, positions: Sequence[float], choices: Sequence[str]
) -> Parameter:
    return Parameter(
        name,
        label,
        0.0,
        len(choices) - 1,
        0.0,
        choices=tuple(choices),
        positions=tuple(float(position) for position in positions),
    )


def _range_of_numbers(
    name: str, label: str, positions: np.ndarray, texts: Sequence[str], load_value: float
) -> Parameter | None:
    """Return a parameter with a range in a unit; None if the texts are not monotonic numbers.

    Words at the ends ("off", "-inf dB") are left out, unless the plugin loads with one of them.
    """
    is_number = [split_number(text)[0] is not None for text in texts]
    if not any(is_number):
        return None
    first, last = is_number.index(True), len(is_number) - is_number[::-1].index(True)
    is_inside = positions[first] <= load_value <= positions[last - 1]
    if not all(is_number[first:last]) or not is_inside or last - first < N_PROBES // 2:
        return None
    texts, positions = texts[first:last], positions[first:last]
    values, unit = _in_one_unit(texts)
    if unit is None:
        return None
    runs = list(_runs(positions, values))
    if len(runs) <= MOST_SWITCH_NUMBERS:
        return None
    table_positions = [float(positions[0]), *(run[0] for run in runs[1:-1]), float(positions[-1])]
    resolution = 0.6 * 10.0 ** -max(_decimals(text) for text in texts)
    if not unit and np.allclose(values, positions, rtol=0.0, atol=resolution):
        label = ""  # the text is the raw number, which is not in the unit of the label
    return _tabulated(name, unit or label, table_positions, [run[1] for run in runs], resolution)


def _tabulated(
    name: str, unit: str, positions: list[float], values: list[float], resolution: float
) -> Parameter | None:
    """Return a linear, logarithmic or tabulated parameter; None if values are not monotonic.

    resolution  rounding error of the texts
    """
    steps = np.diff(values)
    if not (np.all(steps > 0) or np.all(steps < 0)):
        return None
    tolerance = resolution + 1e-6 * abs(values[-1] - values[0])
    ends = [positions[0], positions[-1]]
    if _is_straight(positions, values, tolerance):
        positions, values = ends, [values[0], values[-1]]
        if ends == [0.0, 1.0] and values[0] < values[1]:
            return Parameter(name, unit, values[0], values[1], values[0])
    elif ends == [0.0, 1.0] and 0 < values[0] < values[-1]:
        relative = tolerance / values[0]  # rounding errors are relatively largest at the low end
        if relative < 0.01 and _is_straight(positions, list(np.log(values)), relative):
            return Parameter(name, unit, values[0], values[-1], values[0], "logarithmic")
    low, high = min(values), max(values)
    table = (tuple(positions), tuple(values))
    return Parameter(name, unit, low, high, low, "tabulated", positions=table[0], values=table[1])


def _is_straight(positions: list[float], values: list[float], tolerance: float) -> bool:
    """Return whether values lie on the line between their ends, within a tolerance."""
    ends = [positions[0], positions[-1]]
    line = np.interp(positions, ends, [values[0], values[-1]])
    return bool(np.all(np.abs(line - values) <= tolerance))


def _runs(positions: np.ndarray, items: Sequence[Any]) -> Iterator[tuple[float, Any]]:
    """Yield the middle position and the item of every run of equal items."""
    for item, run in groupby(zip(positions, items, strict=True), key=lambda pair: pair[1]):
        run_positions = [position for position, _ in run]
        yield float(run_positions[0] + run_positions[-1]) / 2, item


def _in_one_unit(texts: Sequence[str]) -> tuple[list[float], str | None]:
    """Return numbers and their unit; Hz and kHz, or ms and s, are converted to the smaller one.

    The unit is None where the texts have different units.
    """
    numbers = [split_number(text) for text in texts]
    values = [value for value, _ in numbers if value is not None]
    units = [UNITS.get(unit.lower(), (unit, unit, 1.0)) for _, unit in numbers]
    if len({unit for unit, _, _ in units}) == 1:
        return values, units[0][0]
    if len({base for _, base, _ in units}) > 1:
        return values, None
    scaled = [value * factor for value, (_, _, factor) in zip(values, units, strict=True)]
    return scaled, units[0][1]


def _decimals(text: str) -> int:
    """Return the number of digits after the decimal point."""
    match = re.search(r"\.(\d+)", text)
    return len(match[1]) if match else 0
