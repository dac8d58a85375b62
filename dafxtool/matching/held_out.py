"""Match held-out pairs of a pairs file: how often and how well their effects are found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dafxtool.effects.effect import Effect
from dafxtool.matching.answer import Answer
from dafxtool.matching.chain import Stage, render_chain
from dafxtool.matching.objective import Array, outer_distance
from dafxtool.matching.outputs import MATCHER_FILE
from dafxtool.matching.paired import Options, match_pair
from dafxtool.matching.prepare import Prepared
from dafxtool.models.run import Run
from dafxtool.utils import signals


@dataclass(frozen=True)
class MatchedPair:
    """The match of one pair.

    row       index of the pair
    proposed  likeliest effect of the matcher and its distance over the dry recording's; None
              without a matcher
    """

    row: int
    effect: Effect
    setting: Mapping[str, float]
    prepared: Prepared
    answer: Answer
    proposed: tuple[str, float] | None = None

    @property
    def is_right(self) -> bool:
        """Return whether the answer has the true effect only, apart from a gain."""
        names = [stage.effect.name for stage in self.answer.best.stages]
        return [name for name in names if name != "gain"] == [self.effect.name]

    @property
    def relative_distance(self) -> float:
        """Distance of the matched recording to the wet one, divided by that of the dry one."""
        return self.answer.distance / max(self.answer.distance_unprocessed, 1e-9)


def match_rows(
    rows: NDArray[np.int64],
    audio: NDArray[np.float32],
    effects: Sequence[Effect],
    effect: NDArray[np.int64],
    setting: NDArray[np.float64],
    run: Run,
    options: Options,
) -> Iterator[MatchedPair]:
    """Match pairs with the effects of their file as candidates.

    audio    (n, 2, n_samples), dry first
    effects  of the file
    effect   (n,) index of the true effect of each row
    setting  (n, n_parameters) true values
    run      whose matcher proposes starts, if it has one
    """
    rate = run.configuration.segments.sample_rate
    candidates = [each.at(rate) for each in effects]
    options = replace(options, effects=[(each, {}) for each in candidates])
    proposer = None
    if (run.path / MATCHER_FILE).is_file():
        from dafxtool.matching.controller.proposals import load_proposer

        proposer = load_proposer(run.path / MATCHER_FILE, run.path)
    for row, (dry, wet), index, values in zip(
        rows.tolist(), audio, effect.tolist(), setting, strict=True
    ):
        signals.check()
        proposed = None
        if proposer is not None:
            proposals = proposer.propose(dry, wet, rate)
            options = replace(options, proposals=proposals.starts)
            name, start = next(iter(proposals.starts.items()))
            proposed = name, _proposed_distance(start.effect, start.setting, dry, wet, rate)
        true = candidates[index]
        names = [parameter.name for parameter in true.parameters]
        prepared = Prepared(dry, wet, rate, 1.0, 0, 0, dry.size)
        answer = match_pair(prepared, options)
        known = dict(zip(names, values.tolist(), strict=False))
        yield MatchedPair(row, true, known, prepared, answer, proposed)


def _proposed_distance(
    effect: Effect, setting: Mapping[str, float], dry: Array, wet: Array, sample_rate: int
) -> float:
    """Return the relative distance of the first proposal without a search."""
    audio = render_chain([Stage(effect, setting)], dry, sample_rate)
    return outer_distance(audio, wet) / max(outer_distance(dry, wet), 1e-9)
