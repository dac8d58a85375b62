"""Compute statistics of a recording that depend on the effect more than on the content.

They do not depend on the level. They are compared in units of their variation between dry segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from dafxtool.matching.objective import Array, rms, spectrum

SAMPLE_RATE = 24_000  # Hz
SEGMENT_SAMPLES = 65_536  # 2.73 s
LENGTH, HOP = 1024, 256
N_BANDS = 48
LOWEST_HZ, HIGHEST_HZ = 60.0, 11_000.0
ACTIVE_DB = 35.0  # below the loudest frame: quieter frames are left out
MODULATION_HZ = (0.5, 24.0)
N_MODULATIONS = 24
N_LAGS = 96  # of the cepstrum, 10 ms to 1 s
SHRINKAGE = 1.0  # of the covariance, in mean variances between segments
MIN_SCALE = 0.25  # of the mean scale of a group, so that no value counts more than four times

Groups = dict[str, NDArray[np.float64]]


@lru_cache(maxsize=2)
def _bands() -> NDArray[np.float32]:
    """Return triangular bands (n_bins, N_BANDS), logarithmically spaced above 500 Hz."""
    points = np.geomspace(LOWEST_HZ + 440, HIGHEST_HZ + 440, N_BANDS + 2) - 440
    bins = np.arange(LENGTH // 2 + 1) * SAMPLE_RATE / LENGTH
    rising = (bins[:, None] - points[None, :-2]) / np.diff(points)[:-1]
    falling = (points[None, 2:] - bins[:, None]) / np.diff(points)[1:]
    weights = np.maximum(0, np.minimum(rising, falling))
    nearest = np.argmin(np.abs(bins[:, None] - points[None, 1:-1]), axis=0)
    weights[nearest, np.arange(N_BANDS)] = np.maximum(weights[nearest, np.arange(N_BANDS)], 0.1)
    return (weights / weights.sum(axis=0)).astype(np.float32)


def statistics_of(audio: Array) -> Groups:
    """Compute the groups of statistics of a segment (n_samples,) at 24 kHz."""
    level = rms(audio)
    audio = audio / np.float32(max(level, 1e-9))
    magnitude = np.abs(spectrum(audio, LENGTH, HOP))
    power = np.square(magnitude)
    bands = 10 * np.log10(power @ _bands() + 1e-7)
    frame_level = 10 * np.log10(power.mean(axis=1) + 1e-9)
    active = frame_level > frame_level.max() - ACTIVE_DB
    active_bands = bands[active]
    mean = active_bands.mean(axis=0)
    low, high = np.percentile(active_bands, (10, 90), axis=0)
    return {
        "mean": mean,
        "std": active_bands.std(axis=0),
        "low": low - mean,
        "high": high - mean,
        "movement": np.abs(np.diff(bands, axis=0))[active[:-1] | active[1:]].mean(axis=0),
        "roughness": _roughness(magnitude[active]),
        "cepstrum": _cepstrum(audio),
        "modulation": _modulation(bands),
        "level": _levels(frame_level),
        "waveform": _waveform(audio),
    }


def _roughness(magnitude: Array) -> NDArray[np.float64]:
    """Compute the mean curvature of the log spectrum along frequency, in 16 regions."""
    log = np.log(magnitude + 1e-4)
    bend = np.abs(np.diff(log, n=2, axis=1)).mean(axis=0)
    return np.array([part.mean() for part in np.array_split(bend, 16)])


def _cepstrum(audio: Array) -> NDArray[np.float64]:
    """Compute the largest cepstral value in N_LAGS logarithmic spans of 10 ms to 1 s (echoes)."""
    # Lags up to 1 s need no zeros behind a segment: those of a complete period are far longer.
    n_fft = scipy.fft.next_fast_len(max(audio.size, 2 * SAMPLE_RATE + 2), real=True)
    size = np.abs(scipy.fft.rfft(audio, n_fft))
    log = np.log(size + 1e-2 * size.mean() + 1e-9)
    cepstrum = np.abs(scipy.fft.irfft(log - log.mean(), n_fft))[: SAMPLE_RATE + 1]
    edges = np.geomspace(0.01, 1.0, N_LAGS + 1) * SAMPLE_RATE
    cepstrum /= np.median(cepstrum[240:]) + 1e-12
    spans = np.minimum(edges.astype(np.int64), len(cepstrum) - 1)
    tops = np.maximum.reduceat(cepstrum[: spans[-1]], spans[:-1])
    return np.log(tops + 1e-3)


def _modulation(bands: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the modulation spectrum in 4 regions of frequency: tremolo, phaser, chorus."""
    rate = SAMPLE_RATE / HOP
    spectra = []
    for region in np.array_split(np.maximum(bands, bands.max() - 60), 4, axis=1):
        envelope = region - region.mean(axis=0)
        window = np.hanning(len(envelope)).astype(np.float32)[:, None]
        power = np.square(np.abs(scipy.fft.rfft(envelope * window, 1024, axis=0))).mean(axis=1)
        frequencies = np.arange(len(power)) * rate / 1024
        edges = np.geomspace(*MODULATION_HZ, N_MODULATIONS + 1)
        index = np.searchsorted(frequencies, edges)
        widths = np.maximum(np.diff(index), 1)
        means = np.add.reduceat(power[: index[-1]], index[:-1]) / widths
        log = np.log(means + 1e-6)
        spectra.append(log - log.mean())
    return np.concatenate(spectra)


