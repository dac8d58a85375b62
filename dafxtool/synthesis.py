"""The built-in recordings: plucked strings, a voice, drums and an organ, all made by formulas.

They stand in where somebody has no recordings at hand. A recording is mono float32 (n_samples,),
full scale 1.0, dry: whatever room or echo is heard later, an effect has put there. Everything is
a function of (seed, family, number) and comes out the same in every run. Nothing aliases: sounds
are sums of partials that stop at GUARD of the sample rate, or noise shaped in the frequency domain.

Pitches are MIDI note numbers (69 is 440 Hz), times seconds, frequencies Hz.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from dafxtool import audio
from dafxtool.errors import InputError

SAMPLE_RATE = 24_000  # Hz
SECONDS = 6.0
PER_FAMILY = 5  # each family has one recipe more, for write_example
PEAK_DBFS = -3.0
GUARD = 0.45  # no partial above this part of the sample rate
INAUDIBLE = 1e-4  # partials this weak against the strongest are left out

Array = NDArray[np.floating[Any]]
MAJOR = (0, 2, 4, 5, 7, 9, 11)
MINOR = (0, 2, 3, 5, 7, 8, 10)
PROGRESSIONS = ((0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 0, 4), (0, 2, 3, 4), (0, 5, 1, 4))  # degrees


def corpus(
    seed: int = 0, sample_rate: int = SAMPLE_RATE
) -> Iterator[tuple[str, str, NDArray[np.float32]]]:
    """(family, name, audio) of the 20 recordings, five of each family, 6 s each."""
    for family, (_, recipes) in FAMILIES.items():
        for number in range(PER_FAMILY):
            yield family, recipes[number].name, recording(family, number, seed, sample_rate)


def recording(
    family: str, number: int, seed: int = 0, sample_rate: int = SAMPLE_RATE
) -> NDArray[np.float32]:
    """One recording, (6 s,), its peak at -3 dBFS.

    number  0 to 4: those of the corpus; 5: the one that is kept out of it
    """
    if family not in FAMILIES:
        raise InputError(f"the family {family!r} is unknown: take one of {', '.join(FAMILIES)}.")
    play, recipes = FAMILIES[family]
    rng = np.random.default_rng((seed, list(FAMILIES).index(family), number))
    sound = play(recipes[number], round(SECONDS * sample_rate), sample_rate, rng)
    sound = _edges(sound, 0.005, 0.02, sample_rate)
    return (sound * (10 ** (PEAK_DBFS / 20) / np.abs(sound).max())).astype(np.float32)


def write_corpus(folder: Path, seed: int = 0) -> list[Path]:
    """The corpus as folder/FAMILY/NAME.wav, 16 bits, 24 kHz; returns the paths.

    OutputExistsError, DiskError  as of files.writing
    """
    paths = []
    for family, name, sound in corpus(seed):
        paths.append(Path(folder) / family / f"{name}.wav")
        audio.write(paths[-1], sound, SAMPLE_RATE, bit_depth=16)
    return paths


def write_example(path: Path, family: str, seed: int = 0, overwrite: bool = False) -> None:
    """One more recording of a family, which is not in the corpus, to try a model on."""
    sound = recording(family, PER_FAMILY, seed)
    audio.write(Path(path), sound, SAMPLE_RATE, overwrite, bit_depth=16)


# What all of them are made of


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
    gain = np.sin(np.pi / 2 * rise * fall) * _below_guard(frequencies, sample_rate)
    spectrum = np.fft.rfft(rng.standard_normal(n_fft)) * gain
    return np.fft.irfft(spectrum)[:n_samples] * math.sqrt(n_fft / 2 / np.sum(gain**2))


def _below_guard(frequencies_hz: Array, sample_rate: int) -> Array:
    """1, falling to 0 over the last twentieth of the sample rate below the guard."""
    return np.clip((GUARD * sample_rate - frequencies_hz) / (0.05 * sample_rate), 0, 1)


def _edges(sound: Array, attack_s: float, release_s: float, sample_rate: int) -> Array:
    """The sound with rounded ends, so that neither is a click, which would go up to Nyquist."""
    for end, seconds in ((sound, attack_s), (sound[::-1], release_s)):
        n_edge = min(len(sound), round(seconds * sample_rate))
        end[:n_edge] *= np.sin(np.linspace(0, np.pi / 2, n_edge)) ** 2
    return sound


def _hertz(note: float) -> float:
    return 440.0 * 2 ** ((note - 69) / 12)


def _place(track: Array, sound: Array, start_s: float, sample_rate: int) -> None:
    """Add a sound to a track, as far as the track goes."""
    start = round(start_s * sample_rate)
    piece = sound[: max(len(track) - start, 0)]
    track[start : start + len(piece)] += piece


def _decay(n_samples: int, seconds: float, sample_rate: int) -> Array:
    """An envelope that falls by 60 dB in so many seconds."""
    return np.exp(-6.91 * np.arange(n_samples) / (seconds * sample_rate))


def _degree(scale: Sequence[int], degree: int) -> int:
    """Semitones above the root of a degree of a scale, 0 the root, 7 its octave."""
    return 12 * (degree // len(scale)) + scale[degree % len(scale)]


# Strings


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
    sound[:n_attack] += 0.25 * pick * _decay(n_attack, 0.012, sample_rate)
    return _edges(sound, 0.001, 0.05, sample_rate)


def _body_gain(frequencies: Array, modes_hz: Sequence[float]) -> Array:
    """A flat response with peaks of some 8 dB, 12 % wide, at the body's resonances."""
    octaves = np.log2(frequencies[:, None] / np.array(modes_hz))
    return 1 + 1.5 * np.exp(-((octaves / 0.17) ** 2)).sum(axis=1)


