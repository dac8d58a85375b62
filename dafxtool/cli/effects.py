"""Define the command `dafxtool effects`: list effects and parameters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from dafxtool.cli import _completion
from dafxtool.cli._options import SAMPLE_RATE, json_option, plugin_option, progress_options
from dafxtool.cli._output import Table, progress_from, report

if TYPE_CHECKING:
    from dafxtool.effects.effect import Effect
    from dafxtool.effects.parameter import Parameter

PARAMETER_FIELDS = (
    "name",
    "unit",
    "minimum",
    "maximum",
    "default",
    "scale",
    "choices",
    "description",
)


@click.command(short_help="List effects with their parameters, ranges and units.")
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=_completion.effects)
@plugin_option
@click.option(
    "--sample-rate",
    type=SAMPLE_RATE,
    default=24_000,
    show_default=True,
    help="Sample rate in Hz for which ranges are listed: frequencies end below half of it.",
)
@json_option
@progress_options
def command(
    names: tuple[str, ...],
    plugins: tuple[Path, ...],
    sample_rate: int,
    as_json: bool,
    **options: Any,
) -> None:
    """List effects, or those with a NAME, with parameters, ranges, units and defaults.

    Values are accepted in the complete range. Random settings and sweeps stay in the usual range,
    which is listed where it is narrower.

    A NAME may also be a chain: effects in series with > between them.

    \b
    Examples:
      dafxtool effects
      dafxtool effects delay overdrive
      dafxtool effects 'overdrive > delay'
      dafxtool effects --plugin ZamTube.vst3
      dafxtool effects delay --json
    """
    import dafxtool
    from dafxtool.api.effects import HEADER

    result = dafxtool.list_effects(
        names, plugins=plugins, sample_rate=sample_rate, progress=progress_from(options)
    )
    report(
        {"effects": [_described(effect) for effect in result]},
        as_json,
        [Table(HEADER, result.rows(), right=("default",))],
    )


def _described(effect: Effect) -> dict[str, Any]:
    return {
        "name": effect.name,
        "summary": effect.summary,
        "plugin": effect.plugin.path if effect.plugin else None,
        "remarks": [remark for file in effect.plugins for remark in file.remarks],
        "stages": [stage.effect.name for stage in effect.stages],
        "parameters": [_described_parameter(parameter) for parameter in effect.parameters],
    }


def _described_parameter(parameter: Parameter) -> dict[str, Any]:
    low, high = parameter.usual_range()
    usual = {"usual_minimum": low, "usual_maximum": high}
    return {field: getattr(parameter, field) for field in PARAMETER_FIELDS} | usual
