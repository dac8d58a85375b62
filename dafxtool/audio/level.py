"""Detect silence and unchanged audio, normalise peaks, and measure levels in dB."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

# Peak of -400 dBFS. Scaling audio near the smallest float32 numbers would give infinities.
SILENCE = 1e-20
SAME_DB = -80.0  # of a difference that is not heard, relative to the audio


def is_silent(samples: NDArray[np.float32]) -> bool:
    """Return whether the peak is too low for normalisation."""
    return float(np.max(np.abs(samples), initial=0.0)) < SILENCE


def normalise_peak(samples: NDArray[np.float32], level_dbfs: float) -> NDArray[np.float32]:
    """Scale audio so that its peak is at level_dbfs; silence is returned unchanged."""
    if is_silent(samples):
        return samples
    peak = float(np.max(np.abs(samples)))
    return (samples * np.float32(10 ** (level_dbfs / 20) / peak)).astype(np.float32)


def level_db(audio: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the RMS level of audio (..., n_samples) in dB relative to full scale."""
    power = np.mean(np.square(audio.astype(np.float64)), axis=-1)
    return 10 * np.log10(np.maximum(power, 1e-12))


def is_same_audio(
    reference: NDArray[np.float32], audio: NDArray[np.float32], latencies: Iterable[int] = (0,)
) -> bool:
    """Return whether audio is the reference within SAME_DB, apart from level, sign and latency.

    reference, audio  (n_samples,)
    latencies         delays (samples) of the audio that do not count as a difference

    Silence is not the same as anything.
    """
    for latency in latencies:
        if not 0 <= latency < len(reference):
            continue
        x, y = reference[: len(reference) - latency], audio[latency:]
        if is_silent(x) or is_silent(y):
            continue
        # Most audio differs by more, which float32 shows quickly.
        similarity = abs(float(np.dot(x, y))) / np.sqrt(float(np.dot(x, x)) * float(np.dot(y, y)))
        if similarity < 0.999:
            continue
        exact, changed = x.astype(np.float64), y.astype(np.float64)
        gain = np.dot(exact, changed) / np.dot(exact, exact)
        rest = changed - gain * exact
        if np.dot(rest, rest) <= 10 ** (SAME_DB / 10) * np.dot(changed, changed):
            return True
    return False
