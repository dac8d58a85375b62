"""Describe effects, and choose settings: random, on a grid, or one parameter swept at a time."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from dafxtool.effects.parameter import MOST_SETTINGS, Parameter
from dafxtool.errors import EffectError, PluginError
from dafxtool.utils.text import near_names

HIGHEST_FREQUENCY = 0.45  # of the sample rate: filters near Nyquist turn unstable or do nothing
# Parameters whose unit alone says what they are.
SELF_EVIDENT = frozenset({"time", "cutoff", "frequency", "bits", "semitones"})


@dataclass(frozen=True)
class PluginFile:
    """The VST3 plugin of an effect, and what its audit found at one sample rate."""

    path: str
    plugin_name: str | None
    version: str
    sha256: str  # of the binary in the bundle
    n_channels: int  # 1, or 2 for a plugin that accepts no mono
    sample_rate: int  # Hz
    indices: tuple[int, ...] = ()  # of the effect's parameters among those of the plugin
    left_out: tuple[tuple[str, str], ...] = ()  # (name, reason) of the plugin's other parameters
    repeatable: bool = True  # the output has the same bits, whatever was rendered before
    output_channel: str = "left"  # which output of two is kept: left, right, mid, side, or both
    latency_samples: int = 0  # that the plugin reports
    remarks: tuple[str, ...] = ()  # of the audit, on what the plugin does to audio

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        left_out = [list(each) for each in self.left_out]
        lists = {"indices": list(self.indices), "left_out": left_out}
        return asdict(self) | lists | {"remarks": list(self.remarks)}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> PluginFile:
        """Build a plugin file from what to_dict returned; TypeError for an unknown key."""
        parts = dict(saved)
        parts["indices"] = tuple(parts.get("indices", ()))
        parts["left_out"] = tuple((name, why) for name, why in parts.get("left_out", ()))
        parts["remarks"] = tuple(parts.get("remarks", ()))
        return cls(**parts)


class Stage(NamedTuple):
    """An effect in a chain. Its parameters are those of the chain that start with "label."."""

    label: str  # name of the effect; a second delay is "delay2"
    effect: Effect


@dataclass(frozen=True)
class Effect:
    """A named effect and its parameters. It describes settings; `effects.apply` renders them.

    stages       of a chain, see `effects.chain`; empty for a single effect
    is_recorded  whether its pairs were imported: it has settings, but cannot be applied
    """

    name: str
    parameters: tuple[Parameter, ...] = ()
    summary: str = ""
    plugin: PluginFile | None = None
    stages: tuple[Stage, ...] = ()
    is_recorded: bool = False

    @property
    def plugins(self) -> tuple[PluginFile, ...]:
        """Return the plugins of the effect: none, its own, or those of its stages."""
        own = (self.plugin,) if self.plugin else ()
        return own + tuple(file for stage in self.stages for file in stage.effect.plugins)

    def parameter(self, name: str) -> Parameter:
        """Return the parameter of that name; EffectError with similar names if there is none."""
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        names = [parameter.name for parameter in self.parameters]
        raise EffectError(f"{self.name}: unknown parameter {name!r}. {near_names(name, names)}")

    def at(self, sample_rate: int) -> Effect:
        """Return this effect with the ranges that are valid at sample_rate (Hz).

        Frequencies end at 0.45 of the sample rate. The ranges of a plugin are valid only at the
        sample rate at which they were read: PluginError at another one.
        """
        if self.plugin:
            if self.plugin.sample_rate == sample_rate:
                return self
            raise PluginError(
                f"{self.name}: the plugin was loaded for another sample rate (found "
                f"{self.plugin.sample_rate} Hz, expected {sample_rate} Hz). Load it again."
            )
        if self.stages:
            stages = tuple(Stage(each.label, each.effect.at(sample_rate)) for each in self.stages)
            return replace(self, stages=stages, parameters=stage_parameters(stages))
        if self.is_recorded:
            return self
        highest_hz = HIGHEST_FREQUENCY * sample_rate
        parameters = tuple(_limit_frequency(p, highest_hz, self.name) for p in self.parameters)
        return replace(self, parameters=parameters)

    def default_setting(self) -> dict[str, float]:
        """Return every parameter at its default."""
        return {parameter.name: parameter.default for parameter in self.parameters}

    def complete(self, fixed: Mapping[str, float]) -> dict[str, float]:
        """Check the given values and add the defaults of all other parameters.

        EffectError for an unknown parameter and for a value out of range.
        """
        checked = {name: self.parameter(name).check(v, self.name) for name, v in fixed.items()}
        return self.default_setting() | checked

    def setting_text(self, setting: Mapping[str, float]) -> str:
        """Format a setting so that parse_effect reads the same values: "delay:time=350,mix=50"."""
        if self.stages:
            parts = zip(self.stages, stage_settings(self, setting), strict=True)
            text = " > ".join(stage.effect.setting_text(part) for stage, part in parts)
            return text if self.name == series_name(self.stages) else f"{self.name}={text}"
        pairs = [
            f"{p.name}={p.value_text(setting[p.name])}"
            for p in self.parameters
            if p.name in setting
        ]
        return f"{self.name}:{','.join(pairs)}" if pairs else self.name

    def label(self, setting: Mapping[str, float], most: int = 4) -> str:
        """Format a setting for figures: "delay 350 ms, feedback 40 %, mix 50 %".

        most  number of parameters shown: the ones farthest from their defaults
        """
        if self.stages:
            each_most = max(1, most // len(self.stages))
            parts = zip(self.stages, stage_settings(self, setting), strict=True)
            text = " > ".join(stage.effect.label(part, each_most) for stage, part in parts)
            return text if self.name == series_name(self.stages) else f"{self.name}: {text}"
        named = [p for p in self.parameters if p.name in setting]
        shown = sorted(named, key=lambda p: _distance(p, setting[p.name]), reverse=True)[:most]
        texts = []
        for parameter in named:
            if parameter in shown:
                value = parameter.text(setting[parameter.name])
                evident = parameter.name in SELF_EVIDENT or parameter.name == self.name
                bare = evident and parameter is self.parameters[0]
                texts.append(f" {value}" if bare else f", {parameter.name} {value}")
        return self.name + "".join(texts) + (", ..." if len(shown) < len(named) else "")

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; "stages" for a chain, "is_recorded" for an imported effect."""
        stages = [{"label": each.label, "effect": each.effect.to_dict()} for each in self.stages]
        return {
            "name": self.name,
            "summary": self.summary,
            "parameters": [parameter.to_dict() for parameter in self.parameters],
            "plugin": self.plugin.to_dict() if self.plugin else None,
            **({"stages": stages} if stages else {}),
            **({"is_recorded": True} if self.is_recorded else {}),
        }

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Effect:
        """Build an effect from what to_dict returned; TypeError for an unknown key."""
        parts = dict(saved)
        parts["parameters"] = tuple(Parameter.from_dict(p) for p in parts["parameters"])
        parts["plugin"] = PluginFile.from_dict(parts["plugin"]) if parts["plugin"] else None
        parts["stages"] = tuple(
            Stage(each["label"], cls.from_dict(each["effect"])) for each in parts.get("stages", ())
        )
        return cls(**parts)


