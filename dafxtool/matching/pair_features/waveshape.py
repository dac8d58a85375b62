"""Describe nonlinear effects: distribution of samples, and how much each drive explains."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.signal import lfilter

from dafxtool.matching.objective import Array, spectrum
from dafxtool.matching.pair import FRAME, Pair, Response
from dafxtool.matching.pair_features.arrays import Vector

PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99)
SAMPLE_STEP = 3  # every third sample: the distribution hardly changes
N_STEPS = 10  # of the dry level, for the level of the wet samples
DRIVES_DB = (8.0, 14.0, 20.0, 26.0, 32.0, 38.0, 44.0)
CLIP = 0.5
EXCERPT_SECONDS = 1.4  # the loudest part explains enough


def distribution_features(pair: Pair) -> Vector:
    """Compute percentiles and crest factors of both, and the wet level by the dry level."""
    parts = []
    sizes = []
    for audio in (pair.dry[::SAMPLE_STEP], pair.wet[::SAMPLE_STEP]):
        size = np.abs(audio.astype(np.float64))
        level = float(np.sqrt(np.square(size).mean())) + 1e-12
        sizes.append(size / level)
        parts.append(np.log10(np.percentile(size, PERCENTILES) / level + 1e-3))
        parts.append(np.log10([float(size.max()) / level, float(np.mean((size / level) ** 4))]))
        signed = audio.astype(np.float64) / level
        parts.append(np.array([np.cbrt(float(np.mean(signed**3)))]))
        # Samples near the peak are flattened by clipping.
        near = size[:, None] > float(size.max()) * np.array([0.5, 0.7, 0.9, 0.97])
        parts.append(np.log10(near.mean(axis=0) + 1e-5))
    order = np.argsort(sizes[0], kind="stable")
    steps = [float(part.mean()) for part in np.array_split(sizes[1][order], N_STEPS)]
    parts.append(np.log10(np.array(steps) + 1e-3))
    return np.concatenate(parts)


def drive_features(pair: Pair) -> Vector:
    """Compute the coherence of the wet audio with the dry audio after each drive.

    The first curve is a hyperbolic tangent, the second a hard clipper behind a high-pass filter.
    """
    dry, wet = loudest_part(pair)
    wet_frames = spectrum(wet, FRAME, FRAME // 2)
    thin = _high_pass(dry, pair.sample_rate)
    values = []
    curves: list[tuple[Array, Callable[[Array], Array]]] = [
        (dry, lambda driven: np.tanh(driven)),
        (thin, lambda driven: np.clip(driven, -CLIP, CLIP)),
    ]
    for source, curve in curves:
        own = []
        for drive in (None, *DRIVES_DB):
            driven = source if drive is None else curve(source * np.float32(10 ** (drive / 20)))
            response = Response(spectrum(driven, FRAME, FRAME // 2), wet_frames)
            audible = response.source_power > 1e-6 * response.source_power.max()
            mean = float(response.bin_coherence[audible].mean()) if audible.any() else 0.0
            own.append((mean, response.coherence))
        scores = np.array(own)
        weight = np.exp((scores[1:, 0] - scores[1:, 0].max()) / 0.01)
        best = float(weight @ np.array(DRIVES_DB) / weight.sum())
        values.append(np.concatenate([scores.ravel(), [best / 10, float(scores[:, 0].max())]]))
    return np.concatenate(values)


def loudest_part(pair: Pair) -> tuple[Array, Array]:
    """Return the loudest EXCERPT_SECONDS of both recordings."""
    length = min(pair.dry.size, round(EXCERPT_SECONDS * pair.sample_rate))
    hop = max(1, length // 8)
    energy = np.square(pair.dry, dtype=np.float64)
    sums = np.concatenate([[0.0], np.cumsum(energy)])
    starts = np.arange(0, pair.dry.size - length + 1, hop)
    start = int(starts[np.argmax(sums[starts + length] - sums[starts])])
    part = slice(start, start + length)
    return pair.dry[part], pair.wet[part]


def _high_pass(audio: Array, sample_rate: int) -> Array:
    """Attenuate below 120 Hz, as the built-in distortion does."""
    pole = float(np.exp(-2 * np.pi * 120 / sample_rate))
    gain = (1 + pole) / 2
    return np.asarray(lfilter([gain, -gain], [1, -pole], audio), dtype=np.float32)
