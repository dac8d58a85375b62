"""Define the command `dafxtool map`: map latents to a plane."""

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
    split_option,
)
from dafxtool.cli._output import progress_from, report, skipped_entries, skipped_lines
from dafxtool.utils.text import counted


@click.command(short_help="Map latents to a plane.")
@click.argument("inputs", nargs=-1, type=PATH)
@output_option("map.png", "Figure (.png, .svg, .pdf), or interactive page (.html).")
@run_option
@effect_options
@reading_options
@split_option("held out")
@click.option(
    "--method",
    type=click.Choice(("tsne", "pca", "umap")),
    default="tsne",
    show_default=True,
    help="Projection: tsne and umap keep neighbours together, pca keeps distances. umap needs "
    "'dafxtool[umap]'.",
)
@click.option(
    "--part",
    type=click.Choice(("effect", "all")),
    default="effect",
    show_default=True,
    help="Latents to project: those that represent the effect, or all.",
)
@click.option(
    "--points",
    type=click.IntRange(min=2, max=400),
    help="Number of points of a page that have audio; time and size grow with it.  [default: 60]",
)
@click.option("--title", help="Title of the map.  [default: a description]")
@csv_option
@seed_option()
@device_option
@overwrite_option
@json_option
@progress_options
def command(inputs: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Map the latents of INPUTS: a pairs, spectrograms or latents file, or recordings.

    One point for each segment, one colour for each effect. Without INPUTS, the newest pairs file
    here, and of it the pairs that training has not seen.

    An output that ends in .html is a page in one file. Point at a segment to read its labels, click
    it to hear it, click a second one to see what the model decodes between them. Pages of pairs
    files and recordings have audio.

    \b
    Examples:
      dafxtool map
      dafxtool map -o map.html
      dafxtool map pairs.h5 --split test --method pca -o map.svg --csv map.csv
      dafxtool map my-recordings --effect overdrive --effect delay --effect reverb
    """
    import dafxtool

    output = options["output"] = options["output"] or Path("map.png")
    result = dafxtool.latent_map(inputs, progress=progress_from(options), **options)
    counts = result.counts()
    page: dict[str, Any] = {}
    if result.page_audio:
        page = {
            "n_points_with_audio": len(result.page_audio.rows),
            "interpolation_error_db": result.page_audio.error_db,
        }
    is_silent = result.is_page and not result.page_audio
    report(
        {
            "output": output,
            "method": options["method"],
            "segments_per_effect": counts,
            "n_identical": result.projection.n_identical,
            **page,
            "skipped": skipped_entries(result.latents.skipped),
        },
        as_json,
        [
            f"{counted(len(result.latents), 'segment')} "
            f"({', '.join(f'{n} {name}' for name, n in counts.items())}) -> {output}",
            *result.notes(),
            *(["The page has no audio, because its input has none."] if is_silent else []),
            *skipped_lines(result.latents.skipped),
            *result.latents.warnings,
        ],
    )
