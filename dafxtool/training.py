"""Train a model on a spectrograms file.

The loop knows nothing of audio. What a step sees depends on (seed, step) alone: the order of the
data on (seed, epoch), the noise of the posterior on (seed, step). So a run that was killed goes on
along the very curve that it would have taken, from its last checkpoint, with nothing else kept.
"""

from __future__ import annotations

import csv
import json
import math
import platform
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dafxtool import __version__, presets, runs, store
from dafxtool.devices import pick_device
from dafxtool.errors import FormatError, InputError, OutputExistsError, TrainingError
from dafxtool.files import disk_errors, writing
from dafxtool.model import ResidualVAE, build_model, kl_to_standard_normal, squared_error
from dafxtool.presets import Configuration, TrainingConfig
from dafxtool.principal import measure_basis
from dafxtool.progress import SILENT, Progress
from dafxtool.stft import SpectrogramConfig

MEMORY_SHARE = 0.6  # of what is free may hold the dataset
VALIDATION_ROWS = 512
PRINCIPAL_ROWS = 4000  # of the training split, which the linear part is measured on
METRICS = (
    "step",
    "epoch",
    "seconds",
    "learning_rate",
    "beta",
    "loss",
    "dry_error",
    "wet_error",
    "kl",
    "validation_loss",
    "validation_dry_error",
    "validation_wet_error",
    "validation_kl",
)
Observer = Callable[["Trainer", "RunFolder", "Rows"], None]


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


class Rows:
    """Spectrograms of one split, as batches of float32 on the device.

    They are held on the device where they fit, else in memory, else read ahead from the file.
    """

    def __init__(self, reader: store.Reader, rows: NDArray[np.int64], device: str) -> None:
        self.rows, self.device, self._reader = rows, device, reader
        n_bytes = len(rows) * reader.bytes_a_row
        self.place = "file"
        self._held: Tensor | None = None
        if device != "cpu" and n_bytes < MEMORY_SHARE * torch.cuda.mem_get_info(device)[0]:
            self.place = "device"
        elif n_bytes < MEMORY_SHARE * _free_memory():
            self.place = "memory"
        if self.place != "file":
            self._held = self._load(reader, "cpu" if self.place == "memory" else device)

    def constants(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """(n, 2): the mean and deviation that take each of these rows back."""
        rows = self.rows[positions]
        return np.stack([self._reader.column(name)[rows] for name in ("mean", "deviation")], axis=1)

    def _load(self, reader: store.Reader, device: str) -> Tensor:
        held: Tensor | None = None
        for start in range(0, len(self.rows), 64):
            part = torch.from_numpy(reader.rows(self.rows[start : start + 64])).to(device)
            if held is None:
                held = torch.empty(
                    (len(self.rows), *part.shape[1:]), dtype=part.dtype, device=device
                )
            held[start : start + len(part)] = part
        assert held is not None
        return held

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self, chosen: Iterator[NDArray[np.int64]]) -> Iterator[Tensor]:
        """Batches (n, 2, n_bins, n_frames) for positions in this split, one read ahead."""
        if self.place == "device":
            for positions in chosen:
                yield self._gather(positions)
            return
        with ThreadPoolExecutor(1) as pool:
            waiting = None
            for positions in chosen:
                upcoming = pool.submit(self._gather, positions)
                if waiting is not None:
                    yield waiting.result()
                waiting = upcoming
            if waiting is not None:
                yield waiting.result()

    def _gather(self, positions: NDArray[np.int64]) -> Tensor:
        """One batch; on the device already, or on its way there."""
        if self._held is None:
            batch = torch.from_numpy(self._reader.rows(self.rows[positions]))
        else:
            batch = self._held[torch.from_numpy(positions).to(self._held.device)]
        if self.device != "cpu" and not batch.is_cuda:
            batch = batch.pin_memory().to(self.device, non_blocking=True)
        return batch.float()


def _free_memory() -> int:
    """Bytes of memory that can be taken without swapping."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 4 * 2**30


def beta_at(step: int, config: TrainingConfig) -> float:
    """The KL's weight at a step.

    constant: beta; linear: from 0 to beta in annealing_steps, then beta (Bowman et al. 2016,
    arXiv:1511.06349); cyclical: in each cycle a rise over its first half, then beta (Fu et al.
    2019, arXiv:1903.10145).
    """
    if config.annealing == "constant" or config.annealing_steps < 1:
        return config.beta
    if config.annealing == "linear":
        return config.beta * min(1.0, step / config.annealing_steps)
    return config.beta * min(1.0, 2 * (step % config.annealing_steps) / config.annealing_steps)


def learning_rate_at(step: int, done: float, config: TrainingConfig) -> float:
    """The learning rate at a step, when the share `done` (0 to 1) of training is over.

    A linear warm-up, then constant, or half a cosine down to a hundredth (Loshchilov & Hutter
    2017, arXiv:1608.03983).
    """
    rate = config.learning_rate * min(1.0, (step + 1) / max(1, config.warmup_steps))
    if config.schedule == "cosine":
        rate *= 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return rate


def data_order(n_rows: int, config: TrainingConfig, first_step: int) -> Iterator[NDArray[np.int64]]:
    """Positions of each step's batch from first_step on: every epoch a new permutation."""
    size = min(config.batch_size, n_rows)
    per_epoch = n_rows // size
    for step in range(first_step, config.max_steps):
        epoch, index = divmod(step, per_epoch)
        if index == 0 or step == first_step:
            order = np.random.default_rng([config.seed, 4, epoch]).permutation(n_rows)
        yield order[index * size : (index + 1) * size]


