"""What the benchmarks share: timing side by side, tables, the line that names the machine.

Ways that are compared are timed in turns, each once a round, in an order that turns by one from
round to round: what else the machine does then falls on all of them. Figures are medians over the
rounds, ratios are medians of each round's ratio.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

Ways = Mapping[str, Callable[[], object]]


@dataclass(frozen=True)
class Timings:
    """Seconds of each way, one value a round."""

    seconds: dict[str, list[float]]

    def median(self, way: str) -> float:
        return statistics.median(self.seconds[way])

    def speed(self, way: str, reference: str) -> float:
        """How many times as quick as the reference, measured in the same rounds."""
        pairs = zip(self.seconds[reference], self.seconds[way], strict=True)
        return statistics.median(theirs / ours for theirs, ours in pairs)


def side_by_side(
    ways: Ways, rounds: int, before: Callable[[], object] | None = None, timed: bool = False
) -> Timings:
    """Time every way once a round; what `before` does ahead of each is not timed.

    timed  the ways return their seconds themselves
    """
    names = list(ways)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            if before:
                before()
            began = time.perf_counter()
            result = ways[name]()
            spent = time.perf_counter() - began
            seconds[name].append(float(str(result)) if timed else spent)
    return Timings(seconds)


def print_rates(timings: Timings, amount: float, unit: str, reference: str) -> None:
    """A Markdown table: the rate of each way, and how it compares with the reference."""
    rows = []
    for way, spent in timings.seconds.items():
        rate = amount / timings.median(way)
        least, most = amount / max(spent), amount / min(spent)
        rows.append(
            (
                way,
                f"{rate:.1f}",
                f"{least:.1f} to {most:.1f}",
                f"{timings.speed(way, reference):.2f}",
            )
        )
    print_table(("way", f"{unit}/s", "least to most", f"times {reference!r}"), rows)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A Markdown table, numbers to the right."""
    print(f"| {' | '.join(columns)} |")
    print(f"|---|{'---:|' * (len(columns) - 1)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)
    print(flush=True)


def print_header(title: str, *libraries: str) -> None:
    """The stage, and a line that says on what it was measured."""
    found = [f"{name} {version(name)}" for name in ("dafxtool", "numpy", *libraries)]
    load = f"load {os.getloadavg()[0]:.1f} before" if hasattr(os, "getloadavg") else "load unknown"
    machine = f"{usable_cores()} cores, {processor()}, {load}"
    print(f"## {title}\n\n{machine}; Python {platform.python_version()}, {', '.join(found)}\n")


def usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """Its name, where the system tells."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def options(
    description: str | None, rounds: int, recordings: bool = True
) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=rounds, help=f"timed rounds [{rounds}]")
    if recordings:
        parser.add_argument(
            "--recordings", type=Path, help="folder of recordings; else the built-in ones"
        )
    return parser


def recordings_in(named: Path | None, scratch: Path) -> Path:
    """The folder that was named, or the built-in recordings, copied into the scratch folder."""
    if named:
        return named
    from dafxtool.audio.example_recordings import write_clips

    write_clips(scratch / "recordings")
    return scratch / "recordings"


def emptied(folder: Path) -> Callable[[], None]:
    """Empties the folder, and waits until nothing of earlier work is left to be written."""

    def empty() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if hasattr(os, "sync"):
            os.sync()

    return empty


def check(holds: object, what: str) -> None:
    """Nothing that is wrong is timed."""
    if not holds:
        sys.exit(f"not timed, because it is wrong: {what}")
