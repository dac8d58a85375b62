"""Estimate tremolo and ring modulation: wet is dry times a sinusoid plus a constant."""

from __future__ import annotations

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from dafxtool.effects.effect import Effect
from dafxtool.matching.hints.start import Start, clipped
from dafxtool.matching.pair import Pair

PADDING = 4  # factor of zero padding, for a finer spectrum
QUIET = 0.05  # of the mean energy; quieter parts have a small weight
IN_PHASE = 0.03  # cycles; smaller phases are rounded to 0


def tremolo_starts(pair: Pair, effect: Effect) -> list[Start]:
    """Propose rate and depth of a periodic change of level."""
    hop = max(1, pair.sample_rate // 400)
    gain, energy = pair.local_gain(2 * hop, hop)
    weight = _saturated(energy)
    rate, error, (constant, cosine, sine) = _sinusoid(
        gain * weight, weight, pair.sample_rate / hop, effect, "rate"
    )
    swing = float(np.hypot(cosine, sine))
    ratio = min(swing / max(abs(constant), 1e-12), 1.0)
    depth = 200 * ratio / (1 + ratio)
    # The centre of a frame is one hop after its first sample.
    at_zero = np.arctan2(-sine, cosine) - 2 * np.pi * rate * hop / pair.sample_rate
    phase = _round_phase(at_zero / (2 * np.pi))
    setting = clipped(effect, {"rate": rate, "depth": depth})
    return [Start(effect, setting, {"rate": 0.002, "depth": 0.02}, phase, error)]


def ring_modulator_starts(pair: Pair, effect: Effect) -> list[Start]:
    """Propose frequency and mix of a multiplication by a sine."""
    dry, wet = pair.dry.astype(np.float64), pair.wet.astype(np.float64)
    energy = dry * dry
    weight = _saturated(energy)
    cross = dry * wet * (weight / np.maximum(energy, 1e-30))
    frequency, error, (constant, cosine, sine) = _sinusoid(
        cross, weight, float(pair.sample_rate), effect, "frequency"
    )
    swing = float(np.hypot(cosine, sine))
    mix = 100 * swing / max(swing + abs(constant), 1e-12)
    sign = -1.0 if constant < 0 and mix < 90 else 1.0
    phase = _round_phase(np.arctan2(sign * cosine, sign * sine) / (2 * np.pi))
    setting = clipped(effect, {"frequency": frequency, "mix": mix})
    return [Start(effect, setting, {"frequency": 2e-4, "mix": 0.02}, phase, error)]


def _saturated(energy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute weights that rise with the energy and saturate at 1."""
    return energy / (energy + QUIET * max(float(energy.mean()), 1e-30))


def _round_phase(cycles: float) -> float:
    """Wrap a phase to 0 to 1 cycles; phases near 0 become 0."""
    cycles = float(cycles % 1.0)
    return 0.0 if min(cycles, 1 - cycles) < IN_PHASE else cycles


def _sinusoid(
    cross: NDArray[np.float64],
    energy: NDArray[np.float64],
    rate: float,
    effect: Effect,
    name: str,
) -> tuple[float, float, tuple[float, float, float]]:
    """Fit gain(t) = c + a cos(2 pi f t) + b sin(2 pi f t), weighted by the dry energy.

    cross, energy  (n,) products wet * dry and dry * dry, at `rate` Hz
    returns        f, the error relative to other frequencies, (c, a, b)
    """
    parameter = effect.parameter(name)
    low, high = parameter.minimum * 0.95, min(parameter.maximum * 1.05, 0.49 * rate)
    mean = cross.sum() / max(energy.sum(), 1e-30)
    n_fft = scipy.fft.next_fast_len(PADDING * cross.size, real=True)
    size = np.abs(scipy.fft.rfft(cross - mean * energy, n_fft))
    frequencies = np.arange(size.size) * rate / n_fft
    inside = (frequencies >= low) & (frequencies <= high)
    if not inside.any():
        return parameter.default, 1.0, (1.0, 0.0, 0.0)
    start = float(frequencies[np.argmax(np.where(inside, size, -1.0))])
    time = np.arange(cross.size) / rate
    width = 1.0 / time[-1] if time[-1] else 1.0

    def error_at(frequency: float) -> float:
        return _solve(frequency, time, cross, energy)[0]

    # A coarse grid first, then a local search, because the error has a narrow minimum.
    grid = np.clip(start + np.linspace(-0.5, 0.5, 9) * width, low, high)
    centre = float(grid[np.argmin([error_at(f) for f in grid])])
    result = minimize_scalar(
        error_at,
        bounds=(max(low, centre - width / 8), min(high, centre + width / 8)),
        method="bounded",
        options={"xatol": 1e-6 * centre, "maxiter": 24},
    )
    frequency = float(result.x) if result.fun <= error_at(centre) else centre
    error, coefficients = _solve(frequency, time, cross, energy)
    return frequency, error, coefficients


def _solve(
    frequency: float,
    time: NDArray[np.float64],
    cross: NDArray[np.float64],
    energy: NDArray[np.float64],
) -> tuple[float, tuple[float, float, float]]:
    angle = 2 * np.pi * frequency * time
    basis = np.stack([np.ones_like(time), np.cos(angle), np.sin(angle)])
    matrix = (basis * energy) @ basis.T
    right = basis @ cross
    solution = np.linalg.lstsq(matrix, right, rcond=None)[0]
    # The error up to a constant, the energy of the wet audio.
    explained = float(solution @ right)
    return -explained, (float(solution[0]), float(solution[1]), float(solution[2]))
