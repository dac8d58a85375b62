"""Compare the gain of each frame with that of a phaser at every centre frequency.

The hint of a phaser also uses the phase. The features of trained matchers use magnitudes alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dafxtool.matching.hints.phaser_response import N_STAGES
from dafxtool.matching.objective import spectrum
from dafxtool.matching.pair import Pair


def frame_gains(
    pair: Pair, length: int, hop: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute the gain of every frame and bin in dB, less its weighted mean, and the weights."""
    dry, wet = (np.abs(spectrum(x, length, hop)) for x in (pair.dry, pair.wet))
    floor = 1e-3 * float(dry.max())
    gain = np.clip(20 * np.log10((wet + 1e-9) / (dry + 1e-9)), -40, 40).astype(np.float64)
    weight = np.where(dry > floor, dry, 0.0).astype(np.float64) ** 0.5
    gain -= (gain * weight).sum() / max(weight.sum(), 1.0)
    return gain, weight


def responses_db(
    frequencies: NDArray[np.float64],
    centres: NDArray[np.float64],
    feedback: float,
    mix: float,
    sample_rate: int,
) -> NDArray[np.float64]:
    """Compute the gain (n_centres, n_bins) in dB of a phaser that stays at each centre."""
    warped = [np.tan(np.pi * np.minimum(f / sample_rate, 0.49)) for f in (frequencies, centres)]
    ratio = warped[0][None, :] / warped[1][:, None]
    allpass = ((1 - 1j * ratio) / (1 + 1j * ratio)) ** N_STAGES
    response = 1 - mix + mix * allpass / (1 + feedback * allpass)
    gain = np.maximum(20 * np.log10(np.abs(response) + 1e-9), -20.0)
    return gain - gain.mean()


def template_errors(
    gain: NDArray[np.float64], weight: NDArray[np.float64], templates: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Compute the weighted squared error (n_frames, n_centres) of each template and frame."""
    total = (weight * gain**2).sum(axis=1, keepdims=True)
    cross = (weight * gain) @ templates.T
    return (total - 2 * cross + weight @ (templates**2).T).astype(np.float32)
