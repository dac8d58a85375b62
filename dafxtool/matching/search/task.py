"""Describe what a search of one match has to do, in values that can be sent between processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dafxtool.effects.effect import Effect
from dafxtool.matching.chain import Stage
from dafxtool.matching.hints.start import Start
from dafxtool.matching.search.candidate import Coordinate


@dataclass(frozen=True)
class Task:
    """An effect to search, with fixed values, between fixed stages.

    any_phase  whether the oscillator may have any phase at the start of the audio
    proposal   a further start, beside those of the hints
    holds_behind
               whether the user has fixed values of the stages behind
    """

    effect: Effect
    held: Mapping[str, float] = field(default_factory=dict)
    before: tuple[Stage, ...] = ()
    behind: tuple[Stage, ...] = ()
    any_phase: bool = False
    proposal: Start | None = None
    holds_behind: bool = False


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
