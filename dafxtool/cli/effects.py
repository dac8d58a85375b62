"""dafxtool effects: what can be set, and between which ends."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dafxtool.cli._options import SAMPLE_RATE, json_option, plugin_option
from dafxtool.cli._output import Table, progress_from, report

if TYPE_CHECKING:
    from dafxtool.effects.effect import Effect
    from dafxtool.effects.parameter import Parameter


@click.command(short_help="List effects, with ranges and units.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@plugin_option
@click.option(
    "--sample-rate",
    type=SAMPLE_RATE,
    default=24_000,
    show_default=True,
    help="Rate in Hz at which the ranges hold: frequencies end below half of it.",
)
@json_option
def command(
    names: tuple[str, ...], plugins: tuple[Path, ...], sample_rate: int, as_json: bool
) -> None:
    """List the effects, their parameters, ranges, units and defaults.

    Without NAME, all of them; with NAMEs, those effects only. What the columns say is what
    --effect NAME:PARAMETER=VALUE takes in every other command.

    \b
    Examples:
      dafxtool effects
      dafxtool effects delay overdrive
      dafxtool effects --plugin ZamTube.vst3
      dafxtool effects delay --json
    """
    from dafxtool.effects.apply import known_effects

    known = known_effects(plugins, sample_rate, progress_from(quiet=False))
    chosen = [_find(name, known) for name in names] or list(known.values())
    report({"effects": [_described(effect) for effect in chosen]}, as_json, [_table(chosen)])


def _find(name: str, known: dict[str, Effect]) -> Effect:
    from dafxtool.errors import EffectError
    from dafxtool.utils.text import near_names

    if name not in known:
        raise EffectError(f"there is no effect {name!r}: {near_names(name, list(known))}")
    return known[name]


def _described(effect: Effect) -> dict[str, Any]:
    parameters = [
        {
            "name": p.name,
            "unit": p.unit,
            "minimum": p.minimum,
            "maximum": p.maximum,
            "default": p.default,
            "scale": p.scale,
            "choices": p.choices,
            "description": p.description,
        }
        for p in effect.parameters
    ]
    plugin = effect.plugin.path if effect.plugin else None
    summary = {"name": effect.name, "summary": effect.summary, "plugin": plugin}
    return summary | {"parameters": parameters}


def _table(effects: list[Effect]) -> Table:
    rows: list[tuple[str, ...]] = []
    for effect in effects:
        rows.append((effect.name, "", "", "", "", effect.summary))
        for p in effect.parameters:
            default = p.value_text(p.default)
            rows.append((f"  {p.name}", _ends(p), p.unit, default, _scale(p), _what(p)))
    columns = ("effect, parameters", "range", "unit", "default", "scale", "what it is")
    return Table(columns, rows, right=("default",))


def _ends(parameter: Parameter) -> str:
    if parameter.choices:
        return f"{len(parameter.choices)} choices"
    return f"{parameter.minimum:.6g} to {parameter.maximum:.6g}"


def _scale(parameter: Parameter) -> str:
    return "choice" if parameter.choices else parameter.scale


def _what(parameter: Parameter) -> str:
    choices = parameter.range_text() if parameter.choices else ""
    return ": ".join(text for text in (parameter.description, choices) if text)
