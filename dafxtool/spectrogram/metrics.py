"""Distances between sounds, and between spectrograms."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

FLOOR_DB = 80.0  # below the loudest bin: what lies lower is not compared
LOWEST_MAGNITUDE = 1e-5  # of a bin, below which the logarithm is not taken
# Window lengths and hops of Yamamoto, Song & Kim 2020, "Parallel WaveGAN", arXiv:1910.11480.
RESOLUTIONS = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))  # n_fft, hop, window


def log_spectral_distance_db(
    magnitude: NDArray[np.float32], reference: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Root mean square over bins of the difference in dB, mean over frames: (...,).

    magnitude, reference  (..., n_bins, n_frames) linear; both are raised to 80 dB below the
                          loudest bin of the reference

    Gray & Markel 1976, "Distance measures for speech processing".
    """
    peak = reference.max(axis=(-2, -1), keepdims=True).astype(np.float64)
    floor = np.maximum(peak * 10 ** (-FLOOR_DB / 20), 1e-10)
    difference = 20 * np.log10(np.maximum(magnitude, floor) / np.maximum(reference, floor))
    return np.sqrt(np.mean(np.square(difference), axis=-2)).mean(axis=-1)


def multi_resolution_distance(audio: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Spectral convergence + mean difference of log magnitudes, mean of three STFTs; 0 is equal.

    audio, reference  (n_samples,)

    Yamamoto, Song & Kim 2020, arXiv:1910.11480, equations 4 to 6.
    """
    total = 0.0
    for n_fft, hop, window in RESOLUTIONS:
        ours, theirs = (_magnitude(x, n_fft, hop, window) for x in (audio, reference))
        convergence = torch.linalg.norm(theirs - ours) / torch.linalg.norm(theirs).clamp_min(1e-9)
        total += float(convergence + (theirs.log() - ours.log()).abs().mean())
    return total / len(RESOLUTIONS)


def _magnitude(audio: NDArray[np.float32], n_fft: int, hop: int, window: int) -> torch.Tensor:
    spectrum = torch.stft(
        torch.from_numpy(np.ascontiguousarray(audio)),
        n_fft,
        hop,
        window,
        torch.hann_window(window),
        pad_mode=_padding(audio.shape[-1], n_fft),
        return_complex=True,
    )
    return spectrum.abs().clamp_min(LOWEST_MAGNITUDE)


def _padding(n_samples: int, n_fft: int) -> str:
    """What lies beyond the ends: their mirror image, or zeros where there is too little for it."""
    return "reflect" if n_samples > n_fft // 2 else "constant"


def channel_errors(
    reconstruction: NDArray[np.float32], spectrogram: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Mean squared error of each channel (..., 2) of spectrograms (..., 2, n_bins, n_frames)."""
    difference = reconstruction.astype(np.float64) - spectrogram
    return np.mean(np.square(difference), axis=(-2, -1))


def squared_difference(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean squared difference of each channel: (n, 2)."""
    return np.mean(np.square(a.astype(np.float64) - b), axis=(-2, -1))
