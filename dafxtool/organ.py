"""An organ: pipes by the drawbars of a registration, held in chords.

A key's pipes are harmonics of half its frequency. Keys are semitones above the root of a
registration's scale, times seconds, frequencies Hz; sounds are float64 (n_samples,), of any level.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from dafxtool.partials import (
    GUARD,
    MAJOR,
    MINOR,
    PROGRESSIONS,
    SECONDS,
    Array,
    decay,
    edges,
    hertz,
    place,
    semitones,
    shaped_noise,
    sum_of_partials,
)


class Registration(NamedTuple):
    name: str
    root: int
    scale: tuple[int, ...]
    chord_s: float
    drawbars: str  # 0 to 8 each: 16', 5 1/3', 8', 4', 2 2/3', 2', 1 3/5', 1 1/3', 1'
    tilt: float  # the harmonics of each pipe fall as 1 / number ** tilt: 3 flutes, 1 reeds
    chorus_hz: float  # beating of the second rank of pipes
    tremolo_hz: float


REGISTRATIONS = (
    Registration("flutes-in-c", 48, MAJOR, 1.5, "008603000", 2.6, 0.5, 0.0),
    Registration("principals-in-d", 50, MINOR, 1.2, "006866402", 1.7, 0.8, 0.0),
    Registration("full-in-e-flat", 39, MAJOR, 2.0, "868868568", 1.5, 1.1, 0.9),
    Registration("reed-in-f", 53, MINOR, 1.0, "004620000", 1.3, 0.7, 5.6),
    Registration("gospel-in-g", 43, MAJOR, 0.75, "888000008", 3.0, 0.6, 6.4),
    Registration("quint-in-a", 45, MINOR, 1.5, "058060400", 1.9, 0.9, 0.0),
)
FEET = np.array([0.5, 1.5, 1, 2, 3, 4, 5, 6, 8])  # frequencies of the drawbars against the key's


def play(registration: Registration, n_samples: int, sample_rate: int, rng: Generator) -> Array:
    track = np.zeros(n_samples)
    chords = PROGRESSIONS[rng.integers(len(PROGRESSIONS))]
    for step in range(math.ceil(SECONDS / registration.chord_s)):
        degree = chords[step % len(chords)]
        keys = [semitones(registration.scale, degree + k) for k in (0, 2, 4)]
        keys = [key if key < 9 else key - 12 for key in keys]  # inversions: no leaps
        keys = [keys[0] - 12, *(12 + key for key in keys)]
        start = step * registration.chord_s
        for key in keys:
            length = (registration.chord_s + 0.06) * rng.uniform(0.97, 1.0)
            sound = pipe(hertz(registration.root + key), length, registration, sample_rate, rng)
            place(track, sound, start + rng.uniform(0, 0.012), sample_rate)
    time = np.arange(n_samples) / sample_rate
    swell = 0.8 + 0.2 * np.sin(2 * np.pi * (time / SECONDS + rng.uniform()))
    tremolo = 1 + 0.12 * (registration.tremolo_hz > 0) * np.sin(
        2 * np.pi * registration.tremolo_hz * time
    )
    return track * swell * tremolo


def pipe(
    frequency_hz: float,
    seconds: float,
    registration: Registration,
    sample_rate: int,
    rng: Generator,
) -> Array:
    """One key, held: its drawbars, a second rank a little sharp, the chiff of its attack."""
    n_samples = round(seconds * sample_rate)
    levels = np.array([0.0, *(10 ** ((3 * step - 24) / 20) for step in range(1, 9))])
    halves = np.arange(1, int(2 * GUARD * sample_rate / frequency_hz) + 1)  # of the key's frequency
    amplitudes = np.zeros(len(halves))
    for foot, step in zip(FEET, registration.drawbars, strict=True):
        own = halves[halves % int(2 * foot) == 0]
        amplitudes[own - 1] += levels[int(step)] / (own / (2 * foot)) ** registration.tilt
    frequencies = np.concatenate([halves * frequency_hz / 2] * 2)
    frequencies[len(halves) :] += registration.chorus_hz
    amplitudes = np.concatenate([amplitudes, 0.35 * amplitudes])
    # Pipes do not start in step: begin somewhere in the middle of their sound.
    skip = round(rng.uniform(0, 0.5) * sample_rate)
    n_whole = n_samples + skip
    sound = sum_of_partials(frequencies, amplitudes, 0 * amplitudes, n_whole, sample_rate)[skip:]
    n_chiff = min(n_samples, round(0.1 * sample_rate))
    chiff = shaped_noise(rng, n_chiff, 1000, 5000, sample_rate)
    sound[:n_chiff] += 0.15 * chiff * decay(n_chiff, 0.06, sample_rate)
    return edges(sound, 0.03, 0.06, sample_rate)
