"""dafxtool evaluate: how good a run is, on recordings that training never saw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dafxtool.cli import _checks
from dafxtool.cli._options import (
    PATH,
    csv_option,
    device_option,
    json_option,
    output_option,
    overwrite_option,
    quiet_option,
    seed_option,
)
from dafxtool.cli._output import Table, progress_from, report


@click.command(short_help="Say how good a run is, on unseen recordings.")
@_checks.checked(click.argument("run", required=False, type=PATH), "run", _checks.run)
@click.option(
    "--pairs",
    type=PATH,
    metavar="FILE",
    help="A pairs file with a test split.  [default: the run's own]",
)
@output_option("evaluation.png", "A figure: .png, .svg or .pdf.")
@click.option(
    "--midpoints",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    metavar="N",
    help="Pairs of settings of each effect that the way between is judged on.",
)
@click.option(
    "--sounds",
    type=click.IntRange(min=0),
    default=24,
    show_default=True,
    metavar="N",
    help="Segments that are made into sound and compared.",
)
@csv_option
@seed_option()
@device_option
@overwrite_option
@json_option
@quiet_option
def command(run: Path | None, **options: Any) -> None:
    """Say how good RUN is, on recordings that training never saw.

    How near is what it reconstructs, is the effect told from its latent and are the settings, what
    else does the latent tell, is half way between two settings what the effect does half way, does
    the dry channel stand still. Each figure stands beside trivial ones, with its 95% interval over
    recordings in brackets. Without RUN, the newest one here.

    \b
    Examples:
      dafxtool evaluate
      dafxtool evaluate runs/small-1 --pairs pairs.h5 --csv scores.csv
      dafxtool evaluate runs/week6-1 --json > week6.json
    """
    from dafxtool import storage
    from dafxtool.api.defaults import pairs_of_run
    from dafxtool.utils import outputs

    progress = progress_from(options["quiet"])
    _checks.need_run({"run": run})
    if options["pairs"]:
        _checks.file(options["pairs"], (storage.PAIRS,))
    output = options["output"] or Path("evaluation.png")
    outputs.check_outputs(output, options["csv"], overwrite=options["overwrite"])
    from dafxtool.evaluation.evaluate import evaluate
    from dafxtool.evaluation.results import draw, write_scores
    from dafxtool.models.run import load_run

    loaded = load_run(run, options["device"])
    pairs = options["pairs"] or pairs_of_run(loaded.data, progress=progress)
    made = evaluate(
        loaded, pairs, options["midpoints"], options["sounds"], options["seed"], progress
    )
    draw(output, made, options["overwrite"])
    if options["csv"]:
        write_scores(options["csv"], made, options["overwrite"])
    shown: list[str | Table] = [
        f"{made.run} ({made.preset}) on {made.n_segments['test']} test segments of {pairs}"
    ]
    for table in made.tables():
        shown += ["", table.title, *_wrapped(table.note)]
        shown.append(Table(table.header, table.rows, right=table.header[1:]))
    shown += ["", *made.remarks, f"figure -> {output}"]
    report({"path": output, **made.to_dict()}, options["as_json"], shown)


def _wrapped(text: str) -> list[str]:
    return [f"  {line}" for line in click.wrap_text(text, width=96).splitlines()]
