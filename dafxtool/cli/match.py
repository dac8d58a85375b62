"""Define the command `dafxtool match`: find the effect and settings between two recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from dafxtool.cli import _completion
from dafxtool.cli._options import (
    PATH,
    Number,
    channel_option,
    effect_options,
    json_option,
    output_option,
    overwrite_option,
    progress_options,
    workers_option,
)
from dafxtool.cli._output import Table, progress_from, report


@click.command(short_help="Find the effect and settings between two recordings.")
@click.argument("dry", type=PATH)
@click.argument("wet", required=False, type=PATH)
@click.option(
    "--like",
    type=PATH,
    multiple=True,
    metavar="PATH",
    help="Reference with other content, a file or a folder; repeat for more.",
)
@effect_options
@click.option(
    "--chain",
    type=click.IntRange(1, 3),
    default=1,
    show_default=True,
    help="Largest number of effects in series.",
)
@click.option(
    "--budget",
    type=click.Choice(("fast", "default", "thorough")),
    default="default",
    show_default=True,
    help="Length of the search.",
)
@click.option(
    "--strength",
    type=Number(min=0, max=100),
    default=100.0,
    show_default=True,
    help="Share of the effect in the matched recording, in %.",
)
@click.option(
    "--level",
    type=click.Choice(("keep", "match")),
    help="Keep the level of the effect, or match the reference's.  "
    "[default: match; keep with --like]",
)
@channel_option("first")
@click.option(
    "--run",
    type=PATH,
    shell_complete=_completion.runs,
    help="Matcher of 'train-matcher', a file or the run folder with it: the search for WET starts "
    "from its predictions. Nothing else of a run is used, and a matcher is not required.  "
    "[default: matcher.pt of the newest run in runs/, if there is one]",
)
@output_option("matched.wav", "Matched recording, .wav or .flac; sheet and JSON are named like it.")
@workers_option
@overwrite_option
@json_option
@progress_options
def command(
    dry: Path, wet: Path | None, like: tuple[Path, ...], as_json: bool, **options: Any
) -> None:
    """Find the effect and the settings that make DRY sound like WET, or like other recordings.

    WET is the same performance with the effect. With --like, references may have any other
    content. All built-in effects are candidates. --effect names them instead, with fixed values
    (--effect delay:mix=50) or as a chain of known order (--effect 'overdrive > delay'); --plugin
    takes the effects of a VST3 plugin. "Leave it" and a plain gain are always among the answers.

    Prints the answer as an --effect line that reproduces it, its level-matched multi-resolution
    STFT distance, that of the unprocessed recording, and for each setting the interval in which the
    match is about equally good.

    \b
    Examples:
      dafxtool match dry.wav wet.wav
      dafxtool match mine.wav --like reference.wav
      dafxtool match mine.wav --like reference.wav --effect delay:mix=50 --strength 70
      dafxtool match dry.wav wet.wav --plugin ZamTube.vst3 --chain 2
    """
    import dafxtool

    options["output"] = options["output"] or Path("matched.wav")
    result = dafxtool.match(dry, wet, like=like, progress=progress_from(options), **options)
    from dafxtool.matching.match import settings_of

    answer = result.answer
    numbers = ("value", "as good from")
    others = [(each.text, f"{100 * each.share:.1f} %") for each in answer.candidates]
    report(
        result.to_dict(),
        as_json,
        [
            *answer.remarks,
            f"--effect '{answer.effect}'",
            answer.verdict,
            f"distance {answer.distance:.4g}, unprocessed {answer.distance_unprocessed:.4g}",
            *_table(Table(("effect", "setting", *numbers), settings_of(answer), right=numbers)),
            *(
                f"{first} and {second} compensate each other."
                for first, second in answer.compensating
            ),
            *_table(Table(("next candidates", "distance left"), others, right=("distance left",))),
            *(f"{_kind(path)} -> {path}" for path in result.outputs),
        ],
    )


def _table(table: Table) -> list[Table]:
    return [table] if table.rows else []


def _kind(path: Path) -> str:
    return {".png": "sheet", ".json": "numbers"}.get(path.suffix, "matched")
