"""Effect = named list of parameters; draw settings."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from dafxtool.effects.parameter import MOST_SETTINGS, Parameter
from dafxtool.errors import EffectError, PluginError
from dafxtool.utils.text import near_names

HIGHEST_FREQUENCY = 0.45  # of the sample rate: filters near Nyquist turn unstable or do nothing
SELF_EVIDENT = frozenset({"time", "cutoff", "frequency", "bits", "semitones"})  # unit says it all


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
    return abs(parameter.to_normalised(value) - parameter.to_normalised(parameter.default))


def sample_setting(
    effect: Effect, rng: np.random.Generator, fixed: Mapping[str, float] | None = None
) -> dict[str, float]:
    """A random setting, drawn evenly in position; what is fixed keeps its value.

    One number of rng is used for each parameter, fixed or not: fixing one does not change the
    draws of the others.
    """
    drawn = {parameter.name: parameter.sample(rng) for parameter in effect.parameters}
    return effect.complete(drawn | dict(fixed or {}))


def grid_settings(
    effect: Effect, n_per_parameter: int, fixed: Mapping[str, float] | None = None
) -> list[dict[str, float]]:
    """Every combination of n_per_parameter values of each parameter that is not fixed.

    The last parameter changes fastest. Raises EffectError for more than 100,000 combinations.
    """
    base = effect.complete(fixed or {})
    free = [p for p in effect.parameters if p.name not in (fixed or {})]
    axes = [parameter.linspace(n_per_parameter) for parameter in free]
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
    swept = [base | {parameter.name: v} for parameter in free for v in parameter.linspace(n_values)]
    return swept or [base]


class EffectChoice(NamedTuple):
    """An effect and the parameters that keep a fixed value; the others take what is drawn."""

    effect: Effect
    fixed: dict[str, float]
