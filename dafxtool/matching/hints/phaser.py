"""Estimate a phaser: all-pass filters whose centre follows a sine on a logarithmic axis.

Each frame is compared with the response of the phaser at every centre frequency, in magnitude and
phase. The phase shows the centre better than the magnitude: with a large feedback, or a mix far
from one half, the notches are shallow, but the phase of the filters still turns three times. The
centre was right within 0.2 octaves in 83 to 100 % of the frames (16 phasers on speech and music,
the best of 12 pairs of feedback and mix). A robust fit finds the sine among them.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dafxtool.effects.effect import Effect
from dafxtool.matching.hints.phaser_response import FrameProducts, responses
from dafxtool.matching.hints.sinusoid import Sinusoid, fit_sinusoid
from dafxtool.matching.hints.start import Start, clipped
from dafxtool.matching.objective import spectrum
from dafxtool.matching.pair import Pair

LENGTH, HOP = 512, 256  # samples at 24 kHz
LOWEST_HZ, HIGHEST_HZ = 20.0, 20_000.0  # of the sweep
N_CENTRES = 96
SHAPES = tuple(itertools.product((0.1, 0.35, 0.6, 0.75), (0.35, 0.5, 0.65)))  # feedback and mix
SILENT = 1e-4  # of the energy of the loudest frame
# Delays of the wet audio in samples at 24 kHz that an alignment to whole samples may leave.
DELAYS = (0.0, -1.0, -0.75, -0.5, -0.25, 0.25, 0.5, 0.75, 1.0)
DELAY_SHAPES = ((0.1, 0.5), (0.6, 0.35), (0.35, 0.65))
STRIDE = 2  # of frames, to choose the delay
CLEARLY_LESS = 0.9  # share that another phase may leave of the unexplained energy
DEVIATIONS = {"rate": 1e-3, "depth": 0.02, "centre": 0.01, "feedback": 0.15, "mix": 0.15}

Vector = NDArray[np.float64]


def starts(pair: Pair, effect: Effect, any_phase: bool = False) -> list[Start]:
    """Propose rate, depth, centre, feedback and mix.

    The oscillator starts with the audio, unless another phase explains clearly more.

    any_phase  whether the oscillator may have any phase at the start of the audio
    """
    rates = effect.parameter("rate").usual_range()
    return [
        _start(effect, _best_sweep(image, rates, any_phase)) for image in SweepImage.of_pair(pair)
    ]


def _best_sweep(image: SweepImage, rates: tuple[float, float], any_phase: bool) -> Sweep:
    free = image.fit(rates, any_phase=True)
    if any_phase:
        return free
    from_start = image.fit(rates, any_phase=False)
    return free if free.unexplained < CLEARLY_LESS * from_start.unexplained else from_start


def _start(effect: Effect, sweep: Sweep) -> Start:
    path = sweep.path
    # JUCE maps the centre to an axis up to 20 kHz, and back from one up to 0.49 of the rate.
    values = {
        "rate": path.rate,
        "depth": 200 * path.amplitude,
        "centre": LOWEST_HZ * (HIGHEST_HZ / LOWEST_HZ) ** path.mean,
        "feedback": 100 * sweep.feedback,
        "mix": 100 * sweep.mix,
    }
    setting = clipped(effect, values)
    return Start(effect, setting, DEVIATIONS, path.phase % 1.0, sweep.unexplained)


@dataclass(frozen=True)
class Sweep:
    """A fit of the centre frequency over time.

    path       position on a logarithmic axis from 20 Hz (0) to the highest centre (1)
    feedback   0 to 1
    mix        0 to 1
    unexplained
               share of the energy of the wet frames
    """

    path: Sinusoid
    feedback: float
    mix: float
    unexplained: float


@dataclass(frozen=True)
class SweepImage:
    """Errors of a phaser at every centre, with the feedback and mix that fit best.

    times   (n_frames,) seconds
    errors  (n_frames, N_CENTRES)
    weight  (n_frames,) 0 for silent frames
    total   energy of the wet frames, in the unit of the errors
    """

    times: Vector
    errors: NDArray[np.float32]
    weight: Vector
    total: float
    feedback: float
    mix: float

    @classmethod
    def of_pair(cls, pair: Pair) -> list[SweepImage]:
        """Compute the image of a pair, and that at the best other delay of the wet audio, if any.

        A filter behind the phaser delays the audio, too, but differently at each frequency. So the
        first image may be the better one although the second one has the smaller error.
        """
        rate = pair.sample_rate
        scale = 2 ** round(np.log2(rate / 24_000))
        length, hop = round(LENGTH * scale), round(HOP * scale)
        dry, wet = (spectrum(x, length, hop) for x in (pair.dry, pair.wet))
        times = (np.arange(len(dry)) * hop + length / 2) / rate
        frequencies = np.arange(dry.shape[1]) * rate / length
        highest = min(HIGHEST_HZ, 0.49 * rate)
        centres = LOWEST_HZ * (highest / LOWEST_HZ) ** np.linspace(0, 1, N_CENTRES)
        shapes = {s: responses(frequencies, centres, *s, rate) for s in SHAPES}
        products = FrameProducts.of(dry, wet)
        coarse = products.every(STRIDE)
        delays = np.array(DELAYS) * scale
        least = [
            min(coarse.delayed(delay).least_error(shapes[s]) for s in DELAY_SHAPES)
            for delay in delays
        ]
        best = float(delays[int(np.argmin(least))])
        energy = np.square(np.abs(dry)).sum(axis=1)
        loud = np.where(energy > SILENT * energy.max(), 1.0, 0.0)
        return [
            cls._of_products(products.delayed(delay), shapes, times, loud)
            for delay in dict.fromkeys((0.0, best))
        ]

    @classmethod
    def _of_products(
        cls,
        products: FrameProducts,
        shapes: dict[tuple[float, float], NDArray[np.complex128]],
        times: Vector,
        weight: Vector,
    ) -> SweepImage:
        images = {shape: products.errors(response) for shape, response in shapes.items()}
        best = min(images, key=lambda shape: float(images[shape].min(axis=1).sum()))
        total = max(float(products.total.sum()), 1e-30)
        return cls(times, images[best], weight, total, *best)

    def fit(self, rates: tuple[float, float], any_phase: bool) -> Sweep:
        """Fit a sinusoid to the centres with the smallest error of each frame.

        rates      lowest and highest rate of the oscillator in Hz
        any_phase  whether the oscillator may have any phase at the start of the audio
        """
        n_centres = self.errors.shape[1]
        positions = self.errors.argmin(axis=1) / (n_centres - 1)
        # Rounding makes the contrast of a flat frame negative.
        contrast = np.maximum(self.errors.mean(axis=1) - self.errors.min(axis=1), 0.0)
        path = fit_sinusoid(self.times, positions, self.weight * contrast, rates, any_phase)
        index = np.rint(path.at(self.times) * (n_centres - 1)).astype(np.int64)
        error = float(self.errors[np.arange(len(index)), index].sum())
        return Sweep(path, self.feedback, self.mix, error / self.total)
