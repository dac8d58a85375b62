"""dafxtool train-matcher: train a network that proposes effect and settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from dafxtool.cli import _completion
from dafxtool.cli._options import (
    PATH,
    device_option,
    json_option,
    output_option,
    overwrite_option,
    progress_options,
    resume_option,
    seed_option,
    workers_option,
)
from dafxtool.cli._output import Table, progress_from, report

if TYPE_CHECKING:
    from dafxtool.matching.controller.train import ControllerResult


@click.command(short_help="Train a network that proposes effect and settings to match.")
@click.argument("run", required=False, type=PATH, shell_complete=_completion.runs)
@click.option("--pairs", type=PATH, metavar="FILE", help="Pairs file.  [default: the run's own]")
@click.option(
    "--loss",
    type=click.Choice(("labels", "audio")),
    default="labels",
    show_default=True,
    help="Supervision of the settings: the stored ones, or the distance of the rendered audio.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    help="Limit in optimiser steps.  [default: 3000, or 300 with --loss audio]",
)
@click.option(
    "--fine-tune", is_flag=True, help="Also train the encoder of the run, instead of freezing it."
)
@click.option("--start", type=PATH, metavar="FILE", help="Matcher whose weights to start from.")
@output_option("RUN/matcher.pt", "Matcher file.")
@device_option
@workers_option
@seed_option()
@resume_option
@overwrite_option
@json_option
@progress_options
def command(run: Path | None, as_json: bool, **options: Any) -> None:
    """Train a controller on the latents of RUN, by default the newest in runs/, else pretrained.

    It predicts the effect and the settings of a pair, with their uncertainty, from features of the
    audio and the run's style latents and descriptors. The features are kept in PAIRS-features.npz
    beside the pairs file for the next training. 'match' starts its search from these predictions.
    With --loss audio the settings are trained on the distance of rendered audio, through any effect
    (SPSA).

    Monitor the training with 'tensorboard --logdir runs'. Ctrl-C leaves a usable matcher, which
    --resume continues.

    \b
    Examples:
      dafxtool train-matcher
      dafxtool train-matcher runs/small-1 --pairs pairs.h5 --steps 6000
      dafxtool train-matcher --loss audio --start labels.pt --workers 4
    """
    import dafxtool

    result = dafxtool.train_matcher(run, progress=progress_from(options), **options)
    report(vars(result), as_json, _lines(result))
    if result.end_reason == "interrupted":
        raise KeyboardInterrupt


def _lines(result: ControllerResult) -> list[str | Table]:
    names = {
        "right": "effect right",
        "first_three": "effect among the first three",
        "settings_r2": "settings, mean R²",
        "settings_error": "settings, median error (share of the range)",
        "sound": "distance to the wet audio, relative to the dry recording",
    }
    rows = [("steps", f"{result.steps} in {result.seconds:.0f} s"), ("loss", result.loss)]
    rows += [
        (text, f"{result.scores[name]:.3f}")
        for name, text in names.items()
        if result.scores[name] == result.scores[name]  # not NaN
    ]
    return [Table(("test split", ""), rows, right=("",)), f"matcher -> {result.output}"]
