"""Extend single effects to chains: greedily, in front and behind, then refined together."""

from __future__ import annotations

from collections.abc import Sequence

from dafxtool.matching.candidate import Summary
from dafxtool.matching.race import Race
from dafxtool.parameters import Effect


def extend(
    race: Race,
    summaries: Sequence[Summary],
    effects: Sequence[tuple[Effect, object]],
    most_stages: int,
) -> list[Summary]:
    """Add stages while each earns its place."""
    return list(summaries)
