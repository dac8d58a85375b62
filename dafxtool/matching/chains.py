"""Extend single effects to chains: one more stage in front or behind, then all refined together.

Greedy: the best chains so far are the bases; every effect is tried at every place of them, with
the hints that still read through the other stages. A stage has to earn its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dafxtool.effects.effect import Effect
from dafxtool.matching.candidate import Coordinate, Summary, coordinates_of
from dafxtool.matching.chain import OSCILLATOR, Stage, chain_name
from dafxtool.matching.effect_search import JointTask, Task
from dafxtool.matching.hints.registry import SLOW
from dafxtool.matching.race import SOLVED, Race

EARNED = 0.9  # of the shorter chain's distance: what another stage has to fall below
N_BASES = 2  # chains that are extended
N_SHORT, SHORT_EVALUATIONS = 10, 24  # extended chains that are refined together, at first
N_LONG, LONG_EVALUATIONS = 3, 80
# Hints give these closely; the others move by a twentieth of their range.
DEVIATIONS = {"time": 0.0, "rate": 1e-3, "frequency": 2e-4}
DEVIATION = 0.05

Choice = tuple[Effect, Mapping[str, float]]


def extend(
    race: Race, summaries: Sequence[Summary], effects: Sequence[Choice], most_stages: int
) -> list[Summary]:
    """Add stages up to most_stages while each earns its place; return all candidates."""
    found = list(summaries)
    bases = _best_of_each(found)[:N_BASES]
    held = {effect.name: values for effect, values in effects}
    for _ in range(1, most_stages):
        if not bases or bases[0].distance <= SOLVED * race.unprocessed:
            break
        longer = _extended(race, bases, effects, held)
        better = [s for s in longer if s.distance < EARNED * bases[0].distance]
        if not better:
            break
        found += better
        bases = better[:N_BASES]
    return sorted(found, key=lambda each: each.distance)


def _best_of_each(summaries: Sequence[Summary]) -> list[Summary]:
    """The best candidate of each chain of effects, best first."""
    best: dict[str, Summary] = {}
    for summary in sorted(summaries, key=lambda each: each.distance):
        best.setdefault(chain_name(summary.stages), summary)
    return list(best.values())


def _extended(
    race: Race,
    bases: Sequence[Summary],
    effects: Sequence[Choice],
    held: Mapping[str, Mapping[str, float]],
) -> list[Summary]:
    tasks = []
    for rank, base in enumerate(bases):
        for place in range(len(base.stages), -1, -1):
            before, behind = base.stages[:place], base.stages[place:]
            for effect, values in effects:
                # Slow hints are read behind and in front of the best base only.
                is_slow = effect.name in SLOW and effect.plugin is None
                if not effect.parameters or effect.name == "gain" or (is_slow and rank):
                    continue
                tasks.append(Task(effect, values, before, behind))
    started = race.start(tasks)
    first = _best_of_each(started)[:N_SHORT]
    joint = race.refine_jointly([_joint(s, held) for s in first], SHORT_EVALUATIONS)
    best = _best_of_each([*joint, *started])[:N_LONG]
    again = race.refine_jointly([_joint(s, held) for s in best], LONG_EVALUATIONS)
    return _best_of_each([*again, *joint, *started])


def _joint(summary: Summary, held: Mapping[str, Mapping[str, float]]) -> JointTask:
    coordinates: list[Coordinate] = []
    stages: tuple[Stage, ...] = summary.stages
    for index, stage in enumerate(stages):
        deviations = {p.name: DEVIATIONS.get(p.name, DEVIATION) for p in stage.effect.parameters}
        coordinates += coordinates_of(
            stage.effect,
            index,
            held.get(stage.effect.name, {}),
            deviations,
            is_last=index == len(stages) - 1,
            with_phase=bool(stage.phase) and stage.effect.name in OSCILLATOR,
        )
    return JointTask(stages, tuple(coordinates))
