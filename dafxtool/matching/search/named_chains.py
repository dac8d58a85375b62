"""Search the settings of a chain whose effects and order the user has given.

Stages are added one by one at their position in the chain: first the one that reduces the distance
most. All stages are then refined together. Stages without free parameters are there from the start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dafxtool.effects.effect import Effect, stage_settings
from dafxtool.matching.chain import OSCILLATOR, Stage
from dafxtool.matching.search.candidate import Coordinate, Summary, coordinates_of
from dafxtool.matching.search.extend_chains import (
    LONG_EVALUATIONS,
    SHORT_EVALUATIONS,
    joint_deviations,
)
from dafxtool.matching.search.race import Race
from dafxtool.matching.search.task import JointTask, Task

N_BASES = 3  # partial chains that are extended
N_REFINED = 6  # extended chains that are refined together


@dataclass(frozen=True)
class NamedChain:
    """The stages of a chain with the values that the user has fixed."""

    effects: tuple[Effect, ...]
    held: tuple[Mapping[str, float], ...]

    @classmethod
    def of(cls, chain: Effect, held: Mapping[str, float]) -> NamedChain:
        """Return the stages of an effect that is a chain."""
        effects = tuple(stage.effect for stage in chain.stages)
        return cls(effects, tuple(stage_settings(chain, held)))

    def is_fixed(self, index: int) -> bool:
        """Return whether a stage has no free parameter."""
        return {p.name for p in self.effects[index].parameters} <= set(self.held[index])

    def fixed_stage(self, index: int) -> Stage:
        """Return a stage at its fixed values, the other ones at their defaults."""
        effect = self.effects[index]
        return Stage(effect, effect.default_setting() | dict(self.held[index]))


Partial = tuple[tuple[int, ...], tuple[Stage, ...]]  # positions in the chain, and their stages


def search_chain(race: Race, chain: NamedChain) -> list[Summary]:
    """Search a chain; return its candidates, best first."""
    n_stages = len(chain.effects)
    fixed = tuple(i for i in range(n_stages) if chain.is_fixed(i))
    if len(fixed) == n_stages:  # nothing to search: only evaluate the distance
        before = tuple(map(chain.fixed_stage, fixed[:-1]))
        return race.start([Task(chain.effects[-1], chain.held[-1], before)])
    bases: list[Partial] = [(fixed, tuple(map(chain.fixed_stage, fixed)))]
    candidates: list[Summary] = []
    for n_known in range(len(fixed), n_stages):
        tasks, positions = [], []
        for used, stages in bases:
            for index in range(n_stages):
                if index in used:
                    continue
                n_before = sum(position < index for position in used)
                before, behind = stages[:n_before], stages[n_before:]
                holds = any(chain.held[position] for position in used if position > index)
                tasks.append(
                    Task(
                        chain.effects[index],
                        chain.held[index],
                        before,
                        behind,
                        holds_behind=holds,
                    )
                )
                positions.append(tuple(sorted((*used, index))))
        started = race.start(tasks)
        ranked = sorted(range(len(started)), key=lambda i: started[i].distance)[:N_REFINED]
        is_last = n_known == n_stages - 1
        n_evaluations = LONG_EVALUATIONS if is_last else SHORT_EVALUATIONS
        joint = [_joint(chain, positions[i], started[i].stages) for i in ranked]
        refined = race.refine_jointly(joint, n_evaluations * max(1, n_stages - 1))
        results = [(positions[i], each) for i, each in zip(ranked, refined, strict=True)]
        results += [(positions[i], started[i]) for i in ranked]
        results.sort(key=lambda each: each[1].distance)
        bases = _distinct(results)
        candidates = [summary for _, summary in results]
    return candidates


def _distinct(results: Sequence[tuple[tuple[int, ...], Summary]]) -> list[Partial]:
    """Return the best partial chains, at most two with the same stages."""
    distinct: list[Partial] = []
    for positions, summary in results:
        if sum(used == positions for used, _ in distinct) < 2 and len(distinct) < N_BASES:
            distinct.append((positions, summary.stages))
    return distinct


def _joint(chain: NamedChain, positions: Sequence[int], stages: tuple[Stage, ...]) -> JointTask:
    """Return the task of refining the free parameters of all stages together."""
    coordinates: list[Coordinate] = []
    for index, (position, stage) in enumerate(zip(positions, stages, strict=True)):
        coordinates += coordinates_of(
            stage.effect,
            index,
            chain.held[position],
            joint_deviations(stage.effect),
            is_last=index == len(stages) - 1,
            with_phase=bool(stage.phase) and stage.effect.name in OSCILLATOR,
        )
    return JointTask(stages, tuple(coordinates))
