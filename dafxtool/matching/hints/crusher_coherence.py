"""Estimate a bit-crusher in front of unknown effects, by its local coherence with the wet audio.

Behind a filter, a compressor or a flanger the wet audio has no levels. But the dry audio is known,
and only the right rate and bits give its quantisation noise, which the effects behind change slowly
over time and frequency. The coherence over a few frames of each bin allows such changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from dafxtool.effects.builtin import apply_effect
from dafxtool.effects.effect import Effect
from dafxtool.matching.objective import spectrum
from dafxtool.matching.pair import Array, Pair

FRAME, HOP, N_FRAMES = 512, 256, 6  # samples, and frames of one estimate
LOWEST_POWER = 1e-6  # of the largest; quieter parts do not count
HELPS = 0.02  # coherence that held samples have to gain over the dry audio
BITS_STEP = 0.1  # of the first grid; the peak is about as wide
RATE_WIDTH = 3e-5  # relative error of a rate that is still refined
N_RATES = 10


class LocalCoherence:
    """Coherence of signals with a wet one, 0 to 1, averaged over short parts of each bin."""

    def __init__(self, wet: Array) -> None:
        self._wet = spectrum(wet, FRAME, HOP)
        self._power = _sums(np.square(np.abs(self._wet)))
        self._counts = self._power > LOWEST_POWER * self._power.max(initial=0.0)

    def __call__(self, audio: Array) -> float:
        """Return the coherence of audio (n_samples,), as long as the wet one."""
        if not self._counts.any():
            return 0.0
        frames = spectrum(audio, FRAME, HOP)
        cross = np.square(np.abs(_sums(self._wet * frames.conj())))
        coherence = cross / (self._power * _sums(np.square(np.abs(frames))) + 1e-20)
        return float(coherence[self._counts].mean())


def crusher_in_front(
    pair: Pair, effect: Effect, rates: Sequence[float]
) -> tuple[float, float] | None:
    """Return the rate (Hz) and bits that explain the wet audio best; None if no rate helps.

    rates  candidates, likely ones first
    """
    coherence = LocalCoherence(pair.wet)
    bits, rate = effect.parameter("bits"), effect.parameter("rate")

    def score(hertz: float, n_bits: float) -> float:
        setting = {
            "bits": min(max(n_bits, bits.minimum), bits.maximum),
            "rate": min(max(hertz, rate.minimum), rate.maximum),
        }
        return coherence(apply_effect(effect, pair.dry, pair.sample_rate, setting))

    held = {each: score(each, bits.maximum) for each in rates[:N_RATES]}
    if not held:
        return None
    best_rate = max(held, key=lambda each: held[each])
    if held[best_rate] < coherence(pair.dry) + HELPS:
        return None
    grid = np.arange(bits.usual_range()[0], bits.usual_range()[1] + BITS_STEP / 2, BITS_STEP)
    scores = [score(best_rate, float(each)) for each in grid]
    best_bits = float(grid[int(np.argmax(scores))])
    width = RATE_WIDTH * best_rate
    best_rate = _climb(lambda each: score(each, best_bits), best_rate, width, 1e-2 * width)
    best_bits = _climb(lambda each: score(best_rate, each), best_bits, BITS_STEP, 1e-4)
    return best_rate, best_bits


def _climb(score: Callable[[float], float], value: float, step: float, smallest: float) -> float:
    """Return the maximum of a function with one peak, within two steps of a value."""
    best = score(value)
    while step > smallest:
        step /= 2
        for each in (value - step, value + step):
            result = score(each)
            if result > best:
                value, best = each, result
                break
    return value


def _sums(frames: np.ndarray) -> np.ndarray:
    """Sum groups of frames: (n_frames, n_bins) to (n_groups, n_bins)."""
    n = len(frames) // N_FRAMES * N_FRAMES
    return np.add.reduceat(frames[:n], np.arange(0, n, N_FRAMES)) if n else frames[:0]
