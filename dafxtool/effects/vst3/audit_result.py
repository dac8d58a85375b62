"""Describe the result of an audit, which is sent between processes and cached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dafxtool.effects.parameter import Parameter
from dafxtool.errors import PluginError

# Remarks, which pairs files store.
MEMORY = "it starts from uninitialised memory, which dafxtool fills with zeros"
RANDOM_NUMBERS = "it draws random numbers from the C library, which dafxtool seeds by the input"


class InstrumentError(PluginError):
    """Raised for an instrument, which has no audio input."""


@dataclass(frozen=True)
class Audit:
    """Result of an audit at one sample rate; plain JSON types except for the parameters.

    indices         of the settings among the plugin's parameters, one for each of `parameters`
    left_out        (name, reason) of all others
    repeatable      whether the same audio and setting gave the same bits, with another setting
                    rendered in between; also False where this could not be tested
    output_channel  channel with the effect; in n_unchanged of n_trials trials it was the input,
                    apart from level and latency
    remarks         on how the plugin changes audio
    trial_setting   (index, raw value) of a setting, and trial_digest of its output
    """

    sample_rate: int  # Hz
    n_channels: int  # 1, or 2 for a plugin that accepts no mono
    parameters: tuple[Parameter, ...]
    indices: tuple[int, ...]
    left_out: tuple[tuple[str, str], ...]
    repeatable: bool
    version: str
    maker: str  # empty if unknown
    latency_samples: int
    seconds_to_load: float = field(compare=False)
    output_channel: str = "left"
    n_unchanged: int = 0
    n_trials: int = 0
    remarks: tuple[str, ...] = ()
    trial_setting: tuple[tuple[int, float], ...] = ()
    trial_digest: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        lists = {key: list(value) for key, value in vars(self).items() if isinstance(value, tuple)}
        parameters = [parameter.to_dict() for parameter in self.parameters]
        pairs = {key: [list(each) for each in lists[key]] for key in ("left_out", "trial_setting")}
        return vars(self) | lists | pairs | {"parameters": parameters}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Audit:
        """Build an audit from a result of to_dict; TypeError for an unknown key."""
        parts = dict(saved)
        parts["parameters"] = tuple(Parameter.from_dict(p) for p in parts["parameters"])
        for key in ("indices", "remarks"):
            parts[key] = tuple(parts[key])
        parts["left_out"] = tuple((name, why) for name, why in parts["left_out"])
        parts["trial_setting"] = tuple((index, raw) for index, raw in parts["trial_setting"])
        return cls(**parts)
