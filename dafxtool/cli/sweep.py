"""dafxtool sweep: how the latents move with each parameter."""

from __future__ import annotations

import math
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
    seed_option,
    strict_option,
)
from dafxtool.cli._output import (
    Table,
    progress_from,
    report,
    skipped_lines,
)


@click.command(short_help="Draw what each parameter of an effect does.")
@click.argument("inputs", nargs=-1, type=PATH)
@output_option(
    "sweep.png",
    "A figure: .png, .svg or .pdf. Of several effects, each has its name before the suffix.",
)
@run_option
@effect_options
@click.option(
    "--values",
    type=click.IntRange(min=2),
    default=16,
    show_default=True,
    help="Of each parameter, from end to end.",
)
@click.option(
    "--segments",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="That hear them all, of different recordings as far as there are.",
)
@click.option(
    "--pairs",
    type=PATH,
    metavar="FILE",
    help="Draw the first four principal directions against each other too, named like --output.",
)
@csv_option
@seed_option()
@strict_option
@device_option
@overwrite_option
@json_option
@quiet_option
def command(inputs: tuple[Path, ...], **options: Any) -> None:
    """Move every parameter of an effect alone, and draw how the latents of INPUTS move.

    INPUTS are recordings and folders, or a pairs file, of which the dry side of pairs that training
    has not seen is taken; without INPUTS, the newest pairs file here. Without --effect, the effects
    that the run was trained on; any other may be named too. A parameter with a value
    (--effect overdrive:tone=3000) is held there, the others stand at their default.

    The table tells of each parameter its travel, the largest distance between the latents of two
    of its values against that between two segments at the default, and how far the order of the
    values is kept on the way (monotone: 1 is wholly, and means nothing where travel is about 0).

    \b
    Examples:
      dafxtool sweep
      dafxtool sweep --effect overdrive -o overdrive.svg --pairs overdrive-pairs.svg
      dafxtool sweep my-recordings --effect chorus --effect delay:feedback=60 --csv sweep.csv
    """
    from dafxtool import storage
    from dafxtool.api.defaults import effects_of_run, newest_file
    from dafxtool.utils import outputs

    progress = progress_from(options["quiet"])
    _checks.need_run(options)
    sources = list(inputs) or [newest_file([storage.PAIRS])]
    _checks.sources(sources, (storage.PAIRS,))
    output = options["output"] or Path("sweep.png")
    _check_outputs(output, options)
    from dafxtool.latents.sweep import (
        check_effects,
        draw_sweep,
        draw_sweep_pairs,
        movements,
        sweep,
        write_sweep_table,
    )
    from dafxtool.models.run import load_run

    run = load_run(options["run"], options["device"])
    config = run.configuration.segments
    movable = [effect for effect in run.effects if effect["parameters"]]
    chosen = effects_of_run(
        movable, options["effects"], options["plugins"], config.sample_rate, progress
    )
    chosen = check_effects(chosen, options["values"], options["segments"], config)
    names = [effect.name for effect, _ in chosen]
    figures = _named(output, names)
    pairs = _named(options["pairs"], names) if options["pairs"] else []
    for figure in (*figures, *pairs):
        outputs.check_outputs(figure, options["csv"], overwrite=options["overwrite"])
    made = sweep(
        sources,
        run,
        chosen,
        options["values"],
        options["segments"],
        options["seed"],
        options["strict"],
        progress,
    )
    for each, figure in zip(made, figures, strict=True):
        draw_sweep(figure, each, overwrite=options["overwrite"])
    for each, figure in zip(made, pairs, strict=bool(pairs)):
        draw_sweep_pairs(figure, each, overwrite=options["overwrite"])
    if options["csv"]:
        write_sweep_table(options["csv"], made, options["overwrite"])
    moved = [movement for each in made for movement in movements(each)]
    rows = [(m.effect, m.parameter, m.low, m.high, _two(m.travel), _two(m.monotone)) for m in moved]
    numbers = ("from", "to", "travel", "monotone")
    skipped = made[0].latents.skipped
    report(
        {
            "paths": figures,
            "pairs": pairs,
            "run": run.path,
            "segments": len(made[0].default),
            "parameters": moved,
            "skipped": skipped,
        },
        options["as_json"],
        [
            Table(("effect", "parameter", *numbers), rows, right=numbers),
            *(f"sweep -> {figure}" for figure in figures),
            *(f"pair plot -> {figure}" for figure in pairs),
            *skipped_lines(skipped),
        ],
    )


def _check_outputs(output: Path, options: dict[str, Any]) -> None:
    """Refuse unusable outputs as far as they are known: a run names effects, and plugins do."""
    from dafxtool.utils import outputs

    outputs.check_outputs(None, options["csv"], overwrite=options["overwrite"])
    names = [text.partition(":")[0].strip().lower() for text in options["effects"]]
    for path in filter(None, (output, options["pairs"])):
        outputs.check_figure_path(path)
        for figure in _named(path, names) if names and not options["plugins"] else ():
            outputs.check_outputs(figure, overwrite=options["overwrite"])


def _named(path: Path, effects: list[str]) -> list[Path]:
    """The figure of each effect: sweep.png, or sweep-overdrive.png, sweep-delay.png, ..."""
    if len(effects) == 1:
        return [path]
    from dafxtool.utils.text import unique_slugs

    # Slugs: the names come from the run, which may be a stranger's, and may say ../..
    slugs = unique_slugs(effects)
    return [path.with_name(f"{path.stem}-{effect}{path.suffix}") for effect in slugs]


def _two(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"
