"""Describe effects: their parameters, settings and the text of both.

A value is in the parameter's unit (ms, dB, Hz, %, ...), a position is where the knob stands, from
0 to 1. Equal steps of position sound about equally large, so settings are drawn evenly in
position. A setting is a dict of one value for each parameter. Every value is a float32 number kept
as a Python float: effects store float32, so what is written down is what was heard, to the bit.
The value of a parameter with choices is the index of the choice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dafxtool.errors import EffectError
from dafxtool.utils.text import slug, unique_slugs

SCALES = ("linear", "logarithmic", "tabulated")
MOST_SETTINGS = 100_000  # of a grid
LARGER_UNITS = {"Hz": "kHz", "ms": "s"}  # a thousand of them


def to_float32(value: float) -> float:
    """The float32 number nearest to value, as a Python float."""
    return float(np.float32(value))


def plain_text(value: float) -> str:
    """The shortest decimal that reads back as the same float32 number, without an exponent."""
    return np.format_float_positional(np.float32(value), unique=True, trim="-")


@dataclass(frozen=True)
class Parameter:
    """One knob: its range in its unit, and how positions of 0 to 1 lie on that range.

    scale "tabulated" (plugins) interpolates between values, which rise or fall strictly, at
    positions, which rise strictly. With choices, positions tells where each choice sits.
    """

    name: str
    unit: str
    minimum: float
    maximum: float
    default: float
    scale: str = "linear"
    description: str = ""
    choices: tuple[str, ...] = ()
    positions: tuple[float, ...] = ()
    values: tuple[float, ...] = ()
    usual: tuple[float, ...] = ()  # lowest and highest value drawn or swept; empty: all of them

    def __post_init__(self) -> None:
        for field in ("minimum", "maximum", "default"):
            object.__setattr__(self, field, to_float32(getattr(self, field)))
        object.__setattr__(self, "usual", tuple(map(to_float32, self.usual)))
        if self.scale not in SCALES:
            raise ValueError(f"{self.name}: no scale {self.scale!r}")
        if not self.minimum <= self.default <= self.maximum:
            raise ValueError(f"{self.name}: default {self.default} is out of range")
        if self.scale == "logarithmic" and self.minimum <= 0:
            raise ValueError(f"{self.name}: a logarithmic range has to be above 0")
        if self.scale == "tabulated" and len(self.positions) != len(self.values):
            raise ValueError(f"{self.name}: as many positions as values are needed")

    def from_normalised(self, position: float) -> float:
        """The value where the knob stands at position; positions beyond 0 to 1 are its ends."""
        position = min(max(float(position), 0.0), 1.0)
        if self.choices:
            return float(np.argmin(np.abs(np.asarray(self._choice_positions()) - position)))
        if self.scale == "tabulated":
            value = float(np.interp(position, self.positions, self.values))
        elif self.scale == "logarithmic":
            value = self.minimum * (self.maximum / self.minimum) ** position
        else:
            value = self.minimum + (self.maximum - self.minimum) * position
        return min(max(to_float32(value), self.minimum), self.maximum)

    def to_normalised(self, value: float) -> float:
        """Where the knob has to stand for value: the inverse of from_normalised."""
        if self.choices:
            return float(self._choice_positions()[round(value)])
        if self.maximum == self.minimum:
            return 0.0
        if self.scale == "tabulated":
            values, positions = self.values, self.positions
            if values[0] > values[-1]:
                values, positions = values[::-1], positions[::-1]
            return float(np.interp(value, values, positions))
        if self.scale == "logarithmic":
            return float(np.log(value / self.minimum) / np.log(self.maximum / self.minimum))
        return (value - self.minimum) / (self.maximum - self.minimum)

    def linspace(self, n_values: int) -> list[float]:
        """n_values values from end to end; of a parameter with choices no more than it has."""
        if n_values < 1:
            raise EffectError(
                f"{n_values} values of {self.name} were asked for: ask for 1 or more."
            )
        if n_values > MOST_SETTINGS:
            raise EffectError(
                f"{n_values:,} values of {self.name} were asked for: {MOST_SETTINGS:,} are the "
                "most."
            )
        if n_values == 1:
            return [self.default]
        if self.choices:
            n_values = min(n_values, len(self.choices))
            return [float(round(i)) for i in np.linspace(0, len(self.choices) - 1, n_values)]
        return [
            self.from_normalised(position) for position in np.linspace(*self.usual_ends(), n_values)
        ]

    def sample(self, rng: np.random.Generator) -> float:
        """A value drawn evenly in position or among the choices; takes one number of rng."""
        position = rng.random()
        if self.choices:
            return float(min(int(position * len(self.choices)), len(self.choices) - 1))
        low, high = self.usual_ends()
        return self.from_normalised(low + (high - low) * position)

    def check(self, value: float, effect_name: str) -> float:
        """value as a float32 number; EffectError when it is out of range or no choice."""
        rounded = to_float32(value)
        fits = self.minimum <= rounded <= self.maximum  # False for NaN
        if not fits or (self.choices and rounded != round(rounded)):
            raise EffectError(
                f"{self.name}={plain_text(rounded)} of the effect {effect_name!r} is out of range: "
                f"{self._wanted()}."
            )
        return rounded

    def parse(self, text: str, effect_name: str) -> float:
        """The value that a person typed: "12.5", "3.2kHz", "45 %", the name of a choice."""
        wanted = text.strip()
        if self.choices:
            return self._parse_choice(wanted, effect_name)
        number, unit = _split_number(wanted)
        factor = self._factor(unit)
        if number is None or factor is None:
            raise EffectError(
                f"{self.name}={wanted} of the effect {effect_name!r} is not understood: "
                f"{self._wanted()}."
            )
        return self.check(number * factor, effect_name)

    def value_text(self, value: float) -> str:
        """What parse reads back as exactly the same value."""
        if self.choices:
            return unique_slugs(self.choices)[round(value)]
        return plain_text(value)

    def text(self, value: float) -> str:
        """value for human eyes, to three digits: "3.2 kHz", "-6 dB", "45 %", "4:1"."""
        if self.choices:
            return self.choices[round(value)]
        unit = self.unit
        if abs(value) < 1e-6 * (self.maximum - self.minimum):
            value = 0.0  # what is left of rounding
        if abs(value) >= 1000 and unit in LARGER_UNITS:
            value, unit = value / 1000, LARGER_UNITS[unit]
        number = np.format_float_positional(
            np.float64(value), precision=3, unique=False, fractional=False, trim="-"
        )
        return f"{number}{unit}" if unit.startswith(":") else f"{number} {unit}".strip()

    def range_text(self) -> str:
        """The range for human eyes: "20 Hz to 8 kHz", or the choices."""
        if self.choices:
            return " | ".join(unique_slugs(self.choices))
        return f"{self.text(self.minimum)} to {self.text(self.maximum)}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Parameter:
        """What to_dict wrote; a key that nobody reads is a TypeError."""
        parts: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in saved.items()
        }
        return cls(**parts)

    def usual_ends(self) -> tuple[float, float]:
        """Normalised values between which settings are drawn and swept.

        Narrower than the range where that has values which are seldom used; a table may leave out
        a part of the range.
        """
        if self.scale == "tabulated":
            return self.positions[0], self.positions[-1]
        if self.usual:
            low, high = (min(max(v, self.minimum), self.maximum) for v in self.usual)
            return self.to_normalised(low), self.to_normalised(high)
        return 0.0, 1.0

    def _choice_positions(self) -> Sequence[float]:
        n = len(self.choices)
        return self.positions or [i / max(n - 1, 1) for i in range(n)]

    def _parse_choice(self, wanted: str, effect_name: str) -> float:
        names = unique_slugs(self.choices)
        if slug(wanted) in names:
            return float(names.index(slug(wanted)))
        # An index is taken only where it cannot be mistaken for the name of a choice.
        number, unit = _split_number(wanted)
        if number is None or unit or any(_split_number(name) == (number, "") for name in names):
            raise EffectError(
                f"{self.name}={wanted} of the effect {effect_name!r} is not one of its choices: "
                f"{self._wanted()}."
            )
        return self.check(number, effect_name)

    def _factor(self, unit: str) -> float | None:
        """By how much a number in the typed unit is multiplied; None when it is another unit."""
        larger = LARGER_UNITS.get(self.unit)
        known = {"": 1.0, self.unit.lower(): 1.0}
        if larger:
            known |= {larger.lower(): 1000.0}
        if larger == "kHz":
            known |= {"k": 1000.0}
        return known.get(unit.lower())

    def _wanted(self) -> str:
        if self.choices:
            return f"choose {self.range_text()}"
        bounds = f"{plain_text(self.minimum)} to {plain_text(self.maximum)}"
        return f"give a value from {bounds} {self.unit}".rstrip()


def _split_number(text: str) -> tuple[float | None, str]:
    found = re.fullmatch(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([^\d\s.].*)?", text)
    return (float(found[1]), (found[2] or "").strip()) if found else (None, text)
