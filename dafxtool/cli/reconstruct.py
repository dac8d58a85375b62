"""Define the command `dafxtool reconstruct`: encode and decode, and draw both."""

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
    split_option,
)
from dafxtool.cli._output import Table, audio_entries, audio_line, progress_from, report


@click.command(short_help="Draw originals beside their reconstructions.")
@click.argument("inputs", nargs=-1, type=PATH)
@output_option("reconstruction.png", "Figure: .png, .svg or .pdf.")
@run_option
@effect_options
@reading_options
@split_option("held out")
@click.option(
    "--examples",
    type=click.IntRange(min=1),
    help="Number of examples of each effect of a pairs file: those nearest to its median error.  "
    "[default: 1]",
)
@click.option(
    "--row",
    "rows",
    type=click.IntRange(min=0),
    multiple=True,
    help="Row of a pairs file to draw instead, of any split; repeat for more.",
)
@click.option(
    "--audio",
    type=PATH,
    metavar="FOLDER",
    help="Folder for audio of originals and reconstructions.",
)
@csv_option
@device_option
@overwrite_option
@json_option
@progress_options
def command(inputs: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Encode and decode INPUTS, a pairs file or recordings, and draw both.

    Without INPUTS, the newest pairs file here, and of it the pairs that training has not seen.
    Errors are mean squared errors in standardised units, dry and wet.

    \b
    Examples:
      dafxtool reconstruct
      dafxtool reconstruct pairs.h5 --examples 2 --csv errors.csv -o reconstruction.pdf
      dafxtool reconstruct guitar.wav --effect overdrive:drive=30 --audio audio
    """
    import dafxtool

    output = options["output"] = options["output"] or Path("reconstruction.png")
    result = dafxtool.reconstruct(inputs, progress=progress_from(options), **options)
    report(
        {
            "output": output,
            "run": result.run.path,
            "errors": result.errors.records(),
            "audio_files": audio_entries(result.audio_files),
        },
        as_json,
        [
            Table(
                result.columns(),
                result.rows(),
                right=("row", "segments", "error, dry", "error, wet"),
            ),
            f"figure -> {output}",
            *audio_line(result.audio_files, options["audio"]),
        ],
    )
