"""dafxtool embed: recordings or pairs in, latents out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dafxtool.cli import _checks
from dafxtool.cli._options import (
    PATH,
    device_option,
    effect_options,
    json_option,
    output_option,
    overwrite_option,
    quiet_option,
    run_option,
    split_option,
    strict_option,
)
from dafxtool.cli._output import progress_from, report, skipped_lines


@click.command(short_help="Write the latents of sounds.")
@click.argument("inputs", nargs=-1, type=PATH)
@output_option("latents.h5", "A file ending in .h5, .csv or .npz.")
@run_option
@effect_options
@split_option("all")
@device_option
@overwrite_option
@strict_option
@json_option
@quiet_option
def command(inputs: tuple[Path, ...], **options: Any) -> None:
    """Embed INPUTS: recordings, folders, a pairs or a spectrograms file.

    One row a segment: the mean of the encoder's posterior, with its labels. Recordings are cut end
    to end; without --effect they are embedded as they are, dry and wet alike.

    \b
    Examples:
      dafxtool embed
      dafxtool embed pairs.h5 -o latents.csv
      dafxtool embed my-recordings --effect overdrive --effect delay:time=250 -o latents.npz
    """
    from dafxtool import storage
    from dafxtool.api.defaults import chosen_effects, newest_file
    from dafxtool.config import SPLITS
    from dafxtool.utils import outputs
    from dafxtool.utils.locks import sole_writer

    progress = progress_from(options["quiet"])
    _checks.need_run(options)
    kinds = (storage.PAIRS, storage.SPECTROGRAMS)
    sources = list(inputs) or [newest_file(kinds)]
    _checks.sources(sources, kinds)
    output = options["output"] or Path("latents.h5")
    outputs.check_latents_path(output, sources, options["overwrite"])
    from dafxtool.latents.embed import embed
    from dafxtool.latents.table import write_latents
    from dafxtool.models.run import load_run

    run = load_run(options["run"], options["device"])
    rate = run.configuration.segments.sample_rate
    effects = chosen_effects(options["effects"], options["plugins"], rate, default=())
    splits = options["split"] or SPLITS
    with sole_writer(output):
        latents = embed(sources, run, effects, splits, options["strict"], progress)
        write_latents(latents, output, options["overwrite"])
    n_latent = latents.latent.shape[1]
    report(
        {
            "path": output,
            "run": run.path,
            "n_segments": len(latents),
            "n_latent": n_latent,
            "effects": sorted(set(latents.effects())),
            "skipped": latents.skipped,
        },
        options["as_json"],
        [
            f"{len(latents)} segments as {n_latent} numbers each, by {run.path} -> {output}",
            *skipped_lines(latents.skipped),
        ],
    )
