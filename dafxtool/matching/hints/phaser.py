"""Estimate a phaser: notches that follow a sine on a logarithmic frequency axis.

The gain of each frame is compared with the response of six all-pass filters at every centre
frequency. The errors are an image over time and centre, in which the oscillator is a sinusoidal
path.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dafxtool.effects.effect import Effect
from dafxtool.matching.hints.start import Start, clipped
from dafxtool.matching.objective import spectrum
from dafxtool.matching.pair import Pair

LENGTH, HOP = 256, 128  # samples at 24 kHz
N_STAGES = 6  # all-pass filters (JUCE's phaser)
LOWEST_HZ, HIGHEST_HZ = 20.0, 20_000.0  # of its sweep
N_CENTRES = 96
FEEDBACKS = (0.0, 0.3, 0.6)
MIXES = (0.35, 0.5, 0.65)
N_STARTS = 3
N_PHASES = 12
STRIDE = 3  # of frames in the coarse search


def starts(pair: Pair, effect: Effect, any_phase: bool = False) -> list[Start]:
    """Propose rate, depth, centre, feedback and mix.

    any_phase  whether the oscillator may have any phase at the start of the audio
    """
    scale = 2 ** round(np.log2(pair.sample_rate / 24_000))
    length, hop = round(LENGTH * scale), round(HOP * scale)
    gain, weight = frame_gains(pair, length, hop)
    times = (np.arange(len(gain)) * hop + length / 2) / pair.sample_rate
    highest = min(HIGHEST_HZ, 0.49 * pair.sample_rate)
    centres = LOWEST_HZ * (highest / LOWEST_HZ) ** np.linspace(0, 1, N_CENTRES)
    frequencies = np.arange(gain.shape[1]) * pair.sample_rate / length
    phases = tuple(np.arange(N_PHASES) / N_PHASES) if any_phase else (0.0,)
    axes = Axes.over(effect, pair.seconds, phases)
    shapes = list(itertools.product(FEEDBACKS, MIXES))
    images = np.stack(
        [
            template_errors(
                gain, weight, responses_db(frequencies, centres, *shape, pair.sample_rate)
            )
            for shape in shapes
        ],
        axis=2,
    )
    coarse = _best_paths(images[::STRIDE], times[::STRIDE], axes)
    order = np.argsort([error for error, _ in coarse], kind="stable")[:N_STARTS]
    deviations = {"rate": 2e-3, "depth": 0.04, "centre": 0.03, "feedback": 0.15, "mix": 0.15}
    proposed = []
    for index in order:
        feedback, mix = shapes[index]
        near = axes.near(*coarse[index][1])
        error, (rate, depth, centre, phase) = _best_paths(images[:, :, [index]], times, near)[0]
        values = {"rate": rate, "depth": 100 * depth, "centre": centre}
        setting = clipped(effect, values | {"feedback": 100 * feedback, "mix": 100 * mix})
        proposed.append(Start(effect, setting, deviations, phase % 1.0, error))
    return proposed


def frame_gains(
    pair: Pair, length: int, hop: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute the gain of every frame and bin in dB, less its weighted mean, and the weights."""
    dry, wet = (np.abs(spectrum(x, length, hop)) for x in (pair.dry, pair.wet))
    floor = 1e-3 * float(dry.max())
    gain = np.clip(20 * np.log10((wet + 1e-9) / (dry + 1e-9)), -40, 40).astype(np.float64)
    weight = np.where(dry > floor, dry, 0.0).astype(np.float64) ** 0.5
    gain -= (gain * weight).sum() / max(weight.sum(), 1.0)
    return gain, weight


