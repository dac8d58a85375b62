"""Bit-crusher: the grid of held samples gives the rate, the spacing of the levels the bits.

A held sample changes only at multiples of 1 / rate, so the line of that period in the spectrum of
"has the sample changed" is the rate. Levels are multiples of one step; the ratio of wet to dry
tells how large the step was before any change of level.
"""

from __future__ import annotations

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from dafxtool.effects.builtin import apply_effect
from dafxtool.effects.effect import Effect
from dafxtool.matching.hints.start import Start, clipped, usual_range
from dafxtool.matching.pair import Pair

N_STARTS = 2
MOST_LEVELS = 200
MOST_PLACES = 6000
N_LINES = 6  # spectral lines to look at, each with the rates that it may be a harmonic of
N_HARMONICS = 8
FINE = 0.3  # what a grid costs that has a boundary at every sample


def starts(pair: Pair, effect: Effect) -> list[Start]:
    """Propose rates whose hold pattern the wet audio has, with the bits of its levels."""
    most = effect.parameter("bits").maximum
    inverse = _levels_per_unit(pair.wet.astype(np.float64), effect)
    deviations = {"bits": 0.01, "rate": 0.0}
    found = []
    for rate, score in _rates(pair, effect):
        setting = clipped(effect, {"bits": most, "rate": rate})
        held = apply_effect(effect, pair.dry, pair.sample_rate, setting).astype(np.float64)
        gain = float(pair.wet @ held) / max(float(held @ held), 1e-30)
        bits = 1 + np.log2(max(inverse * gain, 1.0))
        found.append(
            Start(effect, clipped(effect, setting | {"bits": bits}), deviations, 0.0, score)
        )
    return found


def _rates(pair: Pair, effect: Effect) -> list[tuple[float, float]]:
    """Rates by how well they explain where the samples change, best first."""
    parameter = effect.parameter("rate")
    changes = np.abs(np.diff(pair.wet.astype(np.float64), prepend=0.0))
    changed = changes > 0.02 * float(changes.max(initial=0.0))
    places = np.flatnonzero(changed)
    if len(places) < 16:
        return [(parameter.default, 1.0)]
    n_fft = scipy.fft.next_fast_len(2 * changed.size, real=True)
    size = np.abs(scipy.fft.rfft(changed - changed.mean(), n_fft))
    width = pair.sample_rate / n_fft
    size[: int(parameter.minimum * 0.98 / width)] = 0.0
    rates: list[float] = []
    for _ in range(N_LINES):
        peak = int(np.argmax(size))
        lines = [peak * width / n for n in range(1, N_HARMONICS + 1)]
        rates += [r for r in lines if parameter.minimum * 0.98 <= r <= parameter.maximum * 1.02]
        size[max(0, peak - 64) : peak + 65] = 0.0
    scored = [_sharpened(rate, width, places, pair.sample_rate) for rate in rates]
    scored.sort(key=lambda each: each[1])
    return scored[:N_STARTS]


def _sharpened(
    rate: float, width: float, places: NDArray[np.int64], sample_rate: int
) -> tuple[float, float]:
    """The best rate within a line's width, and its score.

    One boundary that falls a sample beside its place is heard, so the rate is needed to one part
    in ten million.
    """
    places = places[:: -(-len(places) // MOST_PLACES)]
    score = 1.0
    for zoom in (1.0, 0.1, 0.01):
        grid = rate + np.linspace(-1.0, 1.0, 33) * width * zoom
        cycles = np.stack([places, places - 1]) * (grid[:, None, None] / sample_rate)
        misses = 1 - (np.diff(np.floor(cycles), axis=1)[:, 0] != 0).mean(axis=1)
        best = np.flatnonzero(misses <= misses.min() + 1e-6)
        rate, score = float(grid[best].mean()), float(misses.min())
    # Of two grids that catch every change, the coarser one is the truth.
    return rate, score + FINE * rate / sample_rate


def _levels_per_unit(wet: NDArray[np.float64], effect: Effect) -> float:
    """One over the step between levels, at which every value is a whole number of steps."""
    values = np.unique(wet[np.abs(wet) > 0.05 * np.abs(wet).max(initial=0.0)])
    if len(values) < 4:
        return 1.0
    values = values[:: -(-len(values) // MOST_LEVELS)]
    peak = float(np.abs(values).max())
    parameter = effect.parameter("bits")
    # The level may have been changed: two octaves more on each side.
    lowest, highest = (2.0**bits for bits in usual_range(parameter))
    lowest, highest = lowest / 8, 2 * highest
    grid = np.arange(lowest, highest, 1 / (8 * peak))
    fits = np.cos(2 * np.pi * np.outer(grid, values)).mean(axis=1)
    # Half the step fits as well: the largest step that fits is the truth.
    good = np.flatnonzero(fits >= 0.9 * fits.max())[0]
    near = grid[good] + np.linspace(-1, 1, 101) / (8 * peak)
    return float(near[np.argmax(np.cos(2 * np.pi * np.outer(near, values)).mean(axis=1))])
