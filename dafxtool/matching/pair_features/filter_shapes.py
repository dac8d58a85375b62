"""Fit the shapes of common filters to the frequency response from dry to wet.

Every shape of a grid is compared at once. The error of each kind of filter tells them apart, and
the best shapes give cutoff, gain and width. The formulas are those of the Audio EQ Cookbook
(Bristow-Johnson).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dafxtool.matching.pair import FRAME, Pair, Response
from dafxtool.matching.pair_features.arrays import Vector, soft_minimum

Matrix = NDArray[np.float64]

LARGEST_DB = 24.0
SHELF_Q = 0.5**0.5
GAINS_DB = np.array([g for g in np.linspace(-LARGEST_DB, LARGEST_DB, 17) if g != 0.0])
WIDTHS_Q = np.geomspace(0.5, 8.0, 6)


@dataclass(frozen=True)
class Shapes:
    """Filters of one kind.

    parameters  (n, n_parameters): logarithm of the cutoff in Hz, gain in dB / 10, log of Q
    gain_db     (n, n_bins)
    """

    parameters: Matrix
    gain_db: Matrix


def filter_features(pair: Pair) -> Vector:
    """Return the parameters of the best shape of each kind, their soft means, and the error."""
    response = Response(pair.dry_frames, pair.wet_frames)
    weight = response.weight / max(float(response.weight.sum()), 1e-12)
    measured = np.clip(response.gain_db, -80, 80)
    measured = np.clip(measured - float(weight @ measured), -30, 30)
    mean = float(weight @ measured)
    variance = max(float(weight @ np.square(measured)) - mean**2, 0.0)
    weighted = weight * measured
    values = []
    for shapes in shapes_of(pair.sample_rate):
        own = shapes.gain_db @ weight
        errors = np.square(shapes.gain_db) @ weight - own**2
        errors += variance - 2 * (shapes.gain_db @ weighted - own * mean)
        errors = np.sqrt(np.maximum(errors, 0.0))
        best = int(np.argmin(errors))
        smallest = float(errors[best])
        values += [
            shapes.parameters[best],
            soft_minimum(errors, shapes.parameters, 0.1 * smallest + 0.02),
            [np.log10(smallest + 0.03), np.log10((smallest + 0.01) / (variance**0.5 + 0.1))],
        ]
    return np.concatenate([*values, [np.log10(variance**0.5 + 0.03)]])


@lru_cache(maxsize=4)
def shapes_of(sample_rate: int) -> tuple[Shapes, ...]:
    """Return low-pass, high-pass, low-shelf, high-shelf and peak filters."""
    low, high = np.geomspace(150, 3000, 48), np.geomspace(300, 6000, 48)
    low_shelf = _combinations(np.geomspace(100, 1000, 18), GAINS_DB)
    high_shelf = _combinations(np.geomspace(1000, 6000, 18), GAINS_DB)
    peak = _combinations(np.geomspace(150, 6000, 24), GAINS_DB, WIDTHS_Q)
    bins = np.arange(FRAME // 2 + 1) / FRAME
    shapes = [
        Shapes(np.log2(cutoffs)[:, None], _first_order_db(bins, cutoffs / sample_rate, is_high))
        for cutoffs, is_high in ((low, False), (high, True))
    ]
    for kind, grid in (("low-shelf", low_shelf), ("high-shelf", high_shelf), ("peak", peak)):
        parameters = grid.copy()
        parameters[:, 0] = np.log2(grid[:, 0])
        parameters[:, 1] /= 10
        if kind == "peak":
            parameters[:, 2] = np.log2(grid[:, 2])
        shapes.append(Shapes(parameters, _second_order_db(bins, kind, grid, sample_rate)))
    return tuple(shapes)


def _combinations(*axes: NDArray[np.float64]) -> Matrix:
    return np.stack([each.ravel() for each in np.meshgrid(*axes, indexing="ij")], axis=1)


def _first_order_db(bins: Vector, cutoffs: Vector, is_high: bool) -> Matrix:
    """Return the gain of filters of 6 dB per octave; bins and cutoffs are shares of the rate."""
    ratio = (
        np.tan(np.pi * np.minimum(bins, 0.4999))
        / np.tan(np.pi * np.minimum(cutoffs, 0.49))[:, None]
    )
    power = np.square(ratio) if is_high else np.ones_like(ratio)
    return np.asarray(10 * np.log10(power / (1 + np.square(ratio)) + 1e-9))


def _second_order_db(bins: Vector, kind: str, grid: Matrix, sample_rate: int) -> Matrix:
    """Return the gain (n, n_bins) of shelves and peaks, rows of cutoff, gain and perhaps Q."""
    angle = 2 * np.pi * np.minimum(grid[:, 0] / sample_rate, 0.49)
    root = 10 ** (grid[:, 1] / 40)
    q = grid[:, 2] if kind == "peak" else SHELF_Q
    cosine, alpha = np.cos(angle), np.sin(angle) / (2 * q)
    if kind == "peak":
        top = [1 + alpha * root, -2 * cosine, 1 - alpha * root]
        bottom = [1 + alpha / root, -2 * cosine, 1 - alpha / root]
    else:
        side = 1.0 if kind == "low-shelf" else -1.0
        more, less, slope = root + 1, side * (root - 1), 2 * np.sqrt(root) * alpha
        top = [
            root * (more - less * cosine + slope),
            2 * root * side * ((root - 1) - side * more * cosine),
            root * (more - less * cosine - slope),
        ]
        bottom = [
            more + less * cosine + slope,
            -2 * side * ((root - 1) + side * more * cosine),
            more + less * cosine - slope,
        ]
    delay = np.exp(-2j * np.pi * bins)
    powers = np.stack([np.ones_like(delay), delay, delay**2])
    numerator, denominator = (np.stack(each, axis=1) @ powers for each in (top, bottom))
    return np.asarray(20 * np.log10(np.abs(numerator) / np.abs(denominator) + 1e-9))
