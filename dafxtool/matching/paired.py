"""Match a wet recording of the same performance: search, choose and describe."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from threadpoolctl import threadpool_limits

from dafxtool.effects.builtin import builtin_effects
from dafxtool.effects.effect import Effect
from dafxtool.errors import DafxError, EffectError
from dafxtool.matching.answer import (
    ALIKE,
    Answer,
    Explanation,
    choose,
    complexity,
    verdict_of,
)
from dafxtool.matching.chain import Stage, render_chain
from dafxtool.matching.hints.start import Start, fitted
from dafxtool.matching.intervals import Interval, intervals_of
from dafxtool.matching.match_level import level_difference_db, match_level
from dafxtool.matching.objective import (
    Array,
    Objective,
    as_vector,
    outer_distance,
)
from dafxtool.matching.prepare import EXCERPT_SAMPLES, Prepared
from dafxtool.matching.search.candidate import Summary
from dafxtool.matching.search.effect import Searcher
from dafxtool.matching.search.extend_chains import extend
from dafxtool.matching.search.named_chains import NamedChain, search_chain
from dafxtool.matching.search.pool import Pool
from dafxtool.matching.search.race import BUDGETS, UNCLEAR, Race
from dafxtool.utils.progress import SILENT, Progress

N_CANDIDATES = 2  # reported besides the answer
MAX_SCORED_SECONDS = 60.0  # of the recordings, for the final distances
EXCERPTS = {"fast": 131_072, "default": EXCERPT_SAMPLES, "thorough": 2 * EXCERPT_SAMPLES}
EFFECT_LATENCY_SECONDS = 0.05  # shorter latencies may be the delay of an effect
DELAYING = frozenset({"chorus", "flanger", "vibrato", "delay", "pitch-shift"})

Choice = tuple[Effect, Mapping[str, float]]


@dataclass(frozen=True)
class Options:
    """Options of a search.

    effects  candidates with their fixed values; None takes every built-in effect
    chain    maximum number of effects in series
    level    "match" adjusts the answer to the level of the reference, "keep" does not
    proposals
             effect -> a start of its search, from a trained matcher
    """

    effects: Sequence[Choice] | None = None
    chain: int = 1
    budget: str = "default"
    level: str = "match"
    workers: int = 1
    proposals: Mapping[str, Start] = field(default_factory=dict)


def usable_effects(choices: Sequence[Choice] | None, sample_rate: int) -> list[Choice]:
    """Return the effects that work at a sample rate (Hz), with their ranges there."""
    named = choices is not None
    listed = choices if choices is not None else [(e, {}) for e in builtin_effects().values()]
    usable = []
    for effect, held in listed:
        try:
            at_rate = effect.at(sample_rate)
            at_rate.complete(held)
            usable.append((at_rate, held))
        except EffectError:
            if named:
                raise
    return usable


def match_pair(prepared: Prepared, options: Options, progress: Progress = SILENT) -> Answer:
    """Find the chain that makes the dry recording sound like the wet one."""
    start_time = time.monotonic()
    with threadpool_limits(1):  # several threads would slow small products down
        search = _Search(prepared, options, progress)
        search.run()
        latency = prepared.latency_samples / prepared.sample_rate
        if 0 < abs(latency) <= EFFECT_LATENCY_SECONDS and search.share > UNCLEAR:
            delaying = [choice for choice in search.effects if _may_delay(choice[0])]
            other = _Search(prepared.with_latency(), replace(options, effects=delaying), progress)
            if delaying:
                other.run()
                other.evaluations += search.evaluations
                search = other if other.best < 0.9 * search.best else search
        return search.answer(start_time)


def _may_delay(effect: Effect) -> bool:
    """Return whether an effect, or a stage of a chain, may have no direct sound."""
    names = {effect.name, *(stage.effect.name for stage in effect.stages)}
    return bool(effect.plugins) or bool(names & DELAYING)


def _phase_remarks(stages: Sequence[Stage]) -> list[str]:
    """Warn of oscillators that start at another phase, which `--effect` cannot express."""
    return [
        f"The oscillator of {stage.effect.name} starts at {stage.phase % 1.0:.2f} of its cycle, "
        f"which --effect cannot express. For the same sound, put {stage.lead_seconds:.4f} s of "
        "silence in front of the recording."
        for stage in stages
        if stage.lead_seconds
    ]


class _Search:
    """Search one pair, and build the answer."""

    def __init__(self, prepared: Prepared, options: Options, progress: Progress) -> None:
        self.prepared, self.options, self.progress = prepared, options, progress
        self.pair = prepared.excerpt(EXCERPTS[options.budget])
        self.objective = Objective(self.pair.wet, self.pair.start, prepared.highest)
        residuals = self.objective.residuals(self.pair.dry)
        self.unprocessed_norm = float(np.linalg.norm(as_vector(residuals)))
        self.unprocessed = self.objective.distance(self.pair.dry)
        self.effects = usable_effects(options.effects, prepared.sample_rate)
        self.held = {effect.name: held for effect, held in self.effects}
        self.evaluations = 1
        self.summaries: list[Summary] = []

    @property
    def best(self) -> float:
        """Return the smallest distance of a candidate."""
        return min((s.distance for s in self.summaries), default=self.unprocessed)

    @property
    def share(self) -> float:
        """Return the smallest distance over that of the unprocessed recording."""
        return self.best / max(self.unprocessed, 1e-12)

    def run(self) -> None:
        """Search single effects, then chains if they are allowed and needed."""
        if self.unprocessed < ALIKE:
            return
        budget = BUDGETS[self.options.budget]
        self.progress.start("matching", None, "candidate")
        with Pool(Searcher, (self.pair, self.objective), self.options.workers) as pool:
            race = Race(pool, self.unprocessed, budget, self.progress, self._proposals())
            single = [choice for choice in self.effects if not choice[0].stages]
            summaries = race.run(single)
            summaries = extend(race, summaries, single, self.options.chain)
            best = min((s.distance for s in summaries), default=self.unprocessed)
            summaries = summaries + race.run_other_phases(single, best)
            for effect, held in self.effects:
                if effect.stages:
                    summaries = summaries + search_chain(race, NamedChain.of(effect, held))
            self.evaluations += race.evaluations
        self.progress.finish()
        self.summaries = summaries

    def _proposals(self) -> dict[str, Start]:
        """Return the proposals that fit the candidates."""
        usable_proposals = {}
        for effect, held in self.effects:
            start = self.options.proposals.get(effect.name)
            usable = start and fitted(start, effect, held)
            if usable:
                usable_proposals[effect.name] = usable
        return usable_proposals

    def answer(self, start_time: float) -> Answer:
        """Choose among the candidates and describe the choice."""
        by_name: dict[str, tuple[Explanation, Summary]] = {}
        for summary in self.summaries:
            if not np.isfinite(summary.distance):
                continue
            share = summary.distance / max(self.unprocessed, 1e-12)
            each = Explanation(summary.stages, summary.distance, share)
            if each.name not in by_name or each.distance < by_name[each.name][0].distance:
                by_name[each.name] = (each, summary)
        ordered = choose(
            [explanation for explanation, _ in by_name.values()],
            self.unprocessed,
            lambda stages: complexity(self._at_level(stages)),
        )
        best, distance, unprocessed = self._first_that_helps(ordered)
        intervals: list[Interval] = []
        compensating: list[tuple[str, str]] = []
        if best.stages:
            intervals, compensating = intervals_of(by_name[best.name][1], self.unprocessed_norm)
        others = [e for e in ordered if e.name != best.name][:N_CANDIDATES]
        level_db = level_difference_db(self._scored(self.prepared.dry), self._scored_wet())
        verdict = verdict_of(best, level_db)
        return Answer(
            self._with_level(best),
            tuple(self._with_level(e) for e in others),
            distance,
            unprocessed,
            self.evaluations,
            time.monotonic() - start_time,
            verdict,
            tuple(intervals),
            tuple(compensating),
            self.prepared.latency_samples,
            (*self.prepared.remarks, *_phase_remarks(best.stages)),
        )

    def _first_that_helps(self, ordered: Sequence[Explanation]) -> tuple[Explanation, float, float]:
        """Return the first explanation that is better than no effect on the complete recording.

        Also return its distance, and the distance of the unprocessed recording.
        """
        unprocessed = self._distance(())
        for explanation in ordered:
            if not explanation.stages:
                break
            try:
                distance = self._distance(explanation.stages)
            except DafxError:
                continue
            if distance < unprocessed:
                return explanation, distance, unprocessed
        return Explanation((), self.unprocessed, 1.0), unprocessed, unprocessed

    def _distance(self, stages: Sequence[Stage]) -> float:
        """Compute the reported distance on the complete recording."""
        dry = self.prepared.dry[: self._scored_end()]
        matched = render_chain(stages, dry, self.prepared.sample_rate)
        return outer_distance(self._scored(matched), self._scored_wet())

    def _scored_end(self) -> int:
        most = round(MAX_SCORED_SECONDS * self.prepared.sample_rate)
        return min(self.prepared.last, self.prepared.first + most)

    def _scored(self, audio: Array) -> Array:
        return audio[self.prepared.first : self._scored_end()]

    def _scored_wet(self) -> Array:
        return self._scored(self.prepared.wet)

    def _with_level(self, explanation: Explanation) -> Explanation:
        if self.options.level == "keep":
            return explanation
        return replace(explanation, stages=self._at_level(explanation.stages))

    def _at_level(self, stages: Sequence[Stage]) -> tuple[Stage, ...]:
        """Adjust a chain to the level of the reference."""
        end = self._scored_end()
        held = self.held.get(stages[-1].effect.name, {}) if stages else {}
        return match_level(
            stages,
            self.prepared.dry[:end],
            self.prepared.wet[:end],
            self.prepared.sample_rate,
            tuple(held),
            self.prepared.first,
        )
