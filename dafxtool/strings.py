"""Plucked strings: sums of the partials of a stiff string, with the body of their instrument.

A player plays for SECONDS, alone. Notes are semitones above the root of an instrument's scale,
times seconds, frequencies Hz; sounds are float64 (n_samples,), of any level.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


class Instrument(NamedTuple):
    name: str
    style: str  # line, arpeggio, strum or melody
    root: int  # lowest note of its scale
    scale: tuple[int, ...]
    beats_per_minute: float
    ring_s: float  # how long a note takes to die away (60 dB) in the middle of the range
    tilt: float  # its partials fall as 1 / number ** tilt
    pluck_at: float  # part of the string
    stiffness: float  # how far its partials are out of tune: Fletcher & Rossing's B
    body_hz: tuple[float, ...]  # resonances of the body


INSTRUMENTS = (
    Instrument("bass", "line", 28, MINOR, 104, 3.0, 1.5, 0.21, 1e-4, (82, 150, 310)),
    Instrument("guitar", "arpeggio", 40, MAJOR, 92, 3.5, 1.2, 0.17, 6e-5, (104, 208, 395, 620)),
    Instrument("strummed", "strum", 45, MINOR, 112, 2.2, 1.0, 0.11, 8e-5, (120, 230, 460, 900)),
    Instrument("harp", "arpeggio", 50, MINOR, 126, 2.6, 1.7, 0.45, 3e-5, (140, 260, 350)),
    Instrument("mandolin", "melody", 62, MAJOR, 120, 1.1, 0.9, 0.13, 2e-4, (200, 420, 870, 1600)),
    Instrument("lute", "melody", 50, MINOR, 96, 2.0, 1.3, 0.26, 5e-5, (130, 245, 510, 760)),
)


def pluck(
    frequency_hz: float, n_samples: int, sample_rate: int, instrument: Instrument, rng: Generator
) -> Array:
    """One string, plucked once, with the body of its instrument, (n_samples,).

    Partials of a stiff string (Fletcher & Rossing, The Physics of Musical Instruments, 2.18), the
    first at frequency_hz; each in two directions, one a little higher, weaker and sooner gone.
    """
    number = np.arange(1, GUARD * sample_rate / frequency_hz)
    stretch = np.sqrt((1 + instrument.stiffness * number**2) / (1 + instrument.stiffness))
    frequencies = frequency_hz * number * stretch
    position = instrument.pluck_at * rng.uniform(0.9, 1.1)
    amplitudes = np.sin(np.pi * number * position) / number**instrument.tilt
    amplitudes *= _body_gain(frequencies, instrument.body_hz)
    ring = instrument.ring_s * (220 / frequency_hz) ** 0.35
    decays = 6.91 / ring * (1 + (frequencies / 2500) ** 1.5)
    sound = sum_of_partials(
        np.concatenate([frequencies, 1.0006 * frequencies]),
        np.concatenate([amplitudes, 0.4 * amplitudes]),
        np.concatenate([decays, 2.5 * decays]),
        n_samples,
        sample_rate,
    )
    sound /= np.sqrt(np.mean(sound[: sample_rate // 10] ** 2))
    n_attack = min(n_samples, round(0.1 * sample_rate))
    modes = np.array(instrument.body_hz)
    knock = 0.4 / np.arange(1, len(modes) + 1)
    sound[:n_attack] += sum_of_partials(modes, knock, 0 * modes + 60, n_attack, sample_rate)
    pick = shaped_noise(rng, n_attack, 1500, 8000, sample_rate)
    sound[:n_attack] += 0.25 * pick * decay(n_attack, 0.012, sample_rate)
    return edges(sound, 0.001, 0.05, sample_rate)


def _body_gain(frequencies: Array, modes_hz: Sequence[float]) -> Array:
    """A flat response with peaks of some 8 dB, 12 % wide, at the body's resonances."""
    octaves = np.log2(frequencies[:, None] / np.array(modes_hz))
    return 1 + 1.5 * np.exp(-((octaves / 0.17) ** 2)).sum(axis=1)


def play(player: Instrument, n_samples: int, sample_rate: int, rng: Generator) -> Array:
    track = np.zeros(n_samples)
    beat = 60 / player.beats_per_minute * rng.uniform(0.95, 1.05)
    root = player.root + int(rng.integers(0, 5))
    for start, notes, seconds, loudness in _score(player.style, player.scale, beat, rng):
        for order, note in enumerate(notes):
            begin = start + order * 0.014 + rng.uniform(0, 0.006)
            n_note = round(seconds * sample_rate)
            sound = pluck(hertz(root + note), n_note, sample_rate, player, rng)
            place(track, sound * loudness * rng.uniform(0.8, 1.0), begin, sample_rate)
    return track


def _score(
    style: str, scale: Sequence[int], beat: float, rng: Generator
) -> Iterator[tuple[float, list[int], float, float]]:
    """(start, semitones above the root, seconds, loudness) of what a player plays in 6 s."""
    chords = PROGRESSIONS[rng.integers(len(PROGRESSIONS))]
    time, step, degree = 0.0, 0, 7
    while time < SECONDS:
        chord = (
            chords[step // 4 % len(chords)] if style == "strum" else chords[step // 8 % len(chords)]
        )
        accent = 1.0 if step % 4 == 0 else 0.75
        length = beat / 2
        if style == "line":
            choice = (
                (0, 0, 4, 7, 2, 4, 6, 7)[step % 8]
                if rng.random() < 0.7
                else int(rng.integers(0, 8))
            )
            notes, ring = [semitones(scale, choice % 5 + chord % 5)], 1.05 * length
        elif style == "arpeggio":
            above = (0, 4, 7, 9, 11, 9, 7, 4)[step % 8]
            notes, ring = [semitones(scale, chord + above)], 4 * length
        elif style == "strum":
            length = beat * (1.0, 0.5, 0.5, 1.0)[step % 4]
            notes = [semitones(scale, chord % 5 + k) for k in (0, 4, 7, 9, 11)]
            notes, ring = notes if step % 4 != 2 else notes[:0:-1], 1.1 * length
        else:
            length = beat * float(rng.choice([0.5, 0.5, 1.0, 0.25]))
            degree = int(np.clip(degree + rng.integers(-3, 4), 0, 13))
            notes, ring = [semitones(scale, degree)], 1.5 * length
            if step % 8 == 0:
                notes.insert(0, semitones(scale, chord) - 12 * (scale is MINOR))
        yield time, notes, ring, accent
        time, step = time + length, step + 1
