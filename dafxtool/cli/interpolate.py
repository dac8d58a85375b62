"""Define the command `dafxtool interpolate`: interpolate between two pairs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from dafxtool.cli._options import (
    PATH,
    SECONDS,
    csv_option,
    device_option,
    effect_options,
    json_option,
    method_option,
    output_option,
    overwrite_option,
    progress_options,
    reading_options,
    run_option,
)
from dafxtool.cli._output import Table, audio_entries, audio_line, progress_from, report

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dafxtool.latents.examples import Example


@click.command(short_help="Interpolate between two effects or two recordings.")
@click.argument("recordings", nargs=-1, required=True, type=PATH)
@output_option("interpolation.png", "Sheet: .png, .svg or .pdf.")
@run_option
@effect_options
@reading_options
@click.option(
    "--wet-a", type=PATH, metavar="FILE", help="Wet recording of A, in place of an effect."
)
@click.option(
    "--wet-b", type=PATH, metavar="FILE", help="Wet recording of B, in place of an effect."
)
@click.option(
    "--start-a",
    type=SECONDS,
    metavar="SECONDS",
    help="Start of A's segment in s.  [default: the fullest segment]",
)
@click.option(
    "--start-b",
    type=SECONDS,
    metavar="SECONDS",
    help="Start of B's segment in s.  [default: the fullest segment]",
)
@click.option(
    "--steps",
    type=click.IntRange(min=2),
    default=7,
    show_default=True,
    help="Number of interpolation steps, including both ends.",
)
@click.option(
    "--spherical", is_flag=True, help="Interpolate along the sphere instead of a straight line."
)
@click.option(
    "--detailed",
    is_flag=True,
    help="Filter the recording itself instead of decoding latents; for one recording with two "
    "effects. Needs no run.",
)
@click.option("--audio", type=PATH, metavar="FOLDER", help="Folder for audio of every step.")
@method_option
@csv_option
@device_option
@overwrite_option
@json_option
@progress_options
def command(recordings: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Interpolate between two RECORDINGS with one effect, or two effects on one recording.

    Without --effect, those that the run was trained on: its first for two recordings, its first
    two for one.

    \b
    Examples:
      dafxtool interpolate a.wav b.wav
      dafxtool interpolate a.wav --effect delay --effect overdrive:drive=30 --audio steps
      dafxtool interpolate a.wav --effect delay:time=100 --effect delay:time=800 --detailed
      dafxtool interpolate a.wav b.wav --effect overdrive --steps 9 --spherical -o sheet.pdf
      dafxtool interpolate dry.wav --wet-a amp-low.wav --wet-b amp-high.wav
    """
    import dafxtool

    output = options["output"] = options["output"] or Path("interpolation.png")
    result = dafxtool.interpolate(recordings, progress=progress_from(options), **options)
    steps = result.steps
    report(
        {
            "output": output,
            "run": result.run.path,
            "ends": [_end("a", steps.a, steps.errors_a), _end("b", steps.b, steps.errors_b)],
            "rendered_errors": steps.rendered_errors,
            "audio_files": audio_entries(result.audio_files),
        },
        as_json,
        [
            Table(result.header, result.rows(), right=result.header[4:]),
            *result.remarks(),
            f"sheet -> {output}",
            *audio_line(result.audio_files, options["audio"]),
        ],
    )


def _end(name: str, example: Example, errors: NDArray[np.float64] | None) -> dict[str, Any]:
    """Describe an end for JSON; errors are those of the decoder, None if nothing was decoded."""
    dry, wet = (None, None) if errors is None else errors.tolist()
    return {
        "end": name,
        "recording": example.recording,
        "start_seconds": example.offset_seconds,
        "effect": example.label,
        "dry_error": dry,
        "wet_error": wet,
    }