def _strings(player: Instrument, n_samples: int, sample_rate: int, rng: Generator) -> Array:
    track = np.zeros(n_samples)
    beat = 60 / player.beats_per_minute * rng.uniform(0.95, 1.05)
    root = player.root + int(rng.integers(0, 5))
    for start, notes, seconds, loudness in _score(player.style, player.scale, beat, rng):
        for order, note in enumerate(notes):
            begin = start + order * 0.014 + rng.uniform(0, 0.006)
            n_note = round(seconds * sample_rate)
            sound = pluck(_hertz(root + note), n_note, sample_rate, player, rng)
            _place(track, sound * loudness * rng.uniform(0.8, 1.0), begin, sample_rate)
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
            notes, ring = [_degree(scale, choice % 5 + chord % 5)], 1.05 * length
        elif style == "arpeggio":
            notes, ring = [_degree(scale, chord + (0, 4, 7, 9, 11, 9, 7, 4)[step % 8])], 4 * length
        elif style == "strum":
            length = beat * (1.0, 0.5, 0.5, 1.0)[step % 4]
            notes = [_degree(scale, chord % 5 + k) for k in (0, 4, 7, 9, 11)]
            notes, ring = notes if step % 4 != 2 else notes[:0:-1], 1.1 * length
        else:
            length = beat * float(rng.choice([0.5, 0.5, 1.0, 0.25]))
            degree = int(np.clip(degree + rng.integers(-3, 4), 0, 13))
            notes, ring = [_degree(scale, degree)], 1.5 * length
            if step % 8 == 0:
                notes.insert(0, _degree(scale, chord) - 12 * (scale is MINOR))
        yield time, notes, ring, accent
        time, step = time + length, step + 1


# Voice


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
    gains = tract_response(harmonics, formants_hz) * source * _below_guard(harmonics, sample_rate)
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
    rise = frequencies / (frequencies + 1500) * _below_guard(frequencies, sample_rate)
    pieces = np.fft.irfft(np.fft.rfft(pieces) * tract * rise) * window
    sound = np.zeros(starts[-1] + 2 * hop)
    sound[: len(starts) * hop] += pieces[:, :hop].reshape(-1)
    sound[hop : (len(starts) + 1) * hop] += pieces[:, hop:].reshape(-1)
    return sound[:n_samples]


