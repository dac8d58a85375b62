"""Detect silence and unchanged audio, normalise peaks, and measure levels in dB."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

# Peak of -400 dBFS. Scaling audio near the smallest float32 numbers would give infinities.
SILENCE = 1e-20
SAME_DB = -80.0  # of an inaudible difference, relative to the audio
BELOW_FULL_SCALE = 1 - 1e-6  # so that rounding to float32 does not exceed full scale


def is_silent(samples: NDArray[np.float32]) -> bool:
    """Return whether the peak is too low for normalisation."""
    return float(np.max(np.abs(samples), initial=0.0)) < SILENCE


def peak_factor(samples: NDArray[np.float32], level_dbfs: float) -> np.float32:
    """Return the factor that brings the peak of audio to level_dbfs; 1 for silence."""
    if is_silent(samples):
        return np.float32(1)
    peak = float(np.max(np.abs(samples)))
    return np.float32(10 ** (level_dbfs / 20) / peak)


def normalise_peak(samples: NDArray[np.float32], level_dbfs: float) -> NDArray[np.float32]:
    """Scale audio so that its peak is at level_dbfs; silence is returned unchanged."""
    if is_silent(samples):
        return samples
    return (samples * peak_factor(samples, level_dbfs)).astype(np.float32)


def full_scale_factor(samples: NDArray[np.float32]) -> np.float32:
    """Return the factor that keeps audio within full scale; 1 where it is within."""
    peak = float(np.max(np.abs(samples), initial=0.0))
    return np.float32(1) if peak <= 1 else np.float32(BELOW_FULL_SCALE / peak)


def factor_db(factor: float | np.floating) -> float:
    """Return a factor of amplitude in dB."""
    return float(20 * np.log10(np.float64(factor)))


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
