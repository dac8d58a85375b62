"""Render the chains of a match: effects in series with their settings.

The oscillator of some effects starts with the audio. A stage can make it start earlier: silence is
put in front of the audio and removed from the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dafxtool.effects.apply import apply
from dafxtool.effects.effect import Effect
from dafxtool.effects.registry import Audio

# Parameter with the rate (Hz) of the oscillator that starts with the audio.
OSCILLATOR = {
    "chorus": "rate",
    "flanger": "rate",
    "phaser": "rate",
    "vibrato": "rate",
    "tremolo": "rate",
    "ring-modulator": "frequency",
}
# Linear time-invariant effects: two of them in a row sound the same in both orders.
LINEAR = frozenset(
    {"gain", "delay", "reverb", "low-pass", "high-pass", "low-shelf", "high-shelf", "peak"}
)


@dataclass(frozen=True)
class Stage:
    """An effect with its complete setting.

    phase  of the oscillator at the first sample, in cycles from 0 to 1; 0 without an oscillator
    """

    effect: Effect
    setting: Mapping[str, float] = field(default_factory=dict)
    phase: float = 0.0

    @property
    def lead_seconds(self) -> float:
        """Return the duration of silence in front after which the oscillator has `phase`."""
        rate = OSCILLATOR.get(self.effect.name)
        if not self.phase or rate is None:
            return 0.0
        return (self.phase % 1.0) / self.setting[rate]

    def text(self) -> str:
        """Return the stage in the form of `--effect`."""
        return self.effect.setting_text(self.setting)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "effect": self.effect.name,
            "setting": dict(self.setting),
            "lead_seconds": self.lead_seconds,
        }


def chain_text(stages: Sequence[Stage]) -> str:
    """Return the stages in the form of `--effect`: "overdrive:drive=24,... > delay:..."."""
    return " > ".join(stage.text() for stage in stages) or "clean"


def chain_name(stages: Sequence[Stage]) -> str:
    """Return the names of the effects in order: "overdrive > delay"."""
    return " > ".join(stage.effect.name for stage in stages) or "clean"


def render_chain(
    stages: Sequence[Stage], dry: Audio, sample_rate: int, keep_loaded: bool = False
) -> Audio:
    """Apply the stages in series to dry (n_samples,); the result is as long as dry.

    keep_loaded  whether plugins stay loaded for the next call
    """
    for stage in stages:
        dry = render_stage(stage, dry, sample_rate, keep_loaded)
    return dry


def render_stage(stage: Stage, dry: Audio, sample_rate: int, keep_loaded: bool = False) -> Audio:
    """Apply one stage to dry (n_samples,).

    keep_loaded  whether a plugin stays loaded for the next call
    """
    n_lead = round(stage.lead_seconds * sample_rate)
    if n_lead:
        dry = np.concatenate([np.zeros(n_lead, dtype=np.float32), dry])
    return apply(stage.effect, dry, sample_rate, stage.setting, keep_loaded)[0][n_lead:]
