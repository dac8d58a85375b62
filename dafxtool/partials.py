"""What the built-in instruments share: sums of partials, shaped noise, envelopes, scales.

Sounds are float64 (n_samples,), of any level. Nothing aliases: partials stop at GUARD of the sample
rate, and noise is shaped in the frequency domain. What is random comes from the generator that is
handed in, in a fixed order. Pitches are MIDI note numbers (69 is 440 Hz), times seconds,
frequencies Hz; a degree of a scale counts from 0, its root.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

SECONDS = 6.0  # of a recording
GUARD = 0.45  # no partial above this part of the sample rate
INAUDIBLE = 1e-4  # partials this weak against the strongest are left out

Array = NDArray[np.floating[Any]]
MAJOR = (0, 2, 4, 5, 7, 9, 11)
MINOR = (0, 2, 3, 5, 7, 8, 10)
PROGRESSIONS = ((0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 0, 4), (0, 2, 3, 4), (0, 5, 1, 4))  # degrees


def sum_of_partials(
    frequencies_hz: Array, amplitudes: Array, decays: Array, n_samples: int, sample_rate: int
) -> Array:
    """Sines that start at 0 and die away: sum of a exp(-d t) sin(2 pi f t), (n_samples,).

    frequencies_hz, amplitudes, decays (1/s)  (n_partials,); those above the guard are left out

    With n = block * i + j, exp(s n) = exp(s block i) exp(s j): a product of two small matrices.
    """
    size = np.abs(amplitudes)
    kept = (frequencies_hz < GUARD * sample_rate) & (size > INAUDIBLE * size.max())
    rate = np.exp((-decays[kept] + 2j * np.pi * frequencies_hz[kept]) / sample_rate)
    block = math.isqrt(n_samples) + 1
    powers = np.vander(rate, block + 1, increasing=True)
    coarse = amplitudes[kept, None] * np.vander(powers[:, block], block, increasing=True)
    fine = powers[:, :block]
    # The imaginary part alone, as one product of real matrices.
    left = np.concatenate([coarse.real, coarse.imag])
    right = np.concatenate([fine.imag, fine.real])
    return (left.T @ right).reshape(-1)[:n_samples]


def shaped_noise(
    rng: Generator, n_samples: int, low_hz: float, high_hz: float, sample_rate: int
) -> Array:
    """Noise between two frequencies, its edges an octave wide, of mean square 1, (n_samples,)."""
    n_fft = 1 << (n_samples + 255).bit_length()
    frequencies = np.fft.rfftfreq(n_fft, 1 / sample_rate)
    octaves = np.log2(np.maximum(frequencies, 1))
    rise = np.clip(octaves - math.log2(low_hz) + 0.5, 0, 1)
    fall = np.clip(math.log2(high_hz) - octaves + 0.5, 0, 1)
    gain = np.sin(np.pi / 2 * rise * fall) * below_guard(frequencies, sample_rate)
    spectrum = np.fft.rfft(rng.standard_normal(n_fft)) * gain
    return np.fft.irfft(spectrum)[:n_samples] * math.sqrt(n_fft / 2 / np.sum(gain**2))


def below_guard(frequencies_hz: Array, sample_rate: int) -> Array:
    """1, falling to 0 over the last twentieth of the sample rate below the guard."""
    return np.clip((GUARD * sample_rate - frequencies_hz) / (0.05 * sample_rate), 0, 1)


def edges(sound: Array, attack_s: float, release_s: float, sample_rate: int) -> Array:
    """The sound with rounded ends, so that neither is a click, which would go up to Nyquist."""
    for end, seconds in ((sound, attack_s), (sound[::-1], release_s)):
        n_edge = min(len(sound), round(seconds * sample_rate))
        end[:n_edge] *= np.sin(np.linspace(0, np.pi / 2, n_edge)) ** 2
    return sound


def hertz(note: float) -> float:
    return 440.0 * 2 ** ((note - 69) / 12)


def place(track: Array, sound: Array, start_s: float, sample_rate: int) -> None:
    """Add a sound to a track, as far as the track goes."""
    start = round(start_s * sample_rate)
    piece = sound[: max(len(track) - start, 0)]
    track[start : start + len(piece)] += piece


def decay(n_samples: int, seconds: float, sample_rate: int) -> Array:
    """An envelope that falls by 60 dB in so many seconds."""
    return np.exp(-6.91 * np.arange(n_samples) / (seconds * sample_rate))


def semitones(scale: Sequence[int], degree: int) -> int:
    """Semitones above the root of a degree of a scale, 0 the root, 7 its octave."""
    return 12 * (degree // len(scale)) + scale[degree % len(scale)]
