"""Peak normalisation, silence, level in dB."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# A peak: -400 dBFS. Near the least numbers of float32 it could not be scaled without infinities.
SILENCE = 1e-20


def is_silent(samples: NDArray[np.float32]) -> bool:
    """Is there nothing that could be brought to a level?"""
    return float(np.max(np.abs(samples), initial=0.0)) < SILENCE


def normalise_peak(samples: NDArray[np.float32], level_dbfs: float) -> NDArray[np.float32]:
    """Scaled so that the largest absolute sample is at level_dbfs; silence stays silence."""
    if is_silent(samples):
        return samples
    peak = float(np.max(np.abs(samples)))
    return (samples * np.float32(10 ** (level_dbfs / 20) / peak)).astype(np.float32)


def level_db(audio: NDArray[np.float32]) -> NDArray[np.float64]:
    """Root mean square level in dB re full scale of (..., n_samples)."""
    power = np.mean(np.square(audio.astype(np.float64)), axis=-1)
    return 10 * np.log10(np.maximum(power, 1e-12))
