"""What the parameters of a plugin mean, read from the texts that it shows a person.

A VST3 plugin knows its parameters as raw numbers from 0 to 1; what they mean it says in text only.
Texts at evenly spaced raw numbers become a range in a unit, or a list of choices. Where they make
no sense (no numbers, or numbers that go up and down) the range is the raw one, 0 to 1 without a
unit. A raw number is a position of Parameter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np

from dafxtool.effects.effect import HIGHEST_FREQUENCY
from dafxtool.effects.parameter import Parameter

N_PROBES = 101  # texts that are read of each parameter
MOST_CHOICES = 64
FEW_NUMBERS = 8  # as few different numbers on the whole way are a switch, not a range

# What hosts need and nobody sets. A hint for where trying does not tell: see plugin_audit.
NOT_A_SETTING = re.compile(
    r"buffer size|sample rate|latency|(current )?(program|preset)|bypass|midi cc .*"
    r"|(gain reduction|.*meter)( \d+)?",
    re.IGNORECASE,
)
NUMBER = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([^\d\s.].*)?")
UNITS = {  # lower case: (unit, base unit, how many base units it is)
    "hz": ("Hz", "Hz", 1.0),
    "khz": ("kHz", "Hz", 1000.0),
    "ms": ("ms", "ms", 1.0),
    "msec": ("ms", "ms", 1.0),
    "s": ("s", "ms", 1000.0),
    "sec": ("s", "ms", 1000.0),
    "db": ("dB", "dB", 1.0),
}


def describe_parameter(parameter: Any, name: str, load_value: float) -> Parameter:
    """The range and unit, or the choices, that the plugin's own texts tell."""
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
    """The parameter without the part of its way where a filter would be above Nyquist.

    Plugins offer 20 kHz at any sample rate, and some then answer with NaN.
    """
    highest = HIGHEST_FREQUENCY * sample_rate * {"Hz": 1.0, "kHz": 0.001}.get(parameter.unit, 0.0)
    if parameter.choices or not 0.0 < highest < parameter.maximum or parameter.minimum >= highest:
        return parameter
    ways = parameter.positions or (
        (0.0, 1.0) if parameter.scale == "linear" else np.linspace(0.0, 1.0, N_PROBES)
    )
    table = {float(way): parameter.from_normalised(way) for way in ways}
    table = {way: value for way, value in table.items() if value < highest}
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
    texts = [parameter.get_text_for_raw_value(float(position)) or "" for position in positions]
    if len(set(texts)) > 1:
        return texts
    # Some plugins show the text of the value that is set, whichever they were asked for.
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
    numbers = [_number(text)[0] for text in texts]
    if numbers == [0.0, 1.0]:
        texts = ["off", "on"]
    if len(set(texts)) < len(texts):
        return None
    return _with_choices(name, label, list(positions), texts)


def _choices_of_runs(
    name: str, label: str, positions: np.ndarray, texts: Sequence[str]
) -> Parameter | None:
    """Choices that sit in the middle of the raw numbers with the same text."""
    runs = list(_runs(positions, texts))
    if not 2 <= len(runs) <= MOST_CHOICES:
        return None
    if [_number(text)[0] for _, text in runs] == [0.0, 1.0]:
        runs = [(position, word) for (position, _), word in zip(runs, ("off", "on"), strict=True)]
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
    """A range in a unit, or None where the texts are no numbers that only rise or only fall.

    Words at the ends ("off", "-inf dB") are cut off, unless the plugin is loaded with them.
    """
    numbers = [_number(text)[0] is not None for text in texts]
    if not any(numbers):
        return None
    first, last = numbers.index(True), len(numbers) - numbers[::-1].index(True)
    inside = positions[first] <= load_value <= positions[last - 1]
    if not all(numbers[first:last]) or not inside or last - first < N_PROBES // 2:
        return None
    texts, positions = texts[first:last], positions[first:last]
    values, unit = _in_one_unit(texts)
    if unit is None:
        return None
    runs = list(_runs(positions, values))
    if len(runs) <= FEW_NUMBERS:
        return None
    table_positions = [float(positions[0]), *(run[0] for run in runs[1:-1]), float(positions[-1])]
    resolution = 0.6 * 10.0 ** -max(_decimals(text) for text in texts)
    return _tabulated(name, unit or label, table_positions, [run[1] for run in runs], resolution)


def _tabulated(
    name: str, unit: str, positions: list[float], values: list[float], resolution: float
) -> Parameter | None:
    rises = np.diff(values)
    if not (np.all(rises > 0) or np.all(rises < 0)):
        return None
    tolerance = resolution + 1e-6 * abs(values[-1] - values[0])
    ends = [positions[0], positions[-1]]
    if _is_straight(positions, values, tolerance):
        positions, values = ends, [values[0], values[-1]]
        if ends == [0.0, 1.0] and values[0] < values[1]:
            return Parameter(name, unit, values[0], values[1], values[0])
    elif ends == [0.0, 1.0] and 0 < values[0] < values[-1]:
        relative = tolerance / values[0]  # the texts' rounding weighs most at the low end
        if relative < 0.01 and _is_straight(positions, list(np.log(values)), relative):
            return Parameter(name, unit, values[0], values[-1], values[0], "logarithmic")
    low, high = min(values), max(values)
    table = (tuple(positions), tuple(values))
    return Parameter(name, unit, low, high, low, "tabulated", positions=table[0], values=table[1])


def _is_straight(positions: list[float], values: list[float], tolerance: float) -> bool:
    ends = [positions[0], positions[-1]]
    line = np.interp(positions, ends, [values[0], values[-1]])
    return bool(np.all(np.abs(line - values) <= tolerance))


def _runs(positions: np.ndarray, items: Sequence[Any]) -> Iterator[tuple[float, Any]]:
    """The middle position and the item of every run of equal items."""
    for item, run in groupby(zip(positions, items, strict=True), key=lambda pair: pair[1]):
        run_positions = [position for position, _ in run]
        yield float(run_positions[0] + run_positions[-1]) / 2, item


def _number(text: str) -> tuple[float | None, str]:
    """The number that text begins with, and the unit behind it."""
    found = NUMBER.fullmatch(text.strip())
    return (float(found[1]), (found[2] or "").strip()) if found else (None, "")


def _in_one_unit(texts: Sequence[str]) -> tuple[list[float], str | None]:
    """Numbers in one unit: a mixture of Hz and kHz, or of ms and s, in the smaller; else None."""
    found = [_number(text) for text in texts]
    values = [value for value, _ in found if value is not None]
    known = [UNITS.get(unit.lower(), (unit, unit, 1.0)) for _, unit in found]
    if len({unit for unit, _, _ in known}) == 1:
        return values, known[0][0]
    if len({base for _, base, _ in known}) > 1:
        return values, None
    scaled = [value * factor for value, (_, _, factor) in zip(values, known, strict=True)]
    return scaled, known[0][1]


def _decimals(text: str) -> int:
    found = re.search(r"\.(\d+)", text)
    return len(found[1]) if found else 0
