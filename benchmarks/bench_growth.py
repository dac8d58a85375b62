"""Measure time and memory of render and spectrogram as datasets grow.

    python benchmarks/bench_growth.py --recordings FOLDER            # 1,000, 4,000 and 16,000 pairs
    python benchmarks/bench_growth.py --pairs 200 --pairs 800        # smaller
    python benchmarks/bench_growth.py --recordings FOLDER --figure docs/images/growth.png

Both should be constant per pair. Each command is a process of its own, as users start it. Its
memory is the peak of the process or of its largest worker. Larger sizes are extrapolated by a
straight line and marked. Needs about 2 MB of disk for each pair.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from common import options, print_header, print_table, recordings_in

STAGES = ("render", "spectrogram")
SIZES = (1_000, 4_000, 16_000)
BEYOND = 64_000
EFFECTS = ("overdrive", "delay")


@dataclass(frozen=True)
class Spent:
    """Wall-clock seconds and peak memory in MB of one command."""

    seconds: float
    peak_mb: float


def main() -> None:
    parser = options(__doc__, rounds=1)
    parser.add_argument("--pairs", type=int, action="append", help="number of pairs; repeats")
    parser.add_argument("--figure", type=Path, help="file for the figure")
    parser.add_argument("--scratch", type=Path, help="folder for the datasets")
    chosen = parser.parse_args()
    sizes = sorted(chosen.pairs or SIZES)
    print_header("growth", "pedalboard", "torch", "h5py")
    with tempfile.TemporaryDirectory(dir=chosen.scratch) as name:
        scratch = Path(name)
        recordings = recordings_in(chosen.recordings, scratch)
        result = {size: measured(recordings, scratch, size) for size in sizes}
    print_growth(result)
    if chosen.figure:
        draw(result, chosen.figure)


def measured(recordings: Path, scratch: Path, n_pairs: int) -> dict[str, Spent]:
    pairs, spectrograms = scratch / "pairs.h5", scratch / "spectrograms.h5"
    effects = [word for effect in EFFECTS for word in ("--effect", effect)]
    count = str(-(-n_pairs // len(EFFECTS)))
    result = {
        "render": run(
            "render", recordings, *effects, "--pairs-per-effect", count, "--preset", "small",
            "-o", pairs,
        ),
        "spectrogram": run("spectrogram", pairs, "--preset", "small", "--device", "cpu", "-o",
                           spectrograms),
    }  # fmt: skip
    pairs.unlink()
    spectrograms.unlink()
    os.sync()
    return result


def run(*arguments: object) -> Spent:
    command = [sys.executable, "-m", "dafxtool", *map(str, arguments), "--quiet"]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"'{' '.join(command)}' failed")
    unit = 1e6 if sys.platform == "darwin" else 1e3  # bytes there, kilobytes elsewhere
    return Spent(time.perf_counter() - began, usage.ru_maxrss / unit)


def print_growth(result: dict[int, dict[str, Spent]]) -> None:
    rows = []
    for stage in STAGES:
        for size, spent in result.items():
            each = spent[stage]
            rate = 1000 * each.seconds / size
            rows.append(
                (f"{stage}, {size:,}", f"{each.seconds:.1f}", f"{rate:.2f}", f"{each.peak_mb:.0f}")
            )
        seconds, peak = beyond(result, stage)
        row = (f"{seconds:.0f}", f"{1000 * seconds / BEYOND:.2f}", f"{peak:.0f}")
        rows.append((f"{stage}, {BEYOND:,} (extrapolated)", *row))
    print_table(("stage, pairs", "s", "ms a pair", "peak MB"), rows)


def beyond(result: dict[int, dict[str, Spent]], stage: str) -> tuple[float, float]:
    """Extrapolate seconds and MB to BEYOND pairs on the line through the two largest sizes."""
    (small, first), (large, second) = sorted((n, s[stage]) for n, s in result.items())[-2:]
    share = (BEYOND - large) / (large - small)
    return (
        second.seconds + share * (second.seconds - first.seconds),
        second.peak_mb + share * max(0.0, second.peak_mb - first.peak_mb),  # never less
    )


def draw(result: dict[int, dict[str, Spent]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    sizes = list(result)
    for stage in STAGES:
        spent = [result[size][stage] for size in sizes]
        far = beyond(result, stage)
        for axes, values, last in (
            (left, [1000 * s.seconds / n for s, n in zip(spent, sizes, strict=True)],
             1000 * far[0] / BEYOND),
            (right, [s.peak_mb for s in spent], far[1]),
        ):  # fmt: skip
            (line,) = axes.plot(sizes, values, "o-", label=stage)
            colour = line.get_color()
            axes.plot([sizes[-1], BEYOND], [values[-1], last], ":", color=colour)
            axes.plot([BEYOND], [last], "o", color=colour, markerfacecolor="white")
    for axes, title in ((left, "Time (ms a pair)"), (right, "Peak memory of a process (MB)")):
        axes.set_xscale("log")
        axes.set_xticks([*sizes, BEYOND], [f"{size:,}" for size in (*sizes, BEYOND)])
        axes.minorticks_off()
        axes.set_ylim(bottom=0)
        axes.set_xlabel("Pairs (hollow: extrapolated)")
        axes.set_title(title)
        axes.grid(alpha=0.3)
    left.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
