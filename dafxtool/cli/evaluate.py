"""Define the command `dafxtool evaluate`: evaluate a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from dafxtool.cli import _completion
from dafxtool.cli._options import (
    PATH,
    csv_option,
    device_option,
    json_option,
    output_option,
    overwrite_option,
    progress_options,
    seed_option,
)
from dafxtool.cli._output import Table, progress_from, report


@click.command(short_help="Evaluate a run on held-out recordings.")
@click.argument("run", required=False, type=PATH, shell_complete=_completion.runs)
@click.option(
    "--pairs",
    type=PATH,
    metavar="FILE",
    help="Pairs file with a test split.  [default: the run's own]",
)
@output_option("evaluation.png", "Figure: .png, .svg or .pdf.")
@click.option(
    "--midpoints",
    type=click.IntRange(min=0),
    metavar="N",
    help="Pairs of settings of each effect whose middle is compared with the true rendering.  "
    "[default: 20; with more than 8 effects fewer, at least 5]",
)
@click.option(
    "--sounds",
    type=click.IntRange(min=0),
    default=24,
    show_default=True,
    metavar="N",
    help="Segments that are inverted to audio and compared.",
)
@click.option(
    "--match",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Pairs of each effect whose effect and settings are searched from the audio alone.",
)
@csv_option
@seed_option()
@device_option
@overwrite_option
@json_option
@progress_options
def command(run: Path | None, as_json: bool, **options: Any) -> None:
    """Evaluate RUN, by default the newest one here, on recordings that training never saw.

    Reconstruction, recognition of effects, regression of settings, leakage of level and speaker,
    interpolation, and drift of the dry channel. Each score stands beside trivial baselines, with
    its 95% interval over recordings in brackets.

    \b
    Examples:
      dafxtool evaluate
      dafxtool evaluate runs/small-1 --pairs pairs.h5 --csv scores.csv
      dafxtool evaluate runs/week6-1 --json > week6.json
    """
    import dafxtool

    output = options["output"] = options["output"] or Path("evaluation.png")
    result = dafxtool.evaluate(run, progress=progress_from(options), **options)
    shown: list[str | Table] = [
        f"{result.run} ({result.preset}) on {result.n_segments['test']} test segments of "
        f"{result.pairs}"
    ]
    for table in result.tables():
        shown += ["", table.title, *_wrapped(table.note)]
        shown.append(Table(table.header, table.rows, right=table.header[1:]))
    shown += ["", *result.remarks, f"figure -> {output}"]
    report({"output": output, **result.to_dict()}, as_json, shown)


def _wrapped(text: str) -> list[str]:
    from click import wrap_text

    return [f"  {line}" for line in wrap_text(text, width=96).splitlines()]
