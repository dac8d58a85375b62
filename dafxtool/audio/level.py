"""Detect silence, normalise peaks, and measure levels in dB."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Peak of -400 dBFS. Scaling audio near the smallest float32 numbers would give infinities.
SILENCE = 1e-20


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
