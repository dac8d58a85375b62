"""Estimate a pitch shift from the shift of the spectrum on a logarithmic frequency axis."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dafxtool.effects.effect import Effect
from dafxtool.matching.hints.start import Start, clipped
from dafxtool.matching.objective import spectrum
from dafxtool.matching.pair import Pair

LENGTH = 4096  # samples at 24 kHz
STEPS_PER_SEMITONE = 8
LOWEST_HZ = 80.0
# Of a scan by ten steps to either side: errors were up to 0.04, and the valley is 0.006 wide.
DEVIATION_SEMITONES = 0.004
NEAR_WHOLE = 0.06  # semitones; most shifts that people set are whole


def starts(pair: Pair, effect: Effect) -> list[Start]:
    """Propose the shift with the largest correlation of the spectra, and the next whole number."""
    parameter = effect.parameter("semitones")
    shift, score = best_shift(pair, parameter.maximum)
    deviation = DEVIATION_SEMITONES / (parameter.maximum - parameter.minimum)
    shifts = [round(shift), shift] if abs(shift - round(shift)) < NEAR_WHOLE else [shift]
    return [
        Start(effect, clipped(effect, {"semitones": each}), {"semitones": deviation}, score=-score)
        for each in shifts
    ]


def best_shift(pair: Pair, most: float) -> tuple[float, float]:
    """Return the best shift in semitones, and its correlation less that of no shift."""
    scale = 2 ** round(np.log2(pair.sample_rate / 24_000))
    length = round(LENGTH * scale)
    dry, wet = (
        _log_frequency(np.abs(spectrum(x, length, length // 2)), pair.sample_rate)
        for x in (pair.dry, pair.wet)
    )
    n_most = round(most * STEPS_PER_SEMITONE)
    shifts = np.arange(-n_most, n_most + 1)
    scores = np.array([_correlation(dry, wet, int(s)) for s in shifts])
    peak = int(np.argmax(scores))
    fine = 0.0
    if 0 < peak < len(shifts) - 1:
        before, at, after = scores[peak - 1 : peak + 2]
        fine = 0.5 * (before - after) / min(before - 2 * at + after, -1e-12)
    shift = (shifts[peak] + float(np.clip(fine, -0.5, 0.5))) / STEPS_PER_SEMITONE
    return float(shift), float(scores[peak] - scores[n_most])


def _log_frequency(magnitude: NDArray[np.float32], sample_rate: int) -> NDArray[np.float64]:
    """Resample compressed magnitudes to equal steps of pitch, less the mean of each frame."""
    n_octaves = np.log2(0.45 * sample_rate / LOWEST_HZ)
    n_steps = int(12 * STEPS_PER_SEMITONE * n_octaves)
    frequencies = LOWEST_HZ * 2 ** (np.arange(n_steps) / (12 * STEPS_PER_SEMITONE))
    bins = frequencies / sample_rate * 2 * (magnitude.shape[1] - 1)
    low = np.floor(bins).astype(np.int64)
    part = bins - low
    high = np.minimum(low + 1, magnitude.shape[1] - 1)
    values = (1 - part) * magnitude[:, low] + part * magnitude[:, high]
    values = values**0.5
    return values - values.mean(axis=1, keepdims=True)


def _correlation(dry: NDArray[np.float64], wet: NDArray[np.float64], shift: int) -> float:
    n = dry.shape[1] - abs(shift)
    first, second = (dry[:, :n], wet[:, shift:]) if shift >= 0 else (dry[:, -shift:], wet[:, :n])
    norm = np.sqrt(np.square(first).sum() * np.square(second).sum())
    return float((first * second).sum() / max(norm, 1e-30))
