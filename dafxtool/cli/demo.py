"""Define the command `dafxtool demo`: run the whole pipeline, small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from dafxtool.cli._options import (
    device_option,
    json_option,
    output_option,
    overwrite_option,
    progress_options,
    seed_option,
    workers_option,
)
from dafxtool.cli._output import Table, progress_from, report


@click.command(short_help="Run the whole pipeline once, small.")
@output_option("dafxtool-demo", "Output folder.")
@seed_option()
@workers_option
@device_option
@overwrite_option
@json_option
@progress_options
def command(as_json: bool, **options: Any) -> None:
    """Run the whole pipeline on the built-in recordings: render, train, map, interpolate, invert.

    Takes about three minutes on two cores, and ends with a table of the files written. Every step
    equals its command; only the dataset is small. A second call completes an interrupted one;
    --overwrite runs all steps again.

    \b
    Examples:
      dafxtool demo
      dafxtool demo -o somewhere --seed 1
    """
    from dafxtool.api.checks import check_settings
    from dafxtool.utils.outputs import check_folder

    folder = options.pop("output") or Path("dafxtool-demo")
    check_settings(options["device"])
    check_folder(folder, overwrite=True)
    from dafxtool.demo import demo

    result = demo(folder, progress=progress_from(options), **options)
    rows = [
        (step, f"{seconds:.0f} s", str(path), description)
        for step, seconds, path, description in result.written
    ]
    total = sum(seconds for _, seconds, _, _ in result.written)
    report(
        {
            "output": result.folder,
            "steps": [
                {"step": step, "seconds": seconds, "path": path, "description": description}
                for step, seconds, path, description in result.written
            ],
            "n_bytes": result.n_bytes,
        },
        as_json,
        [
            Table(("step", "time", "written", "description"), rows, right=("time",)),
            f"{total:.0f} s, {result.n_bytes / 1e6:.0f} MB in {folder}. See "
            f"{folder / 'interpolation-effects.png'}, hear {folder / 'interpolation-effects'}.",
        ],
    )
