"""Keep one channel of a plugin that has two: left, right, mid or side."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dafxtool.effects.effect import Effect, Stage
from dafxtool.errors import PluginError

OUTPUT_CHANNELS = ("left", "right", "mid", "side")
BOTH = "both"  # for audio files in stereo

_chosen = "auto"


def choose_output_channel(channel: str) -> None:
    """Set the output channel of plugins that are loaded from now on.

    channel  one of OUTPUT_CHANNELS, or "auto" for the audited channel with the effect
    """
    global _chosen
    _chosen = channel


def chosen_output_channel(audited: str) -> str:
    """Return the output channel that the user chose, else the audited one."""
    return audited if _chosen == "auto" else _chosen


def with_both_outputs(effect: Effect) -> Effect:
    """Return the effect with both outputs of its plugin, in a chain those of the last stage."""
    if effect.stages:
        *others, (label, last) = effect.stages
        return replace(effect, stages=(*others, Stage(label, with_both_outputs(last))))
    if effect.plugin is None or effect.plugin.n_channels < 2:
        return effect
    return replace(effect, plugin=replace(effect.plugin, output_channel=BOTH))


def keep_output(wet: NDArray[np.float32], channel: str) -> NDArray[np.float32]:
    """Return one channel (n_samples,) of an output (1 or 2, n_samples); both for BOTH.

    mid is half of the sum of left and right, side half of their difference. A single channel is
    left, right and mid. PluginError for the side of a single channel, which is silence.
    """
    if channel == BOTH:
        return np.ascontiguousarray(wet if len(wet) == 2 else np.repeat(wet, 2, axis=0))
    if len(wet) < 2:
        if channel == "side":
            raise PluginError(
                "the plugin has a single output, so its side is silence. Choose another "
                "--plugin-channel."
            )
        return np.ascontiguousarray(wet[0])
    if channel in ("mid", "side"):
        sign = np.float32(1 if channel == "mid" else -1)
        return np.asarray((wet[0] + sign * wet[1]) * np.float32(0.5))
    return np.ascontiguousarray(wet[OUTPUT_CHANNELS.index(channel)])
