"""Run the whole pipeline once, small, on the built-in recordings."""

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


@click.command(short_help="Run the whole pipeline once, small.")
@output_option("dafxtool-demo", "The folder.")
@seed_option()
@workers_option
@device_option
@overwrite_option
@json_option
@quiet_option
def command(output: Path | None, as_json: bool, quiet: bool, **options: Any) -> None:
    """Run the whole pipeline on the built-in recordings: render, train, map, interpolate, invert.

    Takes two to three minutes on two cores and ends with a table of what was written. Every step
    is what its command does; only the dataset is small. A second call completes what an interrupted
    one left. --overwrite runs all steps again.

    \b
    Examples:
      dafxtool demo
      dafxtool demo -o somewhere --seed 1
    """
    from dafxtool.utils.outputs import check_folder

    output = output or Path("dafxtool-demo")
    check_folder(output, overwrite=True)
    from dafxtool.demo import demo

    result = demo(output, progress=progress_from(quiet), **options)
    rows = [
        (step, f"{seconds:.0f} s", str(path), what) for step, seconds, path, what in result.written
    ]
    total = sum(seconds for _, seconds, _, _ in result.written)
    report(
        {"folder": result.folder, "written": result.written, "n_bytes": result.n_bytes},
        as_json,
        [
            Table(("step", "time", "written", "what"), rows, right=("time",)),
            f"{total:.0f} s and {result.n_bytes / 1e6:.0f} MB in {result.folder}. Look at "
            f"{result.folder / 'interpolation-effects.png'}, listen to "
            f"{result.folder / 'interpolation-effects'}.",
        ],
    )
