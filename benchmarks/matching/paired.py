"""Pairs with one effect: recognition, errors of the settings, evaluations, time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dafxtool.effects.effect import sample_setting
from dafxtool.matching.chain import Stage, render_chain
from dafxtool.matching.objective import Objective, outer_distance
from dafxtool.matching.paired import Options, match_pair
from dafxtool.matching.prepare import Prepared
from matching.baselines import BASELINES
from matching.figures import median, worst
from matching.recordings import AUDIBLE, EFFECTS, RATE, REAL, Array, Recordings

EXACT = frozenset({"time", "rate", "frequency"})  # expected within a thousandth
KEPT = 0.1  # ratio above which the answer is printed


@dataclass(frozen=True)
class Row:
    """One matched pair; errors are empty if the effect is wrong.

    ratio         MRSTFT distance of the answer over that of no effect
    errors        of all settings, in parts of the range
    exact_errors  relative errors of times, rates and frequencies
    baselines     ratio of each baseline
    """

    name: str
    is_right: bool
    ratio: float
    evaluations: int
    seconds: float
    errors: list[float]
    exact_errors: list[float]
    baselines: dict[str, float]


def paired(recordings: Recordings, n_pairs: int) -> None:
    """Match n_pairs of each effect that can be heard."""
    rows: list[Row] = []
    for name in recordings.effects or REAL:
        part: list[Row] = []
        for number in range(recordings.first, recordings.first + 3 * n_pairs):
            if len(part) == n_pairs:
                break
            rng = np.random.default_rng(77 + 1000 * recordings.seed + number)
            dry = recordings.dry(number)
            truth = Stage(EFFECTS[name], sample_setting(EFFECTS[name], rng))
            wet = render_chain([truth], dry, RATE)
            if Objective(wet).distance(dry) >= AUDIBLE:
                part.append(_match(truth, dry, wet, rng if recordings.with_baselines else None))
        _print(name, part)
        rows += part
    _print("all", rows)
    for kind, errors in {
        "settings, in parts of the range": [e for row in rows for e in row.errors],
        "times, rates, frequencies, relative": [e for row in rows for e in row.exact_errors],
    }.items():
        print(f"  median error of {kind}: {median(errors):.2g}")
    for baseline in BASELINES if recordings.with_baselines else ():
        ratios = [row.baselines[baseline] for row in rows if baseline in row.baselines]
        if ratios:
            print(f"  {baseline}: median {median(ratios):.3f}, worst {worst(ratios):.2f}")


def _match(truth: Stage, dry: Array, wet: Array, rng: np.random.Generator | None) -> Row:
    """Match one pair, and with rng by the baselines, too."""
    effect = truth.effect
    began = time.process_time()
    answer = match_pair(Prepared(dry, wet, RATE, 1.0, 0, 0, dry.size), Options())
    seconds = time.process_time() - began
    unprocessed = outer_distance(dry, wet)
    ratio = answer.distance / unprocessed
    is_right = bool(answer.best.stages) and answer.best.stages[0].effect.name == effect.name
    if not is_right or ratio > KEPT:
        print(f"    {truth.text()}: {answer.best.text}, ratio {ratio:.3f}", flush=True)
    baselines: dict[str, float] = {}
    for name, function in BASELINES.items() if rng is not None else ():
        imitation = function(dry, wet, truth, answer.evaluations, rng)
        if imitation is not None:
            baselines[name] = outer_distance(imitation, wet) / unprocessed
    errors: list[float] = []
    exact_errors: list[float] = []
    for p in effect.parameters if is_right else ():
        true, ours = truth.setting[p.name], answer.best.stages[0].setting[p.name]
        errors.append(abs(p.to_normalised(true) - p.to_normalised(ours)))
        if p.name in EXACT:
            exact_errors.append(abs(ours / true - 1))
    return Row(
        effect.name,
        is_right,
        ratio,
        answer.evaluations,
        seconds,
        errors,
        exact_errors,
        baselines,
    )


def _print(name: str, rows: Sequence[Row]) -> None:
    n_right = sum(row.is_right for row in rows)
    ratios = [row.ratio for row in rows]
    evaluations = [row.evaluations for row in rows]
    seconds = [row.seconds for row in rows]
    print(
        f"  {name:15} {n_right} of {len(rows)} right, MRSTFT ratio median {median(ratios):.4f}, "
        f"worst {worst(ratios):.3f}, evaluations {median(evaluations):.0f}, most "
        f"{worst(evaluations):.0f}, CPU s {median(seconds):.1f}, most {worst(seconds):.1f}",
        flush=True,
    )
