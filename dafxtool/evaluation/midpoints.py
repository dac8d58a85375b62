"""Ways through the latent space: is half way between two settings what the effect does half way?

And does the dry channel stand still on the way?
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from dafxtool.dataset.pair import render_pair
from dafxtool.effects.effect import Effect, sample_setting
from dafxtool.errors import DafxError
from dafxtool.evaluation.features import EvaluationData
from dafxtool.evaluation.probes import mean_estimate
from dafxtool.evaluation.results import Score
from dafxtool.latents.spectral_transport import transport
from dafxtool.spectrogram.metrics import channel_mse
from dafxtool.spectrogram.stft import compress, standardise
from dafxtool.spectrogram.transform import linear_magnitude
from dafxtool.utils.progress import Progress

DRIFT_STEPS = 5
DIFFERENCE = "detailed less cross-fade"
HALF_WAY = np.array([0.5], dtype=np.float32)
MEAN = "mean"


def ways(data: EvaluationData, per_effect: int, seed: int, progress: Progress) -> list[Score]:
    """Midpoints of settings against their true rendering, and the drift of the dry channel."""
    if per_effect < 1:
        return []
    if find_spec("pedalboard") is None:
        data.remarks.append("no midpoints: pedalboard, which renders them, is not installed")
        return []
    effects = [Effect.from_dict(described) for described in data.labels.effects]
    moving = [index for index, effect in enumerate(effects) if effect.parameters]
    rng = np.random.default_rng([seed, 5])
    errors: dict[tuple[str, str], list[float]] = {}
    drifts: dict[str, list[float]] = {}
    groups: dict[str, list[int]] = {}
    progress.start("half way between settings", len(moving) * per_effect, "pair")
    for index in moving:
        own = data.rows.test[data.test_effect == index]
        for row in own[np.linspace(0, len(own) - 1, per_effect).astype(int)] if len(own) else []:
            try:
                found = _one_way(data, effects, index, int(row), rng)
            except DafxError as error:
                data.remarks.append(f"no midpoints of {effects[index].name}: {error}")
                break
            for method, value in found[0].items():
                errors.setdefault((effects[index].name, method), []).append(value)
            for what, value in found[1].items():
                drifts.setdefault(what, []).append(value)
            groups.setdefault(effects[index].name, []).append(int(data.track[row]))
            progress.advance()
    progress.finish()
    return _way_scores(errors, drifts, groups)


def _way_scores(
    errors: dict[tuple[str, str], list[float]],
    drifts: dict[str, list[float]],
    groups: dict[str, list[int]],
) -> list[Score]:
    scores = []
    every = np.array([track for tracks in groups.values() for track in tracks])
    for (name, method), values in errors.items():
        found = mean_estimate(np.array(values), np.array(groups[name]))
        scores.append(Score(_section(method), name, method, found, len(values)))
    for method in dict.fromkeys(method for _, method in errors):
        values = [v for name in groups for v in errors[name, method]]
        found = mean_estimate(np.array(values), every)
        scores.append(Score(_section(method), MEAN, method, found, len(values)))
    for what, values in drifts.items():
        known = np.isfinite(values)
        if not known.any():
            continue
        what, _, method = what.partition("|")
        found = mean_estimate(np.array(values)[known], every[known])
        scores.append(Score("drift", what, method or "model", found, int(known.sum())))
    return scores


def _section(method: str) -> str:
    return "detail" if method == DIFFERENCE else "midpoint"


def _one_way(
    data: EvaluationData, effects: Sequence[Effect], index: int, row: int, rng: np.random.Generator
) -> tuple[dict[str, float], dict[str, float]]:
    """Errors half way between two settings of one effect on one segment, and three drifts."""
    run, config = data.run, data.run.configuration.segments
    effect = effects[index].at(config.sample_rate)
    dry = data.reader.rows(np.array([row]))[0, 0]
    fixed = data.reader.configuration.get("fixed", [{}] * len(effects))
    a, b = (sample_setting(effect, rng, fixed[index]) for _ in range(2))
    # Between two names there is no middle: both ends have the same.
    b |= {p.name: a[p.name] for p in effect.parameters if p.choices}
    settings = [a, b, midway(effect, a, b)]
    after = (index + 1) % len(effects)
    try:
        other = effects[after].at(config.sample_rate)
        with_other = render_pair(dry, other, sample_setting(other, rng, fixed[after]), config)[0]
    except DafxError:  # a plugin that is not here: this effect's own figures do without it
        with_other = None
    others = data.rows.test[data.test_track != data.track[row]]
    elsewhere = others[rng.integers(len(others))] if len(others) else row
    pairs = [
        *(render_pair(dry, effect, setting, config)[0] for setting in settings),
        data.reader.rows(np.array([elsewhere]))[0],
        *([] if with_other is None else [with_other]),
    ]
    spectrogram, constants = run.analyse(np.stack(pairs))
    latent = run.embed(spectrogram)
    way = np.linspace(0, 1, DRIFT_STEPS, dtype=np.float32)[:, None]
    ends = [1, *range(3, len(pairs))]
    t = way[:, :, None]
    ways = [
        run.decode(
            (1 - way) * latent[0] + way * latent[end],
            (1 - t) * spectrogram[0, 0] + t * spectrogram[end, 0],
        )
        for end in ends
    ]
    drifts = [float(channel_mse(each[1:, :1], each[:1, :1]).mean()) for each in ways]
    # In the units of one of them, where each segment has its own.
    linear = linear_magnitude(spectrogram[:3], constants[:3], run.spectrogram_config)
    units = constants[2].tolist()

    def standard(magnitude: NDArray[np.float32]) -> NDArray[np.float32]:
        return standardise(compress(magnitude, run.spectrogram_config), *units).numpy()

    true_a, true_b, truth = (standard(each[1]) for each in linear)
    (moved,) = transport(linear[0, 0], linear[0, 1], linear[1, 1], HALF_WAY, run.spectrogram_config)
    decoded_a, decoded, decoded_b = ways[0][[0, DRIFT_STEPS // 2, -1], 1]
    faded, own_faded = (true_a + true_b) / 2, (decoded_a + decoded_b) / 2
    guesses = {
        "model": decoded + faded - own_faded,  # what the decoder leaves of the ends is carried
        "decoded": decoded,
        "detailed": standard(moved),
        "cross-fade": faded,
        "cross-fade of decoded": own_faded,
        "nearer end": min(true_a, true_b, key=lambda end: float(channel_mse(end, truth))),
    }
    errors = {name: float(channel_mse(guess, truth)) for name, guess in guesses.items()}
    errors[DIFFERENCE] = errors["detailed"] - errors["cross-fade"]
    same = int(row) == int(elsewhere)
    alone = with_other is None or after == index
    return errors, {
        "two settings|model": drifts[0],
        "two effects|model": float("nan") if alone else drifts[2],
        "two settings|other recording": float("nan") if same else drifts[1],
    }


def midway(effect: Effect, a: dict[str, float], b: dict[str, float]) -> dict[str, float]:
    """The setting in the middle, along each parameter's own scale."""
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