def _levels(frame_level: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute percentiles of the level over time, and of its changes, in dB."""
    relative = np.maximum(frame_level - frame_level.max(), -60)
    steps = np.diff(relative)
    shares = (5, 10, 20, 30, 40, 50, 60, 70, 80, 90)
    return np.concatenate(
        [np.percentile(relative, shares), np.percentile(steps, (2, 10, 25, 75, 90, 98))]
    )


def _waveform(audio: Array) -> NDArray[np.float64]:
    """Compute log histograms of samples relative to the peak and to the RMS, and kurtosis."""
    size = np.abs(audio)
    peak = float(size.max()) + 1e-9
    over_peak, over_rms = (_counts(size, highest) for highest in (peak, 5.0))
    shares = np.log(np.concatenate([over_peak, over_rms]) / size.size + 1e-3)
    crest = 20 * np.log10(peak)
    square = np.square(audio)
    kurtosis = np.log(float(square @ square) / audio.size + 1e-9)
    return np.concatenate([shares, [crest / 3, kurtosis]])


def _counts(sizes: Array, highest: float) -> NDArray[np.int64]:
    """Count the sizes in 16 equal spans from 0 to the highest; larger ones are left out."""
    index = (sizes * np.float32(16 / highest)).astype(np.int32)
    counts = np.bincount(index, minlength=17)
    counts[15] += counts[16] if highest >= sizes.max(initial=0.0) else 0
    return counts[:16]


def mean_of(groups: Sequence[Groups]) -> Groups:
    """Average the statistics of several segments."""
    return {name: np.mean([each[name] for each in groups], axis=0) for name in groups[0]}


def scales_of(groups: Sequence[Groups]) -> Groups:
    """Compute the variation of each statistic between segments of one recording."""
    scales = {}
    for name in groups[0]:
        values = np.stack([each[name] for each in groups])
        std = values.std(axis=0, ddof=1) if len(values) > 1 else np.ones(values.shape[1])
        typical = float(std.mean()) + 1e-9
        # Few segments give a better estimate for the group than for each value.
        trust = len(values) / (len(values) + 8)
        scales[name] = np.maximum(trust * std + (1 - trust) * typical, MIN_SCALE * typical)
    return scales


class Comparison:
    """Distance of statistics to those of the references.

    A Mahalanobis distance, with every group of statistics weighing the same: directions in which
    other words of the same voice differ count less. The covariance between segments is shrunk
    towards a multiple of the identity, because there are far more statistics than segments.

    target    mean statistics of the references
    segments  statistics of segments of the unprocessed recording
    scales    as of scales_of
    """

    def __init__(self, target: Groups, segments: Sequence[Groups], scales: Groups) -> None:
        n_values = np.concatenate([np.full(len(v), len(v)) for v in target.values()])
        self._weights = 1 / (_joined(scales) * np.sqrt(n_values * len(target)))
        self._target = _joined(target)
        values = np.stack([_joined(each) for each in segments])
        deviations = (values - values.mean(axis=0)) * self._weights
        _, sizes, self._directions = np.linalg.svd(deviations, full_matrices=False)
        variances = np.square(sizes) / max(len(segments) - 1, 1)
        typical = float(variances.sum()) / max(len(segments) - 1, 1)
        self._discounts = variances / (variances + SHRINKAGE * typical + 1e-12)

    def distance(self, statistics: Groups) -> float:
        """Return the distance; without known directions, 1 is that between two other segments."""
        difference = (_joined(statistics) - self._target) * self._weights
        along = self._directions @ difference
        square = float(difference @ difference) - float(np.square(along) @ self._discounts)
        return float(np.sqrt(max(square, 0.0)))


def _joined(groups: Groups) -> NDArray[np.float64]:
    return np.concatenate(list(groups.values()))