class Trainer:
    """A model in training: one `step` a batch, `validate`, and what a checkpoint has to keep."""

    def __init__(self, configuration: Configuration, shape: tuple[int, ...], device: str) -> None:
        self.configuration, self.device = configuration, device
        self.config = configuration.training
        torch.manual_seed(self.config.seed)
        self.model = build_model(configuration.model, shape).to(device)
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=self.config.learning_rate, fused=True
        )
        self.step_number = 0
        self.seconds = 0.0
        self.best_loss, self.best_step, self.stale = math.inf, 0, 0
        self.validation: dict[str, float] = {}
        self.pending: list[Tensor] = []  # figures of the steps since the last row of metrics.csv
        self._noise = torch.Generator(device=device)

    @property
    def bfloat16(self) -> bool:
        if self.config.precision == "auto":
            return self.device != "cpu" and torch.cuda.is_bf16_supported()
        return self.config.precision == "bfloat16"

    def prepare(self, training: Rows, progress: Progress = SILENT) -> None:
        """Measure the linear part of the model on the training split, before the first step."""
        config = self.configuration.model
        if config.architecture != "residual":
            return
        progress.say("measuring principal components")
        positions = np.unique(np.linspace(0, len(training) - 1, PRINCIPAL_ROWS).astype(np.int64))

        def batches() -> Iterator[Tensor]:
            return training.batches(positions[i : i + 32] for i in range(0, len(positions), 32))

        model = self.model
        assert isinstance(model, ResidualVAE)
        basis = measure_basis(batches, model.k, model.n_content, model.n_effect)
        self.model.prepare(basis, self.config.beta)

    def done(self) -> float:
        """The share of training that is over, by steps or by wall time."""
        by_time = self.seconds / (60 * self.config.max_minutes) if self.config.max_minutes else 0.0
        return max(self.step_number / self.config.max_steps, by_time)

    def step(self, batch: Tensor) -> Tensor:
        """One update; returns (loss, dry error, wet error, KL) without waiting for the device."""
        self.model.train()
        rate = learning_rate_at(self.step_number, self.done(), self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self._noise.manual_seed(self.config.seed * 1_000_003 + self.step_number)
        noise = torch.randn(
            (len(batch), self.configuration.model.n_latent),
            generator=self._noise,
            device=self.device,
        )
        loss, parts = self._loss(batch, noise, beta_at(self.step_number, self.config))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.config.gradient_clip > 0:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip)
        self.optimizer.step()
        self.step_number += 1
        return parts

    def _loss(self, batch: Tensor, noise: Tensor, beta: float) -> tuple[Tensor, Tensor]:
        """Summed squared error + beta KL, mean over the batch, and the four parts, detached."""
        with torch.autocast(batch.device.type, torch.bfloat16, enabled=self.bfloat16):
            reconstruction, mean, log_variance = self.model(batch, noise)
        error = squared_error(reconstruction, batch).mean(dim=0)
        kl = kl_to_standard_normal(mean, log_variance).mean()
        loss = error.sum() + beta * kl
        per_value = error.detach() / (batch.shape[-1] * batch.shape[-2])
        return loss, torch.stack([loss.detach(), per_value[0], per_value[1], kl.detach()])

    @torch.no_grad()
    def validate(self, rows: Rows) -> dict[str, float]:
        """Loss and errors of the decoded posterior means, with beta at its full weight."""
        self.model.eval()
        size = self.config.batch_size
        positions = np.unique(np.linspace(0, len(rows) - 1, VALIDATION_ROWS).astype(np.int64))
        chosen = (positions[i : i + size] for i in range(0, len(positions), size))
        total = torch.zeros(4, device=self.device)
        for batch in rows.batches(chosen):
            noise = torch.zeros((len(batch), self.configuration.model.n_latent), device=self.device)
            total += self._loss(batch, noise, self.config.beta)[1] * len(batch)
        names = ("loss", "dry_error", "wet_error", "kl")
        return dict(zip(names, (total / len(positions)).tolist(), strict=True))

    def state(self, with_optimizer: bool) -> dict[str, Any]:
        """Plain tensors and builtins."""
        state: dict[str, Any] = {
            "configuration": self.configuration.to_dict(),
            "shape": list(self.model.shape),
            "weights": self.model.state_dict(),
            "step": self.step_number,
            "seconds": self.seconds,
            "best_loss": self.best_loss,
            "best_step": self.best_step,
            "stale": self.stale,
            "validation": dict(self.validation),
            "pending": [figures.cpu() for figures in self.pending],
        }
        if with_optimizer:
            state["optimizer"] = self.optimizer.state_dict()
        return state

    def restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step_number, self.seconds = int(state["step"]), float(state["seconds"])
        self.best_loss, self.best_step = float(state["best_loss"]), int(state["best_step"])
        self.stale, self.validation = int(state["stale"]), dict(state["validation"])
        self.pending = [figures.to(self.device) for figures in state["pending"]]


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
        trainer = Trainer(configuration, shape, chosen)
        folder = RunFolder(run, trainer, _about(reader, spectrograms), resume, overwrite)
        training = Rows(reader, _rows(reader, ("train",)), chosen)
        validation = Rows(reader, _rows(reader, ("validation", "test", "train")), chosen)
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
    ended = "complete"
    try:
        for batch in training.batches(data_order(len(training), config, first_step)):
            trainer.pending.append(trainer.step(batch))
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
                _check_finite(trainer.pending, step)
                folder.save_last(trainer)
                saved = now
            if last:
                ended = "complete" if step == config.max_steps else "minutes"
                break
            if config.patience and trainer.stale >= config.patience:
                ended = "early"
                break
    except KeyboardInterrupt:
        ended = "interrupted"
    folder.save_last(trainer)
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


