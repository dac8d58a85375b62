"""Compute the distance that a search minimises, in about 5 ms for 5 s of audio.

The distance is the mean absolute difference of the magnitudes to the power of 0.25, of two STFTs,
divided by their mean. Bins more than 60 dB below the loudest bin of the reference are raised to
that floor; without it, noise at -50 dB would be explained by a bit-crusher. Audio gets the RMS
level of the reference first. After peak normalisation, the first transient of a compressor would
decide.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from dafxtool.spectrogram.metrics import LOWEST_MAGNITUDE, multi_resolution_distance

RESOLUTIONS = ((2048, 512), (512, 256))  # window length and hop, samples
FLOOR_DB = 60.0  # below the loudest bin of the reference
SILENT_RMS = 1e-6  # -120 dBFS
SILENT_POWER = 1e-12

Array = NDArray[np.float32]


def rms(audio: Array) -> float:
    """Return the root mean square of audio."""
    return float(np.sqrt(np.mean(np.square(audio, dtype=np.float64)))) if audio.size else 0.0


@lru_cache(maxsize=8)
def hann(length: int) -> Array:
    """Return the periodic Hann window (length,)."""
    n = np.arange(length)
    return (0.5 - 0.5 * np.cos(2 * np.pi * n / length)).astype(np.float32)


def frames(audio: Array, length: int, hop: int) -> Array:
    """Cut audio (n_samples,) into frames (n_frames, length); zeros fill the last one."""
    missing = max(length - audio.size, -(audio.size - length) % hop)
    if missing:
        audio = np.concatenate([audio, np.zeros(missing, dtype=np.float32)])
    return sliding_window_view(audio, length)[::hop]


def spectrum(audio: Array, length: int, hop: int) -> NDArray[np.complex64]:
    """Compute the STFT (n_frames, n_bins) of audio with a Hann window."""
    return scipy.fft.rfft(frames(audio, length, hop) * hann(length))


class Objective:
    """Distance of audio to one reference; 0 is equal.

    reference   (n_samples,)
    start       first sample that counts; earlier samples only fill the memory of the effects
    highest     highest frequency that counts, as a share of half the sample rate
    """

    def __init__(self, reference: Array, start: int = 0, highest: float = 1.0) -> None:
        self.start = start
        self._n_bins = [max(2, round(highest * n / 2) + 1) for n, _ in RESOLUTIONS]
        powers = self._powers(reference)
        self._level = float(powers[0].sum(dtype=np.float64))
        floor = 10 ** (-FLOOR_DB / 10)
        self._floors = [max(float(p.max()) * floor, 1e-20) for p in powers]
        self._reference = [_compress(p, low) for p, low in zip(powers, self._floors, strict=True)]
        self._means = [float(r.mean()) for r in self._reference]

    def _powers(self, audio: Array) -> list[Array]:
        """Compute the power (n_frames, n_bins) of the bins that count, for each STFT."""
        scored = audio[self.start :]
        return [
            _power(scored, length, hop)[:, :n]
            for (length, hop), n in zip(RESOLUTIONS, self._n_bins, strict=True)
        ]

    def residuals(self, audio: Array) -> list[Array]:
        """Compute the differences of compressed magnitudes, over the mean, of each STFT."""
        powers = self._powers(audio)
        level = float(powers[0].sum(dtype=np.float64))
        gain = self._level / level if level > SILENT_POWER else 0.0
        for i, power in enumerate(powers):
            power *= np.float32(gain)
            difference = _compress(power, self._floors[i])
            difference -= self._reference[i]
            difference *= np.float32(1 / self._means[i])
        return powers

    def distance(self, audio: Array) -> float:
        """Return the mean absolute residual, averaged over the STFTs."""
        return distance_of(self.residuals(audio))


def distance_of(residuals: list[Array]) -> float:
    """Return the mean absolute value of each array, averaged over the arrays."""
    return float(np.mean([np.abs(r).mean() for r in residuals]))


def outer_distance(audio: Array, reference: Array) -> float:
    """Compute the multi-resolution STFT distance at equal RMS levels; 0 is equal.

    This distance is reported; it takes ten times as long as the objective. The floor is the same,
    because logarithms would otherwise compare 16-bit rounding with digital silence.
    """
    level = rms(audio)
    gain = rms(reference) / level if level > SILENT_RMS else 0.0
    loudest = float(np.abs(spectrum(reference, *RESOLUTIONS[0])).max())
    scale = LOWEST_MAGNITUDE / max(loudest * 10 ** (-FLOOR_DB / 20), 1e-20)
    return multi_resolution_distance(
        audio * np.float32(gain * scale), reference * np.float32(scale)
    )


def as_vector(residuals: list[Array]) -> Array:
    """Join residuals to a vector whose squared norm is the mean square, averaged over the STFTs."""
    parts = [r.ravel() * np.float32((r.size * len(residuals)) ** -0.5) for r in residuals]
    return np.concatenate(parts)


def _power(audio: Array, length: int, hop: int) -> Array:
    values = spectrum(audio, length, hop)
    power = np.square(values.real)
    power += np.square(values.imag)
    return power


def _compress(power: Array, floor: float) -> Array:
    """Convert |X| ** 2 to |X| ** 0.25, in place."""
    np.maximum(power, np.float32(floor), out=power)
    for _ in range(3):
        np.sqrt(power, out=power)
    return power
