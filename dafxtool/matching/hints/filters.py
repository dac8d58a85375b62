"""Fit filters, and static nonlinearities in front of filters, to the frequency response.

The response from dry to wet is estimated over all frames. It is compared with the response of the
effect to a quiet impulse, which takes less than a millisecond. If the effect starts with a
nonlinearity (Hammerstein model), the drive is chosen that explains most of the wet recording. The
filters behind it are then fitted to the remaining response.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.stats import qmc

from dafxtool.effects.apply import apply
from dafxtool.effects.effect import Effect
from dafxtool.effects.parameter import Parameter
from dafxtool.matching.hints.start import Start
from dafxtool.matching.objective import spectrum
from dafxtool.matching.pair import (
    FRAME,
    HOP,
    Array,
    Pair,
    Response,
)
from dafxtool.matching.plugin_reuse import stays_loaded

IMPULSE_SAMPLES = 2048
QUIET = 1e-4  # amplitude of the impulse, where nothing saturates
N_FIRST = 32  # Sobol points
N_DESCENTS = 6
N_DRIVES = 9


def filter_starts(pair: Pair, effect: Effect) -> list[Start]:
    """Propose a setting of a linear effect."""
    response = Response(pair.dry_frames, pair.wet_frames)
    setting, error = fit_response(response, effect, {}, pair.sample_rate)
    deviations = {p.name: 0.02 for p in effect.parameters}
    return [Start(effect, setting, deviations, score=error)]


def driven_starts(
    pair: Pair, effect: Effect, drive: str, held: Sequence[str] = ("output",)
) -> list[Start]:
    """Propose a setting of an effect that drives a nonlinearity into filters.

    drive  parameter in front of the nonlinearity
    held   parameters that change only the level
    """
    parameter = effect.parameter(drive)
    base = effect.default_setting()

    def try_drive(normalised: float) -> tuple[float, Response, dict[str, float]]:
        setting = base | {drive: parameter.from_normalised(normalised)}
        driven = apply(effect, pair.dry, pair.sample_rate, setting)[0]
        response = Response(spectrum(driven, FRAME, HOP), pair.wet_frames)
        return _mean_coherence(response), response, setting

    drives = list(np.linspace(0, 1, N_DRIVES))
    scored = [try_drive(value) for value in drives]
    best = int(np.argmax([s[0] for s in scored]))
    for step in (0.5, 0.25):
        for side in (-1, 1):
            normalised = float(np.clip(drives[best] + side * step / (N_DRIVES - 1), 0, 1))
            drives.append(normalised)
            scored.append(try_drive(normalised))
        best = int(np.argmax([s[0] for s in scored]))
    score, response, reference = scored[best]
    fixed = {drive: reference[drive]} | {name: base[name] for name in held}
    setting, _ = fit_response(response, effect, fixed, pair.sample_rate, reference)
    deviations = {p.name: 0.03 for p in effect.parameters}
    return [Start(effect, setting, deviations, score=1 - score)]


def _mean_coherence(response: Response) -> float:
    audible = response.source_power > 1e-6 * response.source_power.max()
    return float(response.bin_coherence[audible].mean()) if audible.any() else 0.0


def fit_response(
    response: Response,
    effect: Effect,
    fixed: Mapping[str, float],
    sample_rate: int,
    reference: Mapping[str, float] | None = None,
    n_points: int = N_FIRST,
    n_descents: int = N_DESCENTS,
) -> tuple[dict[str, float], float]:
    """Fit a setting to the measured magnitude response, ignoring the level.

    fixed      values that are not fitted
    reference  setting that the source of the response was rendered with; None for dry audio
    n_points, n_descents
               number of Sobol points, and of those that are refined
    returns    the setting, and the weighted standard deviation of the residual in dB
    """
    free = [p for p in effect.parameters if p.name not in fixed]
    weight = np.sqrt(response.weight / max(response.weight.sum(), 1e-12))
    before = gain_db(effect, reference, sample_rate) if reference else 0.0
    measured = response.gain_db + before

    def setting_at(normalised: NDArray[np.float64]) -> dict[str, float]:
        values = {p.name: p.from_normalised(u) for p, u in zip(free, normalised, strict=True)}
        return effect.complete(dict(fixed) | values)

    def residual(normalised: NDArray[np.float64]) -> NDArray[np.float64]:
        difference = gain_db(effect, setting_at(normalised), sample_rate) - measured
        difference -= float((weight**2) @ difference)
        return weight * np.clip(difference, -30, 30)

    if not free:
        return setting_at(np.empty(0)), float(np.linalg.norm(residual(np.empty(0))))
    points = qmc.Sobol(len(free), scramble=False).random(n_points) * 0.9 + 0.05
    points = np.vstack([_largest_bend(measured, response.weight, free, sample_rate), points])
    errors = [float(np.linalg.norm(residual(p))) for p in points]
    best, best_error = points[int(np.argmin(errors))], min(errors)
    for index in np.argsort(errors, kind="stable")[:n_descents]:
        fit = least_squares(residual, points[index], bounds=(0, 1), diff_step=1e-3, max_nfev=12)
        error = float(np.linalg.norm(fit.fun))
        if error < best_error:
            best, best_error = fit.x, error
    return setting_at(best), best_error


def _largest_bend(
    measured: NDArray[np.float64],
    weight: NDArray[np.float64],
    free: Sequence[Parameter],
    sample_rate: int,
) -> NDArray[np.float64]:
    """Return points with cutoff and gain where the response differs most from its median."""
    audible = np.flatnonzero(weight > 0)
    names = [p.name for p in free]
    if "gain" not in names or "cutoff" not in names or not len(audible):
        return np.empty((0, len(free)))
    bend = measured - np.median(measured[audible])
    index = audible[np.argmax(np.abs(bend[audible]))]
    values = {"gain": bend[index], "cutoff": index * sample_rate / FRAME}
    point = [
        p.to_normalised(min(max(values[p.name], p.minimum), p.maximum)) if p.name in values else 0.0
        for p in free
    ]
    points = np.tile(point, (3, 1))
    for column, name in enumerate(names):
        if name not in values:
            points[:, column] = (0.2, 0.5, 0.8)
    return np.clip(points, 0.01, 0.99)


def gain_db(effect: Effect, setting: Mapping[str, float], sample_rate: int) -> NDArray[np.float64]:
    """Compute the gain (n_bins,) of an effect in dB for quiet audio."""
    impulse: Array = np.zeros(IMPULSE_SAMPLES, dtype=np.float32)
    impulse[0] = QUIET
    keep_loaded = stays_loaded(effect, sample_rate)
    output = apply(effect, impulse, sample_rate, setting, keep_loaded)[0] / QUIET
    response = np.fft.rfft(output)[:: IMPULSE_SAMPLES // FRAME]
    return 20 * np.log10(np.abs(response) + 1e-9)
