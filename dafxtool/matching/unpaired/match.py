"""Match references with other content by the statistics of their spectra.

Times, rates and frequencies that a reference shows by itself are held. The other settings over the
range of each effect are tried on a few segments of the recording (`trials`), and the answer is
chosen by its expected distance to the truth (`decide`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from dafxtool.matching.answer import Answer, Explanation
from dafxtool.matching.match_level import match_level
from dafxtool.matching.objective import Array, rms
from dafxtool.matching.paired import Options, usable_effects
from dafxtool.matching.prepare import loudest_window
from dafxtool.matching.search.candidate import Summary
from dafxtool.matching.search.pool import Pool, Request
from dafxtool.matching.unpaired.bayes_risk import EXCERPT_SAMPLES
from dafxtool.matching.unpaired.blind.hints import blind_hint
from dafxtool.matching.unpaired.decide import decide
from dafxtool.matching.unpaired.statistics import (
    SAMPLE_RATE,
    SEGMENT_SAMPLES,
    Comparison,
    mean_of,
    scales_of,
    statistics_of,
)
from dafxtool.matching.unpaired.trials import Trial, Trials, Tryer
from dafxtool.utils.progress import SILENT, Progress

N_POINTS = {"fast": 16, "default": 32, "thorough": 64}  # powers of 2, for Sobol points
N_REFINED = 5  # effects that are tried again near their better points
# If at most N_REFINED effects are tried, their settings get the time that the others leave.
N_ROUNDS_OF_FEW = 3  # near the better points
MORE_OF_FEW = 2  # times as many points and segments
N_TRIED_SEGMENTS = {"fast": 2, "default": 4, "thorough": 8}
MOST_REFERENCE_SEGMENTS = 48
LITTLE_SECONDS = 10.0
UNRELATED = 2.0  # distance; the right effect leaves less than 1.6 of other words of a voice
SILENT_SHARE = 0.1  # of the RMS of the loudest segment; quieter ones are left out


def match_like(
    dry: Array, references: Sequence[Array], options: Options, progress: Progress = SILENT
) -> Answer:
    """Find the effect that gives a recording the statistics of the references.

    dry, references  at 24 kHz
    """
    started = time.monotonic()
    with threadpool_limits(1):
        # Statistics depend on the duration: those of short references are compared with as short
        # segments of the recording.
        length = min(SEGMENT_SAMPLES, dry.size, max(each.size for each in references))
        ours = [statistics_of(each) for each in segments_of(dry, MOST_REFERENCE_SEGMENTS, length)]
        most = max(1, MOST_REFERENCE_SEGMENTS // len(references))
        theirs_cut = [s for each in references for s in segments_of(each, most, length)]
        theirs = [statistics_of(each) for each in theirs_cut]
        scales = scales_of(ours if len(ours) > 1 else [*ours, *theirs])
        target, complete = mean_of(theirs), mean_of(ours)
        trials = _trials(dry, references, options)
        more = MORE_OF_FEW if len(trials) <= N_REFINED else 1
        segments = segments_of(dry, more * N_TRIED_SEGMENTS[options.budget], length)
        part = mean_of([statistics_of(each) for each in segments])
        offset = {name: complete[name] - part[name] for name in complete}
        n_points = more * N_POINTS[options.budget]
        comparison = Comparison(target, ours, scales)
        arguments = (segments, comparison, offset, n_points)
        reached = _search(trials, arguments, n_points // 2, options, progress)
        unprocessed = comparison.distance(complete)
        answer = decide(reached, _excerpt(dry), unprocessed, started)
    answer = replace(answer, remarks=(*answer.remarks, *_remarks(dry, references, answer.distance)))
    if options.level == "keep":
        return answer
    return replace(answer, best=_at_level(answer.best, segments, theirs_cut))


def _remarks(dry: Array, references: Sequence[Array], distance: float) -> list[str]:
    """Return remarks on recordings that are too short or too different for a reliable answer.

    distance  of the answer to the references
    """
    remarks = []
    totals = {
        "The recording lasts": dry.size,
        "The references last": sum(each.size for each in references),
    }
    for subject, n_samples in totals.items():
        seconds = n_samples / SAMPLE_RATE
        if seconds < LITTLE_SECONDS:
            remarks.append(
                f"{subject} {seconds:.1f} s: from so little the answer is a guess. Give "
                f"{LITTLE_SECONDS:.0f} s or more."
            )
    if distance > UNRELATED:
        remarks.append(
            f"The distance of {distance:.1f} is more than that of other words of the same voice: "
            "the references may be of another voice or instrument, and the answer is a guess."
        )
    return remarks


def _trials(dry: Array, references: Sequence[Array], options: Options) -> list[Trial]:
    """Return the effects to try; what the longest reference shows by itself is held."""
    longest = max(references, key=lambda each: each.size)
    trials = []
    for effect, held in usable_effects(options.effects, SAMPLE_RATE):
        if effect.parameters and effect.name != "gain":
            hint = blind_hint(longest, SAMPLE_RATE, effect, dry)
            trials.append(Trial(effect, {**hint, **held}, bool(hint)))
    return trials


def _search(
    trials: Sequence[Trial],
    arguments: tuple[Any, ...],
    n_more: int,
    options: Options,
    progress: Progress,
) -> list[Trials]:
    """Try each effect over its range, and the better ones again near their better points.

    n_more  number of points of the second kind
    """
    progress.start("matching", len(trials), "effect")
    with Pool(Tryer, arguments, options.workers) as pool:
        requests = [Request(key, trial) for key, trial in enumerate(trials)]
        results = pool.run(requests, lambda summary: _report(summary, progress))
        for _ in range(N_ROUNDS_OF_FEW if len(trials) <= N_REFINED else 1):
            ranked = sorted(results, key=lambda key: (_evidence(results[key]), key))[:N_REFINED]
            results |= pool.run([Request(key, None, n_more) for key in ranked])
    progress.finish()
    return [each for _, each in sorted(results.items()) if isinstance(each, Trials)]


def _evidence(summary: Summary) -> float:
    return summary.evidence if isinstance(summary, Trials) else summary.distance


def _report(summary: Summary, progress: Progress) -> None:
    progress.found(summary)
    progress.advance(1)


def _excerpt(dry: Array) -> Array:
    start, end = loudest_window(dry, 0, dry.size, EXCERPT_SAMPLES, SAMPLE_RATE)
    return dry[start:end]


def _at_level(
    explanation: Explanation, ours: Sequence[Array], theirs: Sequence[Array]
) -> Explanation:
    """Adjust the answer to the level of the references."""
    dry, reference = np.concatenate(ours), np.concatenate(theirs)
    stages = match_level(explanation.stages, dry, reference, SAMPLE_RATE)
    return replace(explanation, stages=stages)


def segments_of(audio: Array, most: int, length: int = SEGMENT_SAMPLES) -> list[Array]:
    """Cut up to `most` evenly spaced segments from audio at 24 kHz, without silent ones.

    length  of a segment in samples
    """
    if audio.size <= length:
        return [audio]
    n = max(1, min(4 * most, (audio.size - length) // (length // 2) + 1))
    starts = np.linspace(0, audio.size - length, n).astype(np.int64)
    cut = [audio[s : s + length] for s in starts]
    levels = np.array([rms(each) for each in cut])
    loud = np.flatnonzero(levels > SILENT_SHARE * levels.max())
    indices = loud[np.linspace(0, len(loud) - 1, min(most, len(loud))).astype(np.int64)]
    return [cut[i] for i in indices]
