"""A voice: harmonics or noise through a vocal tract, in syllables that mean nothing.

What moves is told in frames of FRAME_S: pitches (n_frames,), formants (n_frames, 3), both in Hz.
Times are seconds; sounds are float64 (n_samples,), of any level.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from dafxtool.partials import (
    GUARD,
    INAUDIBLE,
    SECONDS,
    Array,
    below_guard,
    decay,
    edges,
    place,
    shaped_noise,
)


class Speaker(NamedTuple):
    name: str
    pitch_hz: float
    tract: float  # its formants against those of a man of 17.5 cm from glottis to lips
    syllables_per_s: float
    vibrato: float  # part of the pitch
    breath: float  # aspiration against voice


SPEAKERS = (
    Speaker("bass", 92, 0.96, 3.8, 0.004, 0.02),
    Speaker("tenor", 138, 1.03, 4.6, 0.006, 0.03),
    Speaker("alto", 192, 1.14, 4.2, 0.008, 0.06),
    Speaker("soprano", 262, 1.19, 2.4, 0.022, 0.03),
    Speaker("child", 310, 1.34, 4.9, 0.005, 0.05),
    Speaker("baritone", 112, 1.0, 4.2, 0.006, 0.03),
)
# The first three formants of men in Hz: Peterson & Barney 1952, table II.
VOWELS = {
    "i": (270, 2290, 3010),
    "e": (530, 1840, 2480),
    "ae": (660, 1720, 2410),
    "a": (730, 1090, 2440),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
    "er": (490, 1350, 1690),
}
NASAL = (280, 1100, 2300)
BANDWIDTHS_HZ = (70, 90, 130)
# Low and high edge of the noise (Hz), its seconds, loudness, and seconds of silence before it.
CONSONANTS = {
    "s": (4800, 9800, 0.10, 0.16, 0.0),
    "sh": (2200, 6500, 0.10, 0.20, 0.0),
    "f": (1200, 9500, 0.08, 0.06, 0.0),
    "h": (600, 4000, 0.06, 0.07, 0.0),
    "p": (400, 1800, 0.02, 0.22, 0.05),
    "t": (3000, 8500, 0.03, 0.20, 0.05),
    "k": (1400, 3200, 0.03, 0.24, 0.05),
    "m": (0, 0, 0.07, 0, 0),
    "": (0, 0, 0, 0, 0),
}
FRAME_S = 0.005


def tract_response(frequencies_hz: Array, formants_hz: Array) -> NDArray[np.complex128]:
    """What a vocal tract makes of each frequency: a cascade of resonances (Fant 1960), 1 at 0 Hz.

    frequencies_hz  (n_frames, n_frequencies)
    formants_hz     (n_frames, 3); the ones above are those of a uniform tube of the same length
    """
    inverse: NDArray[np.complex128] = np.ones(
        (len(formants_hz), frequencies_hz.shape[1]), dtype=np.complex128
    )
    scale = formants_hz[:, 2:3] / 2500
    for number in range(12):
        above = (2 * number + 1) * 500 * (0.6 + 0.4 * scale)
        centre = formants_hz[:, number, None] if number < 3 else above
        bandwidth = BANDWIDTHS_HZ[number] if number < 3 else 50 + 0.05 * centre
        square = centre**2 + bandwidth**2 / 4  # of the pole's distance from 0, in Hz
        inverse *= 1 - frequencies_hz**2 / square + 1j * (bandwidth / square) * frequencies_hz
    return 1 / inverse


def voiced(pitch_hz: Array, formants_hz: Array, sample_rate: int) -> Array:
    """A voice: the harmonics of a pitch through a vocal tract, a frame every 5 ms.

    pitch_hz     (n_frames,)
    formants_hz  (n_frames, 3)
    returns      (n_frames * 5 ms,)
    """
    n_samples = round(len(pitch_hz) * FRAME_S * sample_rate)
    times, frames = np.arange(n_samples) / sample_rate, np.arange(len(pitch_hz)) * FRAME_S
    phase = 2 * np.pi * np.cumsum(np.interp(times, frames, pitch_hz)) / sample_rate
    number = np.arange(1, int(GUARD * sample_rate / pitch_hz.min()) + 1)
    harmonics = pitch_hz[:, None] * number
    # The glottis falls with 12 dB an octave; radiation from the lips gives 6 of them back.
    source = 1j * harmonics / 150 / (1 + 1j * harmonics / 150) ** 2
    gains = tract_response(harmonics, formants_hz) * source * below_guard(harmonics, sample_rate)
    heard = np.abs(gains).max(axis=0) > INAUDIBLE * np.abs(gains).max()
    turn, harmonic = np.exp(1j * phase), np.ones(n_samples, dtype=np.complex128)
    sound = np.zeros(n_samples)
    for index in range(len(number)):
        harmonic *= turn
        if heard[index]:
            sound += (np.interp(times, frames, gains[:, index]) * harmonic).real
    return sound


def breathed(formants_hz: Array, sample_rate: int, rng: Generator) -> Array:
    """A whisper: noise through a vocal tract, its peaks near 1; as many samples as voiced makes."""
    n_samples = round(len(formants_hz) * FRAME_S * sample_rate)
    hop = round(0.01 * sample_rate)
    starts = np.arange(0, n_samples, hop)
    window = np.sin(np.pi * (np.arange(2 * hop) + 0.5) / (2 * hop))
    noise = rng.standard_normal(starts[-1] + 2 * hop)
    pieces = np.lib.stride_tricks.sliding_window_view(noise, 2 * hop)[starts] * window
    frequencies = np.fft.rfftfreq(2 * hop, 1 / sample_rate)
    frames = np.minimum(starts / sample_rate / FRAME_S, len(formants_hz) - 1).astype(int)
    tract = np.abs(tract_response(frequencies[None] + 0 * starts[:, None], formants_hz[frames]))
    rise = frequencies / (frequencies + 1500) * below_guard(frequencies, sample_rate)
    pieces = np.fft.irfft(np.fft.rfft(pieces) * tract * rise) * window
    sound = np.zeros(starts[-1] + 2 * hop)
    sound[: len(starts) * hop] += pieces[:, :hop].reshape(-1)
    sound[hop : (len(starts) + 1) * hop] += pieces[:, hop:].reshape(-1)
    return sound[:n_samples]


def play(speaker: Speaker, n_samples: int, sample_rate: int, rng: Generator) -> Array:
    n_frames = -(-n_samples // round(FRAME_S * sample_rate)) + 1
    frame_times = np.arange(n_frames) * FRAME_S
    formants: Array = np.zeros((n_frames, 3))
    loudness, accents = np.zeros(n_frames), np.zeros(n_frames)
    noise = np.zeros(n_samples)
    for start, vowel, consonant, seconds, accent in _sentence(speaker, rng):
        low, high, length, level, closure = CONSONANTS[consonant]
        onset = round(start / FRAME_S)
        begin, end = (round((start + t) / FRAME_S) for t in (closure + length, seconds))
        formants[onset:] = np.array(VOWELS[vowel]) * speaker.tract
        loudness[onset:begin], loudness[begin:end], loudness[end:] = 0, 1, 0
        accents[onset:end] = accent
        if consonant == "m":
            formants[onset:begin] = np.array(NASAL) * speaker.tract
            loudness[onset:begin] = 0.35
        if level:
            hiss = _consonant(low, high, length, closure, sample_rate, rng)
            place(noise, level * hiss, start + closure, sample_rate)
    formants = _smooth(formants, 0.018)
    wobble = speaker.vibrato * np.sin(2 * np.pi * 5.3 * frame_times + rng.uniform(0, 6))
    jitter = 0.012 * _smooth(rng.standard_normal(n_frames), 0.02)
    fall = 2 ** (-0.12 * (frame_times % 2.6))  # a sentence falls, the next begins anew
    pitch = speaker.pitch_hz * fall * 2 ** _smooth(accents, 0.05) * (1 + wobble + jitter)
    sound = voiced(pitch, formants, sample_rate)[:n_samples]
    sound /= np.sqrt(np.mean(sound**2))
    breath = breathed(formants, sample_rate, rng)[:n_samples] * speaker.breath
    times = np.arange(n_samples) / sample_rate
    envelope = np.interp(times, frame_times, _smooth(loudness, 0.010))
    return 0.3 * (sound + breath) * envelope + noise


def _sentence(speaker: Speaker, rng: Generator) -> Iterator[tuple[float, str, str, float, float]]:
    """(start, vowel, consonant before it, seconds, octaves above the pitch) of each syllable."""
    start = 0.05
    while start < SECONDS:
        for _ in range(int(rng.integers(5, 9))):
            seconds = rng.uniform(0.75, 1.3) / speaker.syllables_per_s
            vowel, consonant = str(rng.choice(list(VOWELS))), str(rng.choice(list(CONSONANTS)))
            yield start, vowel, consonant, seconds, float(rng.choice([0, 0.1, 0.2, 0.33]))
            start += seconds
        start += rng.uniform(0.12, 0.25)  # a breath


def _consonant(
    low_hz: float, high_hz: float, seconds: float, closure: float, sample_rate: int, rng: Generator
) -> Array:
    """A hiss that swells and goes, or after a closure a burst that only goes."""
    n_samples = round((seconds + 0.03) * sample_rate)
    position = np.linspace(0, 1, n_samples)
    envelope = decay(n_samples, 1.5 * seconds, sample_rate) if closure else np.sin(np.pi * position)
    hiss = shaped_noise(rng, n_samples, low_hz, high_hz, sample_rate) * envelope
    return edges(hiss, 0.001, 0.005, sample_rate)


def _smooth(values: Array, seconds: float) -> Array:
    """Frames averaged under a Gaussian of this standard deviation, ends held; (n_frames, ...)"""
    reach = round(3 * seconds / FRAME_S)
    window = np.exp(-0.5 * (np.arange(-reach, reach + 1) * FRAME_S / seconds) ** 2)
    held = np.pad(values, [(reach, reach)] + [(0, 0)] * (values.ndim - 1), mode="edge")
    shifted = (w * held[i : i + len(values)] for i, w in enumerate(window / window.sum()))
    return np.sum(list(shifted), axis=0)
