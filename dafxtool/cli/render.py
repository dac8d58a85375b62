"""dafxtool render."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from dafxtool.cli._options import (
    FRACTION,
    PATH,
    SAMPLE_RATE,
    Number,
    channel_option,
    config_option,
    dask_option,
    effect_options,
    json_option,
    min_mean_square_option,
    output_option,
    overwrite_option,
    preset_option,
    progress_options,
    resume_option,
    seed_option,
    strict_option,
    workers_option,
)
from dafxtool.cli._output import (
    Table,
    failure_lines,
    progress_from,
    report,
    skipped_entries,
    skipped_lines,
)

if TYPE_CHECKING:
    from dafxtool.dataset.render import RenderResult

SEGMENT_OPTIONS = ("sample_rate", "channel", "short", "min_mean_square", "level")
SPLIT_OPTIONS = ("validation", "test", "validation_match", "test_match")

if TYPE_CHECKING:
    from dafxtool.dataset.render import RenderResult


@click.command(short_help="Render recordings into pairs of dry and wet segments.")
@click.argument("recordings", nargs=-1, type=PATH)
@output_option("pairs.h5", "File ending in .h5, or folder for audio files and a table.")
@effect_options
@click.option(
    "--pairs-per-effect",
    type=click.IntRange(min=1),
    metavar="N",
    help="Number of pairs of each effect.  [default: the preset's; in a grid or sweep, all "
    "settings on 4 segments]",
)
@click.option(
    "--settings",
    type=click.Choice(("random", "static", "grid", "sweep")),
    default="random",
    show_default=True,
    help="How settings are chosen: random per pair; one fixed setting; a full grid; one parameter "
    "swept at a time.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=2),
    default=5,
    show_default=True,
    help="Number of values of each parameter in a grid or sweep.",
)
@click.option(
    "--segment-seconds",
    type=Number(min=0.01, max=3600),
    help="Length of a segment in s.  [default: the preset's]",
)
@click.option(
    "--sample-rate", type=SAMPLE_RATE, help="Sample rate of the pairs in Hz.  [default: 24000]"
)
@channel_option("first")
@click.option(
    "--short",
    type=click.Choice(("join", "pad", "skip")),
    help="Recordings shorter than a segment: join them within their folder, pad or skip them.  "
    "[default: join]",
)
@min_mean_square_option
@click.option(
    "--level",
    type=click.Choice(("match", "keep")),
    help="Level of the wet segment: match the peak of the dry one, or keep the level that the "
    "effect gives it.  [default: match]",
)
@click.option(
    "--split-by",
    type=click.Choice(("recording", "folder")),
    help="Unit of the split; folder where folders are speakers.  [default: recording]",
)
@click.option(
    "--validation",
    type=FRACTION,
    metavar="FRACTION",
    help="Fraction of recordings for validation.  [default: the preset's]",
)
@click.option(
    "--test",
    type=FRACTION,
    metavar="FRACTION",
    help="Fraction of recordings for testing.  [default: the preset's]",
)
@click.option(
    "--validation-match",
    multiple=True,
    metavar="PATTERN",
    help="Files or folders for validation, such as 'p3*'; repeat for more.",
)
@click.option(
    "--test-match",
    multiple=True,
    metavar="PATTERN",
    help="Files or folders for testing; repeat for more.",
)
@click.option(
    "--audio-format",
    type=click.Choice(("wav", "flac")),
    default="wav",
    show_default=True,
    help="Format of the files in an output folder.",
)
@click.option(
    "--channels",
    type=click.Choice(("mono", "stereo")),
    default="mono",
    show_default=True,
    help="Channels of the wet files in an output folder; stereo keeps both outputs of stereo "
    "plugins.",
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
@progress_options
def command(recordings: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Render RECORDINGS, files and folders, into pairs of dry and wet segments.

    Without RECORDINGS, the built-in ones. Segments are cut at random positions; silent ones are
    drawn again. The dry segment has a peak of -12 dBFS before the effect is applied. The wet one is
    stored with that peak too, or with --level keep at its own level; if that is beyond full scale,
    both are lowered by the same factor. The gains of both are stored. Pair i depends on the seed
    and i alone.

    \b
    Examples:
      dafxtool render
      dafxtool render my-recordings --effect overdrive --effect delay:mix=50
      dafxtool render VCTK/wav48 --split-by folder --effect reverb --pairs-per-effect 2000
      dafxtool render guitar.wav --effect delay --settings sweep --steps 9 -o sweep.h5
      dafxtool render guitar.wav --plugin ZamTube.vst3 -o wet-files/
    """
    import dafxtool

    segments = {name: options.pop(name) for name in SEGMENT_OPTIONS}
    split = {"by": options.pop("split_by")} | {
        name: options.pop(name) or None for name in SPLIT_OPTIONS
    }
    options["output"] = options["output"] or Path("pairs.h5")
    result = dafxtool.render(
        recordings, segments=segments, split=split, progress=progress_from(options), **options
    )
    splits = ", ".join(f"{n} {name}" for name, n in result.pairs_per_split.items())
    report(
        _json(result),
        as_json,
        [
            _effect_table(result),
            f"{result.n_pairs} pairs ({splits}), {result.seconds / 60:.1f} minutes "
            f"-> {result.path}",
            *skipped_lines(result.skipped),
            *skipped_lines(result.silent, "tried without a segment"),
            *failure_lines(result.failed),
            *result.warnings,
            *([f"output of plugins -> {result.printed}"] if result.printed else []),
        ],
    )


def _effect_table(result: RenderResult) -> Table:
    """Count pairs by effect, and those without an effect if there are any."""
    unchanged = result.unchanged_per_effect
    columns = ("effect", "pairs", "wet = dry") if any(unchanged.values()) else ("effect", "pairs")
    rows = [
        (name, str(n), str(unchanged.get(name, 0)))[: len(columns)]
        for name, n in result.pairs_per_effect.items()
    ]
    return Table(columns, rows, right=columns[1:])


def _json(result: RenderResult) -> dict[str, Any]:
    return {
        "output": result.path,
        "n_pairs": result.n_pairs,
        "pairs_per_effect": result.pairs_per_effect,
        "pairs_per_split": result.pairs_per_split,
        "unchanged_per_effect": result.unchanged_per_effect,
        "audio_seconds": result.seconds,
        "skipped": skipped_entries(result.skipped),
        "without_segment": skipped_entries(result.silent),
        "failed": [
            {"row": row, "setting": setting, "reason": reason}
            for row, setting, reason in result.failed
        ],
        "warnings": result.warnings,
        "plugin_log": result.printed,
    }
