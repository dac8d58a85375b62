"""Compute the axes of spectrograms: frequencies on the ERB-rate scale, and their tick labels."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dafxtool.plots.base import TICK_PT


def erb_rate(frequency_hz: ArrayLike) -> NDArray[np.float64]:
    """Convert frequencies to ERB rate: the number of equivalent rectangular bandwidths below.

    Nearly linear below 200 Hz and logarithmic above, as hearing is.
    Glasberg & Moore 1990, Hearing Research 47, equation 4.
    """
    return 21.4 * np.log10(1 + 0.00437 * np.asarray(frequency_hz, dtype=np.float64))


def frequency_weights(frequencies_hz: ArrayLike, n_rows: int) -> NDArray[np.float64]:
    """Return weights (n_rows, n_bins) from power at the bins to mean power in even ERB steps.

    Power between two bins is taken to be linear, so that a row narrower than a bin interpolates and
    a row wider than a bin averages: noise stays as bright at the top as at the bottom.
    """
    frequencies = np.asarray(frequencies_hz, dtype=np.float64)
    lowest, highest = erb_rate(frequencies[[0, -1]])
    steps = np.linspace(lowest, highest, n_rows + 1)
    edges_hz = (10 ** (steps / 21.4) - 1) / 0.00437
    edges = np.interp(edges_hz, frequencies, np.arange(len(frequencies)))  # in bins
    # The integral up to each edge of every bin's triangular interpolation function.
    offset = np.clip(edges[:, None] - np.arange(len(frequencies)), -1, 1)
    integral = np.where(offset < 0, (1 + offset) ** 2 / 2, 1 - (1 - offset) ** 2 / 2)
    return np.diff(integral, axis=0) / np.diff(edges)[:, None]


def frequency_ticks(frequencies_hz: ArrayLike, height_in: float) -> list[float]:
    """Choose from 100, 200, 500, 1000 ... Hz those that fit on an axis of this height."""
    lowest, highest = np.asarray(frequencies_hz, dtype=np.float64)[[0, -1]]
    inches_per_erb = height_in / float(erb_rate(highest) - erb_rate(lowest))
    ticks: list[float] = []
    # Powers of ten first: they are kept where there is little room.
    for tick in (factor * 10.0**power for factor in (1, 2, 5) for power in range(2, 6)):
        gaps = np.abs(erb_rate(tick) - erb_rate(ticks)) * inches_per_erb
        if lowest <= tick <= highest and (gaps > TICK_PT * 1.1 / 72).all():
            ticks.append(tick)
    return sorted(ticks)


def time_ticks(start_s: float, end_s: float, width_in: float) -> list[float]:
    """Choose round times whose labels neither overlap nor leave the panel at its right end."""
    wanted_step = (end_s - start_s) * max(0.34 / width_in, 0.15)
    power = 10.0 ** math.floor(math.log10(wanted_step))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= wanted_step * 0.999)
    first, last = math.ceil(start_s / step - 1e-6), math.floor(end_s / step + 1e-6)
    ticks = [round(index * step, 9) for index in range(first, last + 1)]
    margin = 0.07 * (end_s - start_s) / width_in  # half of a label such as "0.5"
    return [tick for tick in ticks if tick <= end_s - margin] or ticks[:1]


def format_hertz(value: float) -> str:
    """Format 500 as "500", 2000 as "2k"."""
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"
