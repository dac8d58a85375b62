"""Evaluate interpolation: compare the decoded midpoint with the effect at the middle setting.

Also measure how much the decoded dry channel changes along the interpolation path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from dafxtool.dataset.pair import render_pair
from dafxtool.effects.effect import Effect, sample_setting
from dafxtool.errors import DafxError
from dafxtool.evaluation.features import EvaluationData
from dafxtool.evaluation.probes import mean_estimate
from dafxtool.evaluation.results import MEAN, Score
from dafxtool.latents.spectral_transport import transport
from dafxtool.spectrogram.metrics import channel_mse
from dafxtool.spectrogram.stft import compress, standardise
from dafxtool.spectrogram.transform import linear_magnitude
from dafxtool.utils.progress import Progress

DRIFT_STEPS = 5
SAME_ERROR = 1e-12  # squared error in standardised units of spectrograms that are the same
IGNORES_LATENT = (
    "no drift: the decoder returns the same dry channel for two recordings, so it cannot drift"
)
DRIFTS = (
    ("two settings", "model"),
    ("two effects", "model"),
    ("two settings", "other recording"),
)
DIFFERENCE = "detailed less cross-fade"
MIDDLE = np.array([0.5], dtype=np.float32)

# Pairs of one case, in the order of _Case.spectrogram.
A, B, MIDPOINT, OTHER_RECORDING, OTHER_EFFECT = range(5)


@dataclass(frozen=True)
class _Case:
    """Analysed pairs of one segment: two settings, the setting between them, and two others.

    spectrogram  (n_pairs, 2, n_bins, n_frames): settings A and B, the middle setting, another
                 recording, and another effect if it could be rendered
    constants    (n_pairs, 2) of the standardisation
    """

    spectrogram: NDArray[np.float32]
    constants: NDArray[np.float32]
    is_other_recording: bool
    is_other_effect: bool


@dataclass
class _Results:
    """Errors and drifts of all cases, and the recording of each case.

    errors  by effect and method
    drifts  by subject and method of the score; NaN where the case has none
    groups  by effect
    """

    errors: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    drifts: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    groups: dict[str, list[int]] = field(default_factory=dict)


def midpoint_scores(
    data: EvaluationData, per_effect: int, seed: int, progress: Progress
) -> list[Score]:
    """Score midpoints of two settings against the rendered effect, and drift of the dry channel.

    per_effect  number of pairs of settings for each effect that has parameters
    """
    if per_effect < 1:
        return []
    if find_spec("pedalboard") is None:
        data.remarks.append("no midpoints: pedalboard, which renders them, is not installed")
        return []
    effects = [Effect.from_dict(described) for described in data.labels.effects]
    with_parameters = [index for index, effect in enumerate(effects) if effect.parameters]
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
            path = _decode_path(data, case, B)
            for method, value in _midpoint_errors(data, case, path).items():
                results.errors.setdefault((name, method), []).append(value)
            for key, value in _drifts(data, case, path).items():
                results.drifts.setdefault(key, []).append(value)
            results.groups.setdefault(name, []).append(int(data.track[row]))
            progress.advance()
    progress.finish()
    return _scores(results)


def _scores(results: _Results) -> list[Score]:
    """Estimate the mean of each error and drift, with its interval over recordings."""
    errors, groups, scores = results.errors, results.groups, []
    all_groups = np.array([track for tracks in groups.values() for track in tracks])
    for (name, method), values in errors.items():
        estimate = mean_estimate(np.array(values), np.array(groups[name]))
        scores.append(Score(_section(method), name, method, estimate, len(values)))
    for method in dict.fromkeys(method for _, method in errors):
        values = [value for name in groups for value in errors[name, method]]
        estimate = mean_estimate(np.array(values), all_groups)
        scores.append(Score(_section(method), MEAN, method, estimate, len(values)))
    for (subject, method), values in results.drifts.items():
        is_known = np.isfinite(values)
        if is_known.any():
            estimate = mean_estimate(np.array(values), all_groups)
            scores.append(Score("drift", subject, method, estimate, int(is_known.sum())))
    return scores


def _section(method: str) -> str:
    return "detail" if method == DIFFERENCE else "midpoint"


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
        with_other = [render_pair(dry, other, other_setting, config)[0]]
    except DafxError:
        with_other = []
    other_rows = data.rows.test[data.test_track != data.track[row]]
    other_row = other_rows[rng.integers(len(other_rows))] if len(other_rows) else row
    settings = (a, b, middle_setting(effect, a, b))
    pairs = [
        *(render_pair(dry, effect, setting, config)[0] for setting in settings),
        data.reader.rows(np.array([other_row]))[0],
        *with_other,
    ]
    return _Case(
        *data.run.analyse(np.stack(pairs)),
        is_other_recording=int(other_row) != row,
        is_other_effect=bool(with_other) and other_index != index,
    )


def _decode_path(data: EvaluationData, case: _Case, end: int) -> NDArray[np.float32]:
    """Decode the straight path from A to another pair: (DRIFT_STEPS, 2, n_bins, n_frames)."""
    spectrogram = case.spectrogram[[A, end]]
    latent = data.run.embed(spectrogram)
    t = np.linspace(0, 1, DRIFT_STEPS, dtype=np.float32)[:, None]
    latents = (1 - t) * latent[0] + t * latent[1]
    t = t[:, :, None]
    dry: NDArray[np.float32] = (1 - t) * spectrogram[0, 0] + t * spectrogram[1, 0]
    return data.run.decode(latents, dry)


def _midpoint_errors(
    data: EvaluationData, case: _Case, path: NDArray[np.float32]
) -> dict[str, float]:
    """Return the squared error of each method against the rendered wet midpoint.

    path  decoded from A to B
    """
    config = data.run.spectrogram_config
    linear = linear_magnitude(
        case.spectrogram[: MIDPOINT + 1], case.constants[: MIDPOINT + 1], config
    )
    # All in the units of the midpoint, because each segment may have its own.
    constants = case.constants[MIDPOINT].tolist()

    def standardised(magnitude: NDArray[np.float32]) -> NDArray[np.float32]:
        return standardise(compress(magnitude, config), *constants).numpy()

    true_a, true_b, truth = (standardised(each[1]) for each in linear)
    (detailed,) = transport(linear[A, 0], linear[A, 1], linear[B, 1], MIDDLE, config)
    decoded_a, decoded, decoded_b = path[[0, DRIFT_STEPS // 2, -1], 1]
    cross_fade, decoded_cross_fade = (true_a + true_b) / 2, (decoded_a + decoded_b) / 2
    estimates = {
        "model": decoded + cross_fade - decoded_cross_fade,  # plus the residual at the ends
        "decoded": decoded,
        "detailed": standardised(detailed),
        "cross-fade": cross_fade,
        "cross-fade of decoded": decoded_cross_fade,
        "nearer end": min(true_a, true_b, key=lambda end: float(channel_mse(end, truth))),
    }
    errors = {name: float(channel_mse(estimate, truth)) for name, estimate in estimates.items()}
    if float(channel_mse(true_a, true_b)) < SAME_ERROR:  # any method is perfect between equal ends
        errors = dict.fromkeys(errors, float("nan"))
    errors[DIFFERENCE] = errors["detailed"] - errors["cross-fade"]
    return errors


def _drifts(
    data: EvaluationData, case: _Case, path: NDArray[np.float32]
) -> dict[tuple[str, str], float]:
    """Return the mean squared change of the decoded dry channel along three paths from A.

    path  decoded from A to B; NaN for a path that this case does not have
    """

    def drift(steps: NDArray[np.float32]) -> float:
        return float(channel_mse(steps[1:, :1], steps[:1, :1]).mean())

    nan = float("nan")
    other = drift(_decode_path(data, case, OTHER_RECORDING)) if case.is_other_recording else nan
    if other < SAME_ERROR:
        if IGNORES_LATENT not in data.remarks:
            data.remarks.append(IGNORES_LATENT)
        return dict.fromkeys(DRIFTS, nan)
    return {
        ("two settings", "model"): drift(path),
        ("two effects", "model"): (
            drift(_decode_path(data, case, OTHER_EFFECT)) if case.is_other_effect else nan
        ),
        ("two settings", "other recording"): other,
    }


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
