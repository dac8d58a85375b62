"""Estimate the rate of a bit-crusher from its held samples, and the bits from its levels.

A held sample changes only at multiples of 1 / rate. So the rate is a line in the spectrum of the
sequence of changes. Levels are multiples of one step. The gain from dry to wet gives the size of
the step before any change of level.
"""

from __future__ import annotations

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from dafxtool.effects.builtin import apply_effect
from dafxtool.effects.effect import Effect
from dafxtool.matching.hints.crusher_coherence import crusher_in_front
from dafxtool.matching.hints.start import Start, clipped
from dafxtool.matching.pair import Array, Pair

N_STARTS = 2
MOST_LEVELS = 200
MAX_CHANGES = 6000
N_LINES = 6  # spectral lines; each may be a harmonic of several rates
N_HARMONICS = 8
LEVEL_ERROR = 0.02  # mean distance from a level, in steps
FINE_GRID_COST = 0.3  # added to the score of a grid with a boundary at every sample


def starts(pair: Pair, effect: Effect) -> list[Start]:
    """Propose rates that explain where the wet audio changes, with the bits of its levels."""
    most = effect.parameter("bits").maximum
    inverse = levels_per_unit(pair.wet.astype(np.float64), effect)
    deviations = {"bits": 0.01, "rate": 0.0}
    proposed = []
    rates = rates_of(pair.wet, pair.sample_rate, effect)
    for rate, score in rates[:N_STARTS]:
        setting = clipped(effect, {"bits": most, "rate": rate})
        held = apply_effect(effect, pair.dry, pair.sample_rate, setting).astype(np.float64)
        gain = float(pair.wet @ held) / max(float(held @ held), 1e-30)
        # The level is likely unchanged. In a chain the estimated gain is less exact than that.
        for each in (gain, 1.0):
            bits = 1 + np.log2(max(inverse * each, 1.0))
            values = clipped(effect, setting | {"bits": bits})
            proposed.append(Start(effect, values, deviations, 0.0, score))
    if not has_levels(pair.wet, inverse):
        crusher = crusher_in_front(pair, effect, [rate for rate, _ in rates])
        if crusher is not None:
            values = clipped(effect, {"rate": crusher[0], "bits": crusher[1]})
            proposed.append(Start(effect, values, deviations))
    return proposed


def has_levels(wet: Array, steps_per_unit: float) -> bool:
    """Return whether nearly all values are whole numbers of steps."""
    steps = wet[:: max(1, wet.size // MAX_CHANGES)] * steps_per_unit
    return float(np.abs(steps - np.round(steps)).mean()) < LEVEL_ERROR


def rates_of(wet: Array, sample_rate: int, effect: Effect) -> list[tuple[float, float]]:
    """Return rates and scores, best first, by how well they explain where samples change.

    A score is the share of changes that are not explained, plus a cost of high rates; 1 if there
    are too few changes.
    """
    parameter = effect.parameter("rate")
    changes = np.abs(np.diff(wet.astype(np.float64), prepend=0.0))
    changed = changes > 0.02 * float(changes.max(initial=0.0))
    changes_at = np.flatnonzero(changed)
    if len(changes_at) < 16:
        return [(parameter.default, 1.0)]
    n_fft = scipy.fft.next_fast_len(2 * changed.size, real=True)
    size = np.abs(scipy.fft.rfft(changed - changed.mean(), n_fft))
    width = sample_rate / n_fft
    size[: int(parameter.minimum * 0.98 / width)] = 0.0
    rates: list[float] = []
    for _ in range(N_LINES):
        peak = int(np.argmax(size))
        lines = [peak * width / n for n in range(1, N_HARMONICS + 1)]
        rates += [r for r in lines if parameter.minimum * 0.98 <= r <= parameter.maximum * 1.02]
        size[max(0, peak - 64) : peak + 65] = 0.0
    scored = [_refine_rate(rate, width, changes_at, sample_rate) for rate in rates]
    scored.sort(key=lambda each: each[1])
    return scored


def _refine_rate(
    rate: float, width: float, changes_at: NDArray[np.int64], sample_rate: int
) -> tuple[float, float]:
    """Refine a rate within the width of a spectral line, and return it with its score.

    A boundary that is off by one sample is audible, so the rate is needed to 1e-7.
    """
    changes_at = changes_at[:: -(-len(changes_at) // MAX_CHANGES)]
    score = 1.0
    for zoom in (1.0, 0.1, 0.01):
        grid = rate + np.linspace(-1.0, 1.0, 33) * width * zoom
        cycles = np.stack([changes_at, changes_at - 1]) * (grid[:, None, None] / sample_rate)
        misses = 1 - (np.diff(np.floor(cycles), axis=1)[:, 0] != 0).mean(axis=1)
        best = np.flatnonzero(misses <= misses.min() + 1e-6)
        rate, score = float(grid[best].mean()), float(misses.min())
    # Of two grids that explain every change, the coarser one is right.
    return rate, score + FINE_GRID_COST * rate / sample_rate


def levels_per_unit(wet: NDArray[np.float64], effect: Effect) -> float:
    """Return the number of steps per unit at which all values are whole numbers of steps."""
    values = np.unique(wet[np.abs(wet) > 0.05 * np.abs(wet).max(initial=0.0)])
    if not len(values):
        return 1.0
    values = values[:: -(-len(values) // MOST_LEVELS)]
    peak = float(np.abs(values).max())
    parameter = effect.parameter("bits")
    # The level may have been changed, so search a larger range.
    lowest, highest = (2.0**bits for bits in parameter.usual_range())
    lowest, highest = lowest / 8, 2 * highest
    # The peak has one step at least.
    grid = np.arange(max(lowest, 0.9 / peak), max(highest, 1.1 / peak), 1 / (8 * peak))
    fits = np.cos(2 * np.pi * np.outer(grid, values)).mean(axis=1)
    # Half the step fits as well, so the largest step that fits is right.
    good = np.flatnonzero(fits >= 0.9 * fits.max())[0]
    near = grid[good] + np.linspace(-1, 1, 101) / (8 * peak)
    return float(near[np.argmax(np.cos(2 * np.pi * np.outer(near, values)).mean(axis=1))])
