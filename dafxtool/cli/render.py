"""dafxtool render: recordings in, pairs of dry and wet segments out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dafxtool.cli._options import (
    PATH,
    SAMPLE_RATE,
    SHARE,
    Number,
    config_option,
    dask_option,
    effect_options,
    json_option,
    output_option,
    overwrite_option,
    preset_option,
    quiet_option,
    resume_option,
    seed_option,
    strict_option,
    workers_option,
)
from dafxtool.cli._output import (
    Table,
    cluster_at,
    lost_lines,
    progress_from,
    report,
    skipped_lines,
)
from dafxtool.utils.text import printable


@click.command(short_help="Render recordings into pairs of dry and wet.")
@click.argument("recordings", nargs=-1, type=PATH)
@output_option("pairs.h5", "A file ending in .h5, or a folder for audio files and a table.")
@effect_options
@click.option(
    "--pairs-per-effect",
    type=click.IntRange(min=1),
    metavar="N",
    help="Pairs of each effect.  [default: the preset's; all settings on 4 segments in a grid or "
    "a sweep]",
)
@click.option(
    "--settings",
    type=click.Choice(("random", "static", "grid", "sweep")),
    default="random",
    show_default=True,
    help="Each pair its own; one for all; all combinations; one parameter at a time.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=2),
    default=5,
    show_default=True,
    help="Values of each parameter in a grid or a sweep.",
)
@click.option("--segment-seconds", type=Number(min=0.01, max=3600), help="Length of a segment.")
@click.option("--sample-rate", type=SAMPLE_RATE, help="Rate of the pairs in Hz.")
@click.option("--channel", metavar="first|mean|N", help="What is taken of several channels.")
@click.option(
    "--short",
    type=click.Choice(("join", "pad", "skip")),
    help="Recordings shorter than a segment: joined within their folder, padded, or left out.",
)
@click.option(
    "--min-mean-square", type=Number(min=0), help="Below it a segment is silent and redrawn."
)
@click.option(
    "--split-by",
    type=click.Choice(("recording", "folder")),
    help="Folder where folders are speakers.",
)
@click.option("--validation", type=SHARE, metavar="SHARE", help="Share held out to validate on.")
@click.option("--test", type=SHARE, metavar="SHARE", help="Share held out to test on.")
@click.option(
    "--validation-match",
    multiple=True,
    metavar="PATTERN",
    help="Names of files or folders to validate on, such as 'p3*'; repeat for more.",
)
@click.option(
    "--test-match", multiple=True, metavar="PATTERN", help="Names of files or folders to test on."
)
@click.option(
    "--audio-format",
    type=click.Choice(("wav", "flac")),
    default="wav",
    show_default=True,
    help="Of the files in an output folder.",
)
@preset_option
@config_option
@seed_option()
@workers_option
@dask_option
@resume_option
@overwrite_option
@strict_option
@json_option
@quiet_option
def command(recordings: tuple[Path, ...], **options: Any) -> None:
    """Render RECORDINGS, files and folders, into pairs of dry and wet segments.

    Segments are cut from random places, silent ones are drawn again. The effect hears the dry
    segment at -12 dBFS; both are stored at that level. Row i depends on the seed and i alone.

    \b
    Examples:
      dafxtool render
      dafxtool render my-recordings --effect overdrive --effect delay:mix=50
      dafxtool render VCTK/wav48 --split-by folder --effect reverb --pairs-per-effect 2000
      dafxtool render guitar.wav --effect delay --settings sweep --steps 9 -o sweep.h5
      dafxtool render guitar.wav --plugin ZamTube.vst3 -o wet-files/
    """
    from dafxtool.api.defaults import built_in_recordings, chosen_effects, configuration_for
    from dafxtool.dataset.render import render
    from dafxtool.effects.vst3.isolation import time_limit_s
    from dafxtool.presets import overridden

    progress = progress_from(options["quiet"])
    configuration = configuration_for(
        options["preset"], options["config"], _overrides(options), progress
    )
    rate = configuration.segments.sample_rate
    if options["segment_seconds"]:  # of the rate that preset, file and options have come to
        length = {"n_samples": round(options["segment_seconds"] * rate)}
        configuration = overridden(configuration, {"segments": length})
    paths = list(recordings) or built_in_recordings(progress)
    effects = chosen_effects(options["effects"], options["plugins"], rate, progress=progress)
    number = options["pairs_per_effect"]
    if number is None and options["settings"] in ("random", "static"):
        number = configuration.pairs_per_effect
    with cluster_at(options["dask"], progress) as cluster:
        result = render(
            paths,
            options["output"] or Path("pairs.h5"),
            effects,
            configuration.segments,
            configuration.split,
            number,
            options["settings"],
            options["steps"],
            options["seed"],
            options["workers"],
            options["resume"],
            options["overwrite"],
            options["strict"],
            options["audio_format"],
            time_limit_s(),
            cluster,
            progress,
        )
    splits = ", ".join(f"{n} {name}" for name, n in result.pairs_per_split.items())
    report(
        vars(result),
        options["as_json"],
        [
            Table(
                ("effect", "pairs"),
                [(name, str(n)) for name, n in result.pairs_per_effect.items()],
                right=("pairs",),
            ),
            f"{result.n_pairs} pairs ({splits}), {result.seconds / 60:.1f} minutes "
            f"-> {result.path}",
            *skipped_lines(result.skipped),
            *lost_lines(result.lost),
            *map(printable, result.remarks),
            *([f"what plugins printed -> {result.printed}"] if result.printed else []),
        ],
    )


def _overrides(options: dict[str, Any]) -> dict[str, dict[str, Any]]:
    segments = {k: options[k] for k in ("sample_rate", "channel", "short", "min_mean_square")}
    split = {
        "by": options["split_by"],
        "validation": options["validation"],
        "test": options["test"],
        "validation_match": list(options["validation_match"]) or None,
        "test_match": list(options["test_match"]) or None,
    }
    return {"segments": segments, "split": split}
