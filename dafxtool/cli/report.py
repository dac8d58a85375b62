"""dafxtool report: a run on one page, to be sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dafxtool.cli import _checks
from dafxtool.cli._options import (
    PATH,
    device_option,
    json_option,
    output_option,
    overwrite_option,
    quiet_option,
    seed_option,
)
from dafxtool.cli._output import progress_from, report

PARTS = ("map", "sweeps", "evaluation")


@click.command(short_help="Write one page about a run, to send.")
@_checks.checked(click.argument("run", required=False, type=PATH), "run", _checks.run)
@output_option("report.html", "A page: .html.")
@click.option(
    "--pairs",
    type=PATH,
    metavar="FILE",
    help="Pairs to look at.  [default: those that the run was trained on]",
)
@click.option(
    "--points",
    "n_points",
    type=click.IntRange(min=2, max=400),
    default=40,
    show_default=True,
    help="Of the latent map, how many carry sound; time and size grow with them.",
)
@click.option(
    "--without",
    type=click.Choice(PARTS),
    multiple=True,
    help="Leave out a part that takes time or space; repeat for more.",
)
@click.option("--title", help="Above the page.  [default: the run's name]")
@seed_option()
@device_option
@overwrite_option
@json_option
@quiet_option
def command(run: Path | None, **options: Any) -> None:
    """Report on RUN, the newest one in runs/ by default, as one page in one file.

    The page tells what data there was, which effects with which ranges, and how the training went;
    it shows the latent map to click on, originals beside reconstructions, and the ways between two
    effects and between two recordings, all with their sounds; then sweeps of the parameters, and
    the evaluation in numbers. Everything is made of pairs that training has not seen.

    The page needs no network and no other file, and opens in any browser.

    \b
    Examples:
      dafxtool report
      dafxtool report runs/small-1 -o small-1.html --title "Small model, first week"
      dafxtool report --pairs pairs.h5 --without evaluation --points 100
    """
    from dafxtool import storage
    from dafxtool.api.defaults import pairs_of_run
    from dafxtool.utils import outputs

    progress = progress_from(options["quiet"])
    _checks.need_run({"run": run})
    if options["pairs"]:
        _checks.file(options["pairs"], (storage.PAIRS,))
    output = options["output"] or Path("report.html")
    outputs.check_page_path(output, options["overwrite"])
    from dafxtool.models.run import load_run
    from dafxtool.web.report import write_report

    loaded = load_run(run, options["device"])
    made = write_report(
        output,
        loaded,
        options["pairs"] or pairs_of_run(loaded.data, progress=progress),
        options["n_points"],
        options["without"],
        options["title"] or "",
        options["seed"],
        options["overwrite"],
        progress,
    )
    report(
        vars(made),
        options["as_json"],
        [
            *(f"left out: {title}: {reason}" for title, reason in made.left_out),
            f"report on {loaded.path}, {made.n_bytes / 1e6:.1f} MB -> {output}",
        ],
    )
