"""Compute features of short frames that follow the oscillator of an effect."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from dafxtool.matching.objective import Array, spectrum

HOP_SECONDS = 0.01
ACTIVE_DB = 35.0  # below the 95th percentile; quieter frames say nothing
LEVEL_SECONDS, SHIFT_SECONDS = 0.02, 0.04  # of a frame
N_LEVELS = 32
SHIFT_FRAMES = 3  # between two spectra that are compared
SHIFT_HZ = (150.0, 4000.0)
N_LOG_BINS = 240
MOST_BINS = 18  # largest shift: a quarter of an octave


def frame_rate(sample_rate: int) -> float:
    """Return the number of frames in a second."""
    return sample_rate / round(HOP_SECONDS * sample_rate)


def _magnitude(audio: Array, sample_rate: int, seconds: float) -> Array:
    length = 2 ** round(np.log2(seconds * sample_rate))
    return np.abs(spectrum(audio, length, round(HOP_SECONDS * sample_rate)))


def _around_zero(features: Array, active: NDArray[np.bool_]) -> Array:
    """Subtract the mean of the active frames; inactive ones become 0."""
    count = np.maximum(active.sum(axis=0), 1)
    mean = np.where(active, features, 0).sum(axis=0) / count
    return np.where(active, features - mean, 0).astype(np.float32)


def band_levels(audio: Array, sample_rate: int, relative: bool) -> Array:
    """Compute the levels (n_frames, n_bands) of logarithmic bands in dB.

    relative  to the bands around, so that notches remain and changes of level do not
    """
    power = np.square(_magnitude(audio, sample_rate, LEVEL_SECONDS))
    last = power.shape[1] - 1
    edges = np.unique(np.round(np.geomspace(3, last, N_LEVELS + 1)).astype(np.int64))
    levels = np.stack([power[:, a:b].mean(axis=1) for a, b in pairwise(edges)])
    levels = 10 * np.log10(levels.T + 1e-12)
    active = levels > np.percentile(levels, 95, axis=0) - ACTIVE_DB
    if relative:
        levels = levels - uniform_filter1d(levels, 11, axis=1)
        return _around_zero(levels, active)
    return _around_zero(levels, active).mean(axis=1, keepdims=True)


def cepstra(audio: Array, sample_rate: int, seconds: float, low: int, high: int) -> Array:
    """Compute the cepstrum (n_frames, high - low) of frames from lag `low` to `high`, in samples.

    An echo within a frame is a peak at its lag.
    """
    size = _magnitude(audio, sample_rate, seconds)
    mean = size.mean(axis=1, keepdims=True)
    active = mean > np.percentile(mean, 95) * 10 ** (-ACTIVE_DB / 20)
    log = np.log(size + 1e-2 * mean + 1e-9)
    lags = scipy.fft.irfft(log, axis=1)[:, low:high]
    return _around_zero(lags, np.broadcast_to(active, lags.shape))


def shifts(audio: Array, sample_rate: int) -> Array:
    """Compute the similarity (n_frames, n_shifts) of each spectrum to a later, shifted one.

    The shift is one of frequency, on a logarithmic axis. It follows a vibrato.
    """
    size = _magnitude(audio, sample_rate, SHIFT_SECONDS)
    position = np.geomspace(*SHIFT_HZ, N_LOG_BINS) * 2 * (size.shape[1] - 1) / sample_rate
    below = np.minimum(position.astype(np.int64), size.shape[1] - 2)
    share = (position - below).astype(np.float32)
    log = np.log(size + 1e-2 * size.mean() + 1e-9)
    log = log[:, below] * (1 - share) + log[:, below + 1] * share
    log -= uniform_filter1d(log, 41, axis=1)
    ours, later = log[:-SHIFT_FRAMES, MOST_BINS:-MOST_BINS], log[SHIFT_FRAMES:]
    n = ours.shape[1]
    similar = [np.einsum("ij,ij->i", ours, later[:, q : q + n]) for q in range(2 * MOST_BINS + 1)]
    energy = np.einsum("ij,ij->i", log, log)
    scale = np.sqrt(energy[:-SHIFT_FRAMES] * energy[SHIFT_FRAMES:]) + 1e-9
    values = np.stack(similar, axis=1) / scale[:, None]
    return np.asarray(values - values.mean(axis=0), dtype=np.float32)
