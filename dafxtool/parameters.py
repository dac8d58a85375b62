"""Describe effects: their parameters, settings and the text of both.

A value is in the parameter's unit (ms, dB, Hz, %, ...), a position is where the knob stands, from
0 to 1. Equal steps of position sound about equally large, so settings are drawn evenly in
position. A setting is a dict of one value for each parameter. Every value is a float32 number kept
as a Python float: effects store float32, so what is written down is what was heard, to the bit.
The value of a parameter with choices is the index of the choice.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from typing import Any

import numpy as np

from dafxtool.errors import EffectError, PluginError

SCALES = ("linear", "logarithmic", "tabulated")
HIGHEST_FREQUENCY = 0.45  # of the sample rate: filters near Nyquist turn unstable or do nothing
MOST_SETTINGS = 100_000  # of a grid
SELF_EVIDENT = frozenset({"time", "cutoff", "frequency", "bits", "semitones"})  # unit says it all
LARGER_UNITS = {"Hz": "kHz", "ms": "s"}  # a thousand of them


def to_float32(value: float) -> float:
    """The float32 number nearest to value, as a Python float."""
    return float(np.float32(value))


def plain_text(value: float) -> str:
    """The shortest decimal that reads back as the same float32 number, without an exponent."""
    return np.format_float_positional(np.float32(value), unique=True, trim="-")


def slug(text: str) -> str:
    """Lower case, words joined by hyphens; a number stays the number that it is."""
    if re.fullmatch(r"[-+]?\d+(\.\d+)?", text.strip()):
        return text.strip()
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.") or "unnamed"


def unique_slugs(texts: Iterable[str]) -> list[str]:
    """A slug for each text; the second of a kind gets "-2", the third "-3"."""
    taken: list[str] = []
    for text in texts:
        first = slug(text)
        numbered = (f"{first}-{number}" for number in itertools.count(2))
        taken.append(next(name for name in itertools.chain([first], numbered) if name not in taken))
    return taken


def near_names(name: str, names: Sequence[str]) -> str:
    """A clause for error messages: the names that look like name, or all of them."""
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"there is {', '.join(names)}." if names else "there is none."


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

    def value_at(self, position: float) -> float:
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

    def position_of(self, value: float) -> float:
        """Where the knob has to stand for value: the inverse of value_at."""
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

    def spread(self, n_values: int) -> list[float]:
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
        return [self.value_at(position) for position in np.linspace(*self.usual_ends(), n_values)]

    def draw(self, rng: np.random.Generator) -> float:
        """A value drawn evenly in position or among the choices; takes one number of rng."""
        position = rng.random()
        if self.choices:
            return float(min(int(position * len(self.choices)), len(self.choices) - 1))
        low, high = self.usual_ends()
        return self.value_at(low + (high - low) * position)

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
            return self.position_of(low), self.position_of(high)
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


@dataclass(frozen=True)
class PluginFile:
    """The plugin behind an effect, and what it proved to be at the sample rate of the ranges."""

    path: str
    plugin_name: str | None
    version: str
    sha256: str  # of the binary in the bundle
    n_channels: int  # 1, or 2 for a plugin that takes no mono
    sample_rate: int  # Hz
    indices: tuple[int, ...] = ()  # of the effect's parameters among the plugin's
    left_out: tuple[tuple[str, str], ...] = ()  # the plugin's other parameters, and why
    repeatable: bool = True  # the same bits again, whatever was rendered before

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        listed = [list(each) for each in self.left_out]
        return asdict(self) | {"indices": list(self.indices), "left_out": listed}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> PluginFile:
        """What to_dict wrote; a key that nobody reads is a TypeError."""
        parts = dict(saved)
        parts["indices"] = tuple(parts.get("indices", ()))
        parts["left_out"] = tuple((name, why) for name, why in parts.get("left_out", ()))
        return cls(**parts)


@dataclass(frozen=True)
class Effect:
    """A named effect and its parameters. It says what can be set; effects and plugins apply it."""

    name: str
    parameters: tuple[Parameter, ...] = ()
    summary: str = ""
    plugin: PluginFile | None = None

    def parameter(self, name: str) -> Parameter:
        """The parameter of that name; EffectError names similar ones when there is none."""
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        names = [parameter.name for parameter in self.parameters]
        raise EffectError(
            f"the effect {self.name!r} has no parameter {name!r}: {near_names(name, names)}"
        )

    def at(self, sample_rate: int) -> Effect:
        """This effect with its ranges as they hold at sample_rate (Hz).

        Frequencies end at 0.45 of the sample rate. What a plugin says of itself holds for the
        sample rate that it was asked at only: another one is a PluginError.
        """
        if self.plugin:
            if self.plugin.sample_rate == sample_rate:
                return self
            raise PluginError(
                f"the ranges of the plugin effect {self.name!r} were read at "
                f"{self.plugin.sample_rate} Hz, not at {sample_rate} Hz: load the plugin again "
                f"for that sample rate."
            )
        held = tuple(_held(p, HIGHEST_FREQUENCY * sample_rate, self.name) for p in self.parameters)
        return replace(self, parameters=held)

    def default_setting(self) -> dict[str, float]:
        """Every parameter at its default."""
        return {parameter.name: parameter.default for parameter in self.parameters}

    def complete(self, fixed: Mapping[str, float]) -> dict[str, float]:
        """fixed, checked, with the defaults of what it leaves out.

        Raises EffectError for an unknown parameter and for a value out of range.
        """
        checked = {name: self.parameter(name).check(v, self.name) for name, v in fixed.items()}
        return self.default_setting() | checked

    def setting_text(self, setting: Mapping[str, float]) -> str:
        """ "overdrive:drive=12.5,tone=3200,output=-6": parse_effect reads the same values back."""
        pairs = [
            f"{p.name}={p.value_text(setting[p.name])}"
            for p in self.parameters
            if p.name in setting
        ]
        return f"{self.name}:{','.join(pairs)}" if pairs else self.name

    def label(self, setting: Mapping[str, float], most: int = 4) -> str:
        """A short line for figures: "delay 350 ms, feedback 40 %, mix 50 %".

        Of an effect with more than `most` parameters, the ones farthest from their defaults.
        """
        given = [p for p in self.parameters if p.name in setting]
        shown = sorted(given, key=lambda p: _distance(p, setting[p.name]), reverse=True)[:most]
        parts = []
        for parameter in given:
            if parameter in shown:
                value = parameter.text(setting[parameter.name])
                evident = parameter.name in SELF_EVIDENT or parameter.name == self.name
                bare = evident and parameter is self.parameters[0]
                parts.append(f" {value}" if bare else f", {parameter.name} {value}")
        return self.name + "".join(parts) + (", ..." if len(shown) < len(given) else "")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "name": self.name,
            "summary": self.summary,
            "parameters": [parameter.to_dict() for parameter in self.parameters],
            "plugin": self.plugin.to_dict() if self.plugin else None,
        }

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Effect:
        """What to_dict wrote; a key that nobody reads is a TypeError."""
        parts = dict(saved)
        parts["parameters"] = tuple(Parameter.from_dict(p) for p in parts["parameters"])
        parts["plugin"] = PluginFile.from_dict(parts["plugin"]) if parts["plugin"] else None
        return cls(**parts)


def _held(parameter: Parameter, highest_hz: float, effect_name: str) -> Parameter:
    """The parameter with a frequency range that ends at highest_hz; others as they are."""
    if parameter.unit != "Hz" or parameter.maximum <= highest_hz:
        return parameter
    if parameter.minimum >= highest_hz:
        raise EffectError(
            f"the effect {effect_name!r} cannot work at a sample rate where frequencies end at "
            f"{highest_hz:g} Hz: its {parameter.name} begins at {parameter.minimum:g} Hz, so take "
            f"a higher sample rate."
        )
    return replace(parameter, maximum=highest_hz, default=min(parameter.default, highest_hz))


def _distance(parameter: Parameter, value: float) -> float:
    return abs(parameter.position_of(value) - parameter.position_of(parameter.default))


def draw_setting(
    effect: Effect, rng: np.random.Generator, fixed: Mapping[str, float] | None = None
) -> dict[str, float]:
    """A random setting, drawn evenly in position; what is fixed keeps its value.

    One number of rng is used for each parameter, fixed or not: fixing one does not change the
    draws of the others.
    """
    drawn = {parameter.name: parameter.draw(rng) for parameter in effect.parameters}
    return effect.complete(drawn | dict(fixed or {}))


def grid_settings(
    effect: Effect, n_per_parameter: int, fixed: Mapping[str, float] | None = None
) -> list[dict[str, float]]:
    """Every combination of n_per_parameter values of each parameter that is not fixed.

    The last parameter changes fastest. Raises EffectError for more than 100,000 combinations.
    """
    base = effect.complete(fixed or {})
    free = [p for p in effect.parameters if p.name not in (fixed or {})]
    axes = [parameter.spread(n_per_parameter) for parameter in free]
    n_settings = int(np.prod([float(len(axis)) for axis in axes])) if axes else 1
    if n_settings > MOST_SETTINGS:
        raise EffectError(
            f"a grid of {n_per_parameter} values for each of {len(free)} parameters of "
            f"{effect.name!r} has {n_settings:,} settings, more than {MOST_SETTINGS:,}: "
            f"fix some parameters or take fewer values."
        )
    names = [parameter.name for parameter in free]
    return [base | dict(zip(names, values, strict=True)) for values in itertools.product(*axes)]


def sweep_settings(
    effect: Effect, n_values: int, fixed: Mapping[str, float] | None = None
) -> list[dict[str, float]]:
    """One parameter at a time from end to end, the others at their default or fixed value."""
    base = effect.complete(fixed or {})
    free = [p for p in effect.parameters if p.name not in (fixed or {})]
    swept = [base | {parameter.name: v} for parameter in free for v in parameter.spread(n_values)]
    return swept or [base]
