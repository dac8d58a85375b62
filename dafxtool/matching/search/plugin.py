"""Search the settings of a plugin: hints, choices, refinement, and restarts.

The best starts are refined first, then the best one alone. At its minimum, every choice of every
parameter and small steps of narrow parameters are tried; after that, the search restarts from
random points until all evaluations are used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from dafxtool.matching.chain import Stage, render_chain
from dafxtool.matching.hints.plugin import combinations, plugin_starts
from dafxtool.matching.hints.start import Start
from dafxtool.matching.objective import Objective
from dafxtool.matching.pair import Pair
from dafxtool.matching.search.candidate import (
    Candidate,
    Coordinate,
    Summary,
    coordinates_of,
    stage_of,
)
from dafxtool.matching.search.task import Task

MOST_CANDIDATES = 4  # that are kept
MOST_COMBINATIONS = 24  # of choices that are tried at the best starts
N_COMBINED = 2  # starts at which they are tried
MOST_CHOICES = 32  # values of one parameter that are tried
NARROW = 1e-3  # standard deviation, as a share of the range, of a parameter with narrow minima
NARROW_STEPS = (-4, -2, -1, 1, 2, 4)  # standard deviations
N_RANDOM = 6  # random points of a restart; the best is refined
RESTART_EVALUATIONS = 24
MOST_RESTARTS = 40
LEVEL_WORDS = {"gain", "makeup", "level", "volume", "trim"}  # in the name of a parameter in dB
SAME_DISTANCE = 1e-3  # relative


class PluginSearch:
    """Search the settings of one plugin in steps, as EffectSearch does for built-in effects."""

    def __init__(self, pair: Pair, objective: Objective, task: Task) -> None:
        self._pair, self._objective, self._task = pair, objective, task
        self._dry = pair.dry
        self._candidates: list[Candidate] = []
        self._hints: list[Start] = []  # with a narrow parameter
        self._n_dropped = 0  # evaluations of candidates that were dropped
        self._n_restarts = 0
        self._rng = np.random.default_rng(0)

    def begin(self) -> Summary:
        """Evaluate the starts, and all choices at the best of them."""
        task = self._task
        if task.before:
            self._dry = render_chain(task.before, self._pair.dry, self._pair.sample_rate)
        pair = Pair(self._dry, self._pair.wet, self._pair.sample_rate, self._pair.start)
        starts = plugin_starts(pair, task.effect)
        starts += [task.proposal] if task.proposal is not None else []
        self._hold_levels(starts[0])
        self._hints = [s for s in starts if any(0 < d < NARROW for d in s.deviations.values())]
        tried = [self._start(start) for start in starts]
        tried.sort(key=_distance)
        for candidate in tried[:N_COMBINED]:
            for values in combinations(task.effect, MOST_COMBINATIONS):
                changed = self._moved(candidate, {**values, **self._task.held})
                tried += [changed] if changed is not None else []
        tried.sort(key=_distance)
        self._candidates = tried[:MOST_CANDIDATES]
        self._n_dropped += sum(each.evaluations for each in tried[MOST_CANDIDATES:])
        return self.summary()

    def _hold_levels(self, start: Start) -> None:
        """Hold parameters that change only the level at their defaults, because it is ignored."""
        task = self._task
        first = self._start(start)
        self._n_dropped += first.evaluations
        held = {}
        for p in task.effect.parameters:
            if p.unit == "dB" and LEVEL_WORDS & set(p.name.split("-")) and p.name not in task.held:
                u = 0.3 if p.to_normalised(first.best[0].setting[p.name]) > 0.5 else 0.7
                moved = self._moved(first, {p.name: p.from_normalised(u)})
                if moved is not None:
                    self._n_dropped += moved.evaluations
                    if abs(moved.distance - first.distance) < SAME_DISTANCE * first.distance:
                        held[p.name] = p.default
        self._task = replace(task, held={**held, **task.held})

    def advance(self, most_evaluations: int, target: float) -> Summary:
        """Refine, explore neighbours, and restart, up to most_evaluations."""
        end = self._evaluations() + most_evaluations
        if all(each.evaluations <= 1 for each in self._candidates):
            for candidate in self._candidates:
                candidate.advance(most_evaluations // len(self._candidates), target)
        while self._evaluations() < end and self._best().distance ** 2 > target:
            if self._n_restarts > MOST_RESTARTS:
                break
            best = self._best()
            if not best.finished:
                n = self._evaluations()
                best.advance(end - n, target)
                if self._evaluations() == n:  # fewer are left than one derivative needs
                    break
            elif best.explored or not self._explore(best):
                self._restart(best)
        return self.summary()

    def summary(self) -> Summary:
        """Return the best candidate, with the evaluations of all of them."""
        best = self._best().summary()
        n_before = len(self._task.before)
        return replace(
            best,
            stages=self._task.before + best.stages,
            evaluations=self._evaluations(),
            coordinates=tuple(replace(c, stage=c.stage + n_before) for c in best.coordinates),
            finished=self._n_restarts > MOST_RESTARTS,
        )

    def _explore(self, best: Candidate) -> bool:
        """Try every choice and small steps of narrow parameters; keep the best if it is better."""
        best.explored = True
        setting = best.best[0].setting
        changes: list[Mapping[str, float]] = []
        for p in self._task.effect.parameters:
            if p.choices and p.name not in self._task.held:
                n = min(len(p.choices), MOST_CHOICES)
                changes += [{p.name: float(value)} for value in range(n)]
        for coordinate in best.coordinates:
            if coordinate.stage == 0 and coordinate.deviation < NARROW:
                p = self._task.effect.parameter(coordinate.name)
                at = p.to_normalised(setting[p.name])
                moved = (at + step * coordinate.deviation for step in NARROW_STEPS)
                changes += [{p.name: p.from_normalised(each)} for each in moved]
        tried = [t for t in (self._moved(best, change) for change in changes) if t is not None]
        if not tried:
            return False
        better = min(tried, key=_distance)
        is_better = better.distance < best.distance
        self._n_dropped += sum(t.evaluations for t in tried if t is not better or not is_better)
        if is_better:
            self._keep(better)
        return is_better

    def _restart(self, best: Candidate) -> None:
        """Refine the best of a few random points; in every other restart they are near the best."""
        self._n_restarts += 1
        is_near = self._n_restarts % 2 == 0
        points = [
            self._near(best) if is_near else self._start(self._random()) for _ in range(N_RANDOM)
        ]
        chosen = min(points, key=_distance)
        self._n_dropped += sum(each.evaluations for each in points if each is not chosen)
        chosen.advance(RESTART_EVALUATIONS, 0.0)
        self._keep(chosen)

    def _near(self, best: Candidate) -> Candidate:
        """Move about half of the parameters of the best point, except narrow ones."""
        narrow = {c.name for c in best.coordinates if c.deviation < NARROW}
        setting = dict(best.best[0].setting)
        for p in self._task.effect.parameters:
            if p.name in self._task.held or p.name in narrow or self._rng.random() < 0.5:
                continue
            if p.choices:
                setting[p.name] = p.sample(self._rng)
            else:
                moved = p.to_normalised(setting[p.name]) + 0.2 * self._rng.standard_normal()
                setting[p.name] = p.from_normalised(float(np.clip(moved, 0, 1)))
        return self._new((replace(best.best[0], setting=setting), *best.best[1:]), best.coordinates)

    def _random(self) -> Start:
        """Return a random start; narrow parameters have the values of a hint."""
        setting = {p.name: p.sample(self._rng) for p in self._task.effect.parameters}
        if not self._hints:
            return Start(self._task.effect, setting)
        hint = self._hints[int(self._rng.integers(len(self._hints)))]
        narrow = {name: d for name, d in hint.deviations.items() if 0 < d < NARROW}
        return replace(
            hint, setting=setting | {n: hint.setting[n] for n in narrow}, deviations=narrow
        )

    def _start(self, start: Start) -> Candidate:
        """Evaluate a start."""
        task = self._task
        coordinates = coordinates_of(
            task.effect, 0, task.held, start.deviations, is_last=not task.behind
        )
        return self._new((stage_of(start, task.held), *task.behind), coordinates)

    def _moved(self, candidate: Candidate, change: Mapping[str, float]) -> Candidate | None:
        """Evaluate a candidate with some values changed; None if they are the same."""
        stage = candidate.best[0]
        setting = dict(stage.setting) | dict(change)
        if setting == dict(stage.setting):
            return None
        return self._new(
            (replace(stage, setting=setting), *candidate.best[1:]), candidate.coordinates
        )

    def _new(self, stages: Sequence[Stage], coordinates: Sequence[Coordinate]) -> Candidate:
        return Candidate(self._dry, self._pair.sample_rate, self._objective, stages, coordinates)

    def _keep(self, candidate: Candidate) -> None:
        """Add a candidate and drop the worst one."""
        self._candidates.append(candidate)
        if len(self._candidates) > MOST_CANDIDATES:
            worst = max(self._candidates, key=_distance)
            self._n_dropped += worst.evaluations
            self._candidates.remove(worst)

    def _best(self) -> Candidate:
        return min(self._candidates, key=_distance)

    def _evaluations(self) -> int:
        return self._n_dropped + sum(each.evaluations for each in self._candidates)


def _distance(candidate: Candidate) -> float:
    return candidate.distance
