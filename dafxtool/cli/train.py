"""dafxtool train: spectrograms in, a run folder out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dafxtool.cli._checks import file, is_one_of_several
from dafxtool.cli._options import (
    PATH,
    Number,
    config_option,
    device_option,
    json_option,
    output_option,
    overwrite_option,
    preset_option,
    quiet_option,
    resume_option,
    seed_option,
)
from dafxtool.cli._output import Table, progress_from, report

if TYPE_CHECKING:
    from dafxtool.config import Configuration
    from dafxtool.training.train import TrainingResult
    from dafxtool.utils.progress import Progress

OVERRIDDEN = (
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
    "complete": "complete",
    "minutes": "the minutes are over",
    "early": "the validation loss stopped falling",
    "interrupted": "interrupted",
}


@click.command(short_help="Train a model on spectrograms or pairs.")
@click.argument("data", required=False, type=PATH)
@output_option("runs/PRESET-N", "The run's folder.")
@click.option("--steps", type=click.IntRange(min=1), help="Updates of the weights at most.")
@click.option("--epochs", type=Number(min=0, max=1e9, min_open=True), help="The same in passes.")
@click.option("--minutes", type=Number(min=0), help="Wall time at most; 0 for no limit.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Segments a step.")
@click.option(
    "--learning-rate", type=Number(min=0, min_open=True), help="Adam's; after the warm-up."
)
@click.option("--schedule", type=click.Choice(("cosine", "constant")), help="Of the learning rate.")
@click.option("--latents", type=click.IntRange(min=2), help="Dimensions of the latent space.")
@click.option("--beta", type=Number(min=0), help="Weight of the KL divergence.")
@click.option("--annealing", type=click.Choice(("constant", "linear", "cyclical")), help="Of beta.")
@click.option(
    "--annealing-steps", type=click.IntRange(min=0), help="Length of its rise, or of a cycle."
)
@click.option(
    "--gradient-clip", type=Number(min=0), help="Largest norm of the gradient; 0 for none."
)
@click.option("--validate-every", type=click.IntRange(min=1), help="Steps between validations.")
@click.option(
    "--patience",
    type=click.IntRange(min=0),
    help="Validations without improvement before it stops.",
)
@click.option(
    "--precision", type=click.Choice(("auto", "float32", "bfloat16")), help="Of the convolutions."
)
@click.option(
    "--compile/--no-compile",
    default=None,
    callback=lambda ctx, param, value: {True: "always", False: "never"}.get(value),
    help="Compile the convolutions, which takes a minute first.  [default: with a GPU]",
)
@click.option(
    "--wandb", is_flag=True, help="Log to Weights & Biases too (needs 'dafxtool[wandb]')."
)
@preset_option
@config_option
@seed_option(None)
@device_option
@resume_option
@overwrite_option
@json_option
@quiet_option
def command(data: Path | None, **options: Any) -> None:
    """Train a joint-spectrogram VAE on DATA, a spectrograms or pairs file.

    Without DATA, on the newest one here; pairs are analysed first. Look on with
    'tensorboard --logdir runs'. Ctrl-C leaves a usable run, and --resume goes on from it.

    \b
    Examples:
      dafxtool train
      dafxtool train pairs.h5 --preset default --minutes 60
      dafxtool train spectrograms.h5 --steps 2000 --beta 4 --annealing cyclical
      dafxtool train --resume
      torchrun --nproc-per-node=2 -m dafxtool train spectrograms.h5    # on two GPUs
    """
    if not is_one_of_several():  # else the first process checks, and tells the others
        _check(data, options)
    from dafxtool.training.distributed import joined
    from dafxtool.training.tensorboard import TensorBoardCallback, begin_wandb, draw_training
    from dafxtool.training.train import train

    with joined(options["device"]) as group:
        progress = progress_from(options["quiet"] or not group.first)
        planned = group.from_first(lambda: _plan(data, options, group.device, progress))
        source, run, configuration = planned
        if options["wandb"] and group.first:
            begin_wandb(run, configuration)
        progress.say(f"training on {source} into {run}")
        resume, overwrite = options["resume"], options["overwrite"]
        result = train(
            source,
            run,
            configuration,
            group.device,
            resume,
            overwrite,
            (TensorBoardCallback(),),
            progress,
        )
        with group.together():
            if group.first:
                if result.validation:
                    draw_training(result.run / "curves.png", result.run, overwrite=True)
                report(vars(result), options["as_json"], _told(result))
        if result.ended == "interrupted":
            raise KeyboardInterrupt


def _check(data: Path | None, options: dict[str, Any]) -> None:
    """Refuse what cannot be trained on or written, before torch is imported."""
    from importlib.util import find_spec

    from dafxtool import storage
    from dafxtool.api.defaults import newest_file
    from dafxtool.errors import MissingDependencyError
    from dafxtool.models.checkpoint import (
        check_run_is_free,
        find_checkpoint,
    )
    from dafxtool.utils.progress import SILENT

    if options["wandb"] and find_spec("wandb") is None:
        raise MissingDependencyError("wandb", "logging to Weights & Biases (--wandb)")
    run = _run_of(options)
    if run:
        check_run_is_free(run, options["resume"], options["overwrite"])
    last = run / "checkpoints" / "last.pt" if run else None
    is_resumed = bool(options["resume"] and last and last.exists())
    if is_resumed:
        find_checkpoint(last)
    else:
        _fresh_configuration(options, SILENT)
    kinds = (storage.SPECTROGRAMS, storage.PAIRS)
    if data:
        file(data, kinds)
    elif not is_resumed:  # a run says what data it was trained on
        newest_file(kinds)


def _run_of(options: dict[str, Any]) -> Path | None:
    """Run folder that was named or is resumed; None for a new one."""
    from dafxtool.models.checkpoint import (
        RUNS_FOLDER,
        newest_run,
    )

    run: Path | None = options["output"]
    folder = RUNS_FOLDER
    if options["resume"] and run is None and list(folder.glob("*/checkpoints/last.pt")):
        return newest_run()
    return run


def _plan(
    data: Path | None, options: dict[str, Any], device: str, progress: Progress
) -> tuple[Path, Path, Configuration]:
    """The spectrograms to train on, made where there are none, the run's folder, and how."""
    from dafxtool import storage
    from dafxtool.api.defaults import newest_file, spectrograms_for
    from dafxtool.models.checkpoint import new_run_path

    run = _run_of(options)
    configuration, saved_data = _configuration(options, run, progress)
    if data is None:
        data = saved_data or newest_file([storage.SPECTROGRAMS, storage.PAIRS])
    run = run or new_run_path(configuration.preset)
    source = spectrograms_for(data, configuration, device, progress)
    return source, run, _with_epochs(configuration, source, options["epochs"])


