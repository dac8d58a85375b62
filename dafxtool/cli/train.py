"""Define the command `dafxtool train`: train a model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from dafxtool.cli._options import (
    PATH,
    Number,
    config_option,
    device_option,
    json_option,
    output_option,
    overwrite_option,
    preset_option,
    progress_options,
    resume_option,
    seed_option,
)
from dafxtool.cli._output import Table, progress_from, report
from dafxtool.errors import ElsewhereError
from dafxtool.utils.text import counted

if TYPE_CHECKING:
    from dafxtool.training.train import TrainingResult

TRAINING_OPTIONS = (
    "batch_size",
    "learning_rate",
    "schedule",
    "beta",
    "annealing",
    "annealing_steps",
    "gradient_clip",
    "validate_every",
    "patience",
    "precision",
    "compile",
    "seed",
)
ENDED = {
    "complete": "all steps done",
    "minutes": "time limit reached",
    "early": "the validation loss stopped falling",
    "interrupted": "interrupted",
}


@click.command(short_help="Train a model on spectrograms or pairs.")
@click.argument("data", required=False, type=PATH)
@output_option("runs/PRESET-N", "Run folder.")
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    help="Limit in optimiser steps.  [default: the preset's]",
)
@click.option(
    "--epochs",
    type=Number(min=0, max=1e9, min_open=True),
    help="Limit in epochs, in place of --steps.",
)
@click.option(
    "--minutes",
    type=Number(min=0),
    help="Limit in minutes of wall time from the start of the command; 0 for none.  "
    "[default: the preset's]",
)
@click.option(
    "--batch-size", type=click.IntRange(min=1), help="Segments in a step.  [default: the preset's]"
)
@click.option(
    "--learning-rate",
    type=Number(min=0, min_open=True),
    help="Learning rate of Adam after the warm-up.  [default: the preset's]",
)
@click.option(
    "--schedule",
    type=click.Choice(("cosine", "constant")),
    help="Schedule of the learning rate.  [default: the preset's]",
)
@click.option(
    "--latents",
    type=click.IntRange(min=2),
    help="Number of latent dimensions.  [default: the preset's]",
)
@click.option(
    "--beta", type=Number(min=0), help="Weight of the KL divergence.  [default: the preset's]"
)
@click.option(
    "--annealing",
    type=click.Choice(("constant", "linear", "cyclical")),
    help="Schedule of beta.  [default: the preset's]",
)
@click.option(
    "--annealing-steps",
    type=click.IntRange(min=0),
    help="Steps of the rise of beta, or of a cycle.  [default: the preset's]",
)
@click.option(
    "--gradient-clip",
    type=Number(min=0),
    help="Largest norm of the gradient; 0 for no limit.  [default: the preset's]",
)
@click.option(
    "--validate-every",
    type=click.IntRange(min=1),
    help="Steps between validations.  [default: the preset's]",
)
@click.option(
    "--patience",
    type=click.IntRange(min=0),
    help="Validations without improvement before training stops; 0 for no limit.  "
    "[default: the preset's]",
)
@click.option(
    "--precision",
    type=click.Choice(("auto", "float32", "bfloat16")),
    help="Precision of the neural networks; auto is bfloat16 where CUDA has it.  [default: auto]",
)
@click.option(
    "--compile/--no-compile",
    default=None,
    callback=lambda ctx, param, value: {True: "always", False: "never"}.get(value),
    help="Compile the neural networks, which takes about a minute.  [default: with a GPU]",
)
@click.option("--wandb", is_flag=True, help="Log to Weights & Biases (needs 'dafxtool[wandb]').")
@preset_option
@config_option
@seed_option(None)
@device_option
@resume_option
@overwrite_option
@json_option
@progress_options
def command(data: Path | None, as_json: bool, **options: Any) -> None:
    """Train a joint-spectrogram VAE on DATA, a spectrograms or pairs file.

    Without DATA, the newest one here; spectrograms of pairs are computed first. Watch the run with
    'tensorboard --logdir runs'. Ctrl-C leaves a usable run, which --resume continues.

    \b
    Examples:
      dafxtool train
      dafxtool train pairs.h5 --preset default --minutes 60
      dafxtool train spectrograms.h5 --steps 2000 --beta 4 --annealing cyclical
      dafxtool train --resume
      torchrun --nproc-per-node=2 -m dafxtool train spectrograms.h5    # on two GPUs
    """
    import dafxtool

    training = {name: options.pop(name) for name in TRAINING_OPTIONS}
    result = dafxtool.train(data, training=training, progress=progress_from(options), **options)
    is_first = os.environ.get("RANK", "0") == "0"  # of torchrun's processes, the first reports
    if is_first:
        report(_json(result), as_json, _lines(result))
    if result.ended == "interrupted":
        raise KeyboardInterrupt if is_first else ElsewhereError("the first process reports it")


def _json(result: TrainingResult) -> dict[str, Any]:
    values = dict(vars(result))
    return {**values, "end_reason": values.pop("ended")}


def _lines(result: TrainingResult) -> list[str | Table]:
    validation = result.validation
    rows = [
        ("steps", f"{result.steps} ({result.epochs:.1f} epochs)"),
        ("time", f"{result.seconds:.0f} s, {result.segments_per_second:.0f} segments/s"),
        ("device", result.device),
        ("ended", ENDED[result.ended]),
    ]
    if validation:
        rows += [
            ("best at step", str(result.best_step)),
            ("validation error, dry", f"{validation['dry_error']:.4f}"),
            ("validation error, wet", f"{validation['wet_error']:.4f}"),
        ]
    lines: list[str | Table] = [Table(("training", ""), rows), f"run -> {result.run}"]
    lines += result.warnings
    if not result.segments_per_second:
        done = counted(result.steps, "step")
        lines.append(f"The run was complete before ({done}). Raise --steps or --minutes.")
    return lines
