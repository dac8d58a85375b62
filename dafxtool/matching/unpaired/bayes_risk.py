"""Choose the answer with the smallest expected distance to the truth.

The truth is not known, but the search gives a probability for each of the settings that it tried.
Each likely setting takes the place of the truth: it is rendered on a part of the user's recording,
and the distance of every possible answer to it is computed. The distance is close to the one that
is reported. An oscillator of the truth may have any phase, which other content cannot show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dafxtool.errors import EffectError
from dafxtool.matching.chain import OSCILLATOR, Stage, chain_name, render_chain
from dafxtool.matching.objective import FLOOR_DB, RESOLUTIONS, Array, rms, spectrum

N_TRUTHS = 12  # likely settings that take the place of the truth
N_PHASES = 4  # of the oscillator of a truth
EXCERPT_SAMPLES = 98_304  # 4.1 s
NO_OTHER = 1e-6  # probability below which an answer is the only likely setting of its effect
WORSE = 1.001  # times the distance of the unprocessed recording


@dataclass(frozen=True)
class Hypothesis:
    """Settings that may be the truth, with their probability; no stage is no effect."""

    stages: tuple[Stage, ...]
    probability: float


@dataclass(frozen=True)
class Risk:
    """The expected distance of an answer to the truth.

    distance     expected distance
    unprocessed  that of the unprocessed recording
    harm         probability that the answer is farther from the truth than the recording as it is
    """

    distance: float
    unprocessed: float
    harm: float


class _Spectra:
    """Magnitudes and their logarithms of audio at a level of 1."""

    def __init__(self, audio: Array) -> None:
        audio = audio / np.float32(max(rms(audio), 1e-9))
        self.magnitudes = [np.abs(spectrum(audio, *each)) for each in RESOLUTIONS]
        floors = [max(float(m.max()), 1e-9) * 10 ** (-FLOOR_DB / 20) for m in self.magnitudes]
        self.magnitudes = [np.maximum(m, f) for m, f in zip(self.magnitudes, floors, strict=True)]
        self.logs = [np.log(m) for m in self.magnitudes]
        self.norms = [float(np.linalg.norm(m)) for m in self.magnitudes]

    def distance(self, truth: _Spectra) -> float:
        """Return spectral convergence plus the mean difference of logarithms."""
        total = 0.0
        for i, magnitude in enumerate(self.magnitudes):
            convergence = float(np.linalg.norm(truth.magnitudes[i] - magnitude)) / truth.norms[i]
            total += convergence + float(np.abs(truth.logs[i] - self.logs[i]).mean())
        return total / len(self.magnitudes)


def likeliest(hypotheses: Sequence[Hypothesis], n: int = N_TRUTHS) -> list[Hypothesis]:
    """Return the n hypotheses with the largest probabilities, which then add up to 1."""
    first = sorted(hypotheses, key=lambda each: -each.probability)[:n]
    total = sum(each.probability for each in first)
    return [replace(each, probability=each.probability / total) for each in first]


def risks_of(
    excerpt: Array,
    sample_rate: int,
    answers: Sequence[Sequence[Stage]],
    truths: Sequence[Hypothesis],
) -> list[Risk]:
    """Compute the risk of each answer.

    excerpt  (n_samples,) of the unprocessed recording
    truths   with probabilities that add up to 1
    """
    ours = [_render(each, excerpt, sample_rate) for each in ((), *answers)]
    distances = np.zeros((len(ours), len(truths)))
    for column, truth in enumerate(truths):
        versions = [_render(each, excerpt, sample_rate) for each in _phases(truth.stages)]
        for row, audio in enumerate(ours):
            distances[row, column] = min(audio.distance(version) for version in versions)
    return [
        _risk(row, distances[0], _weights(answer, truths))
        for answer, row in zip(answers, distances[1:], strict=True)
    ]


def _risk(
    distances: NDArray[np.float64], unprocessed: NDArray[np.float64], weights: NDArray[np.float64]
) -> Risk:
    is_worse = distances > WORSE * unprocessed
    return Risk(float(distances @ weights), float(unprocessed @ weights), float(weights @ is_worse))


def _weights(answer: Sequence[Stage], truths: Sequence[Hypothesis]) -> NDArray[np.float64]:
    """Return the probabilities of the truths, without the answer itself.

    Its distance to itself is 0, so each tried setting would seem better than the mean of all. Its
    probability goes to the other settings of its effect, if there are any.
    """
    weights = np.array([each.probability for each in truths])
    is_answer = np.array([each.stages == tuple(answer) for each in truths])
    name = chain_name(answer)
    is_other = np.array([chain_name(each.stages) == name for each in truths]) & ~is_answer
    others = float(weights[is_other].sum())
    if others <= NO_OTHER:
        return weights
    factors = np.where(is_other, 1 + float(weights[is_answer].sum()) / others, ~is_answer)
    return np.asarray(weights * factors)


def _render(stages: Sequence[Stage], excerpt: Array, sample_rate: int) -> _Spectra:
    try:
        return _Spectra(render_chain(stages, excerpt, sample_rate))
    except EffectError:
        return _Spectra(excerpt)


def _phases(stages: Sequence[Stage]) -> list[tuple[Stage, ...]]:
    """Return the chain with several phases of its first oscillator."""
    for index, stage in enumerate(stages):
        if stage.effect.plugin is None and stage.effect.name in OSCILLATOR:
            return [
                (*stages[:index], replace(stage, phase=p / N_PHASES), *stages[index + 1 :])
                for p in range(N_PHASES)
            ]
    return [tuple(stages)]
