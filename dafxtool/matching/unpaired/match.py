"""Match references with other content by the statistics of their spectra.

Times, rates and frequencies that a reference shows by itself are held. The other settings over the
range of each effect are tried on a few segments of the recording. The difference between the
statistics of these segments and of the complete dry recording is added (a control variate). A finer
search would fit the content, not the effect. So tried settings are weighted by
distance ** -SHARPNESS, which is taken for their probability: the likelihood of SHARPNESS normal
differences of unknown variance. The answer is the one with the smallest expected distance to the
truth: the weighted mean, one of the likely settings, or no effect.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, qmc
from threadpoolctl import threadpool_limits

from dafxtool.effects.effect import Effect
from dafxtool.errors import EffectError
from dafxtool.matching.answer import (
    ALIKE,
    Answer,
    Explanation,
    complexity,
    verdict_of,
)
from dafxtool.matching.chain import OSCILLATOR, Stage, render_stage
from dafxtool.matching.level import match_level
from dafxtool.matching.objective import Array, rms
from dafxtool.matching.paired import N_CANDIDATES, Options, usable_effects
from dafxtool.matching.prepare import loudest_window
from dafxtool.matching.search.candidate import LEVEL_PARAMETER, Summary
from dafxtool.matching.search.pool import Pool, Request
from dafxtool.matching.unpaired.bayes_risk import (
    EXCERPT_SAMPLES,
    Hypothesis,
    Risk,
    likeliest,
    risks_of,
)
from dafxtool.matching.unpaired.blind.hints import LEAVING_TRACES, TRACED, blind_hint
from dafxtool.matching.unpaired.statistics import (
    SAMPLE_RATE,
    SEGMENT_SAMPLES,
    Comparison,
    Groups,
    mean_of,
    scales_of,
    statistics_of,
)
from dafxtool.utils.progress import SILENT, Progress

WORTH_IT = 0.95  # of the unprocessed distance; the evidence of an effect has to fall below it
NEAR = 0.01  # of the unprocessed distance: a simpler effect this near to the best is chosen
SHARPNESS = 10.0  # of the weights
# Effects that are not there change the distance of 60 s without an effect by less than 4 %.
NO_EFFECT_SHARPNESS = 30.0
TRACE, NO_TRACE = 0.7, 1.15  # factors of the distance with a clear trace, and with a missing one
HIGHEST_HARM = 0.2  # probability that the answer is farther from the truth than no effect
N_ANSWERS = 6  # likely settings of the best effect that may be the answer, beside its mean
N_LIKELY = 12  # settings of each effect that may be the truth
N_POINTS = {"fast": 16, "default": 32, "thorough": 64}  # powers of 2, for Sobol points
N_REFINED = 5  # effects that are tried again near their better points
# If at most N_REFINED effects are tried, their settings get the time that the others leave.
N_ROUNDS_OF_FEW = 3  # near the better points
MORE_OF_FEW = 2  # times as many points and segments
NARROW = frozenset({"time", "rate", "frequency", "delay", "centre", "semitones"})
MIN_STD = 0.02  # of the range
N_TRIED_SEGMENTS = {"fast": 2, "default": 4, "thorough": 8}
MOST_REFERENCE_SEGMENTS = 48
LITTLE_SECONDS = 10.0
UNRELATED = 2.0  # distance; the right effect leaves less than 1.6 of other words of a voice
SILENT_SHARE = 0.1  # of the RMS of the loudest segment; quieter ones are left out


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


def segments_of(audio: Array, most: int, length: int = SEGMENT_SAMPLES) -> list[Array]:
    """Cut up to `most` evenly spaced segments from audio at 24 kHz, without silent ones.

    length  of a segment in samples
    """
    if audio.size <= length:
        return [audio]
    n = max(1, min(4 * most, (audio.size - length) // (length // 2) + 1))
    starts = np.linspace(0, audio.size - length, n).astype(np.int64)
    cut = [audio[s : s + length] for s in starts]
    levels = np.array([rms(each) for each in cut])
    loud = np.flatnonzero(levels > SILENT_SHARE * levels.max())
    indices = loud[np.linspace(0, len(loud) - 1, min(most, len(loud))).astype(np.int64)]
    return [cut[i] for i in indices]


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


def match_like(
    dry: Array, references: Sequence[Array], options: Options, progress: Progress = SILENT
) -> Answer:
    """Find the effect that gives a recording the statistics of the references.

    dry, references  at 24 kHz
    """
    started = time.monotonic()
    with threadpool_limits(1):
        # Statistics depend on the duration: those of short references are compared with as short
        # segments of the recording.
        length = min(SEGMENT_SAMPLES, dry.size, max(each.size for each in references))
        ours = [statistics_of(each) for each in segments_of(dry, MOST_REFERENCE_SEGMENTS, length)]
        most = max(1, MOST_REFERENCE_SEGMENTS // len(references))
        theirs_cut = [s for each in references for s in segments_of(each, most, length)]
        theirs = [statistics_of(each) for each in theirs_cut]
        scales = scales_of(ours if len(ours) > 1 else [*ours, *theirs])
        target, complete = mean_of(theirs), mean_of(ours)
        trials = _trials(dry, references, options)
        more = MORE_OF_FEW if len(trials) <= N_REFINED else 1
        segments = segments_of(dry, more * N_TRIED_SEGMENTS[options.budget], length)
        part = mean_of([statistics_of(each) for each in segments])
        offset = {name: complete[name] - part[name] for name in complete}
        n_points = more * N_POINTS[options.budget]
        comparison = Comparison(target, ours, scales)
        arguments = (segments, comparison, offset, n_points)
        reached = _search(trials, arguments, n_points // 2, options, progress)
        unprocessed = comparison.distance(complete)
        answer = _decide(reached, _excerpt(dry), unprocessed, started)
    answer = replace(answer, remarks=(*answer.remarks, *_remarks(dry, references, answer.distance)))
    if options.level == "keep":
        return answer
    return replace(answer, best=_at_level(answer.best, segments, theirs_cut))


def _remarks(dry: Array, references: Sequence[Array], distance: float) -> list[str]:
    """Return remarks on recordings that are too short or too different for a reliable answer.

    distance  of the answer to the references
    """
    remarks = []
    totals = {
        "The recording lasts": dry.size,
        "The references last": sum(each.size for each in references),
    }
    for subject, n_samples in totals.items():
        seconds = n_samples / SAMPLE_RATE
        if seconds < LITTLE_SECONDS:
            remarks.append(
                f"{subject} {seconds:.1f} s: from so little the answer is a guess. Give "
                f"{LITTLE_SECONDS:.0f} s or more."
            )
    if distance > UNRELATED:
        remarks.append(
            f"The distance of {distance:.1f} is more than that of other words of the same voice: "
            "the references may be of another voice or instrument, and the answer is a guess."
        )
    return remarks


def _trials(dry: Array, references: Sequence[Array], options: Options) -> list[Trial]:
    """Return the effects to try; what the longest reference shows by itself is held."""
    longest = max(references, key=lambda each: each.size)
    trials = []
    for effect, held in usable_effects(options.effects, SAMPLE_RATE):
        if effect.parameters and effect.name != "gain":
            hint = blind_hint(longest, SAMPLE_RATE, effect, dry)
            trials.append(Trial(effect, {**hint, **held}, bool(hint)))
    return trials


def _search(
    trials: Sequence[Trial],
    arguments: tuple[Any, ...],
    n_more: int,
    options: Options,
    progress: Progress,
) -> list[Trials]:
    """Try each effect over its range, and the better ones again near their better points.

    n_more  number of points of the second kind
    """
    progress.start("matching", len(trials), "effect")
    with Pool(Tryer, arguments, options.workers) as pool:
        requests = [Request(key, trial) for key, trial in enumerate(trials)]
        results = pool.run(requests, lambda summary: _report(summary, progress))
        for _ in range(N_ROUNDS_OF_FEW if len(trials) <= N_REFINED else 1):
            ranked = sorted(results, key=lambda key: (_evidence(results[key]), key))[:N_REFINED]
            results |= pool.run([Request(key, None, n_more) for key in ranked])
    progress.finish()
    return [each for _, each in sorted(results.items()) if isinstance(each, Trials)]


def _evidence(summary: Summary) -> float:
    return summary.evidence if isinstance(summary, Trials) else summary.distance


def _report(summary: Summary, progress: Progress) -> None:
    progress.found(summary)
    progress.advance(1)


def _excerpt(dry: Array) -> Array:
    start, end = loudest_window(dry, 0, dry.size, EXCERPT_SAMPLES, SAMPLE_RATE)
    return dry[start:end]


def _at_level(
    explanation: Explanation, ours: Sequence[Array], theirs: Sequence[Array]
) -> Explanation:
    """Adjust the answer to the level of the references."""
    dry, reference = np.concatenate(ours), np.concatenate(theirs)
    stages = match_level(explanation.stages, dry, reference, SAMPLE_RATE)
    return replace(explanation, stages=stages)


def _decide(trials: Sequence[Trials], excerpt: Array, unprocessed: float, started: float) -> Answer:
    """Choose among the effects' answers and "leave it".

    excerpt  (n_samples,) of the recording as it is
    """
    usable = sorted((t for t in trials if np.isfinite(t.distance)), key=lambda t: t.evidence)
    explanations = [
        Explanation(t.stages, t.distance, t.distance / max(unprocessed, 1e-12)) for t in usable
    ]
    bypass = Explanation((), unprocessed, 1.0)
    best = bypass
    others = [*explanations, bypass]
    if usable and usable[0].evidence < WORTH_IT * unprocessed:
        limit = usable[0].evidence + NEAR * unprocessed
        near = [i for i, t in enumerate(usable) if t.evidence <= limit]
        first = min(near, key=lambda i: (complexity(usable[i].stages), i))
        found = least_risk(usable[first], usable, excerpt, unprocessed)
        if found:
            stages, distance = found
            best = Explanation(stages, distance, distance / max(unprocessed, 1e-12))
            others.remove(explanations[first])
    if best is bypass:
        others.remove(bypass)
    if unprocessed < ALIKE:  # distances relative to nothing say nothing
        others = []
    return Answer(
        best,
        tuple(others[:N_CANDIDATES]),
        best.distance,
        unprocessed,
        1 + sum(each.evaluations for each in trials),
        time.monotonic() - started,
        verdict_of(best, 0.0),
        remarks=(
            "The distance compares statistics, in units of their variation between segments of the "
            "recording.",
        ),
    )


def least_risk(
    first: Trials, trials: Sequence[Trials], excerpt: Array, unprocessed: float
) -> tuple[tuple[Stage, ...], float] | None:
    """Return the setting of an effect with the least risk, and its distance to the references.

    None if no effect is better.

    trials       of all effects, which may be the truth
    unprocessed  distance of the recording as it is
    """
    answers = [first.stages, *(each.stages for each in first.likely[:N_ANSWERS])]
    distances = (first.distance, *first.likely_distances)
    risks = risks_of(excerpt, SAMPLE_RATE, answers, likeliest(truths_of(trials, unprocessed)))
    best = min(range(len(answers)), key=lambda i: (risks[i].distance, i))
    return (answers[best], distances[best]) if is_worth_it(risks[best]) else None


def is_worth_it(risk: Risk) -> bool:
    """Return whether an answer is better than no effect, and is unlikely to be worse."""
    return risk.distance < risk.unprocessed and risk.harm <= HIGHEST_HARM


def probability_ratio(
    distances: ArrayLike, lowest: float, sharpness: float = SHARPNESS
) -> NDArray[np.float64]:
    """Return the probabilities of distances over that of the lowest one."""
    return np.asarray((max(lowest, 1e-12) / np.maximum(distances, 1e-12)) ** sharpness)


def truths_of(trials: Sequence[Trials], unprocessed: float) -> list[Hypothesis]:
    """Return likely settings of all effects, and no effect, with their probabilities.

    The probability of an effect is proportional to evidence ** -SHARPNESS.
    """
    lowest = min([unprocessed, *(each.evidence for each in trials)])
    no_effect = probability_ratio(unprocessed, lowest, NO_EFFECT_SHARPNESS)
    truths = [Hypothesis((), float(no_effect))]
    for each in trials:
        weight = float(probability_ratio(each.evidence, lowest))
        truths += [replace(t, probability=t.probability * weight) for t in each.likely]
    return truths
