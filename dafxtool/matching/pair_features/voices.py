"""Describe voices whose delay or notches follow an oscillator, by coarse Hough transforms.

They are coarser forms of the hints of chorus, flanger, vibrato and phaser. The oscillators start
with the audio.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

from dafxtool.matching.hints.oscillating_delay import SWING_MS, correlation_image
from dafxtool.matching.hints.phaser import HIGHEST_HZ, LOWEST_HZ
from dafxtool.matching.pair import Pair
from dafxtool.matching.pair_features import phaser_templates
from dafxtool.matching.pair_features.arrays import Vector, band_edges, soft_minimum

LONGEST_MS = 32.0
N_LAG_BANDS = 16
SMALLEST_SPREAD = 1e-3
SOFT_SCORE = 0.06  # of the scores of paths
PHASER_SHAPES = ((0.2, 0.5), (0.6, 0.5))  # feedback and mix of the templates


@dataclass(frozen=True)
class Grid:
    """Paths to try: rates in Hz, depths in % and centres in ms."""

    rates: Vector
    depths: Vector
    centres: Vector


# Chorus, flanger and vibrato.
GRIDS = (
    Grid(np.geomspace(0.2, 4.0, 22), np.linspace(10, 60, 8), np.arange(7.0, 25.5, 0.75)),
    Grid(np.geomspace(0.1, 2.0, 16), np.linspace(5, 30, 7), np.geomspace(1.0, 6.0, 14)),
    Grid(np.linspace(3.0, 9.0, 32), np.linspace(3, 25, 9), np.array([7.0])),
)


def moving_delay_features(pair: Pair) -> Vector:
    """Return rate, depth and centre of the best path of each grid, and lags that stand still."""
    image, times = correlation_image(pair, LONGEST_MS / 1000)
    steps_per_ms = pair.sample_rate / 1000
    near = maximum_filter1d(image, 2 * max(1, round(0.15 * steps_per_ms)) + 1, axis=1)
    values = [_best_path(near, times, grid, steps_per_ms) for grid in GRIDS]
    edges = band_edges(0.5, LONGEST_MS, N_LAG_BANDS, 1 / steps_per_ms)
    edges = np.minimum(edges, image.shape[1])
    tallest = np.maximum.reduceat(image, edges[:-1], axis=1)
    values.append(np.log10(tallest.mean(axis=0) + 0.1))
    values.append(np.log10(tallest.std(axis=0) + 0.1))
    return np.concatenate(values)


def _best_path(
    image: NDArray[np.float32], times: Vector, grid: Grid, steps_per_ms: float
) -> Vector:
    """Return rate, depth and centre of the best path, their weighted means, and the score."""
    scores = path_scores(image, times, grid, steps_per_ms)
    axes = np.meshgrid(np.log2(grid.rates), grid.depths / 10, grid.centres / 10, indexing="ij")
    tries = np.stack([each.ravel() for each in axes], axis=1)
    flat = scores.ravel().astype(np.float64)
    best = int(np.argmax(flat))
    i, j, k = np.unravel_index(best, scores.shape)
    fine = _finer(grid, int(i), int(j), int(k))
    fine_scores = path_scores(image, times, fine, steps_per_ms)
    m, n, o = np.unravel_index(int(np.argmax(fine_scores)), fine_scores.shape)
    found = [np.log2(fine.rates[m]), fine.depths[n] / 10, fine.centres[o] / 10]
    smooth = soft_minimum(-flat, tries, SOFT_SCORE)
    spread = float(flat.std()) + 1e-9
    top = float(fine_scores.max())
    return np.concatenate([found, smooth, [top, (top - float(flat.mean())) / spread / 4]])


def _finer(grid: Grid, i: int, j: int, k: int) -> Grid:
    """Return a grid of half to third steps around one point."""

    def around(values: Vector, index: int) -> Vector:
        if len(values) == 1:
            return values
        low, high = values[max(0, index - 1)], values[min(len(values) - 1, index + 1)]
        return np.linspace(low, high, 7)

    return Grid(around(grid.rates, i), around(grid.depths, j), around(grid.centres, k))


def path_scores(
    image: NDArray[np.float32], times: Vector, grid: Grid, steps_per_ms: float
) -> NDArray[np.float32]:
    """Average the image along each path: (n_rates, n_depths, n_centres)."""
    n_lags = image.shape[1]
    waves = -np.sin(2 * np.pi * grid.rates[:, None] * times)  # (n_rates, n_frames)
    swing = grid.depths[:, None, None] / 100 * SWING_MS * waves  # (n_depths, n_rates, n_frames)
    lags = (swing[..., None] + grid.centres) * steps_per_ms  # (..., n_centres)
    index = np.clip(np.rint(lags).astype(np.int32), 1, n_lags - 1)
    index += (np.arange(len(image), dtype=np.int32) * n_lags)[:, None]
    return image.ravel()[index].mean(axis=2).transpose(1, 0, 2)


def phaser_features(pair: Pair) -> Vector:
    """Return rate, depth and centre of the best sweep of notches, and its error."""
    scale = 2 ** round(np.log2(pair.sample_rate / 24_000))
    length, hop = round(512 * scale), round(512 * scale)
    gain, weight = phaser_templates.frame_gains(pair, length, hop)
    times = (np.arange(len(gain)) * hop + length / 2) / pair.sample_rate
    highest = min(HIGHEST_HZ, 0.49 * pair.sample_rate)
    centres = LOWEST_HZ * (highest / LOWEST_HZ) ** np.linspace(0, 1, 64)
    frequencies = np.arange(gain.shape[1]) * pair.sample_rate / length
    total = float((weight * gain**2).sum()) + 1e-9
    rates = np.geomspace(0.1, 4.0, 24)
    depths = np.linspace(0.2, 1.0, 6)
    sweeps = np.geomspace(300.0, 3000.0, 10)
    norms = np.log(sweeps / LOWEST_HZ) / np.log(HIGHEST_HZ / LOWEST_HZ)
    waves = -np.sin(2 * np.pi * rates[:, None] * times)
    position = norms[:, None, None, None] + 0.5 * depths[:, None, None] * waves
    index = np.rint(np.clip(position, 0, 1) * (len(centres) - 1)).astype(np.int32)
    index += np.arange(len(times), dtype=np.int32) * len(centres)
    axes = np.meshgrid(np.log2(sweeps), depths * 5, np.log2(rates), indexing="ij")
    tries = np.stack([each.ravel() for each in axes], axis=1)
    values = []
    for feedback, mix in PHASER_SHAPES:
        templates = phaser_templates.responses_db(
            frequencies, centres, feedback, mix, pair.sample_rate
        )
        image = phaser_templates.template_errors(gain, weight, templates)
        errors = image.ravel()[index].sum(axis=-1).ravel() / total
        best = int(np.argmin(errors))
        smooth = soft_minimum(errors, tries, 0.02)
        spread = float(errors.std()) + 1e-9
        values += [tries[best], smooth, [errors[best], (errors.mean() - errors[best]) / spread / 4]]
    values.append(np.array([np.log10(total / max(float(weight.sum()), 1e-9) + 1e-2)]))
    return np.concatenate(values)
