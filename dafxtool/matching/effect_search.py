"""Search the settings of one effect: start from hints, and refine the best starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.stats import qmc

from dafxtool.effects.effect import Effect
from dafxtool.effects.parameter import Parameter
from dafxtool.errors import EffectError
from dafxtool.matching.candidate import (
    Candidate,
    Coordinate,
    Summary,
    coordinates_of,
    stage_of,
)
from dafxtool.matching.chain import OSCILLATOR, Stage, render_chain
from dafxtool.matching.hints.registry import starts_for
from dafxtool.matching.hints.start import Start
from dafxtool.matching.objective import Array, Objective, as_vector
from dafxtool.matching.pair import Pair
from dafxtool.matching.plugin_reuse import stays_loaded
from dafxtool.matching.pool import Request

N_KEPT = 2  # starts of an effect that are refined
N_SOBOL = 16  # starting points of a plugin
NO_CHANGE = 1e-3  # of the norm of the residual: smaller changes count as no effect
MOST_CHOICES = 32  # values of a switch that are tried
N_RANDOM = 6  # random points of a restart; the best is refined
RESTART_EVALUATIONS = 24
MOST_RESTARTS = 40
MOST_KEPT = 4  # candidates of a plugin
N_ECHOES = 2  # echo times that are tried in a plugin's times


@dataclass(frozen=True)
class Task:
    """An effect to search, with fixed values, between fixed stages.

    any_phase  whether the oscillator may have any phase at the start of the audio
    proposal   a further start, beside those of the hints
    """

    effect: Effect
    held: Mapping[str, float] = field(default_factory=dict)
    before: tuple[Stage, ...] = ()
    behind: tuple[Stage, ...] = ()
    any_phase: bool = False
    proposal: Start | None = None


@dataclass(frozen=True)
class JointTask:
    """Stages whose coordinates are refined together."""

    stages: tuple[Stage, ...]
    coordinates: tuple[Coordinate, ...]

    @property
    def effect(self) -> Effect:
        """Return a plugin of the chain if there is one: it decides which process renders."""
        plugins = [s.effect for s in self.stages if s.effect.plugin is not None]
        return (plugins or [self.stages[-1].effect])[0]

    @property
    def before(self) -> tuple[Stage, ...]:
        return self.stages[:-1]

    @property
    def behind(self) -> tuple[Stage, ...]:
        return ()


class EffectSearch:
    """Search the candidates of one task in steps."""

    def __init__(self, pair: Pair, objective: Objective, task: Task) -> None:
        self._pair, self._objective, self._task = pair, objective, task
        self._candidates: list[Candidate] = []
        self._n_probes = 0
        self._n_restarts, self._is_exhausted = 0, False
        self._rng = np.random.default_rng(0)

    def begin(self) -> Summary:
        """Compute the hints and evaluate their starts."""
        task = self._task
        dry = self._pair.dry
        if task.before:
            dry = render_chain(task.before, dry, self._pair.sample_rate)
        pair = Pair(dry, self._pair.wet, self._pair.sample_rate, self._pair.start)
        left_out: list[str] = []
        if task.effect.plugin is not None:
            starts, left_out = self._probe(dry)
        elif task.behind:
            # The stages behind also change the wet audio, so hints are less exact.
            starts = [_widen(s) for s in starts_for(pair, task.effect)] + [Start(task.effect)]
        else:
            starts = starts_for(pair, task.effect, task.any_phase)
        if task.proposal is not None:
            starts = [*starts, task.proposal]
        candidates = [self._candidate(dry, start, left_out) for start in starts]
        candidates.sort(key=lambda each: each.distance)
        self._n_probes += sum(each.evaluations for each in candidates[N_KEPT:])
        self._candidates = candidates[:N_KEPT]
        return self.summary()

    def advance(self, most_evaluations: int, target: float) -> Summary:
        """Refine both starts at first, then the better one."""
        if self._task.effect.plugin is not None:
            self._search_plugin(most_evaluations, target)
            return self.summary()
        unfinished = [c for c in self._candidates if not c.finished]
        if len(unfinished) > 1 and all(c.evaluations <= 1 for c in unfinished):
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
        total = self._evaluations()
        best = self._best().summary()
        is_plugin = task.effect.plugin is not None
        finished = self._is_exhausted if is_plugin else all(c.finished for c in self._candidates)
        shifted = tuple(replace(c, stage=c.stage + len(task.before)) for c in best.coordinates)
        return replace(
            best,
            stages=task.before + best.stages,
            evaluations=total,
            coordinates=shifted,
            finished=finished,
        )

    def _candidate(self, dry: Array, start: Start, left_out: Sequence[str]) -> Candidate:
        task = self._task
        stages = (stage_of(start, task.held), *task.behind)
        coordinates = coordinates_of(
            task.effect,
            0,
            task.held,
            start.deviations,
            is_last=not task.behind,
            with_phase=bool(start.phase),
            left_out=left_out,
        )
        return Candidate(dry, self._pair.sample_rate, self._objective, stages, coordinates)

    def _probe(self, dry: Array) -> tuple[list[Start], list[str]]:
        """Return starting points over the complete range, and parameters without an effect."""
        effect, held = self._task.effect, self._task.held
        free = [p for p in effect.parameters if p.name not in held and not p.choices]
        base = effect.default_setting() | dict(held)
        keep_loaded = stays_loaded(effect, self._pair.sample_rate)

        def vector(setting: Mapping[str, float]) -> Array | None:
            self._n_probes += 1
            stages = (Stage(effect, setting), *self._task.behind)
            try:
                audio = render_chain(stages, dry, self._pair.sample_rate, keep_loaded)
            except EffectError:
                return None
            return as_vector(self._objective.residuals(audio))

        at_default = vector(base)
        left_out = []
        for parameter in free:
            ends = [
                vector(base | {parameter.name: parameter.from_normalised(u)}) for u in (0.1, 0.9)
            ]
            changes = [
                float(np.linalg.norm(end - at_default))
                for end in ends
                if end is not None and at_default is not None
            ]
            if changes and max(changes) < NO_CHANGE:
                left_out.append(parameter.name)
        return _sobol_starts(effect, N_SOBOL) + self._echo_starts(dry), left_out

    def _echo_starts(self, dry: Array) -> list[Start]:
        """Start the time parameters of a plugin at the largest echoes of the impulse response."""
        effect, rate = self._task.effect, self._pair.sample_rate
        times = [p for p in effect.parameters if p.unit == "ms" and "time" in p.name]
        response = Pair(dry, self._pair.wet, rate).impulse_response
        starts = []
        for p in times:
            first, last = (round(ms * rate / 1000) for ms in (max(p.minimum, 5.0), p.maximum))
            size = np.abs(response[first : min(last, dry.size - 1)]).copy()
            for _ in range(N_ECHOES if size.size else 0):
                peak = int(np.argmax(size))
                size[max(0, peak - 8) : peak + 9] = 0.0
                value = p.from_normalised(p.to_normalised(1000 * (first + peak) / rate))
                starts.append(Start(effect, {p.name: value}))
        return starts

    def _search_plugin(self, most_evaluations: int, target: float) -> None:
        """Refine, try the choices, and restart from random points, up to most_evaluations."""
        end = self._evaluations() + most_evaluations
        while self._evaluations() < end and self._best().distance ** 2 > target:
            best = self._best()
            if not best.finished:
                best.advance(end - self._evaluations(), target)
            elif not self._try_switches(best):
                self._restart(best)
        if self._n_restarts > MOST_RESTARTS:
            self._is_exhausted = True

    def _try_switches(self, best: Candidate) -> bool:
        """Try every choice of every parameter at the best point; keep the best if it is better."""
        if best.switches_tried:
            return False
        best.switches_tried = True
        stage, better = best.best[0], best
        for parameter in self._task.effect.parameters:
            if not parameter.choices or parameter.name in self._task.held:
                continue
            for value in range(min(len(parameter.choices), MOST_CHOICES)):
                if value != round(stage.setting[parameter.name]):
                    changed = dict(stage.setting) | {parameter.name: float(value)}
                    tried = self._new_candidate((replace(stage, setting=changed), *best.best[1:]))
                    if tried.distance < better.distance:
                        better = tried
        if better is best:
            return False
        self._keep(better)
        return True

    def _restart(self, best: Candidate) -> None:
        """Refine the best of a few random points; in every other restart they are near the best."""
        self._n_restarts += 1
        points = []
        for _ in range(N_RANDOM):
            setting = dict(best.best[0].setting)
            is_near = self._n_restarts % 2 == 0
            for p in self._task.effect.parameters:
                if p.name in self._task.held or (is_near and self._rng.random() < 0.5):
                    continue
                if is_near and not p.choices:
                    moved = p.to_normalised(setting[p.name]) + 0.2 * self._rng.standard_normal()
                    setting[p.name] = p.from_normalised(float(np.clip(moved, 0, 1)))
                else:
                    setting[p.name] = p.sample(self._rng)
            points.append(
                self._new_candidate((replace(best.best[0], setting=setting), *best.best[1:]))
            )
        self._keep(min(points, key=lambda each: each.distance), always=True)

    def _new_candidate(self, stages: tuple[Stage, ...]) -> Candidate:
        """Create a candidate with the coordinates of the first one."""
        first = self._candidates[0]
        self._n_probes += 1
        return Candidate(
            first.dry, self._pair.sample_rate, self._objective, stages, first.coordinates
        )

    def _keep(self, candidate: Candidate, always: bool = False) -> None:
        """Add a candidate and drop the worst one.

        always  whether to refine it a little first, so that it is not dropped at once
        """
        self._n_probes -= 1  # counted by the candidate itself from now on
        if always:
            candidate.advance(RESTART_EVALUATIONS, 0.0)
        self._candidates.append(candidate)
        if len(self._candidates) > MOST_KEPT:
            worst = max(self._candidates, key=lambda each: each.distance)
            self._n_probes += worst.evaluations
            self._candidates.remove(worst)

    def _best(self) -> Candidate:
        return min(self._candidates, key=lambda each: each.distance)

    def _evaluations(self) -> int:
        return self._n_probes + sum(each.evaluations for each in self._candidates)


class Searcher:
    """Hold the searches of one process."""

    def __init__(self, pair: Pair, objective: Objective) -> None:
        self._pair, self._objective = pair, objective
        self._searches: dict[int, EffectSearch] = {}
        self._joint: dict[int, Candidate] = {}

    def answer(self, request: Request) -> Summary:
        """Start or continue a search, and return its summary."""
        if request.task is not None:
            if isinstance(request.task, JointTask):
                self._joint[request.key] = Candidate(
                    self._pair.dry,
                    self._pair.sample_rate,
                    self._objective,
                    request.task.stages,
                    request.task.coordinates,
                )
                return self._joint[request.key].summary()
            assert isinstance(request.task, Task)
            self._searches[request.key] = EffectSearch(self._pair, self._objective, request.task)
            return self._searches[request.key].begin()
        if request.key in self._joint:
            self._joint[request.key].advance(request.evaluations, request.target)
            return self._joint[request.key].summary()
        return self._searches[request.key].advance(request.evaluations, request.target)


def _widen(start: Start) -> Start:
    """Increase the standard deviations of a start, except those of rates and frequencies."""
    wide = {name: max(3 * d, 0.05) if d else d for name, d in start.deviations.items()}
    tight = {name: start.deviations[name] for name in ("rate", "frequency") if name in wide}
    return replace(start, deviations=wide | tight)


def _sobol_starts(effect: Effect, n: int) -> list[Start]:
    """Return the defaults, and Sobol points over the ranges and choices of all parameters."""
    free = [p for p in effect.parameters if p.maximum > p.minimum]
    starts = [Start(effect)]
    if free:
        points = qmc.Sobol(len(free), scramble=False).random(n)[1:] * 0.9 + 0.05
        starts += [
            Start(effect, {p.name: _value(p, u) for p, u in zip(free, point, strict=True)})
            for point in points
        ]
    return starts


def _value(parameter: Parameter, share: float) -> float:
    """Return the value at a share (0 to 1) of the range or of the choices."""
    if parameter.choices:
        return float(min(int(share * len(parameter.choices)), len(parameter.choices) - 1))
    return parameter.from_normalised(share)


def has_oscillator(effect: Effect) -> bool:
    """Return whether an effect has an oscillator that starts with the audio."""
    return effect.plugin is None and effect.name in OSCILLATOR
