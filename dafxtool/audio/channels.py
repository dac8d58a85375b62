"""Choose one channel of a recording."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dafxtool.errors import InputError, RecordingError

FIRST, MEAN, LOUDEST = "first", "mean", "loudest"


def check_channel(channel: str) -> None:
    """Raise InputError unless channel is first, mean, loudest or a number counted from 1."""
    if channel in (FIRST, MEAN, LOUDEST) or (channel.isdecimal() and int(channel) > 0):
        return
    raise InputError(
        f"Unknown channel {channel!r}. Give first, mean, loudest, or a number counted from 1."
    )


def select_channel(block: NDArray[np.float32], channel: str, path: Path) -> NDArray[np.float32]:
    """Reduce (n_samples, n_channels) to (n_samples,).

    channel  first, mean or a number from 1; `loudest` has to be resolved before, because it is a
             property of the complete recording

    InputError for an unknown channel, RecordingError for one that the recording does not have.
    """
    if channel == MEAN:
        return block.mean(axis=1, dtype=np.float64).astype(np.float32)
    check_channel(channel)
    index = 0 if channel == FIRST else int(channel) - 1
    if index >= block.shape[1]:
        raise RecordingError(
            f"{path}: has no channel {channel} (found {block.shape[1]} channel"
            f"{'s'[: block.shape[1] - 1]}). Use first, mean or loudest."
        )
    return block[:, index]


def window_mean_squares(
    blocks: Iterable[NDArray[np.float32]], window: int, with_mean: bool = False
) -> NDArray[np.float64]:
    """Compute the mean square of each channel in windows that follow each other.

    blocks     (n, n_channels) each, together the recording
    window     samples; the last window may be shorter and is measured on its own samples
    with_mean  append the mean of the channels as a last one
    returns    (n_windows, n_channels)
    """
    sums: list[NDArray[np.float64]] = []
    counts: list[int] = []
    position = 0
    for block in blocks:
        values = block.astype(np.float64)
        if with_mean:
            values = np.column_stack([values, values.mean(axis=1)])
        start = 0
        while start < len(values):
            index, inside = divmod(position + start, window)
            stop = min(len(values), start + window - inside)
            if index == len(sums):
                sums.append(np.zeros(values.shape[1]))
                counts.append(0)
            sums[index] += np.square(values[start:stop]).sum(axis=0)
            counts[index] += stop - start
            start = stop
        position += len(values)
    return np.array(sums) / np.array(counts)[:, None]