def responses_db(
    frequencies: NDArray[np.float64],
    centres: NDArray[np.float64],
    feedback: float,
    mix: float,
    sample_rate: int,
) -> NDArray[np.float64]:
    """Compute the gain (n_centres, n_bins) in dB of a phaser that stays at each centre."""
    warped = [np.tan(np.pi * np.minimum(f / sample_rate, 0.49)) for f in (frequencies, centres)]
    ratio = warped[0][None, :] / warped[1][:, None]
    allpass = ((1 - 1j * ratio) / (1 + 1j * ratio)) ** N_STAGES
    response = 1 - mix + mix * allpass / (1 + feedback * allpass)
    gain = np.maximum(20 * np.log10(np.abs(response) + 1e-9), -20.0)
    return gain - gain.mean()


def template_errors(
    gain: NDArray[np.float64], weight: NDArray[np.float64], templates: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Compute the weighted squared error (n_frames, n_centres) of each template and frame."""
    total = (weight * gain**2).sum(axis=1, keepdims=True)
    cross = (weight * gain) @ templates.T
    return (total - 2 * cross + weight @ (templates**2).T).astype(np.float32)


@dataclass(frozen=True)
class Axes:
    """A grid of rates in Hz, depths as shares, centres in Hz and phases in cycles."""

    rates: NDArray[np.float64]
    depths: NDArray[np.float64]
    centres: NDArray[np.float64]
    phases: tuple[float, ...]

    @classmethod
    def over(cls, effect: Effect, seconds: float, phases: tuple[float, ...]) -> Axes:
        """Return a grid over the usual ranges of an effect."""
        rates, depths, centres = (
            effect.parameter(name).usual_range() for name in ("rate", "depth", "centre")
        )
        step = 0.25 / max(seconds, 0.5)
        n_rates = min(int((rates[1] - rates[0]) / step) + 1, 90)
        return cls(
            np.linspace(*rates, n_rates),
            np.linspace(*depths, 9) / 100,
            np.geomspace(*centres, 15),
            phases,
        )

    def near(self, rate: float, depth: float, centre: float, phase: float) -> Axes:
        """Return a finer grid around one point."""
        steps = np.linspace(-1, 1, 9)
        rate_step = self.rates[1] - self.rates[0] if len(self.rates) > 1 else 0.0
        around = 0.5 / max(len(self.phases), 1) * steps[::2] if len(self.phases) > 1 else [0.0]
        return Axes(
            np.maximum(rate + rate_step * steps, 0.02),
            np.clip(depth + (self.depths[1] - self.depths[0]) * steps, 0.0, 1.0),
            centre * (self.centres[1] / self.centres[0]) ** steps,
            tuple(float(phase + each) for each in around),
        )


def _best_paths(
    images: NDArray[np.float32], times: NDArray[np.float64], axes: Axes
) -> list[tuple[float, tuple[float, float, float, float]]]:
    """Find the path with the smallest error in each image.

    images   (n_frames, n_positions, n_images)
    returns  the error, and rate, depth, centre and phase, of each image
    """
    # JUCE maps the centre to an axis up to 20 kHz, and back from one up to 0.49 of the rate.
    norms = np.log(axes.centres / LOWEST_HZ) / np.log(HIGHEST_HZ / LOWEST_HZ)
    n_frames, n_positions, n_images = images.shape
    first = (np.arange(n_frames) * n_positions)[:, None, None]
    flat = images.reshape(-1, n_images)
    best = [(np.inf, (1.0, 0.5, 1000.0, 0.0))] * n_images
    for rate, phase in itertools.product(axes.rates, axes.phases):
        wave = -np.sin(2 * np.pi * (rate * times + phase))[:, None, None]
        position = np.clip(norms[None, None, :] + 0.5 * axes.depths[None, :, None] * wave, 0, 1)
        index = first + np.rint(position * (n_positions - 1)).astype(np.int64)
        errors = flat[index].sum(axis=0)  # (n_depths, n_centres, n_images)
        for image in range(n_images):
            i, j = np.unravel_index(int(np.argmin(errors[..., image])), errors.shape[:2])
            if errors[i, j, image] < best[image][0]:
                path = (float(rate), float(axes.depths[i]), float(axes.centres[j]), float(phase))
                best[image] = (float(errors[i, j, image]), path)
    return best
