"""Measure how much each parameter of an effect changes the wet recording.

A parameter that changes nothing audible cannot be recovered from audio. The level that an effect
gives, for example, is lost where dry and wet segments are normalised to one peak.
"""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from dafxtool.dataset.pair import render_pair
from dafxtool.effects.effect import Effect, sample_setting
from dafxtool.effects.parameter import Parameter
from dafxtool.errors import DafxError
from dafxtool.evaluation.features import EvaluationData
from dafxtool.spectrogram.transform import linear_magnitude

N_SETTINGS = 8  # random settings in which each parameter is moved
MOVED_SHARE = 0.5  # of the parameter's range
AUDIBLE_DB = -40.0  # a larger median change is audible
LOWEST_DB = -200.0  # for segments without any change


def parameter_changes_db(data: EvaluationData, index: int, seed: int = 0) -> dict[str, float]:
    """Return the change of the wet recording for each parameter of the effect `index`, in dB.

    The change is that of moving the parameter over half its range: the energy of the difference of
    STFT magnitudes, relative to the wet recording's. It is the median over random settings of the
    other parameters, on test segments, at the level that the pairs have.

    Empty if the effect cannot be rendered here.
    """
    if find_spec("pedalboard") is None:
        return {}
    config = data.run.configuration.segments
    fixed = data.reader.configuration.get("fixed", [{}] * len(data.labels.effects))[index]
    rows = data.rows.test
    rng = np.random.default_rng([seed, 7, index])
    changes: dict[str, list[float]] = {}
    try:
        effect = Effect.from_dict(data.labels.effects[index]).at(config.sample_rate)
        for parameter in effect.parameters:
            for _ in range(N_SETTINGS if parameter.name not in fixed else 0):
                dry = data.reader.rows(rows[[rng.integers(len(rows))]])[0, 0]
                setting = sample_setting(effect, rng, fixed)
                pairs = [
                    render_pair(dry, effect, setting | {parameter.name: value}, config)[0]
                    for value in _moved(parameter, rng)
                ]
                change = _change_db(data, np.stack(pairs))
                changes.setdefault(parameter.name, []).append(change)
    except DafxError as error:
        name = data.labels.effect_names[index]
        data.remarks.append(f"no audibility of the parameters of {name}: {error}")
        return {}
    return {name: float(np.median(values)) for name, values in changes.items()}


def _moved(parameter: Parameter, rng: np.random.Generator) -> tuple[float, float]:
    """Return two random values of a parameter, half its range apart; of choices, two of them."""
    if parameter.choices:
        n = len(parameter.choices)
        first = int(rng.integers(n))
        return float(first), float((first + max(1, n // 2)) % n)
    low, high = parameter.usual_ends()
    distance = MOVED_SHARE * (high - low)
    first_position = low + (high - low - distance) * rng.random()
    return (
        parameter.from_normalised(first_position),
        parameter.from_normalised(first_position + distance),
    )


def _change_db(data: EvaluationData, pairs: NDArray[np.float32]) -> float:
    """Return the energy of the difference of two wet segments' magnitudes over the second's."""
    magnitudes = linear_magnitude(*data.run.analyse(pairs), data.run.spectrogram_config)
    first, second = magnitudes[:, 1].astype(np.float64)
    energy = float(np.square(second).sum())
    if energy == 0:
        return LOWEST_DB
    share = float(np.square(first - second).sum()) / energy
    return 10 * float(np.log10(max(share, 10 ** (LOWEST_DB / 10))))
