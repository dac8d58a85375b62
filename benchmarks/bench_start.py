"""Measure the start of `dafxtool --help`, beside Python alone and Python with click.

python benchmarks/bench_start.py
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from common import Timings, check, options, print_header, print_table, side_by_side

CLICK = 'python -c "import click"'
HEAVY = ("torch", "matplotlib", "numpy", "pedalboard", "scipy", "h5py")


def main() -> None:
    chosen = options(__doc__, rounds=15, recordings=False).parse_args()
    print_header("start", "click")
    program = Path(sys.executable).with_name("dafxtool")
    helped = [str(program)] if program.exists() else [sys.executable, "-m", "dafxtool"]
    check_help([*helped, "--help"])
    commands = {
        'python -c ""': [sys.executable, "-c", ""],
        CLICK: [sys.executable, "-c", "import click"],
        "dafxtool --help": [*helped, "--help"],
        "dafxtool render --help": [*helped, "render", "--help"],
    }
    timings = side_by_side({name: runs(words) for name, words in commands.items()}, chosen.rounds)
    print_milliseconds(timings)


def runs(words: list[str]) -> Callable[[], object]:
    return lambda: subprocess.run(words, check=True, capture_output=True)


def check_help(words: list[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True)
    check(done.returncode == 0 and "Usage: " in done.stdout, "the help is missing")
    looked = [sys.executable, "-X", "importtime", "-m", "dafxtool", "--help"]
    imported = subprocess.run(looked, capture_output=True, text=True).stderr
    names = {line.rpartition("|")[2].strip() for line in imported.splitlines()}
    check(not names & set(HEAVY), f"help imports {', '.join(sorted(names & set(HEAVY)))}")


def print_milliseconds(timings: Timings) -> None:
    rows = []
    for method, spent in timings.seconds.items():
        least, most = 1000 * min(spent), 1000 * max(spent)
        beside = 1 / timings.speed(method, CLICK)
        middle = 1000 * timings.median(method)
        rows.append((f"`{method}`", f"{middle:.0f}", f"{least:.0f} to {most:.0f}", f"{beside:.2f}"))
    print_table(("command", "ms", "range", "relative to click"), rows)


if __name__ == "__main__":
    main()
