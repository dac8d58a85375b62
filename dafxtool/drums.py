"""Drums: skins whose pitch falls, plates and wires, struck in the patterns of a groove.

Patterns are in sixteenths and begin again until SECONDS are full. Times are seconds, frequencies
Hz; sounds are float64 (n_samples,), of any level.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from dafxtool.partials import (
    SECONDS,
    Array,
    decay,
    edges,
    place,
    shaped_noise,
    sum_of_partials,
)


class Groove(NamedTuple):
    name: str
    beats_per_minute: float
    swing: float  # where the second of two sixteenths lies, 0.5 in the middle
    tuning: float  # factor on all pitches of the kit
    parts: dict[str, str]  # drum: sixteenths of a bar or two, x a stroke, X a loud one


GROOVES = (
    Groove(
        "rock",
        112,
        0.5,
        1.0,
        {"kick": "X.....x.X.......", "snare": "....X.......X...", "hat": "X.x.X.x.X.x.X.x."},
    ),
    Groove(
        "shuffle",
        94,
        0.66,
        0.9,
        {"kick": "X......xX.......", "snare": "..x.X..x..x.X..x", "hat": "X..xX..xX..xX..x"},
    ),
    Groove(
        "breakbeat",
        136,
        0.54,
        1.15,
        {"kick": "X.X.......XX....", "snare": "....X..x.x..X..x", "hat": "x.x.x.x.x.x.x.o."},
    ),
    Groove(
        "bossa",
        126,
        0.5,
        1.25,
        {"kick": "X..xX..xX..xX..x", "rim": "X..X..X...X..X..", "shaker": "XxxxXxxxXxxxXxxx"},
    ),
    Groove(
        "toms",
        84,
        0.5,
        0.8,
        {
            "kick": "X.....X...X.....",
            "snare": "........X.......",
            "tom": "..x.x...x.xx..XX",
            "hat": "x.x.x.x.x.x.x.x.",
        },
    ),
    Groove(
        "disco",
        120,
        0.5,
        1.05,
        {"kick": "X...X...X...X...", "snare": "....X.......X...", "hat": "x.o.x.o.x.o.x.o."},
    ),
)


DRUM_SECONDS = {"kick": 0.4, "snare": 0.3, "rim": 0.12, "tom": 0.5, "shaker": 0.08, "hat": 0.12}


def play(groove: Groove, n_samples: int, sample_rate: int, rng: Generator) -> Array:
    track = np.zeros(n_samples)
    sixteenth = 15 / groove.beats_per_minute
    for drum, pattern in groove.parts.items():
        for step in range(math.ceil(SECONDS / sixteenth)):
            stroke = pattern[step % len(pattern)]
            if stroke == ".":
                continue
            late = (2 * groove.swing - 1) * sixteenth * (step % 2)
            start = max(step * sixteenth + late + rng.normal(0, 0.002), 0)
            sound = strike(drum, stroke == "o", groove.tuning, sample_rate, rng)
            loudness = (1.0 if stroke == "X" else 0.6) * rng.uniform(0.85, 1.0)
            place(track, loudness * sound, start, sample_rate)
    return track


def strike(drum: str, opened: bool, tuning: float, sample_rate: int, rng: Generator) -> Array:
    """One stroke on kick, snare, rim, tom, shaker or hat, which may be opened."""
    n = round((0.45 if opened else DRUM_SECONDS[drum]) * sample_rate)
    sound = _drum(drum, opened, tuning, n, sample_rate, rng)
    return edges(sound, 0.0007, 0.02, sample_rate)


def _drum(
    drum: str, opened: bool, tuning: float, n: int, sample_rate: int, rng: Generator
) -> Array:
    time = np.arange(n) / sample_rate

    def hiss(low_hz: float, high_hz: float, fall_s: float) -> Array:
        return shaped_noise(rng, n, low_hz, high_hz, sample_rate) * decay(n, fall_s, sample_rate)

    def skin(low_hz: float, bend: float, bend_s: float, fall_s: float) -> Array:
        """A membrane whose pitch drops to low_hz from (1 + bend) times that."""
        cycles = low_hz * tuning * (time + bend * bend_s * (1 - np.exp(-time / bend_s)))
        return np.sin(2 * np.pi * cycles) * decay(n, fall_s, sample_rate)

    if drum == "kick":
        return 1.0 * skin(50, 3.0, 0.03, 0.35) + 0.12 * hiss(800, 4000, 0.02)
    if drum == "tom":
        return 0.8 * skin(float(rng.choice([85, 110, 140])), 0.5, 0.05, 0.5) + 0.1 * hiss(
            500, 3000, 0.05
        )
    if drum == "snare":
        wires = 0.28 * hiss(1200, 9500, 0.22)
        return 0.5 * skin(185, 0.4, 0.02, 0.16) + 0.25 * skin(330, 0.2, 0.02, 0.1) + wires
    if drum == "rim":
        ring = np.array([840.0, 1710.0, 2630.0]) * tuning
        return sum_of_partials(ring, np.array([0.5, 0.3, 0.2]), 0 * ring + 90, n, sample_rate)
    if drum == "shaker":
        return 0.12 * hiss(4500, 9500, 0.2) * np.minimum(time / 0.02, 1)
    plate = np.array([3120.0, 4170.0, 5390.0, 6740.0, 8210.0, 9470.0]) * (0.9 + 0.1 * tuning)
    fall = 0.6 if opened else 0.09
    metal = sum_of_partials(plate, 0.03 + 0 * plate, 6.91 / fall + 0 * plate, n, sample_rate)
    return metal + 0.12 * hiss(7000, 10500, fall)
