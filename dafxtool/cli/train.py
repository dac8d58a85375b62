"""Define the command `dafxtool train`: train a model."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from click.exceptions import Exit

from dafxtool.cli._options import (
    PATH,
    Number,
    config_option,
    device_option,
    json_option,
    output_option,
    overwrite_option,
    preset_option,
    preset_value_option,
    progress_options,
    resume_option,
    seed_option,
)
from dafxtool.cli._output import Table, progress_from, report
from dafxtool.utils import signals
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
@preset_value_option("--steps", click.IntRange(min=1), "Limit in optimiser steps.")
@click.option(
    "--epochs",
    type=Number(min=0, max=1e9, min_open=True),
    help="Limit in epochs, in place of --steps.",
)
@preset_value_option(
    "--minutes",
    Number(min=0),
    "Limit in minutes of wall time from the start of the command; 0 for none.",
)
@preset_value_option("--batch-size", click.IntRange(min=1), "Segments in a step.")
@preset_value_option(
    "--learning-rate", Number(min=0, min_open=True), "Learning rate of Adam after the warm-up."
)
@preset_value_option(
    "--schedule", click.Choice(("cosine", "constant")), "Schedule of the learning rate."
)
@preset_value_option("--latents", click.IntRange(min=2), "Number of latent dimensions.")
@preset_value_option("--beta", Number(min=0), "Weight of the KL divergence.")
@preset_value_option(
    "--annealing", click.Choice(("constant", "linear", "cyclical")), "Schedule of beta."
)
@preset_value_option(
    "--annealing-steps", click.IntRange(min=0), "Steps of the rise of beta, or of a cycle."
)
@preset_value_option(
    "--gradient-clip", Number(min=0), "Largest norm of the gradient; 0 for no limit."
)
@preset_value_option("--validate-every", click.IntRange(min=1), "Steps between validations.")
@preset_value_option(
    "--patience",
    click.IntRange(min=0),
    "Validations without improvement before training stops; 0 for no limit.",
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
@click.option(
    "--wandb",
    is_flag=True,
    help="Log to Weights & Biases, offline without a login (needs 'dafxtool[wandb]').",
)
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
    if is_first and result.is_kept:
        report(_json(result), as_json, _lines(result))
    if result.ended == "interrupted":
        if not is_first:
            raise Exit(signals.exit_status())
        raise KeyboardInterrupt(_kept(result))


def _kept(result: TrainingResult) -> str:
    """Describe what an interrupted training leaves, and how to continue it."""
    command = f"dafxtool train --resume --output {shlex.quote(str(result.run))}"
    if result.steps:
        kept = f"The run is kept as it is after {counted(result.steps, 'step')}"
    elif result.is_kept:
        kept = "The model before the first step is kept"
    else:
        return "Interrupted. There is no model to keep yet. Run the command again."
    return f"Interrupted. {kept}, and can be used. Continue with: {command}"


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
        best = str(result.best_step) if result.best_step else "0, before training"
        rows += [
            ("best at step", best),
            ("validation error, dry", f"{validation['dry_error']:.4f}"),
            ("validation error, wet", f"{validation['wet_error']:.4f}"),
        ]
    lines: list[str | Table] = [Table(("training", ""), rows), f"run -> {result.run}"]
    lines += result.warnings
    if not result.segments_per_second and result.ended == "complete":
        done = counted(result.steps, "step")
        lines.append(f"The run was complete before ({done}). Raise --steps or --minutes.")
    return lines
