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
from pathlib import Path

from matching.chains import chains_of_three, chains_of_two
from matching.no_effect import no_effect
from matching.paired import paired
from matching.plugins import PLUGINS, plugins
from matching.recordings import REAL, Recordings
from matching.unpaired import effect_known, effect_unknown, unpaired_no_effect

PARTS = {
    "paired": paired,
    "chains-of-two": chains_of_two,
    "chains-of-three": chains_of_three,
    "unpaired-known": effect_known,
    "unpaired-unknown": effect_unknown,
    "unpaired-no-effect": unpaired_no_effect,
    "plugin": plugins,
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
        help="number of the first pair [0]",
    )
    parser.add_argument(
        "--seconds", type=float, default=60, help="length of unpaired recordings in s [60]"
    )
    parser.add_argument("--budget", default="default", help="fast, default or thorough [default]")
    parser.add_argument(
        "--effect",
        action="append",
        choices=REAL,
        metavar="NAME",
        help="effect of the pairs with one effect [all]",
    )
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
        arguments.plugin or (),
        arguments.effect or (),
        arguments.first,
        arguments.seed,
        not arguments.no_baselines,
    )
    for name in [arguments.part] if arguments.part else PARTS:
        PARTS[name](recordings, arguments.pairs)


if __name__ == "__main__":
    main()
