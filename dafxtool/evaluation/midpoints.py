"""Evaluate interpolation: compare the middle step with the true one.

Between two settings that is the effect at the middle setting, between two effects both effects in
parallel. Also measure how much the decoded dry channel changes along the interpolation path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from dafxtool.dataset.pair import level_pair, render_pair
from dafxtool.effects.effect import Effect, sample_setting
from dafxtool.errors import DafxError
from dafxtool.evaluation.features import EvaluationData
from dafxtool.evaluation.probes import mean_estimate
from dafxtool.evaluation.results import MEAN, Score
from dafxtool.latents.interpolate import blend_magnitudes
from dafxtool.latents.spectral_transport import transport
from dafxtool.spectrogram.metrics import channel_mse
from dafxtool.spectrogram.stft import compress, standardise
from dafxtool.spectrogram.transform import linear_magnitude
from dafxtool.utils.progress import Progress

PATH_STEPS = 3  # both ends and the middle
MOST_CASES = 160  # of all effects, unless a number is given
MOST_PER_EFFECT, LEAST_PER_EFFECT = 20, 5
SAME_ERROR = 1e-12  # squared error in standardised units of spectrograms that are the same
IGNORES_LATENT = (
    "no drift: the decoder returns the same dry channel for two recordings, so it cannot drift"
)
DRIFTS = (
    ("two settings", "model"),
    ("two effects", "model"),
    ("two settings", "other recording"),
)
PARALLEL_METHODS = ("model", "latents", "cross-fade", "nearer end")
DIFFERENCE = "detailed less cross-fade"
MIDDLE = np.array([0.5], dtype=np.float32)

# Pairs of one case, in the order of _Case.spectrogram.
A, B, MIDPOINT, OTHER_RECORDING, OTHER_EFFECT, PARALLEL = range(6)


@dataclass(frozen=True)
class _Case:
    """Analysed pairs of one segment: two settings, the setting between them, and two others.

    spectrogram  (n_pairs, 2, n_bins, n_frames): settings A and B, the middle setting, another
                 recording, and if another effect could be rendered, that, and A in parallel with it
    constants    (n_pairs, 2) of the standardisation
    """

    spectrogram: NDArray[np.float32]
    constants: NDArray[np.float32]
    is_other_recording: bool
    is_other_effect: bool


@dataclass
class _Results:
    """Errors and drifts of all cases, and the recording of each case.

    errors  by section, effect and method; NaN where a case has none
    drifts  by subject and method of the score; NaN where the case has none
    groups  by effect
    """

    errors: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)
    drifts: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    groups: dict[str, list[int]] = field(default_factory=dict)


def midpoint_scores(
    data: EvaluationData, per_effect: int | None, seed: int, progress: Progress
) -> list[Score]:
    """Score midpoints of two settings and of two effects, and drift of the dry channel.

    per_effect  number of pairs of settings for each effect that has parameters; None takes
                MOST_PER_EFFECT, or fewer so that those of all effects are about MOST_CASES
    """
    if per_effect == 0:
        return []
    if find_spec("pedalboard") is None:
        data.remarks.append("no midpoints: pedalboard, which renders them, is not installed")
        return []
    effects = [Effect.from_dict(described) for described in data.labels.effects]
    with_parameters = [index for index, effect in enumerate(effects) if effect.parameters]
    if per_effect is None:
        per_effect = default_per_effect(len(with_parameters))
    rng = np.random.default_rng([seed, 5])
    results = _Results()
    progress.start("evaluating midpoints", len(with_parameters) * per_effect, "pair")
    for index in with_parameters:
        name = effects[index].name
        own = data.rows.test[data.test_effect == index]
        for row in own[np.linspace(0, len(own) - 1, per_effect).astype(int)] if len(own) else []:
            try:
                case = _render_case(data, effects, index, int(row), rng)
            except DafxError as error:
                data.remarks.append(f"no midpoints of {name}: {error}")
                break
            paths = _decode_paths(data, case)
            for (section, method), value in {
                **_midpoint_errors(data, case, paths[B]),
                **_parallel_errors(data, case, paths.get(OTHER_EFFECT)),
            }.items():
                results.errors.setdefault((section, name, method), []).append(value)
            for key, value in _drifts(data, paths).items():
                results.drifts.setdefault(key, []).append(value)
            results.groups.setdefault(name, []).append(int(data.track[row]))
            progress.advance()
    progress.finish()
    return _scores(results)


def default_per_effect(n_effects: int) -> int:
    """Return the number of cases of each effect: fewer with many effects."""
    return min(MOST_PER_EFFECT, max(LEAST_PER_EFFECT, MOST_CASES // max(1, n_effects)))


def _scores(results: _Results) -> list[Score]:
    """Estimate the mean of each error and drift, with its interval over recordings."""
    errors, groups, scores = results.errors, results.groups, []
    all_groups = np.array([track for tracks in groups.values() for track in tracks])
    for (section, name, method), values in errors.items():
        if section != "parallel" or np.isfinite(values).any():
            estimate = mean_estimate(np.array(values), np.array(groups[name]))
            scores.append(Score(section, name, method, estimate, len(values)))
    for section, method in dict.fromkeys((section, method) for section, _, method in errors):
        values = [value for name in groups for value in errors[section, name, method]]
        if section != "parallel" or np.isfinite(values).any():
            estimate = mean_estimate(np.array(values), all_groups)
            scores.append(Score(section, MEAN, method, estimate, len(values)))
    for (subject, method), values in results.drifts.items():
        is_known = np.isfinite(values)
        if is_known.any():
            estimate = mean_estimate(np.array(values), all_groups)
            scores.append(Score("drift", subject, method, estimate, int(is_known.sum())))
    return scores


def _render_case(
    data: EvaluationData, effects: Sequence[Effect], index: int, row: int, rng: np.random.Generator
) -> _Case:
    """Render two random settings of one effect and the setting between them on one segment.

    DafxError if this effect cannot be rendered. Another effect that fails is left out.
    """
    config = data.run.configuration.segments
    effect = effects[index].at(config.sample_rate)
    dry = data.reader.rows(np.array([row]))[0, 0]
    fixed = data.reader.configuration.get("fixed", [{}] * len(effects))
    a, b = (sample_setting(effect, rng, fixed[index]) for _ in range(2))
    # There is no middle between two choices, so both settings get the same.
    b |= {p.name: a[p.name] for p in effect.parameters if p.choices}
    other_index = (index + 1) % len(effects)
    try:
        other = effects[other_index].at(config.sample_rate)
        other_setting = sample_setting(other, rng, fixed[other_index])
        with_other = (
            [render_pair(dry, other, other_setting, config)[0]] if other_index != index else []
        )
    except DafxError:
        with_other = []
    other_rows = data.rows.test[data.test_track != data.track[row]]
    other_row = other_rows[rng.integers(len(other_rows))] if len(other_rows) else row
    settings = (a, b, middle_setting(effect, a, b))
    pairs = [
        *(render_pair(dry, effect, setting, config)[0] for setting in settings),
        data.reader.rows(np.array([other_row]))[0],
    ]
    for other_pair in with_other:
        mixed = (pairs[A][1] + other_pair[1]) / 2
        pairs += [other_pair, level_pair(pairs[A][0], mixed, np.float32(1), config)[0]]
    return _Case(
        *data.run.analyse(np.stack(pairs)),
        is_other_recording=int(other_row) != row,
        is_other_effect=bool(with_other),
    )


def _decode_paths(data: EvaluationData, case: _Case) -> dict[int, NDArray[np.float32]]:
    """Decode the straight path from A to each other end: (PATH_STEPS, 2, n_bins, n_frames)."""
    ends = [
        B,
        *([OTHER_RECORDING] if case.is_other_recording else []),
        *([OTHER_EFFECT] if case.is_other_effect else []),
    ]
    spectrogram = case.spectrogram[[A, *ends]]
    latent = data.run.embed(spectrogram)
    t = np.linspace(0, 1, PATH_STEPS, dtype=np.float32)[:, None]
    paths = {}
    for number, end in enumerate(ends, 1):
        dry: NDArray[np.float32] = (1 - t[:, :, None]) * spectrogram[0, 0] + (
            t[:, :, None] * spectrogram[number, 0]
        )
        paths[end] = data.run.decode((1 - t) * latent[0] + t * latent[number], dry)
    return paths


def _midpoint_errors(
    data: EvaluationData, case: _Case, path: NDArray[np.float32]
) -> dict[tuple[str, str], float]:
    """Return the error of each method against the rendered midpoint, by section and method.

    path  decoded from A to B
    """
    config = data.run.spectrogram_config
    linear = linear_magnitude(
        case.spectrogram[: MIDPOINT + 1], case.constants[: MIDPOINT + 1], config
    )
    units = _Units(data, case, MIDPOINT)
    true_a, true_b, truth = (units.standardised(each[1]) for each in linear)
    (detailed,) = transport(linear[A, 0], linear[A, 1], linear[B, 1], MIDDLE, config)
    decoded_a, decoded, decoded_b = path[:, 1]
    cross_fade, decoded_cross_fade = (true_a + true_b) / 2, (decoded_a + decoded_b) / 2
    estimates = {
        "model": decoded + cross_fade - decoded_cross_fade,  # plus the residual at the ends
        "decoded": decoded,
        "detailed": units.standardised(detailed),
        "cross-fade": cross_fade,
        "cross-fade of decoded": decoded_cross_fade,
        "nearer end": _nearer(true_a, true_b, truth),
    }
    errors = {
        ("midpoint", name): float(channel_mse(estimate, truth))
        for name, estimate in estimates.items()
    }
    if float(channel_mse(true_a, true_b)) < SAME_ERROR:  # any method is perfect between equal ends
        errors = dict.fromkeys(errors, float("nan"))
    errors["detail", DIFFERENCE] = errors["midpoint", "detailed"] - errors["midpoint", "cross-fade"]
    return errors


def _parallel_errors(
    data: EvaluationData, case: _Case, path: NDArray[np.float32] | None
) -> dict[tuple[str, str], float]:
    """Return the error of each method against two effects in parallel, by section and method.

    path  decoded from A to the other effect; None for a case without it, whose errors are NaN
    """
    if path is None:
        return {("parallel", name): float("nan") for name in PARALLEL_METHODS}
    rows = [A, OTHER_EFFECT, PARALLEL]
    linear = linear_magnitude(
        case.spectrogram[rows], case.constants[rows], data.run.spectrogram_config
    )[:, 1]
    units = _Units(data, case, PARALLEL)
    true_a, true_b, truth = map(units.standardised, linear)
    decoded_a, decoded, decoded_b = path[:, 1]
    cross_fade = (true_a + true_b) / 2
    estimates = (
        units.standardised(blend_magnitudes(linear[0], linear[1], MIDDLE)[0]),
        decoded + cross_fade - (decoded_a + decoded_b) / 2,
        cross_fade,
        _nearer(true_a, true_b, truth),
    )
    return {
        ("parallel", name): float(channel_mse(estimate, truth))
        for name, estimate in zip(PARALLEL_METHODS, estimates, strict=True)
    }


class _Units:
    """Standardise magnitudes with the constants of one pair of a case.

    Each segment may have its own, and errors need the same for all spectrograms.
    """

    def __init__(self, data: EvaluationData, case: _Case, row: int) -> None:
        self._config = data.run.spectrogram_config
        self._constants = case.constants[row].tolist()

    def standardised(self, magnitude: NDArray[np.float32]) -> NDArray[np.float32]:
        return standardise(compress(magnitude, self._config), *self._constants).numpy()


def _nearer(
    a: NDArray[np.float32], b: NDArray[np.float32], truth: NDArray[np.float32]
) -> NDArray[np.float32]:
    return min(a, b, key=lambda end: float(channel_mse(end, truth)))


def _drifts(
    data: EvaluationData, paths: dict[int, NDArray[np.float32]]
) -> dict[tuple[str, str], float]:
    """Return the mean squared change of the decoded dry channel along three paths from A.

    paths  as of _decode_paths; NaN for a path that this case does not have
    """

    def drift(end: int) -> float:
        if end not in paths:
            return float("nan")
        dry = paths[end][:, :1]
        return float(channel_mse(dry[1:], dry[:1]).mean())

    other = drift(OTHER_RECORDING)
    if other < SAME_ERROR:
        if IGNORES_LATENT not in data.remarks:
            data.remarks.append(IGNORES_LATENT)
        return dict.fromkeys(DRIFTS, float("nan"))
    return dict(zip(DRIFTS, (drift(B), drift(OTHER_EFFECT), other), strict=True))


def middle_setting(effect: Effect, a: dict[str, float], b: dict[str, float]) -> dict[str, float]:
    """Return the setting half-way between two settings, on the scale of each parameter."""
    return {
        parameter.name: parameter.from_normalised(
            (
                parameter.to_normalised(a[parameter.name])
                + parameter.to_normalised(b[parameter.name])
            )
            / 2
        )
        for parameter in effect.parameters
    }
