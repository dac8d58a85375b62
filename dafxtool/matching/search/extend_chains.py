"""Extend chains by one stage at a time, and refine all stages together.

Every effect is inserted at every position of the best chains so far. Then each stage is removed
and searched again, beside the settings that the others have now. A stage is kept only if it reduces
the distance by a tenth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from itertools import permutations

from dafxtool.effects.effect import Effect
from dafxtool.matching.chain import OSCILLATOR, Stage, chain_name
from dafxtool.matching.hints.registry import SLOW
from dafxtool.matching.search.candidate import Coordinate, Summary, coordinates_of
from dafxtool.matching.search.race import SOLVED, Race
from dafxtool.matching.search.task import JointTask, Task

LONGER_HAS_TO_BE = 0.9  # times the distance of the shorter chain, or less
N_BASES = 3  # chains that are extended
# Number of extended chains and evaluations. In the first round the number is that of each base: the
# best base with a stage that does nothing would otherwise leave no place for the others.
N_SHORT, SHORT_EVALUATIONS = 5, 24
N_LONG, LONG_EVALUATIONS = 4, 80
NEAR = 0.2  # of the unprocessed distance; below it chains without slow hints are refined at length
N_ROUNDS = 3  # in which each stage is removed and searched again
ROUND_HAS_TO_BE = 0.9  # times the distance before, or less; else it was the last round
# Expected errors of hints, as shares of the range; DEVIATION for other parameters.
DEVIATIONS = {"time": 0.0, "rate": 1e-3, "frequency": 2e-4}
DEVIATION = 0.05
# A moving delay has to be right to a sample or two over the complete recording.
DELAYING = frozenset({"chorus", "flanger", "vibrato"})
DELAY_DEVIATIONS = {"rate": 3e-4, "depth": 5e-3, "delay": 4e-3}

Choice = tuple[Effect, Mapping[str, float]]


def extend(
    race: Race, summaries: Sequence[Summary], effects: Sequence[Choice], most_stages: int
) -> list[Summary]:
    """Add stages, up to most_stages, while they reduce the distance; return all candidates."""
    candidates = list(summaries)
    bases = _best_of_each(candidates)[:N_BASES]
    search = _ChainSearch(race, effects)
    for _ in range(1, most_stages):
        if not bases or bases[0].distance <= SOLVED * race.unprocessed:
            break
        longer = search.improve(search.extend_all([base.stages for base in bases]))
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


class _ChainSearch:
    """Search chains of the same effects in one race."""

    def __init__(self, race: Race, effects: Sequence[Choice]) -> None:
        self._race = race
        self._effects = [(e, v) for e, v in effects if e.parameters and e.name != "gain"]
        self._held = {effect.name: values for effect, values in effects}

    def extend_all(
        self, bases: Sequence[Sequence[Stage]], slow_names: Set[str] = SLOW
    ) -> list[Summary]:
        """Insert every effect at every position of the bases; refine the best results twice.

        slow_names  effects with slow hints that follow if the others leave a part unexplained
        """
        has_slow_hint = [c for c in self._effects if c[0].name in SLOW and c[0].plugin is None]
        quick = [choice for choice in self._effects if choice not in has_slow_hint]
        slow = [choice for choice in has_slow_hint if choice[0].name in slow_names]
        chains = self._insert(bases, quick)
        if chains and chains[0].distance <= NEAR * self._race.unprocessed:
            refined = self._refine(chains[:N_LONG], LONG_EVALUATIONS)
            chains = _best_of_each([*refined, *chains])
        if not chains or chains[0].distance > SOLVED * self._race.unprocessed:
            chains = _best_of_each([*chains, *self._insert(bases, slow)])
            refined = self._refine(chains[:N_LONG], LONG_EVALUATIONS)
            chains = _best_of_each([*refined, *chains])
        return chains

    def _insert(self, bases: Sequence[Sequence[Stage]], effects: Sequence[Choice]) -> list[Summary]:
        """Insert effects at every position of the bases; refine the best results briefly."""
        chains: list[Summary] = []
        first: list[Summary] = []
        for base in bases:
            tasks = [
                Task(
                    effect,
                    values,
                    tuple(base[:index]),
                    tuple(base[index:]),
                    holds_behind=any(self._held.get(s.effect.name) for s in base[index:]),
                )
                for index in range(len(base), -1, -1)
                for effect, values in effects
            ]
            longer = _best_of_each(self._race.start(tasks))
            chains += longer
            first += longer[:N_SHORT]
        return _best_of_each([*self._refine(_best_of_each(first), SHORT_EVALUATIONS), *chains])

    def improve(self, chains: list[Summary]) -> list[Summary]:
        """Remove each stage of the best chain and search it again, among all effects and positions.

        A stage is found first while the others are missing, so its settings, and sometimes its
        effect, are those of a compromise.
        """
        for _ in range(N_ROUNDS):
            best = chains[0]
            if best.distance <= SOLVED * self._race.unprocessed:
                break
            stages = best.stages
            shorter = [stages[:i] + stages[i + 1 :] for i in range(len(stages))]
            orders = [
                self._joint(order) for order in permutations(stages) if order != tuple(stages)
            ]
            tried = self._race.refine_jointly(orders, SHORT_EVALUATIONS)
            # Near the minimum, an effect with a slow hint is already among the stages.
            is_near = best.distance <= NEAR * self._race.unprocessed
            slow_names = {stage.effect.name for stage in stages} if is_near else SLOW
            chains = _best_of_each([*chains, *tried, *self.extend_all(shorter, slow_names)])
            if chains[0].distance > ROUND_HAS_TO_BE * best.distance:
                break
        return chains

    def _refine(self, chains: Sequence[Summary], evaluations: int) -> list[Summary]:
        tasks = [self._joint(chain.stages) for chain in chains]
        return self._race.refine_jointly(tasks, evaluations)

    def _joint(self, stages: tuple[Stage, ...]) -> JointTask:
        """Return the task of refining all stages of a chain together."""
        coordinates: list[Coordinate] = []
        for index, stage in enumerate(stages):
            coordinates += coordinates_of(
                stage.effect,
                index,
                self._held.get(stage.effect.name, {}),
                joint_deviations(stage.effect),
                is_last=index == len(stages) - 1,
                with_phase=bool(stage.phase) and stage.effect.name in OSCILLATOR,
            )
        return JointTask(stages, tuple(coordinates))


def joint_deviations(effect: Effect) -> dict[str, float]:
    """Return the standard deviations for the refinement of complete chains."""
    expected = DEVIATIONS | (DELAY_DEVIATIONS if effect.name in DELAYING else {})
    deviations = {p.name: expected.get(p.name, DEVIATION) for p in effect.parameters}
    if effect.name == "bit-crusher":
        deviations["rate"] = 0.0  # held samples move by steps, which have no slope
        deviations["bits"] = 5e-3
    return deviations
