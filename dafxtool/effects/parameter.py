"""Describe one parameter of an effect: range, unit, scale, and values as text.

A value is in the parameter's unit (ms, dB, Hz, %, ...). A normalised value runs from 0 to 1, and
equal steps of it are about equally audible, so random settings are uniform in it. A setting is a
dict with one value for each parameter. Every value is a float32 number stored as a Python float:
effects compute in float32, so a stored setting is exactly the setting that was rendered. The value
of a parameter with choices is the index of the choice.
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
# Normalised distance from the default that is not shown. Plugins are moved by half of it, off the
# values that they load with (NUDGE of vst3.host).
SHOWN_AS_DEFAULT = 2.0**-15
MOST_SETTINGS = 100_000  # in a grid
LARGER_UNITS = {"Hz": "kHz", "ms": "s"}  # 1000 times the smaller unit


def to_float32(value: float) -> float:
    """Round a value to float32 and return it as a Python float."""
    return float(np.float32(value))


def plain_text(value: float) -> str:
    """Return the shortest decimal, without an exponent, that reads back as the same float32."""
    return np.format_float_positional(np.float32(value), unique=True, trim="-")


@dataclass(frozen=True)
class Parameter:
    """One parameter of an effect: its range in its unit, and the scale of its normalised values.

    scale      "linear", "logarithmic" or "tabulated"
    positions  normalised values, strictly rising: of the entries of `values`, or of the choices
    values     for "tabulated" (plugins): strictly monotonic, interpolated linearly
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
    usual: tuple[float, ...] = ()  # (lowest, highest) sampled or swept; empty: the complete range

    def __post_init__(self) -> None:
        for field in ("minimum", "maximum", "default"):
            object.__setattr__(self, field, to_float32(getattr(self, field)))
        object.__setattr__(self, "usual", tuple(map(to_float32, self.usual)))
        if self.scale not in SCALES:
            raise ValueError(f"{self.name}: unknown scale {self.scale!r}")
        if not self.minimum <= self.default <= self.maximum:
            raise ValueError(f"{self.name}: default {self.default} is out of range")
        if self.scale == "logarithmic" and self.minimum <= 0:
            raise ValueError(f"{self.name}: a logarithmic range has to start above 0")
        if self.scale == "tabulated" and len(self.positions) != len(self.values):
            raise ValueError(f"{self.name}: positions and values differ in number")

    def from_normalised(self, normalised: float) -> float:
        """Return the value for a normalised value, which is clipped to 0 to 1."""
        normalised = min(max(float(normalised), 0.0), 1.0)
        if self.choices:
            return float(np.argmin(np.abs(np.asarray(self._choice_positions()) - normalised)))
        if self.scale == "tabulated":
            value = float(np.interp(normalised, self.positions, self.values))
        elif self.scale == "logarithmic":
            value = self.minimum * (self.maximum / self.minimum) ** normalised
        else:
            value = self.minimum + (self.maximum - self.minimum) * normalised
        return min(max(to_float32(value), self.minimum), self.maximum)

    def to_normalised(self, value: float) -> float:
        """Return the normalised value, 0 to 1: the inverse of from_normalised."""
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
        """Return values from end to end, evenly spaced in normalised value.

        A single value is the default. Choices are not repeated. EffectError for a number below 1
        or above MOST_SETTINGS.
        """
        if n_values < 1:
            raise EffectError(
                f"{self.name}: too few values (found {n_values}, expected 1 or more)."
            )
        if n_values > MOST_SETTINGS:
            raise EffectError(
                f"{self.name}: too many values (found {n_values:,}, expected at most "
                f"{MOST_SETTINGS:,})."
            )
        if n_values == 1:
            return [self.default]
        if self.choices:
            n_values = min(n_values, len(self.choices))
            return [float(round(i)) for i in np.linspace(0, len(self.choices) - 1, n_values)]
        return [self.from_normalised(each) for each in np.linspace(*self.usual_ends(), n_values)]

    def sample(self, rng: np.random.Generator) -> float:
        """Return a random value, uniform in normalised value; uses one number of rng."""
        uniform = rng.random()
        if self.choices:
            return float(min(int(uniform * len(self.choices)), len(self.choices) - 1))
        low, high = self.usual_ends()
        return self.from_normalised(low + (high - low) * uniform)

    def check(self, value: float, effect_name: str) -> float:
        """Return the value rounded to float32; EffectError if it is out of range or no choice."""
        rounded = to_float32(value)
        is_inside = self.minimum <= rounded <= self.maximum  # False for NaN
        if not is_inside or (self.choices and rounded != round(rounded)):
            raise EffectError(
                f"{effect_name}: {self.name} is out of range (found {plain_text(rounded)}, "
                f"expected {self._expected()})."
            )
        return rounded

    def parse(self, text: str, effect_name: str) -> float:
        """Read a value as typed: "12.5", "3.2kHz", "45 %" or the name of a choice.

        EffectError for anything else, and for a value out of range.
        """
        typed = text.strip()
        if self.choices:
            return self._parse_choice(typed, effect_name)
        number, unit = split_number(typed)
        factor = self._factor(unit)
        if number is None or factor is None:
            raise EffectError(
                f"{effect_name}: cannot read the value of {self.name} (found {typed!r}, expected "
                f"{self._expected()})."
            )
        return self.check(number * factor, effect_name)

    def value_text(self, value: float) -> str:
        """Return the text that parse reads back as exactly the same value."""
        if self.choices:
            return unique_slugs(self.choices)[round(value)]
        return plain_text(value)

    def text(self, value: float) -> str:
        """Format a value with its unit, to three digits: "3.2 kHz", "-6 dB", "45 %", "4:1"."""
        if self.choices:
            return self.choices[round(value)]
        unit = self.unit
        if self._is_near_default(value):
            value = self.default
        if abs(value) < 1e-6 * (self.maximum - self.minimum):
            value = 0.0  # a rounding error
        if abs(value) >= 1000 and unit in LARGER_UNITS:
            value, unit = value / 1000, LARGER_UNITS[unit]
        number = np.format_float_positional(
            np.float64(value), precision=3, unique=False, fractional=False, trim="-"
        )
        return f"{number}{unit}" if unit.startswith(":") else f"{number} {unit}".strip()

    def range_text(self) -> str:
        """Format the range, such as "20 Hz to 8 kHz", or the choices."""
        if self.choices:
            return " | ".join(unique_slugs(self.choices))
        return f"{self.text(self.minimum)} to {self.text(self.maximum)}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Parameter:
        """Build a parameter from what to_dict returned; TypeError for an unknown key."""
        parts: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in saved.items()
        }
        return cls(**parts)

    def usual_range(self) -> tuple[float, float]:
        """Return the lowest and highest value of random settings and sweeps, in the unit.

        They are narrower than the complete range where it has values that are rarely used.
        """
        if not self.usual:
            return self.minimum, self.maximum
        low, high = (min(max(v, self.minimum), self.maximum) for v in self.usual)
        return low, high

    def usual_ends(self) -> tuple[float, float]:
        """Return the ends of usual_range as normalised values.

        A table may cover only a part of 0 to 1.
        """
        if self.scale == "tabulated":
            return self.positions[0], self.positions[-1]
        if self.usual:
            low, high = self.usual_range()
            return self.to_normalised(low), self.to_normalised(high)
        return 0.0, 1.0

    def _is_near_default(self, value: float) -> bool:
        if not self.minimum <= value <= self.maximum:
            return False
        distance = self.to_normalised(value) - self.to_normalised(self.default)
        return abs(distance) < SHOWN_AS_DEFAULT

    def _choice_positions(self) -> Sequence[float]:
        """Return the normalised value of each choice."""
        n = len(self.choices)
        return self.positions or [i / max(n - 1, 1) for i in range(n)]

    def _parse_choice(self, typed: str, effect_name: str) -> float:
        names = unique_slugs(self.choices)
        if slug(typed) in names:
            return float(names.index(slug(typed)))
        # An index is accepted only where it cannot be mistaken for the name of a choice.
        number, unit = split_number(typed)
        if number is None or unit or any(split_number(name) == (number, "") for name in names):
            raise EffectError(
                f"{effect_name}: unknown choice of {self.name} (found {typed!r}, expected "
                f"{self._expected()})."
            )
        return self.check(number, effect_name)

    def _factor(self, unit: str) -> float | None:
        """Return the factor from a typed unit to this unit; None if they do not match."""
        larger = LARGER_UNITS.get(self.unit)
        known = {"": 1.0, self.unit.lower(): 1.0}
        if larger:
            known |= {larger.lower(): 1000.0}
        if larger == "kHz":
            known |= {"k": 1000.0}
        return known.get(unit.lower())

    def _expected(self) -> str:
        if self.choices:
            return self.range_text()
        return f"{plain_text(self.minimum)} to {plain_text(self.maximum)} {self.unit}".rstrip()


def split_number(text: str) -> tuple[float | None, str]:
    """Split text into the number at its start and the unit after it; None and text without one."""
    match = re.fullmatch(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([^\d\s.].*)?", text)
    return (float(match[1]), (match[2] or "").strip()) if match else (None, text)
