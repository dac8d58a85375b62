"""Fit the time constants, threshold and ratio of a compressor and of a gate.

The gain of both is a knee of the level that the effect follows, in dB. The built-in effects show
this level: far above its threshold, a compressor changes the gain by a known share of it, and a
gate does so far below. So one short render for each attack and release is enough, and thresholds
and ratios follow by least squares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dafxtool.effects.builtin import apply_effect, builtin_effects
from dafxtool.matching.pair import Pair
from dafxtool.matching.pair_features.arrays import Vector, soft_minimum

BLOCK_SECONDS = 0.004  # one sample of each block is compared
ACTIVE_DB = 50.0  # below the largest sample; quieter samples do not count
N_THRESHOLDS = 20
RANGE_DB = 40.0  # of thresholds below the highest level
LEAST_ENERGY = 0.01  # of the largest energy beyond a threshold, for a slope to have a meaning
LOWEST_DB, HIGHEST_RATIO = -60.0, 40.0


@dataclass(frozen=True)
class Follower:
    """An effect that shows the level it follows.

    attacks, releases  times to try in ms
    above              whether the gain falls above the threshold
    """

    name: str
    attacks: tuple[float, ...]
    releases: tuple[float, ...]
    above: bool


FOLLOWERS = (
    Follower("compressor", (0.5, 2.5, 10.0, 40.0), (30.0, 75.0, 200.0, 500.0), True),
    Follower("gate", (0.5, 1.7, 6.0, 20.0), (20.0, 50.0, 120.0, 300.0), False),
)


def follower_features(pair: Pair) -> Vector:
    """Return attack, release, threshold, slope and error of the best compressor and gate."""
    at = _samples(pair)
    dry, wet = (x[at].astype(np.float64) for x in (pair.dry, pair.wet))
    gain = 20 * np.log10(np.abs(wet / dry) + 1e-6)
    return np.concatenate([_fit(pair, follower, at, gain) for follower in FOLLOWERS])


def _samples(pair: Pair) -> NDArray[np.int64]:
    """Return the largest sample of each block that is not silent."""
    length = max(1, round(BLOCK_SECONDS * pair.sample_rate))
    n = pair.dry.size // length
    size = np.abs(pair.dry[: n * length]).reshape(n, length)
    at = np.argmax(size, axis=1) + length * np.arange(n)
    largest = size.max(axis=1)
    return at[largest > 10 ** (-ACTIVE_DB / 20) * float(largest.max()) + 1e-9]


def _fit(pair: Pair, follower: Follower, at: NDArray[np.int64], gain: Vector) -> Vector:
    """Fit a knee for times on a grid, then around the best ones."""
    if len(at) < 8:
        return np.zeros(10)
    coarse = [(a, r) for a in follower.attacks for r in follower.releases]
    first = _tries(pair, follower, coarse, at, gain)
    attack, release = np.exp(first[np.argmin(first[:, -1]), :2])
    steps = [
        (follower.attacks[1] / follower.attacks[0]) ** 0.4,
        (follower.releases[1] / follower.releases[0]) ** 0.4,
    ]
    near = [
        (attack * steps[0] ** i, release * steps[1] ** j)
        for i in (-1, 0, 1)
        for j in (-1, 0, 1)
        if i or j
    ]
    tries = np.concatenate([first, _tries(pair, follower, near, at, gain)])
    errors = tries[:, -1]
    smallest = float(errors.min())
    best = tries[np.argmin(errors), :-1]
    smooth = soft_minimum(errors, tries[:, :-1], 0.05 * smallest + 0.01)
    deviation = float(gain.std())
    return np.concatenate(
        [best, smooth, [np.log10(smallest + 0.03), np.log10((smallest + 0.01) / (deviation + 0.1))]]
    )


def _tries(
    pair: Pair,
    follower: Follower,
    times: Sequence[tuple[float, float]],
    at: NDArray[np.int64],
    gain: Vector,
) -> NDArray[np.float64]:
    """Return log attack, log release, threshold / 10, slope and error (n, 5) of the best knees."""
    levels = np.stack([_level(pair, follower, at, *each) for each in times])
    thresholds = levels.max() - np.linspace(0.5, RANGE_DB, N_THRESHOLDS)
    over = levels[:, None, :] - thresholds[None, :, None]
    over = np.maximum(over if follower.above else -over, 0.0).astype(np.float32)
    over -= over.mean(axis=2, keepdims=True)
    own = (gain - gain.mean()).astype(np.float32)
    cross = (over @ own).astype(np.float64)
    energy = np.square(over).sum(axis=2, dtype=np.float64)
    slope = cross / np.maximum(energy, LEAST_ENERGY * float(energy.max()) + 1e-6)
    squared = float(own @ own) - 2 * slope * cross + slope**2 * energy
    errors = np.sqrt(np.maximum(squared, 0) / len(gain))
    best = np.argmin(errors, axis=1)
    rows = np.arange(len(levels))
    fine = _between(errors, best)
    step = thresholds[1] - thresholds[0]
    return np.column_stack(
        [
            np.log(np.array(times)),
            (thresholds[best] + fine * step) / 10,
            slope[rows, best],
            errors[rows, best],
        ]
    )


def _between(errors: NDArray[np.float64], best: NDArray[np.int64]) -> Vector:
    """Return the minimum of a parabola through the neighbours of the best, -0.5 to 0.5 steps."""
    rows = np.arange(len(errors))
    inner = np.clip(best, 1, errors.shape[1] - 2)
    before, at, after = (errors[rows, inner + k] for k in (-1, 0, 1))
    fine = 0.5 * (before - after) / np.maximum(before - 2 * at + after, 1e-9)
    return np.where(inner == best, np.clip(fine, -0.5, 0.5), 0.0)


def _level(
    pair: Pair, follower: Follower, at: NDArray[np.int64], attack: float, release: float
) -> Vector:
    """Return the level in dB that the effect follows at some samples of the dry audio."""
    effect = builtin_effects()[follower.name].at(pair.sample_rate)
    threshold, ratio = (LOWEST_DB, HIGHEST_RATIO) if follower.above else (0.0, 2.0)
    times = {"threshold": threshold, "ratio": ratio, "attack": attack, "release": release}
    if follower.above:
        times["makeup"] = 0.0
    clipped = {
        name: min(max(value, effect.parameter(name).minimum), effect.parameter(name).maximum)
        for name, value in times.items()
    }
    audio = apply_effect(effect, pair.dry, pair.sample_rate, clipped)
    change = 20 * np.log10(np.abs(audio[at] / pair.dry[at]).astype(np.float64) + 1e-9)
    share = 1 / ratio - 1 if follower.above else ratio - 1
    return np.asarray(change / share + threshold)
