"""Measure matching against its goals, beside simple baselines.

Every line compares `dafxtool match`, in one run on the same pairs, with four baselines: no effect,
random settings of the right effect, a plain CMA-ES (package `cma`, same number of evaluations,
effect known), and a matched equaliser. Pairs are recordings of a folder, 5.46 s at 24 kHz, with
random settings.

    python benchmarks/bench_match.py recordings --pairs 20
    python benchmarks/bench_match.py recordings --part chains-of-two --pairs 20 --seed 3
    python benchmarks/bench_match.py recordings --part plugin --plugin ZamDelay --pairs 2
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from dafxtool.audio.find_recordings import find_recordings
from dafxtool.audio.io import load_audio
from dafxtool.audio.resample import resample
from dafxtool.audio.writer import save_audio
from dafxtool.effects.apply import known_effects
from dafxtool.effects.builtin import builtin_effects
from dafxtool.effects.effect import sample_setting
from dafxtool.errors import DafxError
from dafxtool.matching.answer import Answer
from dafxtool.matching.chain import LINEAR, OSCILLATOR, Stage, render_chain
from dafxtool.matching.objective import (
    Objective,
    frames,
    hann,
    outer_distance,
    rms,
)
from dafxtool.matching.paired import Options, match_pair
from dafxtool.matching.prepare import Prepared, align
from dafxtool.matching.unpaired.match import match_like

RATE, N_SAMPLES = 24_000, 131_072
SAME = 0.01  # share of the distance below which two results sound the same
AUDIBLE = 0.01  # objective of the unprocessed recording above which an effect is audible
EFFECTS = {name: effect.at(RATE) for name, effect in builtin_effects().items()}
REAL = [name for name in EFFECTS if name not in ("clean", "gain")]
UNPAIRED = [name for name in REAL if name != "pitch-shift"]
WORSE = 1.001  # ratio above which an answer is worse than no effect
IN_CHAINS = (
    *("overdrive", "distortion", "bit-crusher", "delay", "reverb", "chorus", "flanger", "phaser"),
    *("tremolo", "compressor", "combo", "low-pass", "high-pass", "low-shelf", "high-shelf", "peak"),
)
LOSSY = {"mp3": ("-b:a", "128k"), "ogg": ("-q:a", "4")}
PLUGINS = ("ZamDelay", "ZamComp", "ZamEQ2", "ZamGate", "ZamTube", "ZamGrains", "ZamCompX2")
PLUGIN_FOLDER = Path("/usr/lib/vst3")
EXACT = frozenset({"time", "rate", "frequency"})  # expected within a thousandth
Array = NDArray[np.float32]


class Recordings:
    """Dry segments of a folder's recordings, chosen by number.

    seconds  duration of dry recording and reference with other content
    budget   length of the searches of unpaired recordings and of plugins
    plugins  names of the VST3 files to measure
    first    number of the first pair of all parts but those of one effect and of plugins
    seed     of effects and settings
    with_baselines
             whether pairs of one effect are matched by the baselines, too
    """

    def __init__(
        self,
        folders: Sequence[Path],
        seconds: float,
        budget: str,
        plugins: Sequence[str] = PLUGINS,
        first: int = 0,
        seed: int = 0,
        with_baselines: bool = True,
    ) -> None:
        self.files = find_recordings(folders)
        self.folders = sorted({path.parent for path in self.files})
        self.seconds, self.budget, self.plugins, self.first = seconds, budget, plugins, first
        self.seed, self.with_baselines = seed, with_baselines

    def dry(self, number: int, n_samples: int = N_SAMPLES) -> Array:
        """Join recordings of one folder; the result peaks at -12 dBFS."""
        rng = np.random.default_rng(1000 + number)
        folder = self.folders[number % len(self.folders)]
        files = [path for path in self.files if path.parent == folder]
        parts: list[Array] = []
        for index in rng.permutation(len(files)).tolist() * 8:
            try:
                samples, _ = load_audio(files[index], RATE)
            except DafxError:
                continue
            if rms(samples) < 0.003:
                continue
            first = int(rng.integers(max(1, samples.size - n_samples)))
            part = samples[first : first + n_samples]
            if rms(part) < 0.003:
                continue
            parts.append(part)
            if sum(part.size for part in parts) >= n_samples:
                break
        joined = np.concatenate(parts)
        joined = np.resize(joined, n_samples)
        return (0.25 * joined / np.abs(joined).max()).astype(np.float32)


def paired(recordings: Recordings, n_pairs: int) -> None:
    """Measure pairs with one effect: recognition, errors of the settings, time."""
    rows = []
    errors: dict[str, list[float]] = {"parts of the range": [], "times, rates, frequencies": []}
    others: dict[str, list[float]] = {name: [] for name in BASELINES}
    for name in REAL:
        done, number = 0, 0
        while done < n_pairs and number < 3 * n_pairs:
            rng = np.random.default_rng(77 + 1000 * recordings.seed + number)
            dry, stage = (
                recordings.dry(number),
                Stage(EFFECTS[name], sample_setting(EFFECTS[name], rng)),
            )
            number += 1
            wet = render_chain([stage], dry, RATE)
            if Objective(wet).distance(dry) < AUDIBLE:
                continue
            done += 1
            began = time.process_time()
            answer = match_pair(Prepared(dry, wet, RATE, 1.0, 0, 0, dry.size), Options())
            seconds = time.process_time() - began
            unprocessed = outer_distance(dry, wet)
            is_right = answer.best.stages[:1] and answer.best.stages[0].effect.name == name
            rows.append(
                (name, bool(is_right), answer.distance / unprocessed, answer.evaluations, seconds)
            )
            if is_right:
                _note_errors(errors, stage, answer.best.stages[0])
            for baseline, function in BASELINES.items() if recordings.with_baselines else ():
                ours = function(dry, wet, stage, answer.evaluations, rng)
                if ours is not None:
                    others[baseline].append(outer_distance(ours, wet) / unprocessed)
            if not is_right:
                print(f"    {stage.text()}: {answer.best.text}")
        part = [row for row in rows if row[0] == name]
        print(
            f"  {name:15} {sum(row[1] for row in part)} of {len(part)} right, MRSTFT ratio median "
            f"{_median(part, 2):.4f}, worst {_worst(part, 2):.3f}, evaluations "
            f"{_median(part, 3):.0f}, CPU s {_median(part, 4):.1f}",
            flush=True,
        )
    print(f"paired, {len(rows)} pairs: effect right {_share(rows, 1)}")
    print(f"  relative MRSTFT: median {_median(rows, 2):.4f}, worst {_worst(rows, 2):.3f}")
    for kind, values in errors.items():
        print(f"  median error of {kind}: {np.median(values):.2g}")
    print(
        f"  evaluations: median {_median(rows, 3):.0f}, most {_worst(rows, 3):.0f}; CPU s: median "
        f"{_median(rows, 4):.1f}, most {_worst(rows, 4):.1f}"
    )
    for baseline, ratios in others.items():
        if ratios:
            print(f"  {baseline}: median {np.median(ratios):.3f}, worst {max(ratios):.2f}")


def _note_errors(errors: dict[str, list[float]], truth: Stage, results: Stage) -> None:
    for p in truth.effect.parameters:
        true, ours = truth.setting[p.name], results.setting[p.name]
        difference = abs(p.to_normalised(true) - p.to_normalised(ours))
        errors["parts of the range"].append(difference)
        if p.name in EXACT:
            errors["times, rates, frequencies"].append(abs(ours / true - 1))


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
    rows = []
    for number in range(recordings.first, recordings.first + n_pairs):
        stages, dry, wet = draw_chain(recordings, number, length)
        began = time.process_time()
        pair = Prepared(dry, wet, RATE, 1.0, 0, 0, dry.size)
        answer = match_pair(pair, Options(chain=length))
        seconds = time.process_time() - began
        results = [s.effect.name for s in answer.best.stages if s.effect.name != "gain"]
        truth = [stage.effect.name for stage in stages]
        is_right = _in_one_order(results) == _in_one_order(truth)
        ratio = answer.distance / answer.distance_unprocessed
        is_same = is_right or ratio < SAME
        are_effects = sorted(results) == sorted(truth)
        rows.append((is_same, is_right, ratio, answer.evaluations, seconds, are_effects))
        print(
            f"  {' > '.join(truth)}: {' > '.join(results)}, MRSTFT ratio {ratio:.3f}, "
            f"evaluations {answer.evaluations}, CPU s {seconds:.0f}",
            flush=True,
        )
    print(
        f"chains of {length}, {len(rows)} pairs: right {_share(rows, 1)}, right in any order "
        f"{_share(rows, 5)}, right or the same sound {_share(rows, 0)}, MRSTFT ratio median "
        f"{_median(rows, 2):.3f}, worst {_worst(rows, 2):.3f}, evaluations "
        f"{_median(rows, 3):.0f}, CPU s {_median(rows, 4):.0f}",
        flush=True,
    )


def _in_one_order(names: Sequence[str]) -> list[str]:
    """Sort linear time-invariant effects that follow each other."""
    runs = itertools.groupby(names, key=lambda name: name in LINEAR)
    return [name for linear, run in runs for name in (sorted(run) if linear else run)]


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
    rows = []
    for number in range(recordings.first, recordings.first + n_pairs):
        name = UNPAIRED[number % len(UNPAIRED)]
        stage, row = _unpaired_row(
            recordings, number, name, [name] if kind == "known" else UNPAIRED
        )
        rows.append(row)
        print(
            f"  {number} {name}: {row[5].name}, MRSTFT ratio {row[2]:.2f}, at the best phase "
            f"{row[6]:.2f}",
            flush=True,
        )
        if row[2] > WORSE:
            print(f"    true {stage.text()}, answer {row[5].text}", flush=True)
    for part_name, part in {
        "all": rows,
        "without an oscillator": [row for row in rows if row[0] not in OSCILLATOR],
    }.items():
        worse, worse_phase = (np.mean([row[i] > WORSE for row in part]) for i in (2, 6))
        print(
            f"unpaired, effect {kind}, {part_name}, {len(part)} pairs: right {_share(part, 1)}, "
            f"left as it is {_share(part, 3)}, MRSTFT ratio to the truth {_median(part, 2):.2f}, "
            f"mean {np.mean([row[2] for row in part]):.2f}, worse than no effect {worse:.3f}; at "
            f"the best phase {_median(part, 6):.2f} and {worse_phase:.3f}; CPU s "
            f"{_median(part, 4):.1f}",
            flush=True,
        )


def _unpaired_row(
    recordings: Recordings, number: int, name: str, names: Sequence[str]
) -> tuple[Stage, tuple]:
    rng = np.random.default_rng(50 + number)
    stage = Stage(EFFECTS[name], sample_setting(EFFECTS[name], rng))
    dry, other = _two_recordings(recordings, number)
    answer, seconds = _unpaired_match(recordings, dry, render_chain([stage], other, RATE), names)
    dry = dry[:N_SAMPLES]
    ours = render_chain(answer.best.stages, dry, RATE)
    phases = np.arange(4) / 4 if name in OSCILLATOR else [0.0]
    truths = [render_chain([replace(stage, phase=float(p))], dry, RATE) for p in phases]
    distances = [outer_distance(ours, truth) for truth in truths]
    unprocessed = [outer_distance(dry, truth) for truth in truths]
    ratio, at_best = distances[0] / unprocessed[0], min(distances) / min(unprocessed)
    is_right, is_left = answer.best.name == name, not answer.best.stages
    return stage, (name, is_right, ratio, is_left, seconds, answer.best, at_best)


def _two_recordings(recordings: Recordings, number: int) -> tuple[Array, Array]:
    """Return two recordings of one voice with other words."""
    n_samples = round(recordings.seconds * RATE)
    # Each lap over the effects shifts them to other folders.
    both = recordings.dry(number + number // len(UNPAIRED), 2 * n_samples)
    return both[:n_samples], both[n_samples:]


def _unpaired_match(
    recordings: Recordings, dry: Array, reference: Array, names: Sequence[str]
) -> tuple[Answer, float]:
    """Match to a reference with other content; return the answer and the CPU seconds."""
    effects = [(EFFECTS[name], {}) for name in names]
    options = Options(effects=effects, level="keep", budget=recordings.budget)
    began = time.process_time()
    answer = match_like(dry, [reference], options)
    return answer, time.process_time() - began


def unpaired_no_effect(recordings: Recordings, n_pairs: int) -> None:
    """Measure how often "leave it" is the answer to unprocessed references with other words."""
    n_left = 0
    for number in range(recordings.first, recordings.first + n_pairs):
        dry, other = _two_recordings(recordings, number)
        answer, _ = _unpaired_match(recordings, dry, other, UNPAIRED)
        n_left += not answer.best.stages
        print(f"  {number}: {answer.effect}", flush=True)
    print(f"unpaired, no effect, {n_pairs} pairs: left {n_left / n_pairs:.2f}", flush=True)


def plugin(recordings: Recordings, n_pairs: int) -> None:
    """Measure pairs with plugins of zam-plugins, where they are installed."""
    for name in recordings.plugins:
        path = PLUGIN_FOLDER / f"{name}.vst3"
        if not path.exists():
            print(f"  {name}: not installed")
            continue
        effects = [e for e in known_effects([path], RATE).values() if e.plugin]
        rows: list[tuple] = []
        effect = effects[0]
        for number in range(3 * n_pairs):
            if len(rows) == n_pairs:
                break
            rng = np.random.default_rng(300 + number)
            dry = recordings.dry(number)
            wet = render_chain([Stage(effect, sample_setting(effect, rng))], dry, RATE)
            if Objective(wet).distance(dry) < AUDIBLE:
                continue
            pair = Prepared(dry, wet, RATE, 1.0, 0, 0, dry.size)
            began = time.process_time()
            answer = match_pair(pair, Options(effects=[(effect, {})], budget=recordings.budget))
            seconds = time.process_time() - began
            rows.append((name, answer.distance / answer.distance_unprocessed, answer.evaluations))
            print(
                f"  {name}: MRSTFT ratio {rows[-1][1]:.4f}, {rows[-1][2]} evaluations, CPU s "
                f"{seconds:.0f}",
                flush=True,
            )
        print(
            f"plugin {name}, {len(effects[0].parameters)} parameters, {len(rows)} pairs: MRSTFT "
            f"ratio median {_median(rows, 1):.3f}, worst {_worst(rows, 1):.2f}, evaluations "
            f"{_median(rows, 2):.0f}",
            flush=True,
        )


def no_effect(recordings: Recordings, n_pairs: int) -> None:
    """Measure how often "leave it" is the answer to copies, resampled copies and noise."""
    rows = []
    for number in range(recordings.first, recordings.first + n_pairs):
        dry = recordings.dry(number)
        noise = np.random.default_rng(number).standard_normal(dry.size).astype(np.float32)
        lower = resample(resample(dry, RATE, 16_000), 16_000, RATE)[: dry.size]
        kinds = {
            "same file": (dry, 1.0),
            "noise at -50 dB": (dry + np.float32(10**-2.5 * rms(dry)) * noise, 1.0),
            "16 bits": (np.round(dry * 32768).astype(np.float32) / 32768, 1.0),
            "resampled": (np.pad(lower, (0, dry.size - lower.size)), 0.63),
        }
        for name, options in LOSSY.items():
            copy = _lossy_copy(dry, name, options)
            if copy is not None:
                kinds[name] = (copy, 1.0)
        for kind, (wet, highest) in kinds.items():
            # A copy may be early or late by the delay of its encoder.
            pair = align(dry, wet, RATE, highest, ("dry", kind))
            answer = match_pair(pair, Options())
            left = not [s for s in answer.best.stages if s.effect.name != "gain"]
            rows.append((kind, left))
            if not left:
                print(f"  {kind}: {answer.best.text} ({answer.verdict})", flush=True)
        n_left = sum(left for _, left in rows)
        print(f"  recording {number}: left {n_left} of {len(rows)}", flush=True)
    for kind in dict.fromkeys(row[0] for row in rows):
        part = [row for row in rows if row[0] == kind]
        print(f"  {kind}: left {_share(part, 1)} of {len(part)}")
    print(f"no effect, {len(rows)} pairs: left {_share(rows, 1)}")


def _lossy_copy(dry: Array, suffix: str, options: Sequence[str]) -> Array | None:
    """Return dry after encoding and decoding with ffmpeg; None where it is not installed."""
    if shutil.which("ffmpeg") is None:
        return None
    with TemporaryDirectory() as folder:
        source, copy, back = (Path(folder) / name for name in ("a.wav", f"b.{suffix}", "c.wav"))
        save_audio(source, dry, RATE)
        for arguments in ([source, *options, copy], [copy, "-ar", str(RATE), back]):
            command = ["ffmpeg", "-v", "error", "-y", "-i", *map(str, arguments)]
            subprocess.run(command, check=True)
        samples = load_audio(back, RATE)[0]
    return np.pad(samples[: dry.size], (0, max(0, dry.size - samples.size)))


# --- baselines ----------------------------------------------------------------------------------


def _random_setting(
    dry: Array, wet: Array, truth: Stage, n: int, rng: np.random.Generator
) -> Array | None:
    setting = sample_setting(truth.effect, rng)
    return render_chain([Stage(truth.effect, setting)], dry, RATE)


def _plain_cma(
    dry: Array, wet: Array, truth: Stage, n: int, rng: np.random.Generator
) -> Array | None:
    """Return the result of CMA-ES over the normalised settings of the right effect."""
    try:
        import cma
    except ImportError:
        return None
    free = truth.effect.parameters
    if len(free) < 2 or truth.effect.name == "pitch-shift":
        return None
    objective = Objective(wet)

    def rendered(position: Sequence[float]) -> Array:
        values = {p.name: p.from_normalised(float(u)) for p, u in zip(free, position, strict=True)}
        return render_chain([Stage(truth.effect, values)], dry, RATE)

    options = {"bounds": [0, 1], "maxfevals": n, "verbose": -9, "seed": 1}
    search = cma.CMAEvolutionStrategy([0.5] * len(free), 0.25, options)
    while not search.stop():
        points = search.ask()
        search.tell(points, [objective.distance(rendered(point)) for point in points])
    return rendered(search.result.xbest)


def _matched_equaliser(
    dry: Array, wet: Array, truth: Stage, n: int, rng: np.random.Generator
) -> Array | None:
    """Return the dry audio with the mean spectrum of the wet one."""
    length = 1024
    window = hann(length)
    ours, theirs = (
        np.sqrt(np.square(np.abs(scipy.fft.rfft(frames(x, length, 512) * window))).mean(axis=0))
        for x in (dry, wet)
    )
    impulse = scipy.fft.irfft(theirs / (ours + 1e-4 * ours.max()))
    impulse = np.roll(impulse, length // 2) * window
    from scipy.signal import oaconvolve

    filtered = oaconvolve(dry, impulse)[length // 2 : length // 2 + dry.size]
    return filtered.astype(np.float32)


BASELINES: dict[str, Callable[..., Array | None]] = {
    "random settings of the right effect": _random_setting,
    "plain CMA-ES, effect known": _plain_cma,
    "matched equaliser": _matched_equaliser,
}


def _share(rows: Sequence[tuple], column: int) -> str:
    return f"{np.mean([row[column] for row in rows]):.2f}" if rows else "-"


def _median(rows: Sequence[tuple], column: int) -> float:
    return float(np.median([row[column] for row in rows])) if rows else float("nan")


def _worst(rows: Sequence[tuple], column: int) -> float:
    return float(max(row[column] for row in rows)) if rows else float("nan")


PARTS = {
    "paired": paired,
    "chains-of-two": chains_of_two,
    "chains-of-three": chains_of_three,
    "unpaired-known": effect_known,
    "unpaired-unknown": effect_unknown,
    "unpaired-no-effect": unpaired_no_effect,
    "plugin": plugin,
    "no-effect": no_effect,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "recordings", type=Path, nargs="+", help="folders with a folder per speaker"
    )
    parser.add_argument("--part", choices=PARTS, help="part to measure [all]")
    parser.add_argument(
        "--pairs", type=int, default=20, help="pairs of each effect or kind, or in all [20]"
    )
    parser.add_argument(
        "--first",
        type=int,
        default=0,
        help="number of the first pair, but for one effect and plugins [0]",
    )
    parser.add_argument(
        "--seconds", type=float, default=60, help="length of unpaired recordings in s [60]"
    )
    parser.add_argument("--budget", default="default", help="fast, default or thorough [default]")
    parser.add_argument(
        "--plugin", action="append", metavar="NAME", help=f"plugin: {', '.join(PLUGINS)} [all]"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of effects and settings [0]")
    parser.add_argument("--no-baselines", action="store_true", help="leave out the baselines")
    arguments = parser.parse_args()
    recordings = Recordings(
        arguments.recordings,
        arguments.seconds,
        arguments.budget,
        arguments.plugin or PLUGINS,
        arguments.first,
        arguments.seed,
        not arguments.no_baselines,
    )
    for name in [arguments.part] if arguments.part else PARTS:
        PARTS[name](recordings, arguments.pairs)


if __name__ == "__main__":
    main()
