"""Describe the linear part of an effect: impulse response and frequency response from dry to wet.

Echoes and reverberation are lags of the impulse response; filters are the shape of the frequency
response. A low coherence shows an effect that is not linear or changes over time.
"""

from __future__ import annotations

import numpy as np

from dafxtool.matching.hints.delay import SHORTEST_MS, echoes
from dafxtool.matching.objective import spectrum
from dafxtool.matching.pair import FRAME, Pair, Response
from dafxtool.matching.pair_features.arrays import (
    Vector,
    band_edges,
    band_means,
    band_sums,
    log_share,
)

LONGEST_LAG_SECONDS = 2.0
SHORTEST_LAG_SECONDS = 1e-4
N_LAG_BANDS = 40
N_ECHOES = 2
LONGEST_ECHO_MS = 1100.0
DECAY_FRAME = 512  # samples at 24 kHz
N_DECAY_TIMES = 14
DECAY_BANDS_HZ = (100.0, 400.0, 1000.0, 2500.0, 5000.0, 11_000.0)
LOWEST_HZ, HIGHEST_HZ = 60.0, 11_500.0
N_BANDS = 32
N_COHERENCE_BANDS = 10


def impulse_features(pair: Pair) -> Vector:
    """Compute the energy of the impulse response by lag, its peaks, and its decay in bands."""
    response = pair.impulse_response
    causal = response[: pair.dry.size]
    energy = np.square(causal)
    total = float(np.square(response).sum())
    edges = band_edges(SHORTEST_LAG_SECONDS, LONGEST_LAG_SECONDS, N_LAG_BANDS, 1 / pair.sample_rate)
    sums = band_sums(energy, edges)
    largest = np.maximum.reduceat(energy, np.minimum(edges[:-1], energy.size - 1))
    first = energy[: edges[0]].sum()
    parts = [
        log_share(np.array([first, total - energy.sum()]), total),
        np.sign(causal[:1]) * log_share(energy[:1], total),
        log_share(sums, total),
        log_share(largest, max(float(energy.max()), 1e-30)),
        _echo_features(pair, total),
        _decay_features(pair, causal),
    ]
    return np.concatenate(parts)


def _echo_features(pair: Pair, total: float) -> Vector:
    """Return time, feedback, mix and height of the largest echoes."""
    rate = pair.sample_rate
    span = round(SHORTEST_MS * rate / 1000), round(LONGEST_ECHO_MS * rate / 1000)
    features = np.zeros((N_ECHOES, 5))
    for row, echo in enumerate(echoes(pair, *span, N_ECHOES)):
        height = echo.size / max(total, 1e-30) ** 0.5
        features[row] = (
            np.log10(echo.lag / rate),
            echo.feedback,
            echo.feedback * height,
            echo.mix,
            np.log10(height + 1e-3),
        )
    return features.ravel()


def _decay_features(pair: Pair, causal: Vector) -> Vector:
    """Return the energy of the response in bands of frequency, by time after the direct sound."""
    length = round(DECAY_FRAME * pair.sample_rate / 24_000)
    power = np.square(np.abs(spectrum(causal.astype(np.float32), length, length // 2)))
    step = pair.sample_rate / length
    frequencies = np.rint(np.array(DECAY_BANDS_HZ) / step).astype(np.int64)
    bands = band_sums(power, frequencies).T  # (n_bands, n_frames)
    times = band_edges(
        1.5 * length / pair.sample_rate,
        LONGEST_LAG_SECONDS,
        N_DECAY_TIMES,
        length / 2 / pair.sample_rate,
    )
    late = band_means(bands, times)
    return log_share(late / np.maximum(bands[:, :2].sum(axis=1, keepdims=True), 1e-30), 1.0).ravel()


def frequency_features(pair: Pair) -> Vector:
    """Compute the gain in bands, less its mean, and the coherence.

    The gain is computed twice: of what the linear response explains, and of the power.
    """
    response = Response(pair.dry_frames, pair.wet_frames)
    edges = band_edges(LOWEST_HZ, HIGHEST_HZ, N_BANDS, pair.sample_rate / FRAME)
    dry, wet = (
        np.square(np.abs(each)).sum(axis=0, dtype=np.float64)
        for each in (pair.dry_frames, pair.wet_frames)
    )
    audible = 1e-7 * dry.max() + 1e-30
    explained = np.square(np.abs(response.complex)) * dry
    power = band_sums(dry, edges) + audible
    linear = 10 * np.log10((band_sums(explained, edges) + 1e-4 * audible) / power)
    complete = 10 * np.log10((band_sums(wet, edges) + 1e-4 * audible) / power)
    weight = np.sqrt(np.sqrt(power))
    middle = float(weight @ complete / weight.sum())
    coarse = band_edges(LOWEST_HZ, HIGHEST_HZ, N_COHERENCE_BANDS, pair.sample_rate / FRAME)
    coherence = band_sums(explained, coarse) / (band_sums(wet, coarse) + 1e-30)
    return np.concatenate(
        [
            np.clip(linear - middle, -40, 40) / 10,
            np.clip(complete - middle, -40, 40) / 10,
            np.clip(coherence, 0, 1),
            [response.coherence, np.log10(1.001 - min(response.coherence, 1.0))],
        ]
    )
