"""Pairs with two or three effects in series: recognition in order."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dafxtool.effects.effect import sample_setting
from dafxtool.matching.chain import LINEAR, Stage, chain_text, render_chain
from dafxtool.matching.objective import Objective
from dafxtool.matching.paired import Options, match_pair
from dafxtool.matching.prepare import Prepared
from matching.figures import median, share, worst
from matching.recordings import AUDIBLE, EFFECTS, RATE, Array, Recordings

SAME = 0.01  # share of the distance below which two results sound the same
IN_CHAINS = (
    *("overdrive", "distortion", "bit-crusher", "delay", "reverb", "chorus", "flanger", "phaser"),
    *("tremolo", "compressor", "combo", "low-pass", "high-pass", "low-shelf", "high-shelf", "peak"),
)


@dataclass(frozen=True)
class Row:
    """One matched pair.

    is_right       the effects and their order
    is_any_order   the effects
    ratio          MRSTFT distance of the answer over that of no effect
    """

    is_right: bool
    is_any_order: bool
    ratio: float
    evaluations: int
    seconds: float


def draw_chain(
    recordings: Recordings, number: int, length: int
) -> tuple[list[Stage], Array, Array]:
    """Draw a chain whose stages can all be heard; return it with dry and wet audio.

    A stage can be heard if the wet audio without it differs by AUDIBLE from the wet audio with it.
    """
    dry = recordings.dry(number)
    rng = np.random.default_rng([recordings.seed, length, number])
    while True:
        names = rng.choice(IN_CHAINS, length, replace=False)
        stages = [Stage(EFFECTS[n], sample_setting(EFFECTS[n], rng)) for n in names]
        wet = render_chain(stages, dry, RATE)
        objective = Objective(wet)
        without = [stages[:i] + stages[i + 1 :] for i in range(length)]
        if all(objective.distance(render_chain(w, dry, RATE)) >= AUDIBLE for w in without):
            return stages, dry, wet


def chains_of_two(recordings: Recordings, n_pairs: int) -> None:
    """Measure pairs with two effects in series."""
    _chains(recordings, n_pairs, 2)


def chains_of_three(recordings: Recordings, n_pairs: int) -> None:
    """Measure pairs with three effects in series."""
    _chains(recordings, n_pairs, 3)


def _chains(recordings: Recordings, n_pairs: int, length: int) -> None:
    """Measure pairs with `length` effects in series: recognition in order.

    Two linear time-invariant effects in a row sound the same in both orders, so both are right.
    Some effects sound like others: a ring modulator of a few hertz is a tremolo. So answers that
    leave less than SAME of the distance are counted, too.
    """
    rows: list[Row] = []
    for number in range(recordings.first, recordings.first + n_pairs):
        stages, dry, wet = draw_chain(recordings, number, length)
        began = time.process_time()
        pair = Prepared(dry, wet, RATE, 1.0, 0, 0, dry.size)
        answer = match_pair(pair, Options(chain=length))
        seconds = time.process_time() - began
        results = [s.effect.name for s in answer.best.stages if s.effect.name != "gain"]
        truth = [stage.effect.name for stage in stages]
        row = Row(
            _in_one_order(results) == _in_one_order(truth),
            sorted(results) == sorted(truth),
            answer.distance / answer.distance_unprocessed,
            answer.evaluations,
            seconds,
        )
        rows.append(row)
        print(
            f"  {number} {' > '.join(truth)}: {' > '.join(results)}, MRSTFT ratio {row.ratio:.3f}, "
            f"evaluations {row.evaluations}, CPU s {row.seconds:.0f}",
            flush=True,
        )
        if not row.is_right:
            print(f"    true {chain_text(stages)}, answer {answer.best.text}", flush=True)
    ratios = [row.ratio for row in rows]
    print(
        f"chains of {length}, {len(rows)} pairs: right {share([row.is_right for row in rows])}, "
        f"right in any order {share([row.is_any_order for row in rows])}, right or the same sound "
        f"{share([row.is_right or row.ratio < SAME for row in rows])}, MRSTFT ratio median "
        f"{median(ratios):.4f}, worst {worst(ratios):.3f}, evaluations "
        f"{median([row.evaluations for row in rows]):.0f}, CPU s "
        f"{median([row.seconds for row in rows]):.0f}",
        flush=True,
    )


def _in_one_order(names: Sequence[str]) -> list[str]:
    """Sort linear time-invariant effects that follow each other."""
    runs = itertools.groupby(names, key=lambda name: name in LINEAR)
    return [name for linear, run in runs for name in (sorted(run) if linear else run)]
