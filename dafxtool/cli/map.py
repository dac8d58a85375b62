"""dafxtool map: the latent space as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dafxtool.cli import _checks
from dafxtool.cli._options import (
    PATH,
    csv_option,
    device_option,
    effect_options,
    json_option,
    output_option,
    overwrite_option,
    quiet_option,
    run_option,
    seed_option,
    split_option,
)
from dafxtool.cli._output import progress_from, report, skipped_lines


@click.command(short_help="Map the effects in the latent space.")
@click.argument("inputs", nargs=-1, type=PATH)
@output_option("map.png", "A figure (.png, .svg, .pdf), or a page to click on and hear (.html).")
@run_option
@effect_options
@split_option("held out")
@_checks.checked(
    click.option(
        "--method",
        type=click.Choice(("tsne", "umap", "pca")),
        default="tsne",
        show_default=True,
        help="Projection to two dimensions: tsne and umap keep neighbours together, pca keeps "
        "distances; umap needs the extra dafxtool[umap].",
    ),
    "method",
    _checks.projection,
)
@click.option(
    "--part",
    type=click.Choice(("effect", "all")),
    default="effect",
    show_default=True,
    help="The latents that tell of the effect, or all of them.",
)
@click.option(
    "--points",
    "n_points",
    type=click.IntRange(min=2, max=400),
    help="Of a page: how many points carry sound; time and size grow with them.  [default: 60]",
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

    An output that ends in .html is a page in one file: point at a segment to read what it is, click
    it to hear it, click a second one to see and hear what the model decodes between them; zoom,
    search, colour by any parameter. Pairs files and recordings have the audio for it; of other
    files the page is silent.

    \b
    Examples:
      dafxtool map
      dafxtool map -o map.html
      dafxtool map pairs.h5 --split test --method pca -o map.svg --csv map.csv
      dafxtool map my-recordings --effect overdrive --effect delay --effect reverb
    """
    from dafxtool import storage
    from dafxtool.api.defaults import chosen_effects, newest_with_sound
    from dafxtool.utils import outputs

    progress = progress_from(options["quiet"])
    output = options["output"] or Path("map.png")
    is_page = outputs.is_page(output)
    if is_page:
        outputs.check_page_path(output, options["overwrite"])
    elif options["n_points"]:
        raise click.UsageError("--points is for a page: give --output a name that ends in .html.")
    table = options["csv"]
    outputs.check_outputs(None if is_page else output, table, overwrite=options["overwrite"])
    sources = list(inputs) or [newest_with_sound()]
    _checks.sources(sources, (storage.PAIRS, storage.SPECTROGRAMS, storage.LATENTS))
    is_embedded = _checks.is_hdf5(sources[0]) and storage.kind_of(sources[0]) == storage.LATENTS
    if not is_embedded:
        _checks.need_run(options)
    from dafxtool.latents.embed import embed
    from dafxtool.latents.latent_map import (
        draw_latent_map,
        identical_lines,
        latent_map,
        map_title,
        write_map_table,
    )
    from dafxtool.latents.table import held_out, held_out_of, read_latents
    from dafxtool.web.latent_map import write_map_page
    from dafxtool.web.map_audio import N_POINTS, sounds_of

    run, sounds = None, None
    silent_because = f"This map is silent: {sources[0].name} holds no sound. "
    if is_embedded:
        latents = read_latents(sources[0])
        latents = latents.take(latents.labels.rows_of(options["split"] or held_out(latents.labels)))
    else:
        from dafxtool.models.run import load_run

        run = load_run(options["run"], options["device"])
        rate = run.configuration.segments.sample_rate
        effects = chosen_effects(options["effects"], options["plugins"], rate, default=())
        splits = options["split"] or held_out_of(sources[0])
        latents = embed(sources, run, effects, splits, progress=progress)
        sounds = sounds_of(sources[0], latents, run, splits)
    progress.say(f"projecting {len(latents)} latents with {options['method']}")
    projection = latent_map(latents, options["method"], options["seed"], options["part"])
    title = options["title"] or map_title(latents)
    silent = is_page and sounds is None
    heard: dict[str, Any] = {}
    if is_page:
        collected = write_map_page(
            output,
            latents,
            projection,
            run,
            sounds,
            options["n_points"] or N_POINTS,
            title,
            silent_because + "Map the pairs or the recordings to hear it." if silent else "",
            options["seed"],
            options["overwrite"],
            progress,
        )
        if collected:
            heard = {"points_with_sound": len(collected.rows), "step_error_db": collected.error_db}
    else:
        draw_latent_map(output, latents, projection, title, options["overwrite"])
    if options["csv"]:
        write_map_table(options["csv"], latents, projection, options["overwrite"])
    names = latents.effects()
    counts = {name: names.count(name) for name in dict.fromkeys(names)}
    report(
        {
            "path": output,
            "method": options["method"],
            "segments": counts,
            "identical": projection.n_identical,
            **heard,
            "skipped": latents.skipped,
        },
        options["as_json"],
        [
            f"{len(latents)} segments ({', '.join(f'{n} {name}' for name, n in counts.items())}) "
            f"-> {output}",
            *identical_lines(projection),
            *([f"the page is silent: {sources[0]} holds no sound"] if silent else []),
            *skipped_lines(latents.skipped),
        ],
    )