def _voice(speaker: Speaker, n_samples: int, sample_rate: int, rng: Generator) -> Array:
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
            _place(noise, level * hiss, start + closure, sample_rate)
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
    place = np.linspace(0, 1, n_samples)
    envelope = _decay(n_samples, 1.5 * seconds, sample_rate) if closure else np.sin(np.pi * place)
    hiss = shaped_noise(rng, n_samples, low_hz, high_hz, sample_rate) * envelope
    return _edges(hiss, 0.001, 0.005, sample_rate)


def _smooth(values: Array, seconds: float) -> Array:
    """Frames averaged under a Gaussian of this standard deviation, ends held; (n_frames, ...)"""
    reach = round(3 * seconds / FRAME_S)
    window = np.exp(-0.5 * (np.arange(-reach, reach + 1) * FRAME_S / seconds) ** 2)
    held = np.pad(values, [(reach, reach)] + [(0, 0)] * (values.ndim - 1), mode="edge")
    shifted = (w * held[i : i + len(values)] for i, w in enumerate(window / window.sum()))
    return np.sum(list(shifted), axis=0)


# Drums


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


def _drums(groove: Groove, n_samples: int, sample_rate: int, rng: Generator) -> Array:
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
            _place(track, loudness * sound, start, sample_rate)
    return track


def strike(drum: str, opened: bool, tuning: float, sample_rate: int, rng: Generator) -> Array:
    """One stroke on kick, snare, rim, tom, shaker or hat, which may be opened."""
    n = round((0.45 if opened else DRUM_SECONDS[drum]) * sample_rate)
    sound = _drum(drum, opened, tuning, n, sample_rate, rng)
    return _edges(sound, 0.0007, 0.02, sample_rate)


def _drum(
    drum: str, opened: bool, tuning: float, n: int, sample_rate: int, rng: Generator
) -> Array:
    time = np.arange(n) / sample_rate

    def hiss(low_hz: float, high_hz: float, fall_s: float) -> Array:
        return shaped_noise(rng, n, low_hz, high_hz, sample_rate) * _decay(n, fall_s, sample_rate)

    def skin(low_hz: float, bend: float, bend_s: float, fall_s: float) -> Array:
        """A membrane whose pitch drops to low_hz from (1 + bend) times that."""
        cycles = low_hz * tuning * (time + bend * bend_s * (1 - np.exp(-time / bend_s)))
        return np.sin(2 * np.pi * cycles) * _decay(n, fall_s, sample_rate)

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


# Organ


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


def _organ(registration: Registration, n_samples: int, sample_rate: int, rng: Generator) -> Array:
    track = np.zeros(n_samples)
    chords = PROGRESSIONS[rng.integers(len(PROGRESSIONS))]
    for step in range(math.ceil(SECONDS / registration.chord_s)):
        degree = chords[step % len(chords)]
        keys = [_degree(registration.scale, degree + k) for k in (0, 2, 4)]
        keys = [key if key < 9 else key - 12 for key in keys]  # inversions: no leaps
        keys = [keys[0] - 12, *(12 + key for key in keys)]
        start = step * registration.chord_s
        for key in keys:
            length = (registration.chord_s + 0.06) * rng.uniform(0.97, 1.0)
            sound = pipe(_hertz(registration.root + key), length, registration, sample_rate, rng)
            _place(track, sound, start + rng.uniform(0, 0.012), sample_rate)
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
    sound[:n_chiff] += 0.15 * chiff * _decay(n_chiff, 0.06, sample_rate)
    return _edges(sound, 0.03, 0.06, sample_rate)


Player = Callable[..., Array]
FAMILIES: dict[str, tuple[Player, Sequence[Any]]] = {
    "strings": (_strings, INSTRUMENTS),
    "voice": (_voice, SPEAKERS),
    "drums": (_drums, GROOVES),
    "organ": (_organ, REGISTRATIONS),
}
