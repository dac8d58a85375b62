"""Define the command `dafxtool embed`: embed recordings, pairs or spectrograms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from dafxtool.cli._options import (
    PATH,
    device_option,
    effect_options,
    json_option,
    output_option,
    overwrite_option,
    progress_options,
    reading_options,
    run_option,
    split_option,
    strict_option,
)
from dafxtool.cli._output import progress_from, report, skipped_entries, skipped_lines
from dafxtool.utils.text import counted


@click.command(short_help="Embed recordings, pairs or spectrograms.")
@click.argument("inputs", nargs=-1, type=PATH)
@output_option("latents.h5", "File ending in .h5, .csv or .npz.")
@run_option
@effect_options
@reading_options
@split_option("all")
@device_option
@overwrite_option
@strict_option
@json_option
@progress_options
def command(inputs: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Embed INPUTS: recordings, folders, a pairs or a spectrograms file.

    One row for each segment: the mean of the encoder's posterior, with its labels. Recordings are
    cut end to end; without --effect, dry and wet are the recording itself.

    \b
    Examples:
      dafxtool embed
      dafxtool embed pairs.h5 -o latents.csv
      dafxtool embed my-recordings --effect overdrive --effect delay:time=250 -o latents.npz
    """
    import dafxtool

    output = options["output"] = options["output"] or Path("latents.h5")
    latents = dafxtool.embed(inputs, progress=progress_from(options), **options)
    n_latent = latents.latent.shape[1]
    report(
        {
            "output": output,
            "run": latents.run,
            "n_segments": len(latents),
            "n_latent": n_latent,
            "effects": sorted(set(latents.effects())),
            "skipped": skipped_entries(latents.skipped),
        },
        as_json,
        [
            f"{counted(len(latents), 'segment')}, {n_latent} latents each, by {latents.run} "
            f"-> {output}",
            *skipped_lines(latents.skipped),
            *latents.warnings,
        ],
    )
