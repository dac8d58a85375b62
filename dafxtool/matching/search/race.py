"""Choose effect and setting by successive halving over the candidates.

Every effect starts with its hints and a few evaluations. The better ones are refined, the best ones
longer. Effects with slow hints start only if the others leave a part unexplained, and other phases
of the oscillators only after that. Neither is done for a wet recording that hardly differs: it is
most likely a copy with noise or of a lossy codec.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dafxtool.effects.effect import Effect
from dafxtool.matching.chain import chain_name
from dafxtool.matching.hints.registry import SLOW
from dafxtool.matching.hints.start import Start
from dafxtool.matching.search.candidate import Summary
from dafxtool.matching.search.effect import has_oscillator
from dafxtool.matching.search.pool import Pool, Request
from dafxtool.matching.search.task import JointTask, Task
from dafxtool.utils.progress import SILENT, Progress

SOLVED = 0.01  # of the unprocessed distance; below it the search stops
EXACT = 5e-4  # of the unprocessed distance; below it a candidate is not refined
UNCLEAR = 0.15  # of the unprocessed distance; above it other phases are tried
# Unprocessed distances of copies, measured: noise at -50 dB and MP3 0.0006 to 0.0026, Ogg 0.02 to
# 0.035. Effects that can be heard start at 0.01.
FAINT = 0.005  # below it slow hints are not computed
COPY = 0.05  # below it other phases are tried only if something has helped
HELPS = 0.98  # of the unprocessed distance, or less


@dataclass(frozen=True)
class Budget:
    """Number of evaluations and candidates of each round."""

    first: int = 16
    n_first: int = 6
    second: int = 40
    n_second: int = 3
    last: int = 60
    plugin: int = 4  # factor for plugins, which have more parameters and no hints


BUDGETS = {
    "fast": Budget(10, 4, 24, 2, 24, 2),
    "default": Budget(),
    "thorough": Budget(24, 10, 80, 5, 160, 8),
}


@dataclass
class Race:
    """Search all candidates of one pair.

    unprocessed  distance of the unprocessed recording
    proposals    effect -> a further start of its search
    """

    pool: Pool
    unprocessed: float
    budget: Budget
    progress: Progress = SILENT
    proposals: Mapping[str, Start] = field(default_factory=dict)
    summaries: dict[int, Summary] = field(default_factory=dict)
    _tasks: dict[int, Task | JointTask] = field(default_factory=dict)
    _first_key: int = 0

    def run(self, effects: Sequence[tuple[Effect, Mapping[str, float]]]) -> list[Summary]:
        """Search single effects; return the candidates, best first."""
        tasks = [
            Task(effect, held, proposal=self.proposals.get(effect.name))
            for effect, held in effects
            if effect.parameters and effect.name != "gain"
        ]
        quick = [t for t in tasks if t.effect.name not in SLOW or t.effect.plugin is not None]
        slow = [t for t in tasks if t not in quick]
        keys = self._begin(quick)
        self._refine(keys)
        is_faint = self.unprocessed < FAINT
        if self._best(keys) > SOLVED * self.unprocessed and slow and not is_faint:
            keys += self._begin(slow)
            self._refine(keys)
        self._advance(self._ranked(keys)[:2], self.budget.last)
        self._forget(keys)
        return [self.summaries[key] for key in self._ranked(keys)]

    def run_other_phases(
        self, effects: Sequence[tuple[Effect, Mapping[str, float]]], best: float
    ) -> list[Summary]:
        """Search single effects at other phases of the oscillator, if that may help.

        best     smallest distance so far
        returns  the new candidates, best first
        """
        is_copy = self.unprocessed < COPY and best > HELPS * self.unprocessed
        if best <= UNCLEAR * self.unprocessed or is_copy:
            return []
        keys = self._begin(
            [
                Task(effect, held, any_phase=True)
                for effect, held in effects
                if has_oscillator(effect)
            ]
        )
        self._refine(keys)
        self._advance(self._ranked(keys)[:2], self.budget.last)
        self._forget(keys)
        return [self.summaries[key] for key in self._ranked(keys)]

    def start(self, tasks: Sequence[Task]) -> list[Summary]:
        """Start tasks without refining them."""
        return [self.summaries[key] for key in self._begin(tasks, is_last=True)]

    def refine_jointly(self, tasks: Sequence[JointTask], evaluations: int) -> list[Summary]:
        """Refine all stages of chains together."""
        keys = self._begin(tasks, evaluations, is_last=True)
        return [self.summaries[key] for key in keys]

    @property
    def evaluations(self) -> int:
        """Return how many times a candidate was rendered and compared."""
        return sum(summary.evaluations for summary in self.summaries.values())

    def _refine(self, keys: list[int]) -> None:
        self._advance(self._ranked(keys)[: self.budget.n_first], self.budget.first)
        self._advance(self._ranked(keys)[: self.budget.n_second], self.budget.second)

    def _begin(
        self, tasks: Sequence[Task | JointTask], evaluations: int = 0, is_last: bool = False
    ) -> list[int]:
        """Start tasks, and continue them for a number of evaluations.

        is_last  whether they are not continued after that
        """
        keys = list(range(self._first_key, self._first_key + len(tasks)))
        self._first_key += len(tasks)
        self._tasks |= dict(zip(keys, tasks, strict=True))
        self._run(
            [
                Request(key, task, self._scaled(key, evaluations), self._target, is_last)
                for key, task in zip(keys, tasks, strict=True)
            ]
        )
        return keys

    def _advance(self, keys: Sequence[int], evaluations: int) -> None:
        requests = []
        for key in keys:
            if self.summaries[key].finished or self.summaries[key].distance == float("inf"):
                continue
            requests.append(Request(key, None, self._scaled(key, evaluations), self._target))
        self._run(requests)

    def _forget(self, keys: Sequence[int]) -> None:
        """Free the memory of searches that are not continued."""
        self.pool.run([Request(key, is_last=True) for key in keys])

    @property
    def _target(self) -> float:
        """Return the squared residual at which a refinement stops."""
        return (EXACT * self.unprocessed) ** 2

    def _scaled(self, key: int, evaluations: int) -> int:
        is_plugin = self._tasks[key].effect.plugin is not None
        return evaluations * (self.budget.plugin if is_plugin else 1)

    def _run(self, requests: Sequence[Request]) -> None:
        if not requests:
            return
        summaries = self.pool.run(requests, lambda summary: self._report(summary))
        self.summaries |= summaries

    def _report(self, summary: Summary) -> None:
        best = min([summary, *self.summaries.values()], key=lambda each: each.distance)
        share = best.distance / max(self.unprocessed, 1e-12)
        name = chain_name(best.stages)
        self.progress.found(best)
        self.progress.advance(1, best=name, distance=f"{100 * share:.1f} %")

    def _ranked(self, keys: Sequence[int]) -> list[int]:
        return sorted(keys, key=lambda key: (self.summaries[key].distance, key))

    def _best(self, keys: Sequence[int]) -> float:
        return min((self.summaries[key].distance for key in keys), default=float("inf"))
