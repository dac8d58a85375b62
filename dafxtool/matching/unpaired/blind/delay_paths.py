"""Find the oscillating delay of a chorus or a flanger in a processed recording.

The cepstra of all frames at the same phase of the oscillator are averaged. In this image over phase
and lag, the delayed voice is one period of a sine. Sums along all such paths find it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from dafxtool.matching.hints.oscillating_delay import SWING_MS
from dafxtool.matching.objective import Array
from dafxtool.matching.unpaired.blind.features import cepstra, frame_rate
from dafxtool.matching.unpaired.blind.lines import lines, relative_power

N_PHASES = 32
N_HARMONICS = 8
N_LINES = 3
DIVISORS = (1, 2, 3, 4, 5)  # the strongest line may be a harmonic
LAGS_IN_A_FEATURE = 4
SMOOTH_MS = 0.4  # of the image, for the coarse search
MARGIN_MS = 0.6
STEPS = (1.0, 0.5, 0.25, 0.1)  # of the refinement, in steps of the grid


@dataclass(frozen=True)
class DelayPath:
    """delay(t) = centre - depth / 100 * SWING_MS * sin(2 pi (rate * t + phase)).

    rate in Hz, depth in %, centre in ms, phase in cycles
    strength  mean of the image along the path, in standard errors of such a mean
    """

    rate: float
    depth: float
    centre: float
    phase: float
    strength: float


@dataclass(frozen=True)
class Ranges:
    """Lowest and highest values of a path."""

    rate: tuple[float, float]
    depth: tuple[float, float]
    centre: tuple[float, float]


def delay_path(audio: Array, sample_rate: int, ranges: Ranges, frame_seconds: float) -> DelayPath:
    """Return the strongest path of a processed recording."""
    swing = ranges.depth[1] / 100 * SWING_MS
    shortest = max(ranges.centre[0] - swing - MARGIN_MS, 1.0)
    longest = ranges.centre[1] + swing + MARGIN_MS
    low = int(shortest * sample_rate / 1000)
    high = min(int(longest * sample_rate / 1000), int(frame_seconds * sample_rate / 2))
    image = cepstra(audio, sample_rate, frame_seconds, low, high)
    results = [
        _best_path(_Folded(image, sample_rate, rate, low / sample_rate * 1000), rate, ranges)
        for rate in _rates(image, sample_rate, ranges.rate)
    ]
    return max(results, key=lambda each: each.strength)


def _rates(image: Array, sample_rate: int, limits: tuple[float, float]) -> list[float]:
    """Return rates to try: those of the strongest lines and their fractions."""
    n = image.shape[1] // LAGS_IN_A_FEATURE * LAGS_IN_A_FEATURE
    features = image[:, :n].reshape(len(image), -1, LAGS_IN_A_FEATURE).mean(axis=2)
    power, width = relative_power(features, frame_rate(sample_rate))
    found = lines(power, width, 0.9 * limits[0], 1.1 * limits[1], N_HARMONICS, N_LINES)
    rates: list[float] = []
    for value in (line.rate / d for line in found for d in DIVISORS):
        is_new = all(abs(value / other - 1) > 0.01 for other in rates)
        if is_new and value >= 0.9 * limits[0]:
            rates.append(value)
    return rates or [limits[0]]


class _Folded:
    """Image (N_PHASES, n_lags): the mean of all frames at a phase, less that of all phases."""

    def __init__(self, image: Array, sample_rate: int, rate: float, first_ms: float) -> None:
        self.first_ms, self.per_ms = first_ms, sample_rate / 1000
        cycles = np.arange(len(image)) * (rate / frame_rate(sample_rate))
        phase = (np.floor(cycles % 1.0 * N_PHASES).astype(np.int64)) % N_PHASES
        order = np.argsort(phase, kind="stable")
        starts = np.searchsorted(phase[order], np.arange(N_PHASES))
        count = np.bincount(phase, minlength=N_PHASES)
        sums = np.add.reduceat(image[order], np.minimum(starts, len(order) - 1), axis=0)
        sums[count == 0] = 0
        mean = sums / np.maximum(count, 1)[:, None]
        self.fine = mean - mean.mean(axis=0)
        size = max(1, round(SMOOTH_MS * self.per_ms)) | 1
        self.coarse = uniform_filter1d(self.fine, size, axis=1)

    def sums(
        self,
        image: Array,
        depth: NDArray[np.float64],
        centre: NDArray[np.float64],
        phase: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return the mean of an image along paths; all arguments have one shape."""
        total = np.zeros(depth.shape)
        for p in range(N_PHASES):
            angle = 2 * np.pi * ((p + 0.5) / N_PHASES + phase)
            delay = np.maximum(centre - depth / 100 * SWING_MS * np.sin(angle), 1.0)
            position = np.clip((delay - self.first_ms) * self.per_ms, 0, image.shape[1] - 1.001)
            below = position.astype(np.int64)
            share = position - below
            total += image[p, below] * (1 - share) + image[p, below + 1] * share
        return total / N_PHASES


def _best_path(folded: _Folded, rate: float, ranges: Ranges) -> DelayPath:
    depths = np.arange(ranges.depth[0], ranges.depth[1] + 2.5, 2.5)
    centres = np.arange(ranges.centre[0], ranges.centre[1] + 0.2, 0.2)
    phases = np.arange(0, 1, 1 / 16)
    depth, centre, phase = (
        each.ravel() for each in np.meshgrid(depths, centres, phases, indexing="ij")
    )
    best = int(np.argmax(np.abs(folded.sums(folded.coarse, depth, centre, phase))))
    values = np.array([depth[best], centre[best], phase[best]])
    for step in STEPS:
        near = _around(values, step * np.array([2.5, 0.2, 1 / 16]))
        scores = np.abs(folded.sums(folded.fine, *near))
        values = near[:, int(np.argmax(scores))]
    values[0] = np.clip(values[0], *ranges.depth)
    score = float(np.abs(folded.sums(folded.fine, *values[:, None]))[0])
    error = float(folded.fine.std()) / np.sqrt(N_PHASES)
    depth_best, centre_best, phase_best = (float(v) for v in values)
    strength = score / max(error, 1e-12)
    return DelayPath(rate, depth_best, centre_best, phase_best % 1.0, strength)


def _around(values: NDArray[np.float64], steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points (3, n) on a grid around values (3,)."""
    axes: Sequence[NDArray[np.float64]] = [
        value + step * np.arange(-3, 4) / 3 for value, step in zip(values, steps, strict=True)
    ]
    return np.stack([each.ravel() for each in np.meshgrid(*axes, indexing="ij")])
