"""Estimate thresholds and ratios of dynamics effects from the levels of dry and wet frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dafxtool.effects.effect import Effect
from dafxtool.matching.hints.start import Start, clipped
from dafxtool.matching.pair import Pair

FRAME_SECONDS = 0.02


def levels(pair: Pair) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute the levels of dry and wet in dB (n_frames,), in frames that are not silent."""
    length = max(16, round(FRAME_SECONDS * pair.sample_rate))
    n = pair.dry.size // length
    both = np.stack([pair.dry, pair.wet])[:, : n * length].astype(np.float64)
    level = 10 * np.log10(np.square(both.reshape(2, n, length)).mean(axis=2) + 1e-12)
    is_active = level[0] > level[0].max(initial=-120) - 50
    return level[0][is_active], level[1][is_active]


def fit_knee(
    level: NDArray[np.float64], gain: NDArray[np.float64], above: bool
) -> tuple[float, float, float, float]:
    """Fit gain = g + s * max(0, level - t), or max(0, t - level) unless `above`.

    returns  t, s, g, and the mean squared error, in dB
    """
    constant = (float(np.median(level)), 0.0, float(np.mean(gain)), float(np.var(gain)))
    thresholds = np.linspace(level.min(), level.max(), 41)[1:-1]
    over = level - thresholds[:, None]
    over = np.maximum(0, over if above else -over)
    means = over.mean(axis=1)
    centred = over - means[:, None]
    own = gain - gain.mean()
    energy = np.square(centred).sum(axis=1)
    slopes = (centred @ own) / np.maximum(energy, 1e-12)
    errors = np.square(own - slopes[:, None] * centred).mean(axis=1)
    best = int(np.argmin(errors))
    if errors[best] >= constant[3]:
        return constant
    offset = float(gain.mean() - slopes[best] * means[best])
    return float(thresholds[best]), float(slopes[best]), offset, float(errors[best])


def compressor_starts(pair: Pair, effect: Effect) -> list[Start]:
    """Propose threshold and ratio, with fast and slow time constants."""
    dry, wet = levels(pair)
    if len(dry) < 8:
        return [Start(effect)]
    threshold, slope, _, error = fit_knee(dry, wet - dry, above=True)
    ratio = 1 / max(1 + min(slope, 0.0), 0.05)
    # The detector follows peaks, which are louder than the RMS level of a frame.
    threshold += 6.0
    deviations = {"threshold": 0.15, "ratio": 0.15, "attack": 0.2, "release": 0.2}
    names = {p.name for p in effect.parameters}
    settings = [
        {"threshold": threshold, "ratio": ratio, "attack": attack, "release": release}
        for attack, release in ((3.0, 80.0), (15.0, 250.0))
    ]
    known = [{name: v for name, v in s.items() if name in names} for s in settings]
    return [Start(effect, clipped(effect, s), deviations, score=error) for s in known]


def gate_starts(pair: Pair, effect: Effect) -> list[Start]:
    """Propose threshold and ratio of an expander."""
    dry, wet = levels(pair)
    if len(dry) < 8:
        return [Start(effect)]
    threshold, slope, _, error = fit_knee(dry, wet - dry, above=False)
    ratio = 1 + max(-slope, 0.0)
    deviations = {"threshold": 0.15, "ratio": 0.15, "attack": 0.2, "release": 0.2}
    settings = [
        {"threshold": threshold + 3, "ratio": ratio, "attack": attack, "release": release}
        for attack, release in ((2.0, 60.0), (6.0, 150.0))
    ]
    return [Start(effect, clipped(effect, s), deviations, score=error) for s in settings]


def limiter_starts(pair: Pair, effect: Effect) -> list[Start]:
    """Propose how far the audio is driven beyond the ceiling; only the difference matters."""
    dry, wet = levels(pair)
    if len(dry) < 8:
        return [Start(effect)]
    _, _, gain, error = fit_knee(dry, wet - dry, above=True)
    peak = 20 * np.log10(float(np.abs(pair.wet).max()) + 1e-9)
    deviations = {"drive": 0.15, "ceiling": 0.0, "release": 0.25}
    settings = [{"drive": gain, "ceiling": peak, "release": release} for release in (60.0, 200.0)]
    return [Start(effect, clipped(effect, s), deviations, score=error) for s in settings]


def multiband_starts(pair: Pair, effect: Effect) -> list[Start]:
    """Propose threshold and ratio as of one band, with the crossovers low, middle and high."""
    first = compressor_starts(pair, effect)[0].setting
    shape = {name: first[name] for name in ("threshold", "ratio") if name in first}
    deviations = {p.name: 0.15 for p in effect.parameters}
    settings = [
        shape | {"low-crossover": low, "high-crossover": high}
        for low, high in ((150.0, 2000.0), (250.0, 3500.0), (450.0, 5000.0))
    ]
    # A single band is quieter than the sum.
    settings += [s | {"threshold": s["threshold"] - 6} for s in settings if "threshold" in s]
    return [Start(effect, clipped(effect, s), deviations) for s in settings]
