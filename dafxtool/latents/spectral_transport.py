"""Interpolate between two effects on one recording by optimal transport of filters.

A cross-fade of two delays has both echoes at half their level. The effect at the middle setting has
one echo, at a time between them. So each wet spectrogram is first modelled by non-negative filters
of the dry one, in power: one along time (echoes, reverberation), one along frequency (partials that
a modulator shifts).

    |wet(f, t)|² ~ sum over lags h(l) |dry(f, t - l)|²
                   + sum over shifts g(k) (|dry(f - k, t)|² + |dry(f + k, t)|²)

Between the ends, the mass of the filters moves from lag to lag and from shift to shift, in order
and on a logarithmic scale. This is the optimal transport in one dimension (McCann 1997; for
spectra: Henderson & Solomon, Audio transport, DAFx 2019). The interpolated spectrogram is the
cross-fade of the true ones plus a correction: the output of the moved filters minus the cross-fade
of the outputs of the filters at the ends. The correction is weighted by how well the filters model
both effects and their difference. No trainable parameters: dry and both wet spectrograms are known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from dafxtool.config import SpectrogramConfig
from dafxtool.errors import InputError
from dafxtool.spectrogram.stft import compress, expand

Spectrum = NDArray[np.float32]  # (n_bins, n_frames)

LONGEST_LAG_SECONDS = 1.2
MAX_LAGS = 256  # frames; with a short hop they cover less time
WINDOW_BINS = 2  # half the main lobe of a Hann window; smaller shifts lie inside it
LARGEST_SHIFT_HZ = 2100.0
MAX_FIT_POINTS = 40_000  # points of the spectrogram that filters are fitted to
FLOOR = 1e-6  # of the mean power; everything below counts as silence
N_REWEIGHTINGS = 3  # of errors by the slope of the power law
RIDGE = 1e-5
MIN_COLUMN_NORM = 1e-4  # of the largest


@dataclass(frozen=True)
class Filters:
    """Filters that map dry power to wet power.

    lags    (n_lags,) gain of each delay in frames; the first is the direct sound
    shifts  (n_shifts,) gain of shifts by first_shift, first_shift + 1, ... bins, up and down
    """

    lags: NDArray[np.float64]
    shifts: NDArray[np.float64]
    first_shift: int = WINDOW_BINS

    def apply(self, power: Spectrum) -> Spectrum:
        """Compute wet power (n_bins, n_frames) from dry power."""
        output = np.zeros_like(power)
        for lag in np.flatnonzero(self.lags):
            output[:, lag:] += np.float32(self.lags[lag]) * power[:, : power.shape[1] - lag]
        for index in np.flatnonzero(self.shifts):
            output += np.float32(self.shifts[index]) * shift_bins(
                power, self.first_shift + int(index)
            )
        return output


def shift_bins(power: Spectrum, n_bins: int) -> Spectrum:
    """Shift power up and down by n_bins and add both; below 0 Hz it is mirrored."""
    output = np.zeros_like(power)
    output[n_bins:] += power[:-n_bins]
    output[:-n_bins] += power[n_bins:]
    output[1:n_bins] += power[1:n_bins][::-1]
    return output


def transport(
    dry: Spectrum,
    wet_a: Spectrum,
    wet_b: Spectrum,
    positions: NDArray[np.float32],
    config: SpectrogramConfig,
) -> NDArray[np.float32]:
    """Interpolate wet magnitudes from a (t = 0) to b (t = 1): (n_steps, n_bins, n_frames).

    dry, wet_a, wet_b  linear magnitudes (n_bins, n_frames) of one recording
    positions          (n_steps,) values of t; at 0 and 1 the result is wet_a and wet_b

    InputError for spectrograms of different shapes.
    """
    if not dry.shape == wet_a.shape == wet_b.shape:
        raise InputError(
            f"spectrograms are not of one recording (found shapes {dry.shape}, {wet_a.shape} and "
            f"{wet_b.shape}). Use dry and wet of the same segment."
        )
    ends = [_compressed(wet, config) for wet in (wet_a, wet_b)]
    power = np.square(dry)
    filters = FilterFit(power, config).fit(np.square(wet_a), np.square(wet_b))
    models = [_compressed(np.sqrt(each.apply(power)), config) for each in filters]
    confidence = explained_share(ends[1] - ends[0], models[1] - models[0])
    confidence *= _modelled_share(ends, models, dry, config)
    loudest = max(float(each.max()) for each in models)
    steps = []
    for t in map(float, positions):
        step = (1 - t) * ends[0] + t * ends[1]
        if confidence > 0 and 0 < t < 1:
            middle = interpolate_filters(filters[0], filters[1], t)
            model = _compressed(np.sqrt(middle.apply(power)), config)
            model = np.minimum(model, loudest)  # moved filters must not exceed those of the ends
            step = step + confidence * (model - (1 - t) * models[0] - t * models[1])
        steps.append(expand(step.astype(np.float32), config).numpy())
    return np.stack(steps)


def explained_share(difference: Spectrum, model: Spectrum) -> float:
    """Return the share of a difference that its model explains: their squared cosine.

    0 if the cosine is negative.
    """
    a, b = (np.asarray(each, dtype=np.float64).ravel() for each in (difference, model))
    norms = float(a @ a) * float(b @ b)
    return max(0.0, float(a @ b)) ** 2 / norms if norms > 0 else 0.0


def _modelled_share(
    ends: list[Spectrum], models: list[Spectrum], dry: Spectrum, config: SpectrogramConfig
) -> float:
    """Return the share (0 to 1) of the change from dry to wet that the filters model."""
    unchanged = _compressed(dry, config)
    residual = sum(
        float(np.square(end - model).sum()) for end, model in zip(ends, models, strict=True)
    )
    change = sum(float(np.square(end - unchanged).sum()) for end in ends)
    return max(0.0, 1 - residual / change) if change > 0 else 0.0


def _compressed(magnitude: Spectrum, config: SpectrogramConfig) -> Spectrum:
    return np.asarray(compress(magnitude, config).numpy(), dtype=np.float32)


# Fit of filters ------------------------------------------------------------------------


class FilterFit:
    """Non-negative least squares on a random choice of the points of a spectrogram."""

    def __init__(self, power: Spectrum, config: SpectrogramConfig) -> None:
        n_bins, n_frames = power.shape
        lag_limit = round(LONGEST_LAG_SECONDS * config.sample_rate / config.hop_length) + 1
        shift_limit = int(LARGEST_SHIFT_HZ * config.n_fft / config.sample_rate) + 1
        self.n_lags = max(1, min(lag_limit, n_frames // 2, MAX_LAGS))
        self.first_shift = max(1, round(WINDOW_BINS * config.n_fft / config.window_length))
        self.n_shifts = max(0, min(shift_limit, n_bins // 2) - self.first_shift)
        self.exponent = config.exponent
        self.floor = FLOOR * float(power.mean()) + 1e-20
        count = min(MAX_FIT_POINTS, power.size)
        self.points = np.sort(np.random.default_rng(0).choice(power.size, count, replace=False))
        rows = []
        for lag in range(self.n_lags):
            column = np.zeros_like(power)
            column[:, lag:] = power[:, : n_frames - lag]
            rows.append(column.ravel()[self.points])
        for index in range(self.n_shifts):
            rows.append(shift_bins(power, self.first_shift + index).ravel()[self.points])
        self.design = np.stack(rows)  # (n_lags + n_shifts, n_points)

    def fit(self, *wet_powers: Spectrum) -> list[Filters]:
        """Fit filters to each wet power (n_bins, n_frames)."""
        solutions = [self._solve(wet.ravel()[self.points]) for wet in wet_powers]
        return [
            Filters(each[: self.n_lags], each[self.n_lags :], self.first_shift)
            for each in solutions
        ]

    def _solve(self, wet: NDArray[np.float32]) -> NDArray[np.float64]:
        """Solve for the gains, with errors weighted by the slope of the power law."""
        estimate, solution = wet, np.zeros(len(self.design))
        for _ in range(N_REWEIGHTINGS):
            level = np.maximum(np.maximum(estimate, wet), self.floor)
            weight = (level / self.floor) ** (self.exponent / 2 - 1)
            weighted = self.design * weight
            gram = (weighted @ weighted.T).astype(np.float64)
            target = (weighted @ (wet * weight)).astype(np.float64)
            # The gain of an almost silent column is arbitrary. It must stay small, because the
            # mass is moved to columns that are not silent.
            size = np.sqrt(np.diag(gram).clip(0))
            size = np.maximum(size, MIN_COLUMN_NORM * size.max()) + 1e-15
            gram = gram / np.outer(size, size) + RIDGE * np.eye(len(gram))
            try:
                factor = np.linalg.cholesky(gram)
                solution = nnls(factor.T, np.linalg.solve(factor, target / size), maxiter=5000)[0]
            except (np.linalg.LinAlgError, RuntimeError):  # no model: cross-fade only
                return np.zeros(len(self.design))
            solution = solution / size
            estimate = (solution.astype(np.float32) @ self.design).astype(np.float32)
        return solution


# Interpolation of filters -------------------------------------------------------------------------


def interpolate_filters(a: Filters, b: Filters, t: float) -> Filters:
    """Interpolate filters at t: the direct sound fades in amplitude, lags and shifts move."""
    direct = _fade_power(a.lags[0], b.lags[0], t)
    lags = move_mass(a.lags[1:], b.lags[1:], np.arange(1, len(a.lags)), t)
    steps = np.arange(len(a.shifts)) + a.first_shift
    shifts = move_mass(a.shifts, b.shifts, steps, t)
    return Filters(np.concatenate([[direct], lags]), shifts, a.first_shift)


def move_mass(
    a: NDArray[np.float64], b: NDArray[np.float64], positions: NDArray[np.int64], t: float
) -> NDArray[np.float64]:
    """Move masses (n,) at increasing positions (n,) from distribution a (t = 0) to b (t = 1).

    Each mass moves in proportion to t on the logarithm of the position. If a or b has no mass, the
    mass of the other fades at its position.
    """
    masses = float(a.sum()), float(b.sum())
    total = _fade_power(*masses, t)
    if min(masses) <= 0:
        either = a + b
        return either * (total / either.sum()) if either.sum() > 0 else either
    cumulative = [np.cumsum(each) / mass for each, mass in zip((a, b), masses, strict=True)]
    levels = np.unique(np.concatenate([[0.0], *cumulative]).clip(0, 1))
    middles, shares = (levels[1:] + levels[:-1]) / 2, np.diff(levels)
    ends = [
        np.log(positions[np.searchsorted(each, middles).clip(0, len(positions) - 1)])
        for each in cumulative
    ]
    where = np.interp(np.exp((1 - t) * ends[0] + t * ends[1]), positions, np.arange(len(positions)))
    lower = np.floor(where).astype(np.int64).clip(0, max(0, len(positions) - 2))
    upper = np.minimum(lower + 1, len(positions) - 1)
    output = np.zeros_like(a)
    np.add.at(output, lower, shares * (1 - (where - lower)))
    np.add.at(output, upper, shares * (where - lower))
    return output * total


def _fade_power(a: float, b: float, t: float) -> float:
    """Interpolate two powers linearly in amplitude."""
    return float(((1 - t) * np.sqrt(a) + t * np.sqrt(b)) ** 2)
