"""Measure pairs rendered per second, beside a plain loop with pedalboard.

    python benchmarks/bench_render.py                        # the built-in recordings
    python benchmarks/bench_render.py --recordings FOLDER

The loop renders the rows of dafxtool's own file with the same effects and settings: it reads and
resamples complete files with pedalboard until a segment is full, builds the effect, processes, and
writes dry and wet as 32-bit WAV files. dafxtool is timed as a whole, including the scan of all
recordings, the start of the workers and fsync.
"""

from __future__ import annotations

# Workers import this file when they start, so nothing slow is imported at the top.
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import (
    check,
    emptied,
    options,
    print_header,
    print_rates,
    print_table,
    recordings_in,
    side_by_side,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EFFECTS = ("overdrive", "delay")
LOOP = "pedalboard loop"
PEAK = 10 ** (-12 / 20)  # of dry and wet


@dataclass(frozen=True)
class Job:
    """A pair for the loop: the files of its segment, and the effect with its setting."""

    paths: tuple[str, ...]
    offset: int  # in samples, in the first file
    effect: str
    setting: dict[str, float]
    n_used: int  # of the paths, which continue to the end of the track
    n_first: int  # samples of the segment in the first file


def main() -> None:
    parser = options(__doc__, rounds=3)
    parser.add_argument("--pairs", type=int, default=400, help="number of pairs [400]")
    parser.add_argument("--loop-pairs", type=int, help="number of them that the loop renders [all]")
    parser.add_argument("--scratch", type=Path, help="folder for the pairs")
    chosen = parser.parse_args()
    print_header("render", "pedalboard", "h5py")
    with tempfile.TemporaryDirectory(dir=chosen.scratch) as name:
        scratch = Path(name)
        recordings = recordings_in(chosen.recordings, scratch)
        n_loop = min(chosen.pairs, chosen.loop_pairs or chosen.pairs)
        measure(recordings, scratch / "kept", scratch / "made", chosen.pairs, n_loop, chosen.rounds)


def measure(
    recordings: Path, kept: Path, made: Path, n_pairs: int, n_loop: int, rounds: int
) -> None:
    from dafxtool.presets import PRESETS

    preset = PRESETS["default"]
    for workers in (1, 2):
        ours(recordings, kept / f"{workers}.h5", n_pairs, workers)
    check_same(kept / "1.h5", kept / "2.h5")
    check_again(kept / "1.h5", rows=(0, n_pairs // 2 + 1, n_pairs - 1))
    jobs = jobs_of(kept / "1.h5")
    check_loop(kept / "1.h5", jobs[:8], preset.segments.n_samples)
    (kept / "2.h5").unlink()
    some = jobs[:n_loop]
    timings = side_by_side(
        {
            LOOP: lambda: (
                timed(lambda: loop(some, made, preset.segments.n_samples)) * (n_pairs / len(some))
            ),
            "dafxtool, 1 worker": lambda: timed(
                lambda: ours(recordings, made / "pairs.h5", n_pairs, 1)
            ),
            "dafxtool, 2 workers": lambda: timed(
                lambda: ours(recordings, made / "pairs.h5", n_pairs, 2)
            ),
        },
        rounds,
        before=emptied(made),
        timed=True,
    )
    parts = floors(kept / "1.h5", made, jobs)
    seconds = preset.segments.n_samples / preset.segments.sample_rate
    once, n_files, hours = catalogue(recordings)
    print(
        f"{n_pairs} pairs of {seconds:.2f} s, {' and '.join(EFFECTS)}, 24 kHz; {n_files} files of "
        f"{hours:.2f} hours, which dafxtool scans first ({once:.2f} s, within its time)."
        "\n"
    )
    if len(some) < n_pairs:
        print(f"The loop rendered {len(some)} of them.\n")
    print_rates(timings, n_pairs, "pairs", LOOP)
    floor = sum(parts.values())
    print(
        "Each part alone, in one thread: "
        + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in parts.items())
        + f"; together {floor:.1f} s, on two cores {floor / 2:.1f} s.\n"
    )
    rows = [
        (method, f"{timings.median(method):.1f}", f"{timings.median(method) * cores / floor:.2f}")
        for method, cores in (("dafxtool, 1 worker", 1), ("dafxtool, 2 workers", 2))
    ]
    print_table(("method", "wall, s", "times the parts / cores"), rows)


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


# The parts ----------------------------------------------------------------------------------------


def floors(pairs_file: Path, folder: Path, jobs: Sequence[Job]) -> dict[str, float]:
    """Return seconds of decoding (each recording once), of the effects and of writing."""
    import h5py
    import numpy as np

    from dafxtool import storage
    from dafxtool.audio.reader import load_audio

    paths = sorted({path for job in jobs for path in used(job)})
    decode = timed(lambda: [load_audio(Path(path), 24_000) for path in paths])
    with storage.Hdf5Reader(pairs_file, storage.PAIRS) as pairs:
        shape = pairs.row_shape
        dry = pairs.rows(np.arange(0, len(pairs), max(1, len(pairs) // 400)))[:, 0]
    chosen = jobs[:: max(1, len(jobs) // 400)]
    effects = timed(
        lambda: [
            board(job.effect, **job.setting)(sound, 24_000)
            for job, sound in zip(chosen, dry, strict=False)
        ]
    ) * (len(jobs) / min(len(chosen), len(dry)))
    block = np.zeros((16, *shape), np.float32)

    def write() -> None:
        with h5py.File(folder / "written.h5", "w") as file:
            data = file.create_dataset("audio", (len(jobs), *shape), "f4", chunks=(1, *shape))
            for start in range(0, len(jobs), 16):
                data[start : start + 16] = block[: len(jobs) - start]
            file.flush()
            os.fsync(file.id.get_vfd_handle())

    return {"decoding": decode, "effects": effects, "writing": timed(write)}


def used(job: Job) -> tuple[str, ...]:
    """Return the files that contain the segment of a job."""
    return job.paths[: job.n_used]


def ours(recordings: Path, output: Path, n_pairs: int, workers: int) -> None:
    from dafxtool.dataset.render import render
    from dafxtool.effects.builtin import builtin_effects

    known = builtin_effects()
    effects: list[Any] = [(known[name], {}) for name in EFFECTS]
    render([recordings], output, effects, pairs_per_effect=n_pairs // len(effects), workers=workers)


def catalogue(recordings: Path) -> tuple[float, int, float]:
    """Return seconds of the scan of the recordings, their number and their hours."""
    from dafxtool.config import SegmentConfig, SplitConfig
    from dafxtool.dataset.recordings import build_catalogue

    began = time.perf_counter()
    result = build_catalogue([recordings], SegmentConfig(), SplitConfig())
    spent = time.perf_counter() - began
    seconds = sum(each.info.seconds for each in result.recordings)
    return spent, len(result.recordings), seconds / 3600


# The loop -----------------------------------------------------------------------------------------


def loop(jobs: Sequence[Job], folder: Path, n_samples: int) -> None:
    from pedalboard.io import AudioFile

    for number, job in enumerate(jobs):
        for kind, sound in zip(("dry", "wet"), rendered(job, n_samples), strict=True):
            path = str(folder / f"{number:06d}_{kind}.wav")
            with AudioFile(path, "w", 24_000, 1, bit_depth=32) as file:
                file.write(sound)


def rendered(job: Job, n_samples: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    dry = at_peak(segment(job, n_samples))
    return dry, at_peak(board(job.effect, **job.setting)(dry, 24_000))


def segment(job: Job, n_samples: int) -> NDArray[np.float32]:
    """Read and resample complete files with pedalboard, and cut the segment."""
    import numpy as np
    from pedalboard.io import AudioFile

    pieces: list[NDArray[np.float32]] = []
    for path in job.paths:
        with AudioFile(path).resampled_to(24_000) as file:
            piece = file.read(file.frames)[0]
        pieces.append(piece if pieces else piece[job.offset :])
        if sum(map(len, pieces)) >= n_samples:
            break
    complete = np.concatenate(pieces)[:n_samples]
    return np.pad(complete, (0, n_samples - len(complete)))


def board(effect: str, **setting: float) -> Any:
    import pedalboard

    if effect == "delay":
        seconds = (round(setting["time"] * 24) + 0.5) / 24_000
        stages: list[Any] = [
            pedalboard.Delay(seconds, setting["feedback"] / 100, setting["mix"] / 100)
        ]
    else:
        stages = [
            pedalboard.Distortion(setting["drive"]),
            pedalboard.LowpassFilter(setting["tone"]),
            pedalboard.Gain(setting["output"]),
        ]
    return pedalboard.Pedalboard(stages)


def at_peak(sound: NDArray[np.float32]) -> NDArray[np.float32]:
    import numpy as np

    return (sound * np.float32(PEAK / np.abs(sound).max())).astype(np.float32)


def jobs_of(pairs_file: Path) -> list[Job]:
    """Convert the rows of a pairs file to jobs of the loop."""
    from dafxtool import storage

    with storage.Hdf5Reader(pairs_file, storage.PAIRS) as pairs:
        labels, n_samples = pairs.labels, pairs.row_shape[1]
    tracks: dict[int, list[int]] = {}
    for index, recording in enumerate(labels.recordings):
        tracks.setdefault(recording["track"], []).append(index)
    jobs = []
    for row in range(len(labels)):
        first = int(labels.recording[row])
        members = tracks[labels.recordings[first]["track"]]
        paths = [str(labels.recordings[i]["path"]) for i in members[members.index(first) :]]
        left, n_used = n_samples + int(labels.offset[row]), 0
        for index in members[members.index(first) :]:
            n_used += 1
            left -= int(labels.recordings[index]["n_samples"])
            if left <= 0:
                break
        jobs.append(
            Job(
                tuple(paths),
                int(labels.offset[row]),
                labels.effect_of(row),
                labels.setting_of(row),
                n_used,
                int(labels.recordings[first]["n_samples"]) - int(labels.offset[row]),
            )
        )
    return jobs


# Checks -------------------------------------------------------------------------------------------


def check_same(one: Path, other: Path) -> None:
    import numpy as np

    from dafxtool import storage

    with storage.Hdf5Reader(one, storage.PAIRS) as a, storage.Hdf5Reader(other, storage.PAIRS) as b:
        parts = [slice(i, i + 64) for i in range(0, len(a), 64)]
        same = all(np.array_equal(a.rows(part), b.rows(part)) for part in parts)
        check(same and len(a) == len(b), "1 worker and 2 workers render different pairs")


def check_again(path: Path, rows: Sequence[int]) -> None:
    import numpy as np

    from dafxtool import storage
    from dafxtool.dataset.render import rerender_row

    for row in rows:
        with storage.Hdf5Reader(path, storage.PAIRS) as pairs:
            stored = pairs.rows(slice(row, row + 1))[0]
        check(np.array_equal(rerender_row(path, row), stored), f"row {row} renders differently")


def check_loop(path: Path, jobs: Sequence[Job], n_samples: int) -> None:
    """Check that the loop gives the same audio, up to its resampling and missing fades."""
    import numpy as np

    from dafxtool import storage

    with storage.Hdf5Reader(path, storage.PAIRS) as pairs:
        stored = pairs.rows(slice(0, len(jobs)))
    for job, pair in zip(jobs, stored, strict=True):
        # Aliases of pedalboard's resampling are distorted like the rest.
        for theirs, sound, least in zip(rendered(job, n_samples), pair, (0.95, 0.8), strict=True):
            # It shortens each recording by a sample, so later ones are too early.
            likeness = float(np.corrcoef(theirs[: job.n_first], sound[: job.n_first])[0, 1])
            check(likeness > least, f"the loop's {job.effect} correlates only with {likeness:.3f}")


if __name__ == "__main__":
    main()