class RunFolder:
    """runs/NAME: configuration, environment, metrics, TensorBoard log and checkpoints."""

    def __init__(
        self, path: Path, trainer: Trainer, about: dict[str, Any], resume: bool, overwrite: bool
    ) -> None:
        self.path, self.about = path, about
        last = path / "checkpoints" / "last.pt"
        if resume and last.exists():
            state = runs.read_checkpoint(last)
            saved = presets.from_dict(state["configuration"], str(last))
            runs.check_same_model(saved, trainer.configuration, path)
            trainer.restore(state)
        elif last.exists() and not overwrite:
            raise OutputExistsError(
                f"{path} holds a run already: choose another --output, go on with --resume, or "
                "replace it with --overwrite."
            )
        with disk_errors(path):
            (path / "checkpoints").mkdir(parents=True, exist_ok=True)
            if trainer.step_number == 0:
                for old in [*(path / "checkpoints").glob("*.pt"), *path.glob("tensorboard/*")]:
                    old.unlink()
            _write_text(path / "config.toml", presets.to_toml(trainer.configuration))
            _write_text(path / "environment.json", json.dumps(environment(trainer), indent=2))
            self._keep_metrics_until(trainer.step_number)
        self._board: Any = None
        self._first_step = trainer.step_number

    @property
    def board(self) -> Any:
        """The TensorBoard writer, made when it is first needed: its import takes a second."""
        if self._board is None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(
                str(self.path / "tensorboard"), purge_step=self._first_step + 1
            )
        return self._board

    def _keep_metrics_until(self, step: int) -> None:
        """Rows after the checkpoint will be made again."""
        path = self.path / "metrics.csv"
        rows = list(read_metrics(path)) if step and path.exists() else []
        with writing(path, overwrite=True) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, METRICS)
            writer.writeheader()
            writer.writerows(row for row in rows if int(row["step"]) <= step)

    def log(
        self, trainer: Trainer, epoch: float, figures: dict[str, float], validated: bool
    ) -> None:
        """One row of metrics.csv, and the same to TensorBoard."""
        row: dict[str, Any] = {
            "step": trainer.step_number,
            "epoch": round(epoch, 4),
            "seconds": round(trainer.seconds, 3),
            "learning_rate": trainer.optimizer.param_groups[0]["lr"],
            "beta": beta_at(trainer.step_number - 1, trainer.config),
            **figures,
        }
        if validated:
            row.update({f"validation_{k}": v for k, v in trainer.validation.items()})
        with disk_errors(self.path), (self.path / "metrics.csv").open("a", newline="") as file:
            csv.DictWriter(file, METRICS).writerow(row)
        for name, value in row.items():
            if name not in ("step", "epoch", "seconds"):
                _group, _, rest = name.rpartition("validation_")
                tag = f"validation/{rest}" if "validation_" in name else f"training/{name}"
                self.board.add_scalar(tag, value, trainer.step_number)

    def save_last(self, trainer: Trainer) -> None:
        state = {**trainer.state(with_optimizer=True), **self.about}
        runs.save_checkpoint(self.path / "checkpoints" / "last.pt", state)

    def save_best(self, trainer: Trainer) -> None:
        state = {**trainer.state(with_optimizer=False), **self.about}
        runs.save_checkpoint(self.path / "checkpoints" / "best.pt", state)

    def close(self) -> None:
        if self._board is not None:
            self._board.close()


def read_metrics(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a metrics.csv; an unfinished last line is left out."""
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if row.get(METRICS[-1]) is not None:
                yield {name: row[name] for name in METRICS}


def environment(trainer: Trainer) -> dict[str, str]:
    """What a run was made with and on."""
    device = trainer.device
    return {
        "dafxtool": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device != "cpu" else "cpu",
        "threads": str(torch.get_num_threads()),
        "command": " ".join(Path(word).name if i == 0 else word for i, word in enumerate(sys.argv)),
    }


def _write_text(path: Path, text: str) -> None:
    with writing(path, overwrite=True) as temporary:
        temporary.write_text(text, "utf-8")
