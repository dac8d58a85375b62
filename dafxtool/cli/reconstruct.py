"""dafxtool reconstruct: what a run makes of sounds, beside the originals."""

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
    split_option,
)
from dafxtool.cli._output import (
    Table,
    progress_from,
    report,
    sounds_line,
)


@click.command(short_help="Draw originals beside what a model makes of them.")
@click.argument("inputs", nargs=-1, type=PATH)
@output_option("reconstruction.png", "A figure: .png, .svg or .pdf.")
@run_option
@effect_options
@split_option("held out")
@click.option(
    "--examples",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Of each effect of a pairs file: those nearest to its median error.",
)
@click.option(
    "--row", "rows", type=int, multiple=True, help="Rows of a pairs file to show instead."
)
@click.option("--audio", type=PATH, metavar="FOLDER", help="Write originals and reconstructions.")
@csv_option
@device_option
@overwrite_option
@json_option
@quiet_option
def command(inputs: tuple[Path, ...], **options: Any) -> None:
    """Encode and decode INPUTS, a pairs file or recordings, and draw them beside the originals.

    Without INPUTS, the newest pairs file here, and of it the pairs that training has not seen.
    Errors are mean squared errors in standardised units, dry and wet.

    \b
    Examples:
      dafxtool reconstruct
      dafxtool reconstruct pairs.h5 --examples 2 --csv errors.csv -o reconstruction.pdf
      dafxtool reconstruct guitar.wav --effect overdrive:drive=30 --audio sounds
    """
    from dafxtool import storage
    from dafxtool.api.defaults import effects_of_run, newest_file
    from dafxtool.audio.find_recordings import find_recordings
    from dafxtool.utils import outputs

    progress = progress_from(options["quiet"])
    _checks.need_run(options)
    sources = list(inputs) or [newest_file([storage.PAIRS])]
    _checks.sources(sources, (storage.PAIRS,))
    are_pairs = _checks.is_hdf5(sources[0])
    if options["rows"] and not are_pairs:
        raise click.UsageError("--row is for a pairs file; recordings are cut where they are full.")
    output = options["output"] or Path("reconstruction.png")
    outputs.check_outputs(output, options["csv"], options["audio"], options["overwrite"])
    from dafxtool.latents.examples import load_example
    from dafxtool.latents.reconstruct import (
        draw_reconstructions,
        reconstruct,
        reconstruct_pairs,
        sound_reconstructions,
        table_of,
        write_reconstruction_table,
    )
    from dafxtool.models.run import load_run

    run = load_run(options["run"], options["device"])
    if are_pairs:
        made, table = reconstruct_pairs(
            sources[0],
            run,
            options["split"],
            options["examples"],
            options["rows"],
            progress,
        )
    else:
        rate = run.configuration.segments.sample_rate
        names, plugins = options["effects"], options["plugins"]
        effects = effects_of_run(run.effects[:2], names, plugins, rate, progress)
        paths = find_recordings(sources)
        made = reconstruct(
            [load_example(path, run, effect) for path in paths for effect in effects], run
        )
        table = table_of(made)
    draw_reconstructions(output, made, run, options["overwrite"])
    if options["csv"]:
        write_reconstruction_table(options["csv"], table, options["overwrite"])
    sounds = []
    if options["audio"]:
        sounds = sound_reconstructions(
            options["audio"], made, run, overwrite=options["overwrite"], progress=progress
        )
    rows = [
        (name, str(n), f"{dry:.4f}", f"{wet:.4f}")
        for name, n, dry, wet in zip(
            table.effect, table.n_segments, table.dry_error, table.wet_error, strict=True
        )
    ]
    numbers = ("segments", "error, dry", "error, wet")
    report(
        {"path": output, "run": run.path, "errors": vars(table), "audio": sounds},
        options["as_json"],
        [
            Table(("effect", *numbers), rows, right=numbers),
            f"figure -> {output}",
            *sounds_line(sounds, options["audio"]),
        ],
    )
