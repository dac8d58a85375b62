"""Reduce arrays to a fixed number of features of similar size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

SMALLEST_SHARE = 1e-6  # -60 dB, where shares are compared as logarithms


def log_share(part: Vector, total: float) -> Vector:
    """Return the logarithm (base 10) of shares of a total, at least SMALLEST_SHARE."""
    return np.log10(np.maximum(part, 0.0) / max(total, 1e-30) + SMALLEST_SHARE)


def band_edges(low: float, high: float, n_bands: int, step: float) -> NDArray[np.int64]:
    """Return edges (n_bands + 1,) of logarithmic bands in steps, at least one step each.

    low, high  limits of the bands, in the unit of step
    """
    edges = np.rint(np.geomspace(low, high, n_bands + 1) / step).astype(np.int64)
    for index in range(1, len(edges)):
        edges[index] = max(edges[index], edges[index - 1] + 1)
    return edges


def band_sums(values: NDArray, edges: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sum values (..., n) between edges: (..., n_bands); 0 beyond the last value."""
    total = np.cumsum(values, axis=-1, dtype=np.float64)
    total = np.concatenate([np.zeros_like(total[..., :1]), total], axis=-1)
    limited = np.minimum(edges, values.shape[-1])
    return np.asarray(np.diff(total[..., limited], axis=-1))


def band_means(values: NDArray, edges: NDArray[np.int64]) -> NDArray[np.float64]:
    """Average values (..., n) between edges: (..., n_bands); 0 beyond the last value."""
    widths = np.diff(np.minimum(edges, values.shape[-1]))
    return band_sums(values, edges) / np.maximum(widths, 1)


def soft_minimum(errors: Vector, values: NDArray[np.float64], width: float) -> Vector:
    """Average values (n, n_values) of n tries, weighted by exp(-(error - smallest) / width)."""
    weight = np.exp(-(errors - errors.min()) / max(width, 1e-12))
    return np.asarray(weight @ values / weight.sum())
