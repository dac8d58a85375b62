"""Compute distances between recordings and between spectrograms."""

from __future__ import annotations

from typing import Literal, cast

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from dafxtool.spectrogram.stft import pad_mode

LOWEST_PEAK = 1e-10  # of a magnitude: lower ones are silence
FLOOR_DB = 80.0  # bins this far below the loudest one count as equal to the floor
LOWEST_MAGNITUDE = 1e-5  # lower limit of bins before the logarithm
# Window lengths and hops of Yamamoto, Song & Kim 2020, "Parallel WaveGAN", arXiv:1910.11480.
RESOLUTIONS = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))  # n_fft, hop, window


def log_spectral_distance_db(
    magnitude: NDArray[np.float32], reference: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Compute the log-spectral distance (...,) in dB: RMS over bins, mean over frames.

    magnitude, reference  (..., n_bins, n_frames) linear; values more than 80 dB below the loudest
                          bin of the reference are raised to that floor

    NaN for a silent reference: it has no bin to compare.

    Gray & Markel 1976, "Distance measures for speech processing".
    """
    peak = reference.max(axis=(-2, -1), keepdims=True).astype(np.float64)
    floor = np.maximum(peak * 10 ** (-FLOOR_DB / 20), 1e-10)
    difference = 20 * np.log10(np.maximum(magnitude, floor) / np.maximum(reference, floor))
    distance = np.sqrt(np.mean(np.square(difference), axis=-2)).mean(axis=-1)
    return np.where(peak[..., 0, 0] > LOWEST_PEAK, distance, np.nan)


def multi_resolution_distance(audio: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Compute the multi-resolution STFT distance: 0 for equal audio.

    Spectral convergence plus the mean absolute difference of log magnitudes, averaged over the
    three STFTs of RESOLUTIONS.

    audio, reference  (n_samples,)

    NaN for a reference without a bin above LOWEST_MAGNITUDE: any quiet audio would equal it.

    Yamamoto, Song & Kim 2020, arXiv:1910.11480, equations 4 to 6.
    """
    total = 0.0
    for n_fft, hop, window in RESOLUTIONS:
        estimate, target = (_magnitude(x, n_fft, hop, window) for x in (audio, reference))
        if float(target.max()) <= LOWEST_MAGNITUDE:
            return float("nan")
        error = float(np.linalg.norm(target - estimate))
        convergence = error / max(float(np.linalg.norm(target)), 1e-9)
        total += convergence + float(np.abs(np.log(target) - np.log(estimate)).mean())
    return total / len(RESOLUTIONS)


def _magnitude(
    audio: NDArray[np.float32], n_fft: int, hop: int, window: int
) -> NDArray[np.float32]:
    """Compute the magnitudes (n_frames, n_bins) of a centred STFT.

    Without torch, whose import takes longer than a match of two recordings.
    """
    mode = cast(Literal["reflect", "constant"], pad_mode(audio.shape[-1], n_fft))
    padded = np.pad(audio.astype(np.float32), n_fft // 2, mode)
    first = (n_fft - window) // 2  # the window is zero in front of it
    n_frames = audio.shape[-1] // hop + 1
    frames = sliding_window_view(padded[first:], window)[::hop][:n_frames]
    taper = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)).astype(np.float32)
    return np.maximum(np.abs(scipy.fft.rfft(frames * taper, n_fft)), LOWEST_MAGNITUDE)


def channel_mse(
    reconstruction: NDArray[np.float32], spectrogram: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Compute the mean squared error (..., 2) of each channel of (..., 2, n_bins, n_frames)."""
    difference = reconstruction.astype(np.float64) - spectrogram
    return np.mean(np.square(difference), axis=(-2, -1))
