"""Find the rate of an oscillator as a line in the spectra of features over time.

The content changes without a period. So the power of a feature at the rate of an oscillator and at
its harmonics stands out from that at neighbouring frequencies. A minute gives the rate within a few
thousandths of a hertz.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

PADDING = 4  # factor of zero padding, for a finer spectrum
NEIGHBOURHOOD_HZ = 0.6  # width of the part of the spectrum that a line is compared with
APART = 0.03  # relative difference of two rates that count as different
BINS_OF_A_LINE = 12  # at the factor PADDING
MOST_OF_A_HARMONIC = 30.0  # standard deviations that one harmonic counts at most


@dataclass(frozen=True)
class Line:
    """A rate in Hz.

    strength  power of its harmonics over that of neighbouring frequencies, less 1, in standard
              deviations of all rates
    """

    rate: float
    strength: float


def relative_power(
    features: NDArray[np.float32], frame_rate: float, neighbourhood_hz: float = NEIGHBOURHOOD_HZ
) -> tuple[NDArray[np.float64], float]:
    """Compute the power of features over that of neighbouring frequencies, averaged over features.

    features  (n_frames, n_features); 0 where a feature is not known
    returns   (n_frequencies,) and the width of a bin in Hz
    """
    n_fft = scipy.fft.next_fast_len(PADDING * len(features), real=True)
    window = np.hanning(len(features)).astype(np.float32)[:, None]
    power = np.square(np.abs(scipy.fft.rfft(features * window, n_fft, axis=0)))
    width = frame_rate / n_fft
    n_around = max(3 * BINS_OF_A_LINE, round(neighbourhood_hz / width)) | 1
    around = uniform_filter1d(power, n_around, axis=0, mode="nearest")
    relative = (power / (around + 1e-6 * power.mean(axis=0) + 1e-20)).mean(axis=1)
    return relative.astype(np.float64), width


def lines(
    relative: NDArray[np.float64], width: float, low: float, high: float, n_harmonics: int, n: int
) -> list[Line]:
    """Return the n strongest rates from low to high Hz, by the sum over their harmonics.

    relative, width  as of relative_power
    n_harmonics      of which harmonic h has the weight 1 / sqrt(h)
    """
    first, last = max(2, int(low / width)), min(int(high / width) + 2, len(relative) - 2)
    if last <= first + 2:
        return []
    index = np.arange(first, last)
    score = np.zeros(len(index))
    for h in range(1, n_harmonics + 1):
        at = np.minimum(index * h, len(relative) - 1)
        score += np.where(index * h < len(relative), relative[at] - 1, 0.0) / np.sqrt(h)
    std = float(np.percentile(np.abs(score - np.median(score)), 68)) + 1e-12
    results: list[Line] = []
    left = score.copy()
    while len(results) < n and np.isfinite(left.max()):
        peak = int(np.argmax(left))
        results.append(Line(_vertex(score, peak, first) * width, float(score[peak] / std)))
        rate = (first + peak) * width
        left[np.abs(index * width - rate) < max(APART * rate, BINS_OF_A_LINE * width)] = -np.inf
    return results


def harmonic_strength(
    relative: NDArray[np.float64], width: float, rate: float, highest: float
) -> float:
    """Return the power at all harmonics of a rate up to `highest` Hz.

    In standard deviations of the sum for noise. A multiple of the rate has fewer of the lines, a
    fraction of it has noise between them, so the rate itself has the largest value.

    relative, width  as of relative_power
    """
    orders = np.arange(1, max(1, int(highest / rate)) + 1)
    bins = np.clip(np.round(orders * rate / width).astype(np.int64), 1, len(relative) - 2)
    largest = np.max([relative[bins - 1], relative[bins], relative[bins + 1]], axis=0)
    median = np.median(relative)
    std = float(np.percentile(relative, 84) - median) + 1e-12
    excess = np.minimum((largest - median) / std, MOST_OF_A_HARMONIC)
    return float(excess.sum() / np.sqrt(len(orders)))


def _vertex(score: NDArray[np.float64], peak: int, first: int) -> float:
    """Return the position of a maximum by a parabola through three points, in bins."""
    if not 0 < peak < len(score) - 1:
        return float(first + peak)
    before, at, after = score[peak - 1 : peak + 2]
    bend = before - 2 * at + after
    return float(first + peak + (0.5 * (before - after) / bend if bend < 0 else 0.0))
