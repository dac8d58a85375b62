"""Fit a sinusoid to a noisy path, a part of which may be completely wrong.

Iteratively reweighted least squares with Cauchy weights (Holland & Welsch 1977, "Robust regression
using iteratively reweighted least-squares") for every rate of a grid at once, then a nonlinear fit
from the best rate. The path has limits: a sinusoid beyond them is clipped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SCALE = 0.02  # deviation of a good value; larger ones count less
FIRST_SCALES = (0.2, 0.1, 0.05)  # of the first iterations, after plain least squares
RATE_STEP = 0.05  # cycles over the complete path
RATES_AT_ONCE = 128  # some 2 MB each for 5 s of audio
N_POLISHED = 3  # rates of the grid from which the nonlinear fit starts

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Sinusoid:
    """mean - amplitude * sin(2 pi (rate * time + phase)), clipped to 0 and 1.

    rate   Hz
    phase  cycles
    error  mean Cauchy loss of the path; lower is better
    """

    rate: float
    mean: float
    amplitude: float
    phase: float = 0.0
    error: float = np.inf

    def at(self, times: Vector) -> Vector:
        """Return the values at times in seconds."""
        angle = 2 * np.pi * (self.rate * times + self.phase)
        return np.clip(self.mean - self.amplitude * np.sin(angle), 0.0, 1.0)


def fit_sinusoid(
    times: Vector,
    values: Vector,
    weights: Vector,
    rates: tuple[float, float],
    any_phase: bool = False,
) -> Sinusoid:
    """Fit a sinusoid to values (n,) between 0 and 1 at times (n,) in seconds.

    weights    (n,) reliability of each value
    rates      lowest and highest rate in Hz
    any_phase  whether the sinusoid may have any phase at time 0
    """
    step = RATE_STEP / max(float(times[-1] - times[0]), 0.1)
    grid = np.linspace(*rates, 2 + int((rates[1] - rates[0]) / step))
    n_parts = -(-grid.size // RATES_AT_ONCE)
    fits = [
        fit
        for part in np.array_split(grid, n_parts)
        for fit in _fit_rates(times, values, weights, part, any_phase)
    ]
    fits.sort(key=lambda fit: fit.error)
    polished = [_polish(times, values, weights, fit, rates, any_phase) for fit in fits[:N_POLISHED]]
    return min([*fits[:1], *polished], key=lambda fit: fit.error)


def _fit_rates(
    times: Vector, values: Vector, weights: Vector, rates: Vector, any_phase: bool
) -> list[Sinusoid]:
    """Fit mean, amplitude and phase at every rate."""
    angles = 2 * np.pi * rates[:, None] * times
    parts = [np.ones_like(angles), -np.sin(angles), *([-np.cos(angles)] if any_phase else [])]
    basis = np.stack(parts, axis=2)  # (n_rates, n, n_parts)
    ridge = 1e-9 * np.eye(basis.shape[2])
    reliability = np.broadcast_to(weights, angles.shape)
    for scale in (*FIRST_SCALES, SCALE, SCALE):
        weighted = basis * reliability[:, :, None]
        normal = np.swapaxes(weighted, 1, 2) @ basis + ridge
        target = np.swapaxes(weighted, 1, 2) @ values
        solution = np.linalg.solve(normal, target[:, :, None])[:, :, 0]
        fitted = np.clip((basis @ solution[:, :, None])[:, :, 0], 0.0, 1.0)
        reliability = weights / (1 + np.square((values - fitted) / scale))
    total = max(float(weights.sum()), 1e-30)
    errors = (weights * np.log1p(np.square((values - fitted) / SCALE))).sum(axis=1) / total
    if any_phase:
        amplitudes = np.hypot(solution[:, 1], solution[:, 2])
        phases = np.arctan2(solution[:, 2], solution[:, 1]) / (2 * np.pi)
    else:
        # A negative amplitude is another phase.
        errors[solution[:, 1] < 0] = np.inf
        amplitudes, phases = np.maximum(solution[:, 1], 0.0), np.zeros(len(rates))
    columns = (rates, solution[:, 0], amplitudes, phases, errors)
    return [Sinusoid(*map(float, row)) for row in zip(*columns, strict=True)]


def _polish(
    times: Vector,
    values: Vector,
    weights: Vector,
    start: Sinusoid,
    rates: tuple[float, float],
    any_phase: bool,
) -> Sinusoid:
    """Fit all values of a sinusoid, with the limits of the path."""
    from scipy.optimize import least_squares

    total = max(float(weights.sum()), 1e-30)
    root = np.sqrt(weights / total)

    def sinusoid(point: Vector) -> Sinusoid:
        return Sinusoid(*map(float, point))

    def loss(point: Vector) -> Vector:
        # The square of this residual is the Cauchy loss.
        return root * np.sqrt(
            np.log1p(np.square((values - sinusoid(point).at(times)) / SCALE)) + 1e-12
        )

    point = [start.rate, start.mean, start.amplitude, start.phase]
    lower, upper = [rates[0], -0.5, 0.0, -np.inf], [rates[1], 1.5, 1.0, np.inf]
    if not any_phase:
        point, lower, upper = point[:3], lower[:3], upper[:3]
    inside = np.clip(point, np.asarray(lower) + 1e-9, np.asarray(upper) - 1e-9)
    result = least_squares(loss, inside, bounds=(lower, upper), max_nfev=50)
    fit = sinusoid(result.x)
    return Sinusoid(fit.rate, fit.mean, fit.amplitude, fit.phase, float(result.fun @ result.fun))
