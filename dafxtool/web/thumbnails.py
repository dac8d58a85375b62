"""Compute thumbnails: spectrograms small enough that thousands fit into a page.

A thumbnail is (2, N_BANDS, N_TIMES), dry first: the mean of the power-law spectrogram over bands
of equal width on the ERB-rate scale and over equal spans of time. As `levels` it is bytes in dB,
255 the loudest and 0 silence. In the power law, where models decode, a step between two latents is
nearly the blend of the two ends. The residual is stored as a few coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dafxtool.config import SpectrogramConfig
from dafxtool.plots.spectrogram_axes import frequency_weights

N_BANDS, N_TIMES = 48, 48
RANGE_DB = 100.0  # from level 255 down to 0
FLOOR_DB = -80.0  # the darkest colour, as in figures
N_COEFFICIENTS = 64
FITTED_ROWS = 3000  # residuals that the basis is fitted to; more do not change it

Array = NDArray[np.float32]


def shrink(spectrogram: Array, constants: Array, config: SpectrogramConfig) -> Array:
    """Reduce standardised spectrograms to thumbnails in power-law values.

    spectrogram  (n, 2, n_bins, n_frames)
    constants    (n, 2) mean and standard deviation of each
    """
    bands = frequency_weights(config.frequencies_hz(), N_BANDS).astype(np.float32)
    times = _time_weights(spectrogram.shape[-1]).astype(np.float32)
    mean, std = (constants[:, each, None, None, None] for each in (0, 1))
    # A decoder's output is not contiguous, and numpy multiplies such arrays 20 times slower.
    values = np.ascontiguousarray(spectrogram * std + mean, dtype=np.float32)
    np.maximum(values, 0, out=values)
    return np.asarray(bands @ (values @ times), dtype=np.float32)


def _time_weights(n_frames: int) -> NDArray[np.float64]:
    """Return weights (n_frames, N_TIMES) from frames to the mean of each span."""
    edges = np.linspace(0, n_frames, N_TIMES + 1)
    covered = np.clip(edges[None] - np.arange(n_frames)[:, None], 0, 1)
    return np.diff(covered, axis=1) * (N_TIMES / n_frames)


def to_levels(thumbnail: Array, loudest: float, exponent: float) -> NDArray[np.uint8]:
    """Encode as bytes in dB re the loudest value; levels RANGE_DB or more below it are 0."""
    with np.errstate(divide="ignore"):
        decibels = 20 / exponent * np.log10(np.maximum(thumbnail, 0) / loudest)
    return np.clip(np.rint(255 * (1 + decibels / RANGE_DB)), 0, 255).astype(np.uint8)


def from_levels(levels: NDArray[np.uint8], exponent: float) -> Array:
    """Decode levels to power-law values, 1 the loudest, as map_audio.js does."""
    decibels = RANGE_DB * (levels.astype(np.float32) / 255 - 1)
    values = np.where(levels > 0, 10 ** (exponent / 20 * decibels), 0)
    return np.asarray(values, dtype=np.float32)


@dataclass(frozen=True)
class Residuals:
    """Steps minus the blends of their ends, as coefficients times scales times basis.

    coefficients  (n, k) int8; scales (k,) float32; basis (k, 2 * N_BANDS * N_TIMES) int8
    """

    coefficients: NDArray[np.int8]
    scales: NDArray[np.float32]
    basis: NDArray[np.int8]

    def decode(self, rows: NDArray[np.int64] | slice) -> Array:
        """Decode rows to (n, 2, N_BANDS, N_TIMES) in power-law values, 1 the loudest."""
        weighted = self.coefficients[rows].astype(np.float32) * self.scales
        return (weighted @ self.basis.astype(np.float32)).reshape(-1, 2, N_BANDS, N_TIMES)


def compress(residuals: Array, seed: int = 0) -> Residuals:
    """Compress (n, 2, N_BANDS, N_TIMES) by a truncated singular value decomposition in bytes."""
    from sklearn.decomposition import TruncatedSVD

    rows = residuals.reshape(len(residuals), -1)
    rng = np.random.default_rng([seed, 8])
    fitted = rows[np.sort(rng.permutation(len(rows))[:FITTED_ROWS])]
    svd = TruncatedSVD(min(N_COEFFICIENTS, len(fitted)), n_iter=4, random_state=seed)
    svd.fit(fitted.astype(np.float32))
    basis = svd.components_.astype(np.float32)
    coefficients = np.concatenate(
        [rows[i : i + 4096].astype(np.float32) @ basis.T for i in range(0, len(rows), 4096)]
    )
    basis_bytes, basis_scales = _to_bytes(basis, axis=1)
    bytes_, scales = _to_bytes(coefficients, axis=0)
    return Residuals(bytes_, (scales * basis_scales).astype(np.float32), basis_bytes)


def _to_bytes(values: Array, axis: int) -> tuple[NDArray[np.int8], Array]:
    """Quantise to -127 to 127, with a scale for each row or column."""
    scales = np.maximum(np.abs(values).max(axis=axis, keepdims=True) / 127, 1e-12)
    return np.rint(values / scales).astype(np.int8), scales.ravel()


def shown_db(values: Array, exponent: float) -> Array:
    """Convert power-law values to dB re the loudest, at least FLOOR_DB."""
    least = 10 ** (exponent / 20 * FLOOR_DB)
    return np.asarray(20 / exponent * np.log10(np.maximum(values, least)), dtype=np.float32)
