"""Explain why a recording gave no segment."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dafxtool.audio.channels import FIRST, LOUDEST, MEAN
from dafxtool.audio.reader import channel_mean_squares, read_info
from dafxtool.config import SegmentConfig
from dafxtool.errors import RecordingError

LOWER_THRESHOLD = "Use a lower --min-mean-square, or leave it out."


def silence_reason(
    path: Path,
    config: SegmentConfig,
    channel: str = "",
    channel_option: str = "--channel",
    remedy: str = LOWER_THRESHOLD,
) -> str:
    """Return a sentence on a recording whose segments are too quiet, with the remedy.

    The complete recording is read, all channels. Levels are the largest mean square of its
    consecutive segments.

    channel         that was read, if it is not the one of config
    channel_option  that chooses another channel
    remedy          where no channel is loud enough
    """
    try:
        info = read_info(path)
        window = max(1, round(config.n_samples * info.sample_rate / config.sample_rate))
        levels = channel_mean_squares(path, window, info, with_mean=True).max(axis=0)
    except RecordingError as error:
        return str(error)
    channel = channel or config.channel
    if channel == LOUDEST:
        channel = str(int(np.argmax(levels[:-1])) + 1)
    least = config.min_mean_square
    own = levels[-1 if channel == MEAN else 0 if channel == FIRST else int(channel) - 1]
    read = "the mean of its channels" if channel == MEAN else f"channel {_number(channel)}"
    read = "it" if info.n_channels == 1 else read
    if own >= least:
        return (
            f"{path}: {read} is silent in most places (mean square below {least:g} in every "
            f"segment that was tried). {remedy}"
        )
    loud = [str(i + 1) for i, level in enumerate(levels[:-1]) if level >= least]
    if loud:
        have = "has" if len(loud) == 1 else "have"
        return (
            f"{path}: {read} is silent (mean square below {least:g}), but channel "
            f"{' and '.join(loud)} {have} sound. Use {channel_option} {loud[0]} or "
            f"{channel_option} loudest."
        )
    if not levels[:-1].any():
        remedy = "Leave it out." if remedy == LOWER_THRESHOLD else remedy
        return f"{path}: digital silence in every channel. {remedy}"
    return f"{path}: silent in every channel (mean square below {least:g}). {remedy}"


def _number(channel: str) -> str:
    return "1" if channel == FIRST else channel
