"""Time methods side by side, print tables, and name the machine.

Methods that are compared alternate, each once per round, in an order that rotates from round to
round, so that other load on the machine affects all of them. Figures are medians over the rounds;
ratios are medians of each round's ratio.
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

Methods = Mapping[str, Callable[[], object]]


@dataclass(frozen=True)
class Timings:
    """Seconds of each method, one value per round."""

    seconds: dict[str, list[float]]

    def median(self, method: str) -> float:
        return statistics.median(self.seconds[method])

    def speed(self, method: str, reference: str) -> float:
        """Return the speed relative to the reference, in the same rounds."""
        pairs = zip(self.seconds[reference], self.seconds[method], strict=True)
        return statistics.median(theirs / own for theirs, own in pairs)


def side_by_side(
    methods: Methods, rounds: int, before: Callable[[], object] | None = None, timed: bool = False
) -> Timings:
    """Time every method once per round; `before` runs ahead of each and is not timed.

    timed  the methods return their seconds themselves
    """
    names = list(methods)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            if before:
                before()
            start = time.perf_counter()
            result = methods[name]()
            spent = time.perf_counter() - start
            seconds[name].append(float(str(result)) if timed else spent)
    return Timings(seconds)


def print_rates(timings: Timings, amount: float, unit: str, reference: str) -> None:
    """Print a Markdown table with the rate of each method, and its ratio to the reference."""
    rows = []
    for method, spent in timings.seconds.items():
        rate = amount / timings.median(method)
        least, most = amount / max(spent), amount / min(spent)
        rows.append(
            (
                method,
                f"{rate:.1f}",
                f"{least:.1f} to {most:.1f}",
                f"{timings.speed(method, reference):.2f}",
            )
        )
    print_table(("method", f"{unit}/s", "range", f"relative to {reference}"), rows)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table with right-aligned numbers."""
    print(f"| {' | '.join(columns)} |")
    print(f"|---|{'---:|' * (len(columns) - 1)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)
    print(flush=True)


def print_header(title: str, *libraries: str) -> None:
    """Print the stage, and a line on the machine and versions."""
    actual = [f"{name} {version(name)}" for name in ("dafxtool", "numpy", *libraries)]
    load = f"load {os.getloadavg()[0]:.1f} before" if hasattr(os, "getloadavg") else "load unknown"
    machine = f"{usable_cores()} cores, {processor()}, {load}"
    print(f"## {title}\n\n{machine}; Python {platform.python_version()}, {', '.join(actual)}\n")


def usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """Return the name of the processor, as far as the system reports it."""
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
    """Return the named folder, or copy the built-in recordings into the scratch folder."""
    if named:
        return named
    from dafxtool.audio.example_recordings import write_clips

    write_clips(scratch / "recordings")
    return scratch / "recordings"


def emptied(folder: Path) -> Callable[[], None]:
    """Return a function that empties a folder and waits until earlier writes reach the disk."""

    def empty() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if hasattr(os, "sync"):
            os.sync()

    return empty


def check(holds: object, what: str) -> None:
    """Exit with an error unless the results are correct."""
    if not holds:
        sys.exit(f"not timed, because the results are wrong: {what}")