def _configuration(
    options: dict[str, Any], run: Path | None, progress: Progress
) -> tuple[Configuration, Path | None]:
    """What to train with; when resuming, what the run was begun with, and its data."""
    from dafxtool import presets
    from dafxtool.models.checkpoint import read_checkpoint

    last = run / "checkpoints" / "last.pt" if run else None
    if options["resume"] and last and last.exists():
        contents = read_checkpoint(last)
        saved = presets.from_dict(contents["configuration"], str(last))
        data = Path(contents["data"]["spectrograms"])
        made = presets.overridden(saved, _overrides(options))
        return made, data if data.exists() else None
    return _fresh_configuration(options, progress), None


def _fresh_configuration(options: dict[str, Any], progress: Progress) -> Configuration:
    from dafxtool.api.defaults import configuration_for

    return configuration_for(options["preset"], options["config"], _overrides(options), progress)


def _overrides(options: dict[str, Any]) -> dict[str, dict[str, Any]]:
    training = {key: options[key] for key in OVERRIDDEN}
    training |= {"max_steps": options["steps"], "max_minutes": options["minutes"]}
    return {"training": training, "model": {"n_latent": options["latents"]}}


def _with_epochs(configuration: Configuration, source: Path, epochs: float | None) -> Configuration:
    from dataclasses import replace

    from dafxtool import storage

    if epochs is None:
        return configuration
    with storage.Reader(source, storage.SPECTROGRAMS) as reader:
        n_rows = max(1, len(reader.labels.rows_of(("train",))))
    training = configuration.training
    steps = max(1, round(epochs * max(1, n_rows // training.batch_size)))
    return replace(configuration, training=replace(training, max_steps=steps))


def _told(result: TrainingResult) -> list[str | Table]:
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
    if not result.segments_per_second:
        lines.append("It was complete before: --steps or --minutes with more of them goes on.")
    return lines
