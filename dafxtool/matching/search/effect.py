"""Search the settings of one effect: start from hints, and refine the best starts."""

from __future__ import annotations

from dataclasses import replace

from dafxtool.effects.effect import Effect
from dafxtool.matching.chain import OSCILLATOR
from dafxtool.matching.hints.start import Start
from dafxtool.matching.objective import Array, Objective
from dafxtool.matching.pair import Pair
from dafxtool.matching.search.candidate import Candidate, Summary, coordinates_of, stage_of
from dafxtool.matching.search.hint_cache import HintCache
from dafxtool.matching.search.plugin import PluginSearch
from dafxtool.matching.search.pool import Request
from dafxtool.matching.search.pool import Task as PoolTask
from dafxtool.matching.search.task import JointTask, Task

N_KEPT = 2  # starts of an effect that are refined


class EffectSearch:
    """Search the candidates of one task in steps."""

    def __init__(self, pair: Pair, objective: Objective, task: Task, hints: HintCache) -> None:
        self._pair, self._objective, self._task, self._hints = pair, objective, task, hints
        self._candidates: list[Candidate] = []
        self._n_probes = 0

    def begin(self) -> Summary:
        """Compute the hints and evaluate their starts."""
        task = self._task
        dry = self._hints.dry(task.before)
        starts = self._hints.starts(task.effect, task.before, task.behind, task.any_phase)
        if task.proposal is not None:
            starts = [*starts, task.proposal]
        candidates = [self._candidate(dry, start) for start in starts]
        candidates.sort(key=lambda each: each.distance)
        self._n_probes += sum(each.evaluations for each in candidates[N_KEPT:])
        self._candidates = candidates[:N_KEPT]
        held = self._hints.held_samples(task.behind)
        if held is not None:
            for candidate in self._candidates:
                candidate.meet_bounds(held, with_bits=not task.holds_behind)
        return self.summary()

    def advance(self, most_evaluations: int, target: float) -> Summary:
        """Refine both starts at first, then the better one."""
        unfinished = [c for c in self._candidates if not c.finished]
        if len(unfinished) > 1 and not any(c.is_refined for c in unfinished):
            for candidate in unfinished:
                candidate.advance(most_evaluations // len(unfinished), target)
        elif unfinished:
            best = min(self._candidates, key=lambda each: each.distance)
            chosen = best if best in unfinished else unfinished[0]
            chosen.advance(most_evaluations, target)
        return self.summary()

    def summary(self) -> Summary:
        """Return the best candidate, with the evaluations of all of them."""
        task = self._task
        best = self._best().summary()
        shifted = tuple(replace(c, stage=c.stage + len(task.before)) for c in best.coordinates)
        return replace(
            best,
            stages=task.before + best.stages,
            evaluations=self._evaluations(),
            coordinates=shifted,
            finished=all(c.finished for c in self._candidates),
        )

    def _candidate(self, dry: Array, start: Start) -> Candidate:
        task = self._task
        stages = (stage_of(start, task.held), *task.behind)
        coordinates = coordinates_of(
            task.effect,
            0,
            task.held,
            start.deviations,
            is_last=not task.behind,
            with_phase=bool(start.phase),
        )
        return Candidate(dry, self._pair.sample_rate, self._objective, stages, coordinates)

    def _best(self) -> Candidate:
        return min(self._candidates, key=lambda each: each.distance)

    def _evaluations(self) -> int:
        return self._n_probes + sum(each.evaluations for each in self._candidates)


class Searcher:
    """Hold the searches of one process."""

    def __init__(self, pair: Pair, objective: Objective) -> None:
        self._pair, self._objective, self._hints = pair, objective, HintCache(pair)
        self._searches: dict[int, EffectSearch | PluginSearch | Candidate] = {}

    def answer(self, request: Request) -> Summary:
        """Start or continue a search, and return its summary."""
        key = request.key
        summary = None
        if request.task is not None:
            self._searches[key], summary = self._begin(request.task)
        if summary is None or (request.evaluations and not summary.finished):
            summary = self._searches[key].advance(request.evaluations, request.target)
        if request.is_last:
            del self._searches[key]
        return summary

    def _begin(self, task: PoolTask) -> tuple[EffectSearch | PluginSearch | Candidate, Summary]:
        if isinstance(task, JointTask):
            rate = self._pair.sample_rate
            joint = Candidate(self._pair.dry, rate, self._objective, task.stages, task.coordinates)
            held = self._hints.held_samples(task.stages)
            if held is not None:
                last = len(task.stages) - 1
                is_free = any((c.stage, c.name) == (last, "bits") for c in task.coordinates)
                joint.meet_bounds(held, with_bits=is_free)
            return joint, joint.summary()
        assert isinstance(task, Task)
        if task.effect.plugin is not None:
            plugin = PluginSearch(self._pair, self._objective, task)
            return plugin, plugin.begin()
        search = EffectSearch(self._pair, self._objective, task, self._hints)
        return search, search.begin()


def has_oscillator(effect: Effect) -> bool:
    """Return whether an effect has an oscillator that starts with the audio."""
    return effect.plugin is None and effect.name in OSCILLATOR
