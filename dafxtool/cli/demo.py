"""dafxtool demo: the whole way once, small, on the built-in corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dafxtool.cli._options import (
    device_option,
    json_option,
    output_option,
    overwrite_option,
    quiet_option,
    seed_option,
    workers_option,
)
from dafxtool.cli._output import Table, progress_from, report


@click.command(short_help="Go the whole way once, small.")
@output_option("dafxtool-demo", "The folder.")
@seed_option()
@workers_option
@device_option
@overwrite_option
@json_option
@quiet_option
def command(output: Path | None, as_json: bool, quiet: bool, **options: Any) -> None:
    """Go the whole way once on a built-in corpus: render, train, map, interpolate, invert.

    Takes under three minutes on two cores and ends with a table of what was written. Every step is
    what its command does; only the dataset is small.

    \b
    Examples:
      dafxtool demo
      dafxtool demo -o somewhere --seed 1
    """
    from dafxtool.demo import demo

    result = demo(output or Path("dafxtool-demo"), progress=progress_from(quiet), **options)
    rows = [
        (step, f"{seconds:.0f} s", str(path), what) for step, seconds, path, what in result.written
    ]
    total = sum(seconds for _, seconds, _, _ in result.written)
    report(
        {"folder": result.folder, "written": result.written},
        as_json,
        [
            Table(("step", "time", "written", "what"), rows, right=("time",)),
            f"{total:.0f} s in all. Look at {result.folder / 'interpolation-effects.png'}, "
            f"listen to {result.folder / 'interpolation-effects'}.",
        ],
    )
