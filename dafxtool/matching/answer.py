"""Choose the answer of a match among its candidates, and describe it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dafxtool.matching.chain import Stage, chain_name, chain_text
from dafxtool.matching.intervals import Interval

SIMPLER = 0.01  # of the unprocessed distance: a simpler chain this near to the best one is chosen
SIMPLER_RATIO = 1.02  # the same, relative to the best distance
WORTH_IT = 0.95  # of the unprocessed distance; an effect has to fall below it
ALIKE = 1e-3  # smaller distances count as the same recording
STAGE_COST = 1  # of the complexity, beside the parameters of the stage


@dataclass(frozen=True)
class Explanation:
    """A chain and its distance to the reference.

    distance  distance of the search
    share     distance divided by that of the unprocessed recording
    """

    stages: tuple[Stage, ...]
    distance: float
    share: float

    @property
    def name(self) -> str:
        return chain_name(self.stages)

    @property
    def text(self) -> str:
        return chain_text(self.stages)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "effect": self.text,
            "name": self.name,
            "stages": [stage.to_dict() for stage in self.stages],
            "relative_distance": self.share,
        }


@dataclass(frozen=True)
class Answer:
    """The result of a match.

    best                  the best chain; without stages if no effect is needed
    candidates            the next best chains
    distance              multi-resolution STFT distance of the matched recording to the reference
    distance_unprocessed  the same distance of the unprocessed recording
    intervals             ranges of the settings of `best` in which the match is as good
    compensating          pairs of settings that compensate each other
    """

    best: Explanation
    candidates: tuple[Explanation, ...]
    distance: float
    distance_unprocessed: float
    evaluations: int
    seconds: float
    verdict: str
    intervals: tuple[Interval, ...] = ()
    compensating: tuple[tuple[str, str], ...] = ()
    latency_samples: int = 0
    remarks: tuple[str, ...] = field(default=())

    @property
    def effect(self) -> str:
        """Return the chain in the form of `--effect`."""
        return self.best.text

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "effect": self.effect,
            "stages": [stage.to_dict() for stage in self.best.stages],
            "verdict": self.verdict,
            "distance": self.distance,
            "distance_unprocessed": self.distance_unprocessed,
            "candidates": [each.to_dict() for each in self.candidates],
            "intervals": [_interval(each, self.best.stages) for each in self.intervals],
            "compensating": [list(pair) for pair in self.compensating],
            "latency_samples": self.latency_samples,
            "evaluations": self.evaluations,
            "seconds": self.seconds,
            "remarks": list(self.remarks),
        }


def _interval(interval: Interval, stages: Sequence[Stage]) -> Mapping[str, Any]:
    return {
        "effect": stages[interval.stage].effect.name,
        "parameter": interval.parameter,
        "value": stages[interval.stage].setting[interval.parameter],
        "low": interval.low,
        "high": interval.high,
    }


def complexity(stages: Sequence[Stage]) -> int:
    """Return the complexity of a chain: the number of its stages and parameters."""
    return sum(STAGE_COST + len(stage.effect.parameters) for stage in stages)


def choose(
    explanations: Sequence[Explanation],
    unprocessed: float,
    size: Callable[[Sequence[Stage]], float] = complexity,
) -> list[Explanation]:
    """Order explanations: first the simplest of those near the best. No effect is one of them.

    unprocessed  distance of the unprocessed recording
    size         complexity of a chain. It may count a gain stage: a low shelf and a high shelf
                 differ only in level, so one of them needs a gain stage
    """
    bypass = Explanation((), unprocessed, 1.0)
    usable = sorted(
        (e for e in explanations if e.distance < WORTH_IT * unprocessed),
        key=lambda each: each.distance,
    )
    if unprocessed < ALIKE or not usable:
        return [bypass, *sorted(explanations, key=lambda each: each.distance)]
    limit = max(usable[0].distance * SIMPLER_RATIO, usable[0].distance + SIMPLER * unprocessed)
    near = [e for e in usable if e.distance <= limit]
    first = min(near, key=lambda each: (size(each.stages), each.distance))
    others = [e for e in usable if e is not first]
    rest = [e for e in explanations if e is not first and e not in others]
    return [first, *others, bypass, *sorted(rest, key=lambda each: each.distance)]


def verdict_of(best: Explanation, level_db: float) -> str:
    """Return a sentence on how well the answer explains the reference."""
    if not best.stages:
        if abs(level_db) > 0.1:
            return (
                f"Leave it: only the level differs ({level_db:+.1f} dB), or no effect known here "
                "explains the rest."
            )
        return "Leave it: no effect known here brings the recording closer to the reference."
    share = f"{100 * best.share:.1f} % of the distance is left"
    if best.share <= 0.05:
        return f"Found: {best.name} explains the reference ({share})."
    if best.share <= 0.25:
        return f"Close: {best.name} explains most of the reference ({share})."
    if best.share <= 0.7:
        return f"Partly: {best.name} explains a part of the reference ({share})."
    return f"Weak: {best.name} brings it a little closer ({share}); check it by ear."