def series_name(stages: Sequence[Stage]) -> str:
    """Return the default name of a chain: "overdrive > delay"."""
    return " > ".join(stage.effect.name for stage in stages)


def stage_parameters(stages: Sequence[Stage]) -> tuple[Parameter, ...]:
    """Return the parameters of a chain: those of its stages, with the stage before their name."""
    return tuple(
        replace(parameter, name=f"{stage.label}.{parameter.name}")
        for stage in stages
        for parameter in stage.effect.parameters
    )


def stage_settings(chain: Effect, setting: Mapping[str, float]) -> list[dict[str, float]]:
    """Split a setting of a chain, complete or not, into the settings of its stages."""
    return [
        {
            parameter.name: setting[f"{label}.{parameter.name}"]
            for parameter in effect.parameters
            if f"{label}.{parameter.name}" in setting
        }
        for label, effect in chain.stages
    ]


def _limit_frequency(parameter: Parameter, highest_hz: float, effect_name: str) -> Parameter:
    """Return the parameter with a frequency range that ends at highest_hz; others unchanged."""
    if parameter.unit != "Hz" or parameter.maximum <= highest_hz:
        return parameter
    if parameter.minimum >= highest_hz:
        raise EffectError(
            f"{effect_name}: the sample rate is too low ({parameter.name} starts at "
            f"{parameter.minimum:g} Hz, frequencies end at {highest_hz:g} Hz). Choose a higher "
            "sample rate."
        )
    return replace(parameter, maximum=highest_hz, default=min(parameter.default, highest_hz))


def _distance(parameter: Parameter, value: float) -> float:
    """Return the distance of a value from the default, in normalised value."""
    return abs(parameter.to_normalised(value) - parameter.to_normalised(parameter.default))


def sample_setting(
    effect: Effect, rng: np.random.Generator, fixed: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Return a random setting, uniform in normalised value; fixed parameters keep their value.

    One number of rng is used for each parameter, fixed or not: fixing one does not change the
    values of the others.
    """
    setting = {parameter.name: parameter.sample(rng) for parameter in effect.parameters}
    return effect.complete(setting | dict(fixed or {}))


def grid_settings(
    effect: Effect, n_per_parameter: int, fixed: Mapping[str, float] | None = None
) -> list[dict[str, float]]:
    """Return every combination of n_per_parameter values of each parameter that is not fixed.

    The last parameter changes fastest. EffectError for more than 100,000 combinations.
    """
    base = effect.complete(fixed or {})
    free = [p for p in effect.parameters if p.name not in (fixed or {})]
    axes = [parameter.linspace(n_per_parameter) for parameter in free]
    n_settings = int(np.prod([float(len(axis)) for axis in axes])) if axes else 1
    if n_settings > MOST_SETTINGS:
        raise EffectError(
            f"{effect.name}: too many settings in a grid of {n_per_parameter} values for each of "
            f"{len(free)} parameters (found {n_settings:,}, expected at most {MOST_SETTINGS:,}). "
            "Fix some parameters, or choose fewer values."
        )
    names = [parameter.name for parameter in free]
    return [base | dict(zip(names, values, strict=True)) for values in itertools.product(*axes)]


def sweep_settings(
    effect: Effect, n_values: int, fixed: Mapping[str, float] | None = None
) -> list[dict[str, float]]:
    """Return settings that sweep one parameter at a time, the others at default or fixed value."""
    base = effect.complete(fixed or {})
    free = [p for p in effect.parameters if p.name not in (fixed or {})]
    swept = [base | {parameter.name: v} for parameter in free for v in parameter.linspace(n_values)]
    return swept or [base]


class EffectChoice(NamedTuple):
    """An effect, and the parameters that have a fixed value; the others are sampled."""

    effect: Effect
    fixed: dict[str, float]
