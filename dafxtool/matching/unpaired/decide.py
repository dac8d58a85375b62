"""Choose the answer for references with other content: one of the likely settings, or no effect.

The answer is the one with the smallest expected distance to the truth.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dafxtool.matching.answer import ALIKE, Answer, Explanation, complexity, verdict_of
from dafxtool.matching.chain import Stage
from dafxtool.matching.objective import Array
from dafxtool.matching.paired import N_CANDIDATES
from dafxtool.matching.unpaired.bayes_risk import Hypothesis, Risk, likeliest, risks_of
from dafxtool.matching.unpaired.statistics import SAMPLE_RATE
from dafxtool.matching.unpaired.trials import Trials, probability_ratio

WORTH_IT = 0.95  # of the unprocessed distance; the evidence of an effect has to fall below it
NEAR = 0.01  # of the unprocessed distance: a simpler effect this near to the best is chosen
# Effects that are not there change the distance of 60 s without an effect by less than 4 %.
NO_EFFECT_SHARPNESS = 30.0
HIGHEST_HARM = 0.2  # probability that the answer is farther from the truth than no effect
N_ANSWERS = 6  # likely settings of the best effect that may be the answer, beside its mean


def decide(trials: Sequence[Trials], excerpt: Array, unprocessed: float, started: float) -> Answer:
    """Choose among the effects' answers and "leave it".

    excerpt  (n_samples,) of the recording as it is
    """
    usable = sorted((t for t in trials if np.isfinite(t.distance)), key=lambda t: t.evidence)
    explanations = [
        Explanation(t.stages, t.distance, t.distance / max(unprocessed, 1e-12)) for t in usable
    ]
    bypass = Explanation((), unprocessed, 1.0)
    best = bypass
    others = [*explanations, bypass]
    if usable and usable[0].evidence < WORTH_IT * unprocessed:
        limit = usable[0].evidence + NEAR * unprocessed
        near = [i for i, t in enumerate(usable) if t.evidence <= limit]
        first = min(near, key=lambda i: (complexity(usable[i].stages), i))
        found = least_risk(usable[first], usable, excerpt, unprocessed)
        if found:
            stages, distance = found
            best = Explanation(stages, distance, distance / max(unprocessed, 1e-12))
            others.remove(explanations[first])
    if best is bypass:
        others.remove(bypass)
    if unprocessed < ALIKE:  # distances relative to nothing say nothing
        others = []
    return Answer(
        best,
        tuple(others[:N_CANDIDATES]),
        best.distance,
        unprocessed,
        1 + sum(each.evaluations for each in trials),
        time.monotonic() - started,
        verdict_of(best, 0.0),
        remarks=(
            "The distance compares statistics, in units of their variation between segments of the "
            "recording.",
        ),
    )


def least_risk(
    first: Trials, trials: Sequence[Trials], excerpt: Array, unprocessed: float
) -> tuple[tuple[Stage, ...], float] | None:
    """Return the setting of an effect with the least risk, and its distance to the references.

    None if no effect is better.

    trials       of all effects, which may be the truth
    unprocessed  distance of the recording as it is
    """
    answers = [first.stages, *(each.stages for each in first.likely[:N_ANSWERS])]
    distances = (first.distance, *first.likely_distances)
    risks = risks_of(excerpt, SAMPLE_RATE, answers, likeliest(truths_of(trials, unprocessed)))
    best = min(range(len(answers)), key=lambda i: (risks[i].distance, i))
    return (answers[best], distances[best]) if is_worth_it(risks[best]) else None


def is_worth_it(risk: Risk) -> bool:
    """Return whether an answer is better than no effect, and is unlikely to be worse."""
    return risk.distance < risk.unprocessed and risk.harm <= HIGHEST_HARM


def truths_of(trials: Sequence[Trials], unprocessed: float) -> list[Hypothesis]:
    """Return likely settings of all effects, and no effect, with their probabilities.

    The probability of an effect is proportional to evidence ** -SHARPNESS.
    """
    lowest = min([unprocessed, *(each.evidence for each in trials)])
    no_effect = probability_ratio(unprocessed, lowest, NO_EFFECT_SHARPNESS)
    truths = [Hypothesis((), float(no_effect))]
    for each in trials:
        weight = float(probability_ratio(each.evidence, lowest))
        truths += [replace(t, probability=t.probability * weight) for t in each.likely]
    return truths
