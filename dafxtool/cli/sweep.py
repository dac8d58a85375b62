"""Define the command `dafxtool sweep`: sweep parameters through the latent space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from dafxtool.cli._options import (
    PATH,
    csv_option,
    device_option,
    effect_options,
    json_option,
    output_option,
    overwrite_option,
    progress_options,
    reading_options,
    run_option,
    seed_option,
    strict_option,
)
from dafxtool.cli._output import Table, progress_from, report, skipped_entries, skipped_lines


@click.command(short_help="Sweep each parameter of an effect through the latent space.")
@click.argument("inputs", nargs=-1, type=PATH)
@output_option(
    "sweep.png",
    "Figure: .png, .svg or .pdf. With several effects, each has its name before the suffix.",
)
@run_option
@effect_options
@reading_options
@click.option(
    "--values",
    type=click.IntRange(min=2),
    default=16,
    show_default=True,
    help="Number of values of each parameter, from end to end.",
)
@click.option(
    "--segments",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Number of segments, from different recordings where possible.",
)
@click.option(
    "--pairs",
    type=PATH,
    metavar="FILE",
    help="Figure of the first four principal directions against each other, named like --output.",
)
@csv_option
@seed_option()
@strict_option
@device_option
@overwrite_option
@json_option
@progress_options
def command(inputs: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Sweep every parameter of an effect alone, and draw how the latents of INPUTS change.

    INPUTS are recordings and folders, or a pairs file, whose dry side is taken; without INPUTS, the
    newest pairs file here, and of it the pairs that training has not seen. Without --effect, the
    effects that the run was trained on. A parameter with a value (--effect overdrive:tone=3000)
    keeps it; the others have their default.

    The table has four numbers for each parameter. Latent range: the largest distance between the
    latents of two values, divided by the distance between two segments at the default. Rank
    correlation: 1 if the latents keep the order of the values. Level: RMS of wet over dry at the
    first and the last value, before both are levelled. A dash marks a number without a basis, such
    as the range with one segment, or the order of two values or of latents that do not move.

    \b
    Examples:
      dafxtool sweep
      dafxtool sweep --effect overdrive -o overdrive.svg --pairs overdrive-pairs.svg
      dafxtool sweep my-recordings --effect chorus --effect delay:feedback=60 --csv sweep.csv
    """
    import dafxtool

    options["output"] = options["output"] or Path("sweep.png")
    result = dafxtool.sweep(inputs, progress=progress_from(options), **options)
    skipped = result.sweeps[0].latents.skipped
    report(
        {
            "outputs": result.outputs,
            "pair_plots": result.pair_plots,
            "run": result.run.path,
            "n_segments": len(result.sweeps[0].default),
            "parameters": result.parameters,
            "skipped": skipped_entries(skipped),
        },
        as_json,
        [
            Table(result.header, result.rows(), right=result.header[2:]),
            *(f"sweep -> {path}" for path in result.outputs),
            *(f"pair plot -> {path}" for path in result.pair_plots),
            *skipped_lines(skipped),
        ],
    )
