"""Define the command `dafxtool report`: write a page about a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from dafxtool.cli import _completion
from dafxtool.cli._options import (
    PATH,
    device_option,
    json_option,
    output_option,
    overwrite_option,
    progress_options,
    seed_option,
)
from dafxtool.cli._output import progress_from
from dafxtool.cli._output import report as print_report

PARTS = ("map", "sweeps", "matches", "evaluation")


@click.command(short_help="Write one page about a run.")
@click.argument("run", required=False, type=PATH, shell_complete=_completion.runs)
@output_option("report.html", "Page: .html.")
@click.option(
    "--pairs",
    type=PATH,
    metavar="FILE",
    help="Pairs file.  [default: the one that the run was trained on]",
)
@click.option(
    "--points",
    type=click.IntRange(min=2, max=400),
    default=40,
    show_default=True,
    help="Number of points of the latent map that have audio; time and size grow with it.",
)
@click.option(
    "--without",
    type=click.Choice(PARTS),
    multiple=True,
    help="Part to leave out; repeat for more.",
)
@click.option("--title", help="Title of the page.  [default: the run's name]")
@seed_option()
@device_option
@overwrite_option
@json_option
@progress_options
def command(run: Path | None, as_json: bool, **options: Any) -> None:
    """Report on RUN, by default the newest one in runs/, as one page in one file.

    Data, effects with their ranges, training curves, the interactive latent map, originals beside
    reconstructions, interpolations with audio, sweeps of parameters, matches, and the evaluation.
    All of it comes from pairs that training has not seen. The page needs no network and no other
    file.

    \b
    Examples:
      dafxtool report
      dafxtool report runs/small-1 -o small-1.html --title "Small model, first week"
      dafxtool report --pairs pairs.h5 --without evaluation --points 100
    """
    import dafxtool

    output = options["output"] = options["output"] or Path("report.html")
    result = dafxtool.report(run, progress=progress_from(options), **options)
    print_report(
        {
            "output": result.path,
            "n_bytes": result.n_bytes,
            "sections": result.sections,
            "left_out": [{"section": title, "reason": why} for title, why in result.left_out],
        },
        as_json,
        [
            *(f"left out: {title}: {reason}" for title, reason in result.left_out),
            f"report, {result.n_bytes / 1e6:.1f} MB -> {output}",
        ],
    )
