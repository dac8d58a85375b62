"""Train a model on a spectrograms file.

The loop knows nothing of audio. What a step sees depends on (seed, step) alone: the order of the
data on (seed, epoch), the noise of the posterior on (seed, step). So a run that was killed goes on
along the very curve that it would have taken, from its last checkpoint, with nothing else kept.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dafxtool import interrupts, presets, store
from dafxtool.devices import pick_device
from dafxtool.errors import FormatError, InputError, TrainingError
from dafxtool.presets import Configuration
from dafxtool.progress import SILENT, Progress
from dafxtool.rows import Rows
from dafxtool.run_folder import RunFolder
from dafxtool.stft import SpectrogramConfig
from dafxtool.trainer import Trainer, data_order

Observer = Callable[[Trainer, RunFolder, Rows], None]


@dataclass(frozen=True)
class TrainingResult:
    """How a training ended; errors are mean squared errors in standardised units."""

    run: Path
    steps: int
    epochs: float
    seconds: float
    segments_per_second: float
    best_step: int
    validation: dict[str, float]
    ended: str  # complete, minutes, early, or interrupted
    device: str


def train(
    spectrograms: Path,
    run: Path,
    configuration: Configuration,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    observers: tuple[Observer, ...] = (),
    progress: Progress = SILENT,
) -> TrainingResult:
    """Train into the folder `run`.

    configuration  its analysis is replaced by the one of the spectrograms file
    observers      called after each validation with the trainer, the run's folder and the rows of
                   the validation split

    Raises InputError, FormatError, OutputExistsError, TrainingError (the loss is not finite).
    """
    with store.Reader(spectrograms, store.SPECTROGRAMS) as reader:
        analysis = SpectrogramConfig(**reader.configuration["spectrogram"])
        configuration = presets.with_segments_of(
            replace(configuration, spectrogram=analysis), analysis.sample_rate, analysis.n_samples
        )
        chosen = pick_device(device)
        shape = (2, analysis.n_bins, analysis.n_frames)
        if reader.row_shape != shape:
            raise FormatError(
                f"{spectrograms} has rows of {reader.row_shape}, its configuration says {shape}: "
                "make it again."
            )
        training = Rows(reader, _rows(reader, ("train",)), chosen)
        sizes = {"n_effects": len(reader.labels.effects), "n_parameters": training.n_parameters}
        trainer = Trainer(configuration, shape, chosen, **sizes)
        validation = Rows(reader, _rows(reader, ("validation", "train")), chosen)
        folder = RunFolder(run, trainer, _about(reader, spectrograms), resume, overwrite)
        progress.say(
            f"{len(training)} segments to train on and {len(validation)} to validate, in "
            f"{training.place}; {chosen}, "
            + ("bfloat16" if trainer.bfloat16 else "float32")
            + (f"; from step {trainer.step_number}" if trainer.step_number else "")
        )
        return _fit(trainer, folder, training, validation, observers, progress)


def _rows(reader: store.Reader, preferred: tuple[str, ...]) -> NDArray[np.int64]:
    """Rows of the first of these splits that has any."""
    for split in preferred:
        rows = reader.labels.rows_of((split,))
        if len(rows):
            return rows
    raise InputError(
        f"{reader.path} has no rows of the split {preferred[0]!r}: render with other shares."
    )


def _about(reader: store.Reader, path: Path) -> dict[str, Any]:
    """What a checkpoint says of its data."""
    return {
        "mean": float(reader.configuration["mean"]),
        "deviation": float(reader.configuration["deviation"]),
        "effects": reader.labels.effects,
        "data": {
            "spectrograms": str(path.absolute()),
            "pairs": reader.configuration["pairs"],
            "recordings": [r["path"] for r in reader.labels.recordings if r["split"] == "train"],
        },
    }


def _fit(
    trainer: Trainer,
    folder: RunFolder,
    training: Rows,
    validation: Rows,
    observers: tuple[Observer, ...],
    progress: Progress,
) -> TrainingResult:
    config = trainer.config
    first_step, first_seconds = trainer.step_number, trainer.seconds
    n_epoch = len(training) // min(config.batch_size, len(training))
    progress.start("training", config.max_steps, "step", done=first_step)
    shown_step = first_step
    began = saved = time.monotonic()
    if first_step == 0:
        trainer.prepare(training, progress)
        _judge(trainer, folder, trainer.validate(validation))
        folder.log(trainer, 0.0, {}, validated=True)  # what training starts from
    ended = "complete"
    finished = trainer.done() >= 1 or bool(config.patience and trainer.stale >= config.patience)
    steps_left = iter(()) if finished else data_order(len(training), config, first_step)
    order, same_order = itertools.tee(steps_left)
    try:
        with interrupts.deferred():  # to the end of a step, with all that belongs to it
            for batch, positions in zip(training.batches(order), same_order, strict=False):
                trainer.pending.append(trainer.step(batch, training.targets(positions)))
                trainer.seconds = first_seconds + time.monotonic() - began
                step = trainer.step_number
                last = step == config.max_steps or bool(
                    config.max_minutes and trainer.seconds >= 60 * config.max_minutes
                )
                validate = last or step % config.validate_every == 0
                if validate or step % config.log_every == 0 or trainer.device == "cpu":
                    _check_finite(trainer.pending, step)
                if validate or step % config.log_every == 0:
                    figures = _figures(trainer.pending)
                    if validate:
                        _judge(trainer, folder, trainer.validate(validation))
                    folder.log(trainer, step / n_epoch, figures, validate)
                    trainer.pending = []
                    if validate:
                        for observe in observers:
                            observe(trainer, folder, validation)
                    shown = {"loss": figures["loss"], "wet": figures["wet_error"]}
                    progress.advance(step - shown_step, **shown)
                    shown_step = step
                now = time.monotonic()
                if step % config.checkpoint_every == 0 or now - saved > config.checkpoint_seconds:
                    _save_last(trainer, folder)
                    saved = now
                if last:
                    ended = "complete" if step == config.max_steps else "minutes"
                    break
                if config.patience and trainer.stale >= config.patience:
                    ended = "early"
                    break
                interrupts.check()
    except KeyboardInterrupt:
        ended = "interrupted"
    if not finished:
        _save_last(trainer, folder)
    if not (folder.path / "checkpoints" / "best.pt").exists():
        folder.save_best(trainer)
    folder.close()
    progress.finish()
    steps = trainer.step_number - first_step
    spent = trainer.seconds - first_seconds
    return TrainingResult(
        run=folder.path,
        steps=trainer.step_number,
        epochs=trainer.step_number / n_epoch,
        seconds=trainer.seconds,
        segments_per_second=steps * min(config.batch_size, len(training)) / max(spent, 1e-9),
        best_step=trainer.best_step,
        validation=trainer.validation,
        ended=ended,
        device=trainer.device,
    )


def _save_last(trainer: Trainer, folder: RunFolder) -> None:
    """Keep the state, unless it holds numbers that are none: then the one before is kept."""
    _check_finite(trainer.pending, trainer.step_number)
    weights = [parameter.isfinite().all() for parameter in trainer.model.parameters()]
    if not bool(torch.stack(weights).all()):
        raise TrainingError(
            f"the weights are not finite after step {trainer.step_number}: resume from the last "
            "checkpoint with a lower --learning-rate or with --gradient-clip 1."
        )
    folder.save_last(trainer)


def _check_finite(pending: list[Tensor], step: int) -> None:
    """Stop before a checkpoint is overwritten by numbers that are none."""
    if not pending:
        return
    finite = torch.isfinite(torch.stack(pending)[:, 0])
    if not bool(finite.all()):
        at = step - len(pending) + int(torch.nonzero(~finite)[0, 0]) + 1
        raise TrainingError(
            f"the loss is not finite at step {at}: resume from the last checkpoint with a lower "
            "--learning-rate or with --gradient-clip 1."
        )


def _figures(pending: list[Tensor]) -> dict[str, float]:
    names = ("loss", "dry_error", "wet_error", "kl")
    return dict(zip(names, torch.stack(pending).mean(dim=0).tolist(), strict=True))


def _judge(trainer: Trainer, folder: RunFolder, validation: dict[str, float]) -> None:
    """Keep the best model; count the validations since."""
    if not math.isfinite(validation["loss"]):
        raise TrainingError(
            f"the validation loss is not finite at step {trainer.step_number}: lower the "
            "--learning-rate."
        )
    trainer.validation = validation
    trainer.stale += 1
    if validation["loss"] < trainer.best_loss:
        trainer.best_loss, trainer.best_step = validation["loss"], trainer.step_number
        trainer.stale = 0
        folder.save_best(trainer)
