"""Train a model on a spectrograms file.

Data order depends only on (seed, epoch), the noise of the posterior only on (seed, step). So a
resumed run continues with the same losses as an uninterrupted one, from its last checkpoint alone.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dafxtool import presets, storage
from dafxtool.config import Configuration, SpectrogramConfig
from dafxtool.errors import FormatError, InputError, TrainingError
from dafxtool.training.data_description import describe_data, validation_note
from dafxtool.training.distributed import joined, n_own_rows
from dafxtool.training.loader import SplitLoader
from dafxtool.training.run_writer import RunWriter
from dafxtool.training.schedules import data_order
from dafxtool.training.time_limit import TimeLimit
from dafxtool.training.trainer import Trainer
from dafxtool.training.wandb_log import WandbLog
from dafxtool.utils import notebook, signals
from dafxtool.utils.files import disk_errors
from dafxtool.utils.locks import sole_writer
from dafxtool.utils.progress import SILENT, Progress
from dafxtool.utils.text import counted

Callback = Callable[[Trainer, RunWriter, SplitLoader], None]


@dataclass(frozen=True, repr=False)
class TrainingResult(notebook.Displayed):
    """Result of a training. Errors are mean squared errors in standardised units."""

    run: Path
    steps: int
    epochs: float
    seconds: float
    segments_per_second: float
    best_step: int
    validation: dict[str, float]
    ended: str  # complete, minutes, early, or interrupted
    device: str
    warnings: list[str] = field(default_factory=list)
    is_kept: bool = True  # whether there is a checkpoint

    def __repr__(self) -> str:
        errors = [f"{side} error {self.validation[key]:.4f}" for side, key in self._errors()]
        parts = [repr(str(self.run)), counted(self.steps, "step"), *errors]
        return f"TrainingResult({', '.join(parts)})"

    def _errors(self) -> list[tuple[str, str]]:
        sides = (("dry", "dry_error"), ("wet", "wet_error"))
        return [(side, key) for side, key in sides if key in self.validation]

    def _parts(self) -> Iterator[str]:
        rows = [
            ("run", self.run),
            ("steps", f"{self.steps} ({self.epochs:.1f} epochs)"),
            ("time", f"{self.seconds:.0f} s, {self.segments_per_second:.0f} segments/s"),
            ("best at step", self.best_step),
            *(
                (f"validation error, {side}", f"{self.validation[k]:.4f}")
                for side, k in self._errors()
            ),
        ]
        yield notebook.table(("training", ""), rows)
        curves = self.run / "curves.png"
        if curves.is_file():
            yield notebook.image(curves, "training curves")


def train(
    spectrograms: Path,
    run: Path,
    configuration: Configuration,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    callbacks: tuple[Callback, ...] = (),
    progress: Progress = SILENT,
    started: float | None = None,
    wandb_log: WandbLog | None = None,
) -> TrainingResult:
    """Train into the folder `run`.

    configuration  its analysis is replaced by that of the spectrograms file
    callbacks      called after each validation with the trainer, the run's writer and the loader
                   of the validation split
    wandb_log      receives the same data as TensorBoard
    started        time.monotonic() from which max_minutes counts; None takes now

    With torchrun, every process has to call it. Only the first writes and shows progress. Raises
    InputError, FormatError, OutputExistsError, ConfigError, and TrainingError if the loss is not
    finite or another process is lost.
    """
    started = time.monotonic() if started is None else started
    with joined(device) as group, ExitStack() as opened:
        progress = progress if group.first else SILENT
        folder = validation = None
        with group.all_or_none():
            reader = opened.enter_context(storage.Hdf5Reader(spectrograms, storage.SPECTROGRAMS))
            configuration, shape = _configured(configuration, reader)
            training_rows = _rows(reader, ("train",))
            n_own_rows(min(configuration.training.batch_size, len(training_rows)), group)
            training = SplitLoader(reader, training_rows, group.device, group.n_neighbours)
            trainer = Trainer(
                configuration,
                shape,
                group.device,
                len(reader.labels.effects),
                training.n_parameters,
                group,
            )
            if group.first:
                opened.enter_context(sole_writer(run, is_folder=True))
                validation = SplitLoader(
                    reader, _rows(reader, ("validation", "train")), group.device
                )
                about = describe_data(reader, spectrograms)
                folder = RunWriter(run, trainer, about, resume, overwrite, wandb_log)
                if len(training) < configuration.training.batch_size:
                    progress.message(
                        f"batches of {counted(len(training), 'segment')} in place of "
                        f"{configuration.training.batch_size}: there are no more to train on"
                    )
                progress.message(
                    f"{counted(len(training), 'segment')} to train on and {len(validation)} to "
                    f"validate, in {training.place}; {group.device}, "
                    + ("bfloat16" if trainer.bfloat16 else "float32")
                    + (f", {group.size} processes" if group.size > 1 else "")
                    + (f"; from step {trainer.step_number}" if trainer.step_number else "")
                )
                for note in validation_note(reader.labels):
                    progress.message(note)
        limit = TimeLimit(configuration.training.max_minutes, started, trainer.seconds)
        loop = _TrainingLoop(trainer, folder, training, validation, callbacks, progress, limit)
        return _fit(trainer, training, loop, run)


def _configured(
    configuration: Configuration, reader: storage.Hdf5Reader
) -> tuple[Configuration, tuple[int, ...]]:
    """Return the configuration with the analysis of the file, and the shape of spectrograms."""
    analysis = SpectrogramConfig(**reader.configuration["spectrogram"])
    shape = (2, analysis.n_bins, analysis.n_frames)
    if reader.row_shape != shape:
        raise FormatError(
            f"{reader.path}: rows do not match its configuration (found {reader.row_shape}, "
            f"expected {shape}). Run 'dafxtool spectrogram' again."
        )
    # Later recordings are read like those of the pairs: level, channel, threshold.
    segments = reader.configuration.get("pairs", {}).get("segments", {})
    configuration = presets.override(configuration, {"segments": segments})
    return presets.with_segments_of(
        replace(configuration, spectrogram=analysis), analysis.sample_rate, analysis.n_samples
    ), shape


def _rows(reader: storage.Hdf5Reader, preferred: tuple[str, ...]) -> NDArray[np.int64]:
    """Return the rows of the first of these splits that is not empty."""
    for split in preferred:
        rows = reader.labels.rows_of((split,))
        if len(rows):
            return rows
    raise InputError(
        f"{reader.path}: the split {preferred[0]!r} is empty. Render with other --validation and "
        "--test fractions."
    )


def _fit(trainer: Trainer, training: SplitLoader, loop: _TrainingLoop, run: Path) -> TrainingResult:
    """Run training steps until the first process ends training."""
    group, config = trainer.group, trainer.config
    size = min(config.batch_size, len(training))
    finished = group.from_first(loop.finished)
    ended = "complete" if finished else _set_up(trainer, training, loop, size)
    first_step, first_seconds = trainer.step_number, trainer.seconds
    steps_left = iter(()) if ended else data_order(len(training), config, first_step)
    order, same_order = itertools.tee(steps_left)
    try:
        with signals.deferred():  # until the end of a step, with logs and checkpoints
            shards = (group.shard.of(positions) for positions in order)
            for batch, positions in zip(training.batches(shards), same_order, strict=False):
                loop.is_consistent = False
                targets = training.targets(positions)
                trainer.pending.append(trainer.step(batch, targets, positions))
                ended, trainer.seconds = group.agree(loop.after_step)
                if trainer.step_number % config.validate_every == 0:
                    trainer.send_change()
                if not group.first:
                    trainer.pending = []
                if ended:
                    break
    except KeyboardInterrupt:
        ended = "interrupted"
    ended = ended or "complete"
    with group.all_or_none():
        loop.close(changed=not finished)
    steps, spent = trainer.step_number - first_step, trainer.seconds - first_seconds
    return TrainingResult(
        run=run,
        steps=trainer.step_number,
        epochs=trainer.step_number / loop.n_epoch,
        seconds=trainer.seconds if finished else loop.limit.seconds,
        segments_per_second=steps * size / max(spent, 1e-9),
        best_step=trainer.best_step,
        validation=trainer.validation,
        ended=ended,
        device=trainer.device,
        warnings=_warnings(trainer, ended),
        is_kept=loop.has_checkpoint(),
    )


def _set_up(trainer: Trainer, training: SplitLoader, loop: _TrainingLoop, size: int) -> str:
    """Prepare the first step. Return how training ends here, "" if it continues."""
    group = trainer.group
    # With several processes an interrupt waits for the first step, which all of them complete.
    waiting = signals.deferred() if group.size > 1 else nullcontext()
    try:
        with waiting:
            with group.all_or_none():
                loop.begin(training)
            loop.is_consistent = False  # compiling tries the networks on zeros
            trainer.compile(n_own_rows(size, group), loop.progress)
            trainer.synchronise()
            # The clocks of several processes differ.
            trainer.describe(training, *([loop.limit.is_over] if group.size == 1 else []))
            loop.is_consistent = True
    except KeyboardInterrupt:
        if group.size > 1:
            raise
        return "interrupted"
    is_over, trainer.seconds, trainer.setup_seconds = group.from_first(loop.begin_steps)
    return "minutes" if is_over else ""


def _warnings(trainer: Trainer, ended: str) -> list[str]:
    """Return warnings for a training with too few steps."""
    config, steps = trainer.config, trainer.step_number
    if ended == "minutes" and not steps:
        setup = f"{trainer.setup_seconds / 60:.2g} of {config.max_minutes:g} minutes"
        missing = "" if trainer.prepared else ", fitted to part of the segments"
        return [
            f"The time limit ended training before the first step: the setup took {setup}. The run "
            f"is the model before it{missing}. Continue with --resume and more --minutes."
        ]
    limits = {"minutes": "--minutes", "complete": "--steps"}
    if ended in limits and steps < config.warmup_steps:
        return [
            f"Training ended after {counted(steps, 'step')}, within the warm-up of the learning "
            f"rate ({counted(config.warmup_steps, 'step')}): the networks are hardly trained. "
            f"Continue with --resume and more {limits[ended]}."
        ]
    return []


class _TrainingLoop:
    """Log, validate, save checkpoints and end training, in the process that writes.

    Other processes have no folder and do none of this.

    is_consistent  whether the state is that of the end of a step. A second Ctrl-C may interrupt one
    """

    def __init__(
        self,
        trainer: Trainer,
        folder: RunWriter | None,
        training: SplitLoader,
        validation: SplitLoader | None,
        callbacks: tuple[Callback, ...],
        progress: Progress,
        limit: TimeLimit,
    ) -> None:
        self.trainer, self.config, self.folder = trainer, trainer.config, folder
        self.training, self.validation = training, validation
        self.callbacks, self.progress = callbacks, progress
        self.n_epoch = len(training) // min(self.config.batch_size, len(training))
        self.limit = limit
        self.is_consistent = True
        self._saved = time.monotonic()
        self._shown_step = trainer.step_number

    def finished(self) -> bool:
        """Whether the run was complete before."""
        return self.trainer.done() >= 1 or self._stale()

    def _stale(self) -> bool:
        return bool(self.config.patience and self.trainer.stale >= self.config.patience)

    def begin(self, training: SplitLoader) -> None:
        """Fit the linear part, and validate the initial model."""
        if self.folder is None:
            return
        trainer = self.trainer
        # With a time limit the number of steps is unknown.
        n_steps = None if self.config.max_minutes else self.config.max_steps
        self.progress.start("training", n_steps, "step", done=trainer.step_number)
        if not trainer.prepared:
            self.is_consistent = False
            trainer.prepare(training, self.progress, self.limit.is_over)
            began = time.monotonic()
            self._validate()
            self.limit.count_closing(time.monotonic() - began)
            trainer.seconds = self.limit.seconds
            with signals.deferred():  # save the result of minutes of fitting
                self.folder.log(trainer, 0.0, {}, validated=True)
                _save_last(trainer, self.folder)
                self.is_consistent = True
            if trainer.group.size == 1:
                signals.check()

    def begin_steps(self) -> tuple[bool, float, float]:
        """Return whether the time limit is reached, the seconds so far, and those of all setups."""
        limit, trainer = self.limit, self.trainer
        seconds = limit.seconds
        is_over = not limit.has_time_for_step()
        limit.begin_step()
        return is_over, seconds, trainer.setup_seconds + seconds - limit.seconds_before

    def after_step(self) -> tuple[str, float]:
        """Return how training ends here, "" if it continues, and the seconds so far."""
        assert self.folder is not None
        trainer, config, step = self.trainer, self.config, self.trainer.step_number
        self.limit.end_step()
        trainer.seconds = self.limit.seconds
        last = step == config.max_steps or not self.limit.has_time_for_step()
        began = time.monotonic()
        validate = last or step % config.validate_every == 0
        if validate or step % config.log_every == 0 or trainer.device == "cpu":
            _check_finite(trainer.pending, step)
        if validate or step % config.log_every == 0:
            self._log(validate)
        self.is_consistent = True
        now = time.monotonic()
        if step % config.checkpoint_every == 0 or now - self._saved > config.checkpoint_seconds:
            _save_last(trainer, self.folder)
            self._saved = now
        if validate:
            self.limit.count_closing(time.monotonic() - began)
        self.limit.begin_step()
        verdict = "early" if self._stale() else ""
        if last:
            verdict = "complete" if step == config.max_steps else "minutes"
        return verdict, trainer.seconds

    def _log(self, validate: bool) -> None:
        assert self.folder is not None and self.validation is not None
        trainer, step = self.trainer, self.trainer.step_number
        figures = _figures(trainer.pending)
        if validate:
            self._validate()
        self.folder.log(trainer, step / self.n_epoch, figures, validate)
        trainer.pending, self.is_consistent = [], True
        if validate:
            with trainer.uncompiled(), disk_errors(self.folder.path):
                for callback in self.callbacks:
                    callback(trainer, self.folder, self.validation)
        shown: dict[str, Any] = {"loss": figures["loss"], "wet": figures["wet_error"]}
        if trainer.config.max_minutes:
            shown["minutes"] = f"{trainer.seconds / 60:.1f} of {trainer.config.max_minutes:g}"
        self.progress.advance(step - self._shown_step, **shown)
        self._shown_step = step

    def _validate(self) -> None:
        assert self.folder is not None and self.validation is not None
        self.trainer.fit_change(self.training)
        _update_best(self.trainer, self.folder, self.trainer.validate(self.validation))

    def has_checkpoint(self) -> bool:
        """Return whether there is a checkpoint to resume from."""
        return self.folder is None or (self.folder.path / "checkpoints" / "last.pt").exists()

    def close(self, changed: bool) -> None:
        """Save the state if it is consistent, and close the run."""
        if self.folder is None:
            return
        if changed and self.is_consistent:
            _save_last(self.trainer, self.folder)
        if self.is_consistent and not (self.folder.path / "checkpoints" / "best.pt").exists():
            self.folder.save_best(self.trainer)
        self.folder.close()
        self.progress.finish()


def _save_last(trainer: Trainer, folder: RunWriter) -> None:
    """Save the checkpoint unless it contains NaN or infinity."""
    _check_finite(trainer.pending, trainer.step_number)
    weights = [parameter.isfinite().all() for parameter in trainer.model.parameters()]
    if not bool(torch.stack(weights).all()):
        raise TrainingError(
            f"weights are not finite after step {trainer.step_number}. Resume from the last "
            "checkpoint with a lower --learning-rate or with --gradient-clip 1."
        )
    folder.save_last(trainer)


def _check_finite(pending: list[Tensor], step: int) -> None:
    """Raise TrainingError if a loss is NaN or infinite, before a checkpoint is overwritten."""
    if not pending:
        return
    finite = torch.isfinite(torch.stack(pending)[:, 0])
    if not bool(finite.all()):
        at = step - len(pending) + int(torch.nonzero(~finite)[0, 0]) + 1
        raise TrainingError(
            f"the loss is not finite at step {at}. Resume from the last checkpoint with a lower "
            "--learning-rate or with --gradient-clip 1."
        )


def _figures(pending: list[Tensor]) -> dict[str, float]:
    names = ("loss", "dry_error", "wet_error", "kl")
    return dict(zip(names, torch.stack(pending).mean(dim=0).tolist(), strict=True))


def _update_best(trainer: Trainer, folder: RunWriter, validation: dict[str, float]) -> None:
    """Save the best model, and count the validations since then."""
    if not math.isfinite(validation["loss"]):
        raise TrainingError(
            f"the validation loss is not finite at step {trainer.step_number}. Use a lower "
            "--learning-rate."
        )
    trainer.validation = validation
    trainer.stale += 1
    if validation["loss"] < trainer.best_loss:
        trainer.best_loss, trainer.best_step = validation["loss"], trainer.step_number
        trainer.stale = 0
        folder.save_best(trainer)
