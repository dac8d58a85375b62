"""Describe gain over time: its spectrum, and its dependence on the level now and before."""

from __future__ import annotations

import numpy as np
import scipy.fft

from dafxtool.matching.hints.dynamics import fit_knee, levels
from dafxtool.matching.pair import FRAME, Pair
from dafxtool.matching.pair_features.arrays import (
    Vector,
    band_edges,
    band_sums,
    log_share,
)

HOP_SECONDS = 0.0025
N_GAIN_BANDS = 6
BANDS_HZ = (60.0, 200.0, 500.0, 1200.0, 2500.0, 5000.0, 11_000.0)
N_MODULATION_BANDS = 22
SLOWEST_HZ, FASTEST_HZ = 0.3, 30.0
N_LEVEL_BINS = 10
LEVEL_STEP_DB = 5.0  # below the loudest frame
LAGS = (-8, -4, -2, 0, 2, 4, 8, 16, 32, 64, 128)  # hops, of the level before the gain


def gain_features(pair: Pair) -> Vector:
    """Compute all features of gain over time."""
    hop = max(1, round(HOP_SECONDS * pair.sample_rate))
    gain, energy = pair.local_gain(2 * hop, hop)
    weight = energy / (energy + 0.05 * max(float(energy.mean()), 1e-30))
    level = 10 * np.log10(energy + 1e-12 * max(float(energy.max()), 1e-30) + 1e-30)
    return np.concatenate(
        [
            _modulation(gain, weight, 1 / HOP_SECONDS),
            _level_curve(pair),
            _lags(gain, level, weight),
        ]
    )


def _modulation(gain: Vector, weight: Vector, rate: float) -> Vector:
    """Return the spectrum of the gain in bands, and rate and depth of its largest line."""
    mean = float((gain * weight).sum() / max(weight.sum(), 1e-30))
    n_fft = scipy.fft.next_fast_len(4 * gain.size, real=True)
    line = np.abs(scipy.fft.rfft((gain - mean) * weight, n_fft))
    frequency_step = rate / n_fft
    edges = band_edges(SLOWEST_HZ, FASTEST_HZ, N_MODULATION_BANDS, frequency_step)
    power = np.square(line)
    peaks = np.maximum.reduceat(line[: edges[-1]], edges[:-1])
    swing = 2 * peaks / max(float(weight.sum()), 1e-30) / max(abs(mean), 1e-12)
    inside = power[edges[0] : edges[-1]]
    best = int(np.argmax(inside)) + int(edges[0])
    height = float(power[best]) / max(float(inside.mean()), 1e-30)
    ratio = min(2 * float(line[best]) / max(float(weight.sum()), 1e-30) / max(abs(mean), 1e-12), 3)
    return np.concatenate(
        [
            np.log10(swing + 1e-3),
            log_share(band_sums(power, edges), float(power[: edges[-1]].sum())),
            [np.log2(best * frequency_step), np.log10(height + 1), 2 * ratio / (1 + ratio)],
        ]
    )


def _level_curve(pair: Pair) -> Vector:
    """Return the gain by the level of the dry frame, and knees: of all, and in bands."""
    dry, wet = levels(pair)
    gain = wet - dry
    bins = np.minimum(((dry.max() - dry) / LEVEL_STEP_DB).astype(int), N_LEVEL_BINS - 1)
    count = np.bincount(bins, minlength=N_LEVEL_BINS)
    means = np.bincount(bins, gain, N_LEVEL_BINS) / np.maximum(count, 1)
    squares = np.bincount(bins, np.square(gain), N_LEVEL_BINS) / np.maximum(count, 1)
    deviation = np.sqrt(np.maximum(squares - means**2, 0))
    reference = float(means[0])
    parts = [
        np.where(count > 0, means - reference, 0.0) / 10,
        np.log10(deviation + 0.03),
        np.array([float(dry.max()) / 10, float(gain.std())]),
        _knee(dry, gain),
    ]
    power = [np.square(np.abs(f)) for f in (pair.dry_frames, pair.wet_frames)]
    edges = np.rint(np.array(BANDS_HZ) * FRAME / pair.sample_rate).astype(np.int64)
    bands = [10 * np.log10(band_sums(each, edges) + 1e-9) for each in power]
    for band in range(len(BANDS_HZ) - 1):
        dry_band, wet_band = bands[0][:, band], bands[1][:, band]
        is_active = dry_band > dry_band.max() - 40
        change = (wet_band - dry_band)[is_active]
        level = dry_band[is_active]
        centred = level - level.mean()
        slope = float(centred @ change) / max(float(centred @ centred), 1e-9)
        rest = change - change.mean() - slope * centred
        parts.append(np.array([slope, np.log10(float(rest.std()) + 0.03)]))
        parts.append(_knee(level - dry.max(), change)[:3])
    return np.concatenate(parts)


def _knee(level: Vector, gain: Vector) -> Vector:
    """Return threshold and slope of a knee, above and below it, and the errors."""
    values = []
    for above in (True, False):
        threshold, slope, _, error = fit_knee(level, gain, above)
        values += [threshold / 10, slope, np.log10(np.sqrt(error) + 0.03)]
    return np.array(values)


def _lags(gain: Vector, level: Vector, weight: Vector) -> Vector:
    """Return correlations of the gain in dB with earlier and later levels, rises and falls."""
    decibels = 20 * np.log10(np.abs(gain) + 1e-4)
    usual = decibels - float((weight * decibels).sum() / max(weight.sum(), 1e-30))
    usual *= weight
    audible = np.maximum(level, level.max() - 60)
    change = np.diff(audible, prepend=level[:1])
    sources = [audible, np.maximum(change, 0), np.minimum(change, 0)]
    values = []
    for source in (each - float(each.mean()) for each in sources):
        for lag in (min(each, source.size - 1) for each in LAGS):
            if lag >= 0:
                first, second = source[: source.size - lag], usual[lag:]
            else:
                first, second = source[-lag:], usual[: usual.size + lag]
            norm = float(np.sqrt((first @ first) * (second @ second)))
            values.append(float(first @ second) / max(norm, 1e-12))
    return np.array(values)


def ring_features(pair: Pair) -> Vector:
    """Return frequency and share of the strongest line of the product of dry and wet audio."""
    dry, wet = pair.dry.astype(np.float64), pair.wet.astype(np.float64)
    energy = dry * dry
    weight = energy / (energy + 0.05 * max(float(energy.mean()), 1e-30))
    cross = dry * wet * (weight / np.maximum(energy, 1e-30))
    constant = float(cross.sum() / max(weight.sum(), 1e-30))
    n_fft = scipy.fft.next_fast_len(2 * cross.size, real=True)
    size = np.abs(scipy.fft.rfft(cross - constant * weight, n_fft))
    step = pair.sample_rate / n_fft
    edges = band_edges(40.0, 2500.0, 20, step)
    peaks = np.maximum.reduceat(size[: edges[-1]], edges[:-1])
    inside = size[edges[0] : edges[-1]]
    best = int(np.argmax(inside)) + int(edges[0])
    swing = 2 * float(size[best]) / max(float(weight.sum()), 1e-30)
    scale = max(float(np.median(inside)), 1e-30)
    return np.concatenate(
        [
            np.log10(peaks / scale + 1e-3),
            [
                np.log2(best * step),
                np.log10(float(size[best]) / scale),
                swing / max(swing + abs(constant), 1e-12),
            ],
        ]
    )
