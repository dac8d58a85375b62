"""Extend chains by one stage at a time, and refine all stages together.

The search is greedy. Every effect is inserted at every position of the best chains so far. A stage
is kept only if it reduces the distance by a tenth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dafxtool.effects.effect import Effect
from dafxtool.matching.chain import OSCILLATOR, Stage, chain_name
from dafxtool.matching.hints.registry import SLOW
from dafxtool.matching.search.candidate import Coordinate, Summary, coordinates_of
from dafxtool.matching.search.race import SOLVED, Race
from dafxtool.matching.search.task import JointTask, Task

LONGER_HAS_TO_BE = 0.9  # times the distance of the shorter chain, or less
N_BASES = 2  # chains that are extended
N_SHORT, SHORT_EVALUATIONS = 10, 24  # number of extended chains and evaluations, first round
N_LONG, LONG_EVALUATIONS = 3, 80  # second round
# Expected errors of hints, as shares of the range; DEVIATION for other parameters.
DEVIATIONS = {"time": 0.0, "rate": 1e-3, "frequency": 2e-4}
DEVIATION = 0.05

Choice = tuple[Effect, Mapping[str, float]]


def extend(
    race: Race, summaries: Sequence[Summary], effects: Sequence[Choice], most_stages: int
) -> list[Summary]:
    """Add stages, up to most_stages, while they reduce the distance; return all candidates."""
    candidates = list(summaries)
    bases = _best_of_each(candidates)[:N_BASES]
    held = {effect.name: values for effect, values in effects}
    for _ in range(1, most_stages):
        if not bases or bases[0].distance <= SOLVED * race.unprocessed:
            break
        longer = _extend_all(race, bases, effects, held)
        better = [s for s in longer if s.distance < LONGER_HAS_TO_BE * bases[0].distance]
        if not better:
            break
        candidates += better
        bases = better[:N_BASES]
    return sorted(candidates, key=lambda each: each.distance)


def _best_of_each(summaries: Sequence[Summary]) -> list[Summary]:
    """Return the best candidate of each chain of effects, best first."""
    best: dict[str, Summary] = {}
    for summary in sorted(summaries, key=lambda each: each.distance):
        best.setdefault(chain_name(summary.stages), summary)
    return list(best.values())


def _extend_all(
    race: Race,
    bases: Sequence[Summary],
    effects: Sequence[Choice],
    held: Mapping[str, Mapping[str, float]],
) -> list[Summary]:
    """Insert every effect at every position of the bases; refine the best results twice."""
    tasks = []
    for rank, base in enumerate(bases):
        for index in range(len(base.stages), -1, -1):
            before, behind = base.stages[:index], base.stages[index:]
            for effect, values in effects:
                # Slow hints are computed for the best base only.
                is_slow = effect.name in SLOW and effect.plugin is None
                if not effect.parameters or effect.name == "gain" or (is_slow and rank):
                    continue
                tasks.append(Task(effect, values, before, behind))
    started = race.start(tasks)
    first = _best_of_each(started)[:N_SHORT]
    joint = race.refine_jointly([_joint(s, held) for s in first], SHORT_EVALUATIONS)
    best = _best_of_each([*joint, *started])[:N_LONG]
    refined = race.refine_jointly([_joint(s, held) for s in best], LONG_EVALUATIONS)
    return _best_of_each([*refined, *joint, *started])


def _joint(summary: Summary, held: Mapping[str, Mapping[str, float]]) -> JointTask:
    """Return the task of refining all stages of a chain together."""
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
