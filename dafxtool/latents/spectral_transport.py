"""From one setting of an effect to another on the same recording, keeping every detail.

Fading one spectrogram into the other gives both echoes at half their level where an effect half
way would give one echo at a time between. So the two wet spectrograms are explained first by
filters of the dry one: one along time (echoes, rooms) and one along frequency (partials that a
modulator moves), both in power, where sounds of unrelated phase add up, and neither negative:

    |wet(f, t)|² ~ sum over lags h(l) |dry(f, t - l)|²
                   + sum over shifts g(k) (|dry(f - k, t)|² + |dry(f + k, t)|²)

Between the ends the filters do not fade but move: their mass is carried from lag to lag and from
shift to shift along a logarithmic scale, in order, which is the optimal transport in one dimension
(McCann 1997; of spectra: Henderson & Solomon, Audio transport, DAFx 2019). What the moved filters
say beyond the fade of the filters of the ends is added to the cross-fade of the true spectrograms,
as far as filters explain what the effects did and in what the ends differ. Nothing is learnt: dry
and both wet spectrograms are known.
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
MOST_LAGS = 256  # frames; short hops reach less far
WINDOW_BINS = 2  # half the width of a Hann window's main lobe: what is nearer belongs to it
LARGEST_SHIFT_HZ = 2100.0
MOST_FITTED = 40_000  # points of the spectrogram
FLOOR = 1e-6  # of the mean power: softer than this all is silence
ROUNDS = 3  # of weighing errors as they count after the power law
RIDGE = 1e-5
SMALLEST_COLUMN = 1e-4  # of the largest


@dataclass(frozen=True)
class Filters:
    """What leads from dry power to wet power.

    lags    (n_lags,) by frames, the first is the direct sound
    shifts  (n_shifts,) of first_shift, first_shift + 1, ... bins, up and down
    """

    lags: NDArray[np.float64]
    shifts: NDArray[np.float64]
    first_shift: int = WINDOW_BINS

    def applied(self, power: Spectrum) -> Spectrum:
        """Wet power (n_bins, n_frames) of dry power."""
        output = np.zeros_like(power)
        for lag in np.flatnonzero(self.lags):
            output[:, lag:] += np.float32(self.lags[lag]) * power[:, : power.shape[1] - lag]
        for index in np.flatnonzero(self.shifts):
            output += np.float32(self.shifts[index]) * shifted(power, self.first_shift + int(index))
        return output


def shifted(power: Spectrum, n_bins: int) -> Spectrum:
    """Up and down by n_bins; what would fall below 0 Hz is mirrored there."""
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
    """Wet magnitudes (n_steps, n_bins, n_frames) from a (position 0) to b (position 1).

    dry, wet_a, wet_b  linear magnitudes (n_bins, n_frames) of one recording
    positions          (n_steps,) from 0 to 1; the ends are wet_a and wet_b themselves
    """
    if not dry.shape == wet_a.shape == wet_b.shape:
        raise InputError(
            f"spectrograms of {dry.shape}, {wet_a.shape} and {wet_b.shape} are not of one "
            "recording: take dry and wet of the same segment."
        )
    ends = [_compressed(wet, config) for wet in (wet_a, wet_b)]
    power = np.square(dry)
    found = Fit(power, config).filters(np.square(wet_a), np.square(wet_b))
    told = [_compressed(np.sqrt(each.applied(power)), config) for each in found]
    trust = explained(ends[1] - ends[0], told[1] - told[0]) * _share_foretold(
        ends, told, dry, config
    )
    loudest = max(float(each.max()) for each in told)
    steps = []
    for t in map(float, positions):
        faded = (1 - t) * ends[0] + t * ends[1]
        if trust > 0 and 0 < t < 1:
            moved = _compressed(np.sqrt(between(found[0], found[1], t).applied(power)), config)
            moved = np.minimum(moved, loudest)  # moving makes nothing louder than what was told
            faded = faded + trust * (moved - (1 - t) * told[0] - t * told[1])
        steps.append(expand(faded.astype(np.float32), config).numpy())
    return np.stack(steps)


def explained(difference: Spectrum, told: Spectrum) -> float:
    """Share of a difference that a foretold one explains: the squared cosine between them, or 0."""
    a, b = (np.asarray(each, dtype=np.float64).ravel() for each in (difference, told))
    norms = float(a @ a) * float(b @ b)
    return max(0.0, float(a @ b)) ** 2 / norms if norms > 0 else 0.0


def _share_foretold(
    ends: list[Spectrum], told: list[Spectrum], dry: Spectrum, config: SpectrogramConfig
) -> float:
    """Share, 0 to 1, of what both effects changed in the dry spectrogram that is foretold."""
    unchanged = _compressed(dry, config)
    left = sum(float(np.square(end - each).sum()) for end, each in zip(ends, told, strict=True))
    changed = sum(float(np.square(end - unchanged).sum()) for end in ends)
    return max(0.0, 1 - left / changed) if changed > 0 else 0.0


def _compressed(magnitude: Spectrum, config: SpectrogramConfig) -> Spectrum:
    return np.asarray(compress(magnitude, config).numpy(), dtype=np.float32)


# Filters from spectrograms ------------------------------------------------------------------------


class Fit:
    """Least squares with no coefficient below zero, on some of the points of a spectrogram."""

    def __init__(self, power: Spectrum, config: SpectrogramConfig) -> None:
        n_bins, n_frames = power.shape
        lag_limit = round(LONGEST_LAG_SECONDS * config.sample_rate / config.hop_length) + 1
        shift_limit = int(LARGEST_SHIFT_HZ * config.n_fft / config.sample_rate) + 1
        self.n_lags = max(1, min(lag_limit, n_frames // 2, MOST_LAGS))
        self.first_shift = max(1, round(WINDOW_BINS * config.n_fft / config.window_length))
        self.n_shifts = max(0, min(shift_limit, n_bins // 2) - self.first_shift)
        self.exponent = config.exponent
        self.floor = FLOOR * float(power.mean()) + 1e-20
        count = min(MOST_FITTED, power.size)
        self.points = np.sort(np.random.default_rng(0).choice(power.size, count, replace=False))
        rows = []
        for lag in range(self.n_lags):
            column = np.zeros_like(power)
            column[:, lag:] = power[:, : n_frames - lag]
            rows.append(column.ravel()[self.points])
        for index in range(self.n_shifts):
            rows.append(shifted(power, self.first_shift + index).ravel()[self.points])
        self.design = np.stack(rows)  # (n_lags + n_shifts, n_points)

    def filters(self, *wet_powers: Spectrum) -> list[Filters]:
        solved = [self._solve(wet.ravel()[self.points]) for wet in wet_powers]
        return [
            Filters(each[: self.n_lags], each[self.n_lags :], self.first_shift) for each in solved
        ]

    def _solve(self, wet: NDArray[np.float32]) -> NDArray[np.float64]:
        """Errors count as they would after the power law, whose slope weighs them."""
        said, solution = wet, np.zeros(len(self.design))
        for _ in range(ROUNDS):
            level = np.maximum(np.maximum(said, wet), self.floor)
            weight = (level / self.floor) ** (self.exponent / 2 - 1)
            weighed = self.design * weight
            gram = (weighed @ weighed.T).astype(np.float64)
            wanted = (weighed @ (wet * weight)).astype(np.float64)
            # A column that holds next to nothing must not get a weight that would be heard as soon
            # as it is moved to where there is sound.
            size = np.sqrt(np.diag(gram).clip(0))
            size = np.maximum(size, SMALLEST_COLUMN * size.max()) + 1e-15
            gram = gram / np.outer(size, size) + RIDGE * np.eye(len(gram))
            try:
                factor = np.linalg.cholesky(gram)
                solution = nnls(factor.T, np.linalg.solve(factor, wanted / size), maxiter=5000)[0]
            except (np.linalg.LinAlgError, RuntimeError):  # nothing is told, so all is faded
                return np.zeros(len(self.design))
            solution = solution / size
            said = (solution.astype(np.float32) @ self.design).astype(np.float32)
        return solution


# Filters between filters --------------------------------------------------------------------------


def between(a: Filters, b: Filters, t: float) -> Filters:
    """The filters at position t: levels fade in amplitude, lags and shifts move."""
    direct = _faded(a.lags[0], b.lags[0], t)
    lags = moved(a.lags[1:], b.lags[1:], np.arange(1, len(a.lags)), t)
    steps = np.arange(len(a.shifts)) + a.first_shift
    shifts = moved(a.shifts, b.shifts, steps, t)
    return Filters(np.concatenate([[direct], lags]), shifts, a.first_shift)


def moved(
    a: NDArray[np.float64], b: NDArray[np.float64], places: NDArray[np.int64], t: float
) -> NDArray[np.float64]:
    """Masses (n,) at increasing places (n,), carried from those of a to those of b.

    The share t of the way each, in the logarithm of the place. Where one has no mass, that of the
    other fades where it is.
    """
    masses = float(a.sum()), float(b.sum())
    total = _faded(*masses, t)
    if min(masses) <= 0:
        whole = a + b
        return whole * (total / whole.sum()) if whole.sum() > 0 else whole
    up_to = [np.cumsum(each) / mass for each, mass in zip((a, b), masses, strict=True)]
    levels = np.unique(np.concatenate([[0.0], *up_to]).clip(0, 1))
    middles, shares = (levels[1:] + levels[:-1]) / 2, np.diff(levels)
    ends = [
        np.log(places[np.searchsorted(each, middles).clip(0, len(places) - 1)]) for each in up_to
    ]
    where = np.interp(np.exp((1 - t) * ends[0] + t * ends[1]), places, np.arange(len(places)))
    lower = np.floor(where).astype(np.int64).clip(0, max(0, len(places) - 2))
    upper = np.minimum(lower + 1, len(places) - 1)
    output = np.zeros_like(a)
    np.add.at(output, lower, shares * (1 - (where - lower)))
    np.add.at(output, upper, shares * (where - lower))
    return output * total


def _faded(a: float, b: float, t: float) -> float:
    """Powers, faded in amplitude."""
    return float(((1 - t) * np.sqrt(a) + t * np.sqrt(b)) ** 2)
