"""References with other words of the same voice."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dafxtool.effects.effect import Effect, sample_setting
from dafxtool.matching.answer import Answer
from dafxtool.matching.chain import OSCILLATOR, Stage, render_chain
from dafxtool.matching.objective import outer_distance
from dafxtool.matching.paired import Options
from dafxtool.matching.unpaired.match import match_like
from matching.figures import median, share
from matching.recordings import EFFECTS, N_SAMPLES, RATE, REAL, Array, Recordings

UNPAIRED = [name for name in REAL if name != "pitch-shift"]
WORSE = 1.001  # ratio above which an answer is worse than no effect


@dataclass(frozen=True)
class Row:
    """One matched recording.

    ratio     MRSTFT distance from the answer to the truth, over that from no effect
    at_best   the same, with the truth at the best of four phases of its oscillator
    """

    name: str
    is_right: bool
    is_left: bool
    ratio: float
    at_best: float
    seconds: float


def effect_known(recordings: Recordings, n_pairs: int) -> None:
    """Measure references with other words of the same voice, where the effect is known."""
    _unpaired(recordings, n_pairs, "known")


def effect_unknown(recordings: Recordings, n_pairs: int) -> None:
    """Measure references with other words of the same voice, where all effects are candidates."""
    _unpaired(recordings, n_pairs, "unknown")


def _unpaired(recordings: Recordings, n_pairs: int, kind: str) -> None:
    """Measure n_pairs recordings with a reference each, one effect after the other.

    The oscillators of truth and answer start with the audio. The second ratio is that to the truth
    at the best of four phases of its oscillator.
    """
    rows: list[Row] = []
    for number in range(recordings.first, recordings.first + n_pairs):
        names = recordings.effects or UNPAIRED
        name = names[number % len(names)]
        row = _match(recordings, number, name, [name] if kind == "known" else UNPAIRED)
        rows.append(row)
    for part_name, part in {
        "all": rows,
        "without an oscillator": [row for row in rows if row.name not in OSCILLATOR],
    }.items():
        ratios = [row.ratio for row in part]
        print(
            f"unpaired, effect {kind}, {part_name}, {len(part)} pairs: right "
            f"{share([row.is_right for row in part])}, left as it is "
            f"{share([row.is_left for row in part])}, MRSTFT ratio to the truth "
            f"{median(ratios):.2f}, mean {np.mean(ratios):.2f}, worse than no effect "
            f"{share([ratio > WORSE for ratio in ratios])}; at the best phase "
            f"{median([row.at_best for row in part]):.2f} and "
            f"{share([row.at_best > WORSE for row in part])}; CPU s "
            f"{median([row.seconds for row in part]):.1f}",
            flush=True,
        )


def _match(recordings: Recordings, number: int, name: str, names: Sequence[str]) -> Row:
    rng = np.random.default_rng(50 + number)
    stage = Stage(EFFECTS[name], sample_setting(EFFECTS[name], rng))
    dry, other = _two_recordings(recordings, number)
    answer, seconds = _match_like(recordings, dry, render_chain([stage], other, RATE), names)
    best = answer.best
    dry = dry[:N_SAMPLES]
    ours = render_chain(best.stages, dry, RATE)
    phases = np.arange(4) / 4 if name in OSCILLATOR else [0.0]
    truths = [render_chain([replace(stage, phase=float(p))], dry, RATE) for p in phases]
    distances = [outer_distance(ours, truth) for truth in truths]
    unprocessed = [outer_distance(dry, truth) for truth in truths]
    ratio, at_best = distances[0] / unprocessed[0], min(distances) / min(unprocessed)
    print(
        f"  {number} {name}: {best.name}, MRSTFT ratio {ratio:.2f}, at the best phase "
        f"{at_best:.2f}",
        flush=True,
    )
    if ratio > WORSE:
        print(f"    true {stage.text()}, answer {best.text}", flush=True)
    return Row(name, best.name == name, not best.stages, ratio, at_best, seconds)


def _two_recordings(recordings: Recordings, number: int) -> tuple[Array, Array]:
    """Return two recordings of one voice with other words."""
    n_samples = round(recordings.seconds * RATE)
    # Each lap over the effects shifts them to other folders.
    both = recordings.dry(number + number // len(UNPAIRED), 2 * n_samples)
    return both[:n_samples], both[n_samples:]


def _match_like(
    recordings: Recordings, dry: Array, reference: Array, names: Sequence[str]
) -> tuple[Answer, float]:
    """Match to a reference with other content; return the answer and the CPU seconds."""
    effects: list[tuple[Effect, dict[str, float]]] = [(EFFECTS[name], {}) for name in names]
    options = Options(effects=effects, level="keep", budget=recordings.budget)
    began = time.process_time()
    answer = match_like(dry, [reference], options)
    return answer, time.process_time() - began


def unpaired_no_effect(recordings: Recordings, n_pairs: int) -> None:
    """Measure how often "leave it" is the answer to unprocessed references with other words."""
    n_left = 0
    for number in range(recordings.first, recordings.first + n_pairs):
        dry, other = _two_recordings(recordings, number)
        answer, _ = _match_like(recordings, dry, other, UNPAIRED)
        n_left += not answer.best.stages
        print(f"  {number}: {answer.effect}", flush=True)
    print(f"unpaired, no effect, {n_pairs} pairs: left {n_left / n_pairs:.2f}", flush=True)
