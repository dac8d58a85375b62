"""Phaser: notches that move along a sine on a logarithmic frequency axis.

Each frame's gain over frequency is compared with the response of six all-pass filters at every
centre frequency; the frames' errors form an image over time and centre, in which the oscillator is
a sinusoidal path.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from dafxtool.matching.hints.start import Start, clipped
from dafxtool.matching.objective import spectrum
from dafxtool.matching.pair import Pair
from dafxtool.parameters import Effect

LENGTH, HOP = 512, 256  # samples at 24 kHz
N_STAGES = 6  # all-pass filters (JUCE's phaser)
LOWEST_HZ, HIGHEST_HZ = 20.0, 20_000.0  # of its sweep
N_CENTRES = 72
FEEDBACKS = (0.0, 0.3, 0.6)
MIXES = (0.35, 0.5, 0.65)
N_STARTS = 3
N_PHASES = 12


def starts(pair: Pair, effect: Effect, any_phase: bool = False) -> list[Start]:
    """Propose rate, depth, centre, feedback and mix of the moving notches.

    any_phase  the oscillator need not start with the audio
    """
    scale = 2 ** round(np.log2(pair.sample_rate / 24_000))
    length, hop = round(LENGTH * scale), round(HOP * scale)
    gain, weight = _frame_gains(pair, length, hop)
    times = (np.arange(len(gain)) * hop + length / 2) / pair.sample_rate
    highest = min(HIGHEST_HZ, 0.49 * pair.sample_rate)
    places = np.linspace(0, 1, N_CENTRES)
    centres = LOWEST_HZ * (highest / LOWEST_HZ) ** places
    frequencies = np.arange(gain.shape[1]) * pair.sample_rate / length
    phases = tuple(np.arange(N_PHASES) / N_PHASES) if any_phase else (0.0,)
    found: list[tuple[float, dict[str, float], float]] = []
    for feedback, mix in itertools.product(FEEDBACKS, MIXES):
        templates = _responses_db(frequencies, centres, feedback, mix, pair.sample_rate)
        image = _errors(gain, weight, templates)
        score, values, phase = _best_path(image, times, effect, highest, phases)
        found.append((score, values | {"feedback": 100 * feedback, "mix": 100 * mix}, phase))
    found.sort(key=lambda each: each[0])
    deviations = {"rate": 0.01, "depth": 0.06, "centre": 0.04, "feedback": 0.15, "mix": 0.15}
    return [
        Start(effect, clipped(effect, values), deviations, phase, score)
        for score, values, phase in found[:N_STARTS]
    ]


def _frame_gains(
    pair: Pair, length: int, hop: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gain in dB of every frame and bin, its weighted mean removed, and the weights."""
    dry, wet = (np.abs(spectrum(x, length, hop)) for x in (pair.dry, pair.wet))
    floor = 1e-3 * float(dry.max())
    gain = np.clip(20 * np.log10((wet + 1e-9) / (dry + 1e-9)), -40, 40).astype(np.float64)
    weight = np.where(dry > floor, dry, 0.0).astype(np.float64) ** 0.5
    gain -= (gain * weight).sum() / max(weight.sum(), 1.0)
    return gain, weight


def _responses_db(
    frequencies: NDArray[np.float64],
    centres: NDArray[np.float64],
    feedback: float,
    mix: float,
    sample_rate: int,
) -> NDArray[np.float64]:
    """Gain (n_centres, n_bins) in dB of the phaser when it stands at each centre."""
    warped = [np.tan(np.pi * np.minimum(f / sample_rate, 0.49)) for f in (frequencies, centres)]
    ratio = warped[0][None, :] / warped[1][:, None]
    allpass = ((1 - 1j * ratio) / (1 + 1j * ratio)) ** N_STAGES
    response = 1 - mix + mix * allpass / (1 + feedback * allpass)
    gain = np.maximum(20 * np.log10(np.abs(response) + 1e-9), -20.0)
    return gain - gain.mean()


def _errors(
    gain: NDArray[np.float64], weight: NDArray[np.float64], templates: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weighted squared error (n_frames, n_centres) of each template against each frame."""
    total = (weight * gain**2).sum(axis=1, keepdims=True)
    cross = (weight * gain) @ templates.T
    return total - 2 * cross + weight @ (templates**2).T


def _best_path(
    image: NDArray[np.float64],
    times: NDArray[np.float64],
    effect: Effect,
    highest: float,
    phases: tuple[float, ...],
) -> tuple[float, dict[str, float], float]:
    rate, depth, centre = (effect.parameter(n) for n in ("rate", "depth", "centre"))
    step = 0.25 / max(times[-1], 0.5)
    n_rates = min(int((rate.maximum - rate.minimum) / step) + 1, 90)
    rates = np.linspace(rate.minimum, rate.maximum, n_rates)
    depths = np.linspace(depth.minimum, depth.maximum, 9) / 100
    middle = np.linspace(0, 1, 15)
    centres = centre.minimum * (centre.maximum / centre.minimum) ** middle
    norms = np.log(centres / LOWEST_HZ) / np.log(highest / LOWEST_HZ)
    rows = np.arange(len(image))[:, None, None]
    best: tuple[float, dict[str, float], float] = (np.inf, {}, 0.0)
    for speed, phase in itertools.product(rates, phases):
        wave = -np.sin(2 * np.pi * (speed * times + phase))[:, None, None]
        place = np.clip(norms[None, None, :] + 0.5 * depths[None, :, None] * wave, 0, 1)
        index = np.rint(place * (image.shape[1] - 1)).astype(np.int64)
        errors = image[rows, index].sum(axis=0)
        i, j = np.unravel_index(int(np.argmin(errors)), errors.shape)
        if errors[i, j] < best[0]:
            values = {"rate": speed, "depth": 100 * depths[i], "centre": centres[j]}
            best = (float(errors[i, j]), {k: float(v) for k, v in values.items()}, float(phase))
    return best
