"""Try settings of effects on segments of a recording, and weight them by their distances.

The difference between the statistics of the segments and of the complete recording is added (a
control variate). A finer search would fit the content, not the effect. So tried settings are
weighted by distance ** -SHARPNESS, which is taken for their probability: the likelihood of
SHARPNESS normal differences of unknown variance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, qmc

from dafxtool.effects.effect import Effect
from dafxtool.errors import EffectError
from dafxtool.matching.chain import OSCILLATOR, Stage, render_stage
from dafxtool.matching.objective import Array
from dafxtool.matching.search.candidate import LEVEL_PARAMETER, Summary
from dafxtool.matching.search.pool import Request
from dafxtool.matching.unpaired.bayes_risk import Hypothesis
from dafxtool.matching.unpaired.blind.hints import LEAVING_TRACES, TRACED
from dafxtool.matching.unpaired.statistics import (
    SAMPLE_RATE,
    Comparison,
    Groups,
    mean_of,
    statistics_of,
)

SHARPNESS = 10.0  # of the weights
TRACE, NO_TRACE = 0.7, 1.15  # factors of the distance with a clear trace, and with a missing one
N_LIKELY = 12  # settings of each effect that may be the truth
NARROW = frozenset({"time", "rate", "frequency", "delay", "centre", "semitones"})
MIN_STD = 0.02  # of the range


@dataclass(frozen=True)
class Trial:
    """An effect whose settings are tried, with fixed values.

    has_trace  whether the references show some of the fixed values
    """

    effect: Effect
    held: Mapping[str, float] = field(default_factory=dict)
    has_trace: bool = False
    before: tuple[Stage, ...] = ()
    behind: tuple[Stage, ...] = ()


@dataclass(frozen=True)
class Trials(Summary):
    """Best setting of an effect, and its likely settings with their probabilities.

    likely            probabilities are conditional on the effect
    likely_distances  of these settings to the references
    has_trace         whether the references show some of its settings by themselves
    """

    likely: tuple[Hypothesis, ...] = ()
    likely_distances: tuple[float, ...] = ()
    has_trace: bool = False

    @property
    def evidence(self) -> float:
        """Return the distance with the evidence of a trace; the likeliest effect has the least."""
        name = self.stages[0].effect.name
        if self.has_trace:
            return self.distance * (TRACE if name in TRACED else 1.0)
        return self.distance * (NO_TRACE if name in LEAVING_TRACES else 1.0)


class Tryer:
    """Search settings of effects on the segments of one recording.

    offset  statistics of the complete recording minus those of the segments
    """

    def __init__(
        self,
        segments: Sequence[Array],
        comparison: Comparison,
        offset: Groups,
        n_points: int,
    ) -> None:
        self._segments, self._comparison = segments, comparison
        self._shares = np.arange(len(segments)) / len(segments)
        self._offset, self._n_points = offset, n_points
        self._tried: dict[int, _Tried] = {}

    def answer(self, request: Request) -> Summary:
        """Evaluate settings of one effect, over its range or near its best points."""
        if request.task is not None:
            assert isinstance(request.task, Trial)
            tried = self._tried[request.key] = _Tried(request.task)
            points = _points(len(tried.free), self._n_points)
        else:
            tried = self._tried[request.key]
            points = tried.nearby(request.evaluations)
        for point in points:
            self._try(tried, point)
        return self._settled(tried)

    def _settled(self, tried: _Tried) -> Trials:
        """Return the weighted mean, or the best point if the mean is clearly worse."""
        chosen = int(np.argmin(tried.distances))
        if np.isfinite(tried.distances[chosen]):
            at_mean = self._try(tried, tried.mean()[0])
            if at_mean <= tried.distances[chosen] * (1 + 1 / SHARPNESS):
                chosen = len(tried.distances) - 1
        weights = tried.weights()
        likely = np.argsort(-weights, kind="stable")[:N_LIKELY]
        return Trials(
            (tried.stage_at(tried.points[chosen]),),
            float(tried.distances[chosen]),
            len(tried.distances),
            finished=True,
            has_trace=tried.has_trace,
            likely=tuple(
                Hypothesis((tried.stage_at(tried.points[i]),), float(weights[i]))
                for i in likely.tolist()
            ),
            likely_distances=tuple(tried.distances[likely].tolist()),
        )

    def _try(self, tried: _Tried, point: NDArray[np.float64]) -> float:
        """Add a point; return its distance, infinite if it cannot be rendered."""
        stage = tried.stage_at(point)
        try:
            statistics = mean_of(
                [
                    statistics_of(render_stage(_at_phase(stage, share), each, SAMPLE_RATE))
                    for each, share in zip(self._segments, self._shares, strict=True)
                ]
            )
        except EffectError:
            tried.add(point, float("inf"))
            return float("inf")
        statistics = {name: values + self._offset[name] for name, values in statistics.items()}
        distance = self._comparison.distance(statistics)
        tried.add(point, distance)
        return distance


def _at_phase(stage: Stage, phase: float) -> Stage:
    """Return the stage at a phase of its oscillator.

    A segment is shorter than the period of a slow oscillator, and the references show all of it.
    """
    has_phase = stage.effect.plugin is None and stage.effect.name in OSCILLATOR
    return replace(stage, phase=float(phase)) if has_phase else stage


class _Tried:
    """Evaluated settings of one effect, with their distances."""

    def __init__(self, trial: Trial) -> None:
        effect = trial.effect
        level = LEVEL_PARAMETER.get(effect.name) if effect.plugin is None else None
        self.effect, self.has_trace = effect, trial.has_trace
        self.free = [p for p in effect.parameters if p.name not in trial.held and p.name != level]
        self._base = effect.default_setting() | dict(trial.held)
        self.points: NDArray[np.float64] = np.empty((0, len(self.free)))
        self.distances: NDArray[np.float64] = np.empty(0)

    def stage_at(self, point: NDArray[np.float64]) -> Stage:
        """Return the stage at shares (0 to 1) of the usual ranges."""
        values = {}
        for p, share in zip(self.free, point, strict=True):
            low, high = p.usual_ends()
            values[p.name] = p.from_normalised(low + (high - low) * float(share))
        return Stage(self.effect, self._base | values)

    def add(self, point: NDArray[np.float64], distance: float) -> None:
        """Add a point with its distance."""
        self.points = np.vstack([self.points, point])
        self.distances = np.append(self.distances, distance)

    def best(self) -> tuple[NDArray[np.float64], float]:
        """Return the point with the smallest distance, and that distance."""
        index = int(np.argmin(self.distances))
        return self.points[index], float(self.distances[index])

    def weights(self) -> NDArray[np.float64]:
        """Return the weights of the points, which add up to 1."""
        lowest = self.distances.min()
        if not np.isfinite(lowest):
            return np.full(len(self.distances), 1 / len(self.distances))
        weights = probability_ratio(self.distances, lowest)
        return np.asarray(weights / weights.sum())

    def mean(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the weighted mean and standard deviation of the points."""
        weights = self.weights()
        mean = weights @ self.points
        std = np.sqrt(weights @ np.square(self.points - mean))
        # The mean of two echo times that fit does not fit.
        narrow = np.array([p.name in NARROW for p in self.free], dtype=bool)
        mean[narrow] = self.best()[0][narrow]
        std[narrow] = np.minimum(std[narrow], MIN_STD)
        return mean, std

    def nearby(self, n: int) -> NDArray[np.float64]:
        """Return points near the mean, with the standard deviation of the good ones."""
        mean, std = self.mean()
        normal = norm.ppf(_points(len(self.free), n))
        return np.clip(mean + np.maximum(std, MIN_STD) * normal, 0.0, 1.0)


def _points(n_parameters: int, n_points: int) -> NDArray[np.float64]:
    if not n_parameters:
        return np.empty((1, 0))
    points = qmc.Sobol(n_parameters, scramble=False).random(n_points)
    return np.asarray(points * 0.94 + 0.03)


def probability_ratio(
    distances: ArrayLike, lowest: float, sharpness: float = SHARPNESS
) -> NDArray[np.float64]:
    """Return the probabilities of distances over that of the lowest one."""
    return np.asarray((max(lowest, 1e-12) / np.maximum(distances, 1e-12)) ** sharpness)
