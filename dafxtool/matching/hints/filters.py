"""Linear effects, and static nonlinearities in front of linear ones, from the response.

The response from dry to wet is estimated over all frames and compared with the response of the
effect to a quiet impulse, which takes well under a millisecond. Where an effect drives a
nonlinearity first, the drive whose output explains most of the wet recording is taken (Hammerstein
model), and the filters behind it are fitted to the response that remains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.stats import qmc

from dafxtool.effects.builtin import apply_effect
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

IMPULSE_SAMPLES = 2048
QUIET = 1e-4  # height of the impulse: so far below full scale nothing saturates
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
    held   parameters that change nothing but the level
    """
    parameter = effect.parameter(drive)
    base = effect.default_setting()

    def explained(position: float) -> tuple[float, Response, dict[str, float]]:
        setting = base | {drive: parameter.from_normalised(position)}
        driven = apply_effect(effect, pair.dry, pair.sample_rate, setting)
        response = Response(spectrum(driven, FRAME, HOP), pair.wet_frames)
        return _mean_coherence(response), response, setting

    positions = list(np.linspace(0, 1, N_DRIVES))
    scored = [explained(p) for p in positions]
    best = int(np.argmax([s[0] for s in scored]))
    for step in (0.5, 0.25):
        for side in (-1, 1):
            position = float(np.clip(positions[best] + side * step / (N_DRIVES - 1), 0, 1))
            positions.append(position)
            scored.append(explained(position))
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
) -> tuple[dict[str, float], float]:
    """Find the setting whose response has the measured magnitude, whatever its level.

    fixed      values that are not looked for
    reference  setting whose response the measured one counts from; None for the dry audio
    returns    the setting, and the weighted standard deviation that is left, in dB
    """
    free = [p for p in effect.parameters if p.name not in fixed]
    weight = np.sqrt(response.weight / max(response.weight.sum(), 1e-12))
    before = gain_db(effect, reference, sample_rate) if reference else 0.0
    measured = response.gain_db + before

    def setting_at(position: NDArray[np.float64]) -> dict[str, float]:
        found = {p.name: p.from_normalised(u) for p, u in zip(free, position, strict=True)}
        return effect.complete(dict(fixed) | found)

    def residual(position: NDArray[np.float64]) -> NDArray[np.float64]:
        difference = gain_db(effect, setting_at(position), sample_rate) - measured
        difference -= float((weight**2) @ difference)
        return weight * np.clip(difference, -30, 30)

    if not free:
        return setting_at(np.empty(0)), float(np.linalg.norm(residual(np.empty(0))))
    points = qmc.Sobol(len(free), scramble=False).random(N_FIRST) * 0.9 + 0.05
    points = np.vstack([_largest_bend(measured, response.weight, free, sample_rate), points])
    errors = [float(np.linalg.norm(residual(p))) for p in points]
    best_position, best_error = points[int(np.argmin(errors))], min(errors)
    for index in np.argsort(errors, kind="stable")[:N_DESCENTS]:
        found = least_squares(residual, points[index], bounds=(0, 1), diff_step=1e-3, max_nfev=12)
        error = float(np.linalg.norm(found.fun))
        if error < best_error:
            best_position, best_error = found.x, error
    return setting_at(best_position), best_error


def _largest_bend(
    measured: NDArray[np.float64],
    weight: NDArray[np.float64],
    free: Sequence[Parameter],
    sample_rate: int,
) -> NDArray[np.float64]:
    """Points with cutoff and gain where the measured response differs most from its median."""
    audible = np.flatnonzero(weight > 0)
    names = [p.name for p in free]
    if "gain" not in names or "cutoff" not in names or not len(audible):
        return np.empty((0, len(free)))
    bend = measured - np.median(measured[audible])
    place = audible[np.argmax(np.abs(bend[audible]))]
    values = {"gain": bend[place], "cutoff": place * sample_rate / FRAME}
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
    """Gain (n_bins,) of an effect for quiet sounds."""
    impulse: Array = np.zeros(IMPULSE_SAMPLES, dtype=np.float32)
    impulse[0] = QUIET
    heard = apply_effect(effect, impulse, sample_rate, setting) / QUIET
    response = np.fft.rfft(heard)[:: IMPULSE_SAMPLES // FRAME]
    return 20 * np.log10(np.abs(response) + 1e-9)
