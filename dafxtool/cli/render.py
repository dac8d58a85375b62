"""Define the command `dafxtool render`: render pairs of dry and wet segments."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from dafxtool.cli._options import (
    PATH,
    config_option,
    dask_option,
    effect_options,
    json_option,
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
    copy_lines,
    failure_lines,
    progress_from,
    report,
    skipped_entries,
    skipped_lines,
)
from dafxtool.cli._segments import segment_options, take_segment_options
from dafxtool.utils.text import counted

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
    help="Number of values of each parameter in a grid or sweep.  [default: 5]",
)
@segment_options("join", "pad", "skip")
@click.option(
    "--audio-format",
    type=click.Choice(("wav", "flac")),
    help="Format of the files in an output folder.  [default: wav]",
)
@click.option(
    "--channels",
    type=click.Choice(("mono", "stereo")),
    help="Channels of the wet files in an output folder; stereo keeps both outputs of stereo "
    "plugins.  [default: mono]",
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

    options["output"] = options["output"] or Path("pairs.h5")
    result = dafxtool.render(
        recordings,
        progress=progress_from(options),
        **take_segment_options(options),
        **options,
    )
    splits = ", ".join(f"{n} {name}" for name, n in result.pairs_per_split.items())
    report(
        _json(result),
        as_json,
        [
            _effect_table(result),
            f"{counted(result.n_pairs, 'pair')} ({splits}), {result.seconds / 60:.1f} minutes "
            f"-> {result.path}",
            *skipped_lines(result.skipped),
            *skipped_lines(result.silent, "tried without a segment"),
            *copy_lines(result.copies),
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
