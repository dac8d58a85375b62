"""dafxtool map: the latent space as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dafxtool.cli.common import (
    PATH,
    alone,
    csv_option,
    device_option,
    effect_options,
    is_hdf5,
    json_option,
    output_option,
    overwrite_option,
    progress_from,
    quiet_option,
    report,
    run_option,
    seed_option,
    skipped_lines,
    split_option,
)


@click.command()
@click.argument("inputs", nargs=-1, type=PATH)
@output_option("map.png", "A figure: .png, .svg or .pdf.")
@run_option
@effect_options
@split_option("held out")
@click.option(
    "--method",
    type=click.Choice(("umap", "pca")),
    default="umap",
    show_default=True,
    help="umap keeps neighbours together, pca keeps distances.",
)
@click.option(
    "--part",
    type=click.Choice(("effect", "all")),
    default="effect",
    show_default=True,
    help="The latents that tell of the effect, or all of them.",
)
@click.option("--title", help="Above the map.  [default: what it shows]")
@csv_option
@seed_option()
@device_option
@overwrite_option
@json_option
@quiet_option
def command(inputs: tuple[Path, ...], **options: Any) -> None:
    """Map the latents of INPUTS: a pairs, spectrograms or latents file, or recordings.

    One point a segment, one colour an effect. Without INPUTS, the newest pairs file here, and of
    it the pairs that training has not seen.

    \b
    Examples:
      dafxtool map
      dafxtool map pairs.h5 --split test --method pca -o map.svg --csv map.csv
      dafxtool map my-recordings --effect overdrive --effect delay --effect reverb
    """
    from dafxtool import maps, store
    from dafxtool.drawing import check_outputs
    from dafxtool.latents import embed, held_out, held_out_of, read_latents
    from dafxtool.runs import load_run
    from dafxtool.workplace import chosen_effects, newest_file

    progress = progress_from(options["quiet"])
    sources = list(inputs) or [newest_file([store.PAIRS, store.SPECTROGRAMS])]
    output = options["output"] or Path("map.png")
    check_outputs(output, options["csv"], overwrite=options["overwrite"])
    if any(map(is_hdf5, sources)):
        alone(sources)
    if is_hdf5(sources[0]) and store.kind_of(sources[0]) == store.LATENTS:
        latents = read_latents(sources[0])
        latents = latents.take(latents.labels.rows_of(options["split"] or held_out(latents.labels)))
    else:
        run = load_run(options["run"], options["device"])
        rate = run.configuration.segments.sample_rate
        effects = chosen_effects(options["effects"], options["plugins"], rate, default=())
        splits = options["split"] or held_out_of(sources[0])
        latents = embed(sources, run, effects, splits, progress=progress)
    progress.say(f"projecting {len(latents)} latents with {options['method']}")
    projection = maps.latent_map(latents, options["method"], options["seed"], options["part"])
    title = options["title"] or maps.map_title(latents)
    maps.draw_latent_map(output, latents, projection, title, options["overwrite"])
    if options["csv"]:
        maps.write_map_table(options["csv"], latents, projection, options["overwrite"])
    names = latents.effects()
    counts = {name: names.count(name) for name in dict.fromkeys(names)}
    report(
        {
            "path": output,
            "method": options["method"],
            "segments": counts,
            "skipped": latents.skipped,
        },
        options["as_json"],
        [
            f"{len(latents)} segments ({', '.join(f'{n} {name}' for name, n in counts.items())}) "
            f"-> {output}",
            *skipped_lines(latents.skipped),
        ],
    )
