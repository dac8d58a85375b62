"""Render one dry/wet pair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dafxtool.audio.level import is_silent, normalise_peak
from dafxtool.config import SegmentConfig
from dafxtool.effects.apply import apply
from dafxtool.effects.effect import (
    Effect,
)
from dafxtool.errors import PluginError


@dataclass(frozen=True)
class Pair:
    """audio (2, n_samples), dry first; the setting is the one that was in force."""

    audio: NDArray[np.float32]
    effect: int
    setting: dict[str, float]
    recording: int
    offset: int
    split: str


def render_pair(
    segment: NDArray[np.float32], effect: Effect, setting: dict[str, float], config: SegmentConfig
) -> tuple[NDArray[np.float32], dict[str, float]]:
    """(2, n_samples), dry and wet at full level, and the setting that was in force."""
    dry = normalise_peak(segment, config.level_dbfs)
    wet, in_force = apply(effect, dry, config.sample_rate, setting)
    if effect.plugin and is_silent(wet) and not is_silent(dry):
        raise PluginError(
            f"{effect.setting_text(in_force)} gave silence: choose another setting, or leave this "
            "plugin out."
        )
    return np.stack([dry, normalise_peak(wet, config.level_dbfs)]), in_force
