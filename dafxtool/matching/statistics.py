"""Compute statistics of a recording that depend on the effect more than on the content.

They do not depend on the level. Each value is divided by its variation between dry segments, so a
distance of 1 is that between other words of the same voice.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

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
    return {
        "mean": active_bands.mean(axis=0),
        "std": active_bands.std(axis=0),
        "low": np.percentile(active_bands, 10, axis=0) - active_bands.mean(axis=0),
        "high": np.percentile(active_bands, 90, axis=0) - active_bands.mean(axis=0),
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
    n_fft = scipy.fft.next_fast_len(2 * audio.size, real=True)
    size = np.abs(scipy.fft.rfft(audio, n_fft))
    log = np.log(size + 1e-2 * size.mean() + 1e-9)
    cepstrum = np.abs(scipy.fft.irfft(log - log.mean(), n_fft))[: SAMPLE_RATE + 1]
    edges = np.geomspace(0.01, 1.0, N_LAGS + 1) * SAMPLE_RATE
    cepstrum /= np.median(cepstrum[240:]) + 1e-12
    spans = np.minimum(edges.astype(np.int64), len(cepstrum) - 1)
    tops = [cepstrum[a : max(b, a + 1)].max() for a, b in pairwise(spans)]
    return np.log(np.array(tops) + 1e-3)


def echo_times_ms(audios: Sequence[Array], n: int) -> list[float]:
    """Return the n most likely echo times: peaks of the mean cepstrum from 20 ms to 1 s."""
    total = np.zeros(SAMPLE_RATE + 1)
    for audio in audios:
        n_fft = scipy.fft.next_fast_len(max(2 * audio.size, 2 * SAMPLE_RATE + 2), real=True)
        size = np.abs(scipy.fft.rfft(audio, n_fft))
        log = np.log(size + 1e-2 * size.mean() + 1e-9)
        total += scipy.fft.irfft(log - log.mean(), n_fft)[: SAMPLE_RATE + 1]
    first = SAMPLE_RATE // 50
    size = np.abs(total)
    size[:first] = 0.0
    times = []
    for _ in range(n):
        peak = int(np.argmax(size))
        times.append(1000 * peak / SAMPLE_RATE)
        size[max(0, peak - 12) : peak + 13] = 0.0
    return times


def _modulation(bands: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the modulation spectrum in 4 regions of frequency: tremolo, phaser, chorus."""
    rate = SAMPLE_RATE / HOP
    spectra = []
    for region in np.array_split(np.maximum(bands, bands.max() - 60), 4, axis=1):
        envelope = region - region.mean(axis=0)
        window = np.hanning(len(envelope))[:, None]
        power = np.square(np.abs(scipy.fft.rfft(envelope * window, 1024, axis=0))).mean(axis=1)
        frequencies = np.arange(len(power)) * rate / 1024
        edges = np.geomspace(*MODULATION_HZ, N_MODULATIONS + 1)
        index = np.searchsorted(frequencies, edges)
        sums = [power[a : max(b, a + 1)].mean() for a, b in pairwise(index)]
        log = np.log(np.array(sums) + 1e-6)
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
    over_peak = np.histogram(size / peak, bins=16, range=(0, 1))[0]
    over_rms = np.histogram(size, bins=16, range=(0, 5))[0]
    shares = np.log(np.concatenate([over_peak, over_rms]) / size.size + 1e-3)
    crest = 20 * np.log10(peak)
    kurtosis = np.log(float(np.mean(np.square(np.square(audio.astype(np.float64))))) + 1e-9)
    return np.concatenate([shares, [crest / 3, kurtosis]])


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


def scaled(groups: Groups, scales: Groups) -> NDArray[np.float64]:
    """Put all statistics over their scales in one vector (n_statistics,).

    Each group has the same share of a distance, however many values it has.
    """
    n = len(groups)
    return np.concatenate([groups[name] / scales[name] / groups[name].size / n for name in groups])


def scaled_distances(theirs: NDArray[np.float64], ours: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distances (n,) of scaled statistics (n, n_statistics) to others (n_statistics,)."""
    return np.abs(theirs - ours).sum(axis=1)


def statistics_distance(ours: Groups, theirs: Groups, scales: Groups) -> float:
    """Compute the mean absolute difference in units of scales, averaged over the groups."""
    return float(np.abs(scaled(ours, scales) - scaled(theirs, scales)).sum())
