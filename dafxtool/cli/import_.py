"""dafxtool import: own recordings of dry and wet into a pairs file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from dafxtool.cli._options import (
    PATH,
    config_option,
    json_option,
    output_option,
    overwrite_option,
    preset_option,
    progress_options,
    seed_option,
    strict_option,
)
from dafxtool.cli._output import Table, progress_from, report, skipped_entries, skipped_lines
from dafxtool.cli._segments import segment_options, take_segment_options
from dafxtool.utils.text import counted


class LatencyType(click.ParamType):
    """auto, or a whole number of samples."""

    name = "latency"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "auto|SAMPLES"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "auto":
            return value
        try:
            return int(value)
        except ValueError:
            self.fail(f"{value!r} is neither auto nor a number of samples", param, ctx)


@click.command("import", short_help="Import existing dry and wet recordings.")
@click.argument("dry", type=PATH)
@click.argument("wet", required=False, type=PATH)
@output_option("pairs.h5", "Pairs file.")
@click.option(
    "--effect",
    metavar="NAME[:PARAMETER=VALUE,...]",
    help="Name of the effect, and settings that hold for all recordings, with their unit: "
    "'my-amp:gain=5 dB,channel=lead'.",
)
@click.option(
    "--latency",
    type=LatencyType(),
    default="auto",
    show_default=True,
    help="Samples at the dry recording's rate by which wet recordings are late; auto finds it for "
    "each pair.",
)
@segment_options("pad", "skip")
@preset_option
@config_option
@seed_option()
@overwrite_option
@strict_option
@json_option
@progress_options
def command(dry: Path, wet: Path | None, as_json: bool, **options: Any) -> None:
    """Import existing dry and wet recordings, such as takes of an amplifier.

    DRY and WET are two files, one dry file and a folder of wet ones, or two folders, whose files
    are matched by name. Without WET, DRY is a table (.csv) with the columns dry, wet, effect and
    settings ("gain [dB]"), a folder with both sides, or a folder that 'dafxtool render' wrote.

    Each wet recording is aligned to its dry one: latency, clock drift and polarity are reported.
    Both are cut into consecutive segments, levelled and split as by 'dafxtool render'. The effect
    has a name and settings, but cannot be applied to other recordings.

    \b
    Examples:
      dafxtool import di.wav amp.wav --effect my-amp:gain=5
      dafxtool import dry-takes/ wet-takes/ --effect tape
      dafxtool import pairs.csv -o pairs.h5
      dafxtool import rendered-folder/
    """
    import dafxtool

    options["output"] = options["output"] or Path("pairs.h5")
    result = dafxtool.import_pairs(
        dry, wet, progress=progress_from(options), **take_segment_options(options), **options
    )
    splits = ", ".join(f"{n} {name}" for name, n in result.pairs_per_split.items())
    lines = [Table(("dry", "wet", "setting", "latency", "segments", "split"), result.rows())]
    report(
        {
            "output": result.path,
            "n_pairs": result.n_pairs,
            "pairs_per_effect": result.pairs_per_effect,
            "pairs_per_split": result.pairs_per_split,
            "audio_seconds": result.seconds,
            "recordings": [vars(each) for each in result.recordings],
            "skipped": skipped_entries(result.skipped),
        },
        as_json,
        [
            *(lines if result.recordings else []),
            *result.remarks(),
            f"{counted(result.n_pairs, 'pair')} ({splits}), {result.seconds / 60:.1f} minutes "
            f"-> {result.path}",
            *skipped_lines(result.skipped),
        ],
    )
