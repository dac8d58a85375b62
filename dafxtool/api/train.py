"""Train a model on spectrograms or pairs, and load it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dafxtool import presets, storage
from dafxtool.api import checks, defaults
from dafxtool.api.arguments import SILENT, PathLike, Progress, as_path
from dafxtool.config import Configuration
from dafxtool.errors import ArgumentError, MissingDependencyError, TrainingError
from dafxtool.models import checkpoint as checkpoints
from dafxtool.utils.text import counted

if TYPE_CHECKING:
    from dafxtool.models.run import Run
    from dafxtool.training.train import Callback, TrainingResult


def train(
    data: PathLike | None = None,
    *,
    output: PathLike | None = None,
    preset: str | None = None,
    config: PathLike | None = None,
    steps: int | None = None,
    epochs: float | None = None,
    minutes: float | None = None,
    latents: int | None = None,
    training: Mapping[str, Any] | None = None,
    wandb: bool = False,
    callbacks: Sequence[Callback] = (),
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> TrainingResult:
    """Train a joint-spectrogram VAE on a spectrograms or pairs file.

    data       None takes the newest file in the working folder; pairs are analysed first
    output     the run's folder; None takes runs/PRESET-N
    preset, config
               values to start from, and a TOML file over them
    steps, epochs, minutes
               limits; the first one that is reached ends the training. Minutes count from the
               call, with all that comes before the first step; 0 minutes: no limit. Steps and
               epochs exclude each other
    latents    dimensions of the latent space
    training   further values of the training section of a configuration, such as batch_size,
               learning_rate, beta, seed
    wandb      also log to Weights & Biases: scalars, images, audio and curves. Without a login or a
               connection the log is kept in the run's folder; a resumed run continues its log
    callbacks  called at each step, validation and checkpoint, besides TensorBoard's
    device     "auto", "cpu", "cuda" or "cuda:N"
    resume     continue an interrupted run; start from scratch if there is none. Values given
               here replace those of the run; its preset, model and data stay the same

    InputError, FormatError, ConfigError, OutputExistsError, DiskError.
    """
    started = time.monotonic()
    if steps is not None and epochs is not None:
        raise ArgumentError("steps and epochs are given, but both limit the same. Use one of them.")
    checks.check_resume(resume, overwrite)
    values = dict(training or {}) | {"max_steps": steps, "max_minutes": minutes}
    overrides = {"training": values, "model": {"n_latent": latents}}
    arguments = (as_path(data), as_path(output), preset, as_path(config), overrides, resume)
    if not checks.is_one_of_several():  # else the first process checks
        checks.check_settings(device, as_path(config))
        _check(*arguments, overwrite, wandb)
    from dafxtool.training.distributed import joined
    from dafxtool.training.tensorboard import TensorBoardCallback, draw_training
    from dafxtool.training.train import train as train_model
    from dafxtool.training.wandb_log import WandbLog

    with joined(device) as group:
        if not group.first:
            progress = SILENT
        source, run, configuration = group.from_first(
            lambda: _plan(*arguments, epochs, group.device, started, progress)
        )
        progress.message(f"training on {source} -> {run}")
        progress.detail(f"device {group.device}")
        if minutes and steps is None and epochs is None:
            limit = configuration.training
            progress.message(
                f"training ends after {limit.max_minutes:g} minutes or "
                f"{counted(limit.max_steps, 'step')} of the preset, whichever comes first"
            )
        wandb_log = None
        with group.all_or_none():
            if wandb and group.first:
                wandb_log = WandbLog(run, configuration, bool(_resumed(run, resume)), progress)
        is_complete = False
        try:
            result = train_model(
                source,
                run,
                configuration,
                group.device,
                resume,
                overwrite,
                (TensorBoardCallback(), *callbacks),
                progress,
                started,
                wandb_log,
            )
            with group.all_or_none():
                if group.first and result.validation:
                    curves = result.run / "curves.png"
                    draw_training(curves, result.run, overwrite=True)
                    if wandb_log:
                        wandb_log.image("curves", curves, result.steps)
            is_complete = True
        finally:
            if wandb_log:
                wandb_log.close(is_complete)
    return result


def load_run(
    path: PathLike | None = None, *, device: str = "auto", checkpoint: str = "best"
) -> Run:
    """Load a trained model with its analysis.

    path        a run's folder or a checkpoint file; None takes the newest run in runs/
    device      "auto", "cpu", "cuda" or "cuda:N"
    checkpoint  "best" or "last"
    """
    checks.check_settings(device)
    checks.check_run(as_path(path))
    from dafxtool.models.run import load_run as load

    return load(as_path(path), device, checkpoint)


def _run_folder(output: Path | None, resume: bool) -> Path | None:
    """Return the run folder that was named or is resumed; None for a new one."""
    is_there = list(checkpoints.RUNS_FOLDER.glob("*/checkpoints/last.pt"))
    return checkpoints.newest_run() if resume and output is None and is_there else output


def _resumed(run: Path | None, resume: bool) -> Path | None:
    """Return the checkpoint to resume from, if there is one."""
    last = run / "checkpoints" / "last.pt" if run else None
    return last if resume and last and last.exists() else None


def _check(
    data: Path | None,
    output: Path | None,
    preset: str | None,
    config: Path | None,
    overrides: dict[str, dict[str, Any]],
    resume: bool,
    overwrite: bool,
    wandb: bool,
) -> None:
    """Refuse what cannot be trained on or written, before torch is imported."""
    if wandb and find_spec("wandb") is None:
        raise MissingDependencyError("wandb", "logging to Weights & Biases")
    run = _run_folder(output, resume)
    if run:
        checkpoints.check_run_is_free(run, resume, overwrite)
    last = _resumed(run, resume)
    if last:
        checkpoints.find_checkpoint(last)
    else:
        defaults.configuration_for(preset, config, overrides)
    kinds = (storage.SPECTROGRAMS, storage.PAIRS)
    if data:
        checks.check_file(data, kinds)
    elif not last:  # a run states its data
        defaults.newest_file(kinds)


def _plan(
    data: Path | None,
    output: Path | None,
    preset: str | None,
    config: Path | None,
    overrides: dict[str, dict[str, Any]],
    resume: bool,
    epochs: float | None,
    device: str,
    started: float,
    progress: Progress,
) -> tuple[Path, Path, Configuration]:
    """Return the spectrograms to train on, the folder of the run, and the configuration.

    The spectrograms are computed if they are missing.
    """
    run = _run_folder(output, resume)
    last = _resumed(run, resume)
    if last:
        contents = checkpoints.read_checkpoint(last)
        saved = presets.from_dict(contents["configuration"], str(last))
        configuration = presets.resume(saved, preset, config, overrides, last.parent.parent)
        changes = [
            f"{name} {new} (was {old})"
            for name, new in vars(configuration.training).items()
            if new != (old := getattr(saved.training, name))
        ]
        if changes:
            progress.message(f"resuming {run} with {', '.join(changes)}")
        saved_data = Path(contents["data"]["spectrograms"])
        data = data or (saved_data if saved_data.exists() else None)
    else:
        configuration = defaults.configuration_for(preset, config, overrides, progress)
    kinds = (storage.SPECTROGRAMS, storage.PAIRS)
    data = data or defaults.newest_file(kinds, progress=progress)
    run = run or checkpoints.new_run_path(configuration.preset)
    source = defaults.spectrograms_for(data, configuration, device, progress)
    _check_time_left(source, configuration, started)
    return source, run, _with_epochs(configuration, source, epochs)


def _check_time_left(source: Path, configuration: Configuration, started: float) -> None:
    """Refuse to train where the analysis of the pairs took all the time."""
    limit, spent = configuration.training.max_minutes, (time.monotonic() - started) / 60
    if limit and spent >= limit:
        raise TrainingError(
            f"{source}: no time is left for training, because its analysis took {spent:.2g} of "
            f"{limit:g} minutes. It is complete: run the command again, or use more --minutes."
        )


def _with_epochs(configuration: Configuration, source: Path, epochs: float | None) -> Configuration:
    """Express a number of epochs as a number of steps."""
    if epochs is None:
        return configuration
    with storage.Hdf5Reader(source, storage.SPECTROGRAMS) as reader:
        n_rows = max(1, len(reader.labels.rows_of(("train",))))
    training = configuration.training
    steps = max(1, round(epochs * max(1, n_rows // training.batch_size)))
    return replace(configuration, training=replace(training, max_steps=steps))
