"""Write a run folder: configuration, environment, metrics, logs and checkpoints."""

from __future__ import annotations

import csv
import json
import platform
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dafxtool import __version__, presets
from dafxtool.errors import FormatError, OutputExistsError
from dafxtool.models.checkpoint import (
    check_run_is_free,
    check_same_data,
    check_same_model,
    read_checkpoint,
    save_checkpoint,
)
from dafxtool.training.schedules import beta_at
from dafxtool.training.trainer import Trainer
from dafxtool.training.wandb_log import WandbLog
from dafxtool.utils.files import atomic_write, disk_errors

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


def _had_a_last(best: Path) -> bool:
    """Return whether a last.pt must have existed beside this best.pt; not yet for the first one."""
    if not best.exists():
        return False
    state = read_checkpoint(best)
    return bool(state["step"] > state["configuration"]["training"]["checkpoint_every"])


class RunWriter:
    """runs/NAME: configuration, environment, metrics, TensorBoard log and checkpoints."""

    def __init__(
        self,
        path: Path,
        trainer: Trainer,
        about: dict[str, Any],
        resume: bool,
        overwrite: bool,
        wandb_log: WandbLog | None = None,
    ) -> None:
        self.path, self.about, self.wandb_log = path, about, wandb_log
        check_run_is_free(path, resume, overwrite)
        last = path / "checkpoints" / "last.pt"
        is_resumed = resume and last.exists()
        if is_resumed:
            state = read_checkpoint(last)
            saved = presets.from_dict(state["configuration"], str(last))
            check_same_model(saved, trainer.configuration, path)
            check_same_data(state, about, path)
            trainer.restore(state)
        elif resume and not overwrite and _had_a_last(path / "checkpoints" / "best.pt"):
            raise OutputExistsError(
                f"{path}: cannot resume without checkpoints/last.pt. Choose another --output, or "
                "replace the run with --overwrite."
            )
        with disk_errors(path):
            (path / "checkpoints").mkdir(parents=True, exist_ok=True)
            if not is_resumed:
                for old in [*(path / "checkpoints").glob("*.pt"), *path.glob("tensorboard/*")]:
                    old.unlink()
            _write_text(path / "config.toml", presets.to_toml(trainer.configuration))
            _write_text(path / "environment.json", json.dumps(environment(trainer), indent=2))
            self._keep_metrics_until(trainer.step_number if trainer.prepared else -1)
        self._board: Any = None
        self._first_step = trainer.step_number

    @property
    def board(self) -> Any:
        """Return the TensorBoard writer, created on first use: its import takes a second."""
        if self._board is None:
            from torch.utils.tensorboard import SummaryWriter

            _leave_errors_to_the_next_call()
            self._board = SummaryWriter(
                str(self.path / "tensorboard"), purge_step=self._first_step + 1
            )
        return self._board

    def _keep_metrics_until(self, step: int) -> None:
        """Delete the rows after the checkpoint, which will be computed again."""
        path = self.path / "metrics.csv"
        rows = list(read_metrics(path)) if step >= 0 and path.exists() else []
        with (
            atomic_write(path, overwrite=True) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, METRICS)
            writer.writeheader()
            writer.writerows(row for row in rows if int(row["step"]) <= step)

    def log(
        self, trainer: Trainer, epoch: float, figures: dict[str, float], validated: bool
    ) -> None:
        """Append a row to metrics.csv and log it to TensorBoard and W&B."""
        row: dict[str, Any] = {
            "step": trainer.step_number,
            "epoch": round(epoch, 4),
            "seconds": round(trainer.seconds, 3),
            "learning_rate": trainer.optimizer.param_groups[0]["lr"],
            "beta": beta_at(max(0, trainer.step_number - 1), trainer.config),
            **figures,
        }
        if validated:
            row.update({f"validation_{k}": v for k, v in trainer.validation.items()})
        with disk_errors(self.path):
            with (self.path / "metrics.csv").open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, METRICS).writerow(row)
            scalars = {
                _tag(name): value
                for name, value in row.items()
                if name not in ("step", "epoch", "seconds")
            }
            for tag, value in scalars.items():
                self.board.add_scalar(tag, value, trainer.step_number)
            if self.wandb_log:
                self.wandb_log.scalars(scalars, trainer.step_number)

    def add_image(self, name: str, picture: NDArray[Any], step: int) -> None:
        """Log an RGB image (height, width, 3)."""
        self.board.add_image(name, picture, step, dataformats="HWC")
        if self.wandb_log:
            self.wandb_log.image(name, picture, step)

    def add_audio(self, name: str, samples: NDArray[Any], step: int, sample_rate: int) -> None:
        """Log mono audio (n_samples,)."""
        self.board.add_audio(name, samples[None], step, sample_rate)
        if self.wandb_log:
            self.wandb_log.audio(name, samples, sample_rate, step)

    def save_last(self, trainer: Trainer) -> None:
        state = {**trainer.state(with_optimizer=True), **self.about}
        save_checkpoint(self.path / "checkpoints" / "last.pt", state)

    def save_best(self, trainer: Trainer) -> None:
        state = {**trainer.state(with_optimizer=False), **self.about}
        save_checkpoint(self.path / "checkpoints" / "best.pt", state)

    def close(self) -> None:
        """Close the TensorBoard log; DiskError if the disk is full."""
        if self._board is not None:
            with disk_errors(self.path):
                self._board.close()


_usual_hook = threading.excepthook


def _leave_errors_to_the_next_call() -> None:
    """Do not print disk errors of TensorBoard's thread: its next call raises them.

    The message of that call explains a full disk; a traceback of the thread does not.
    """
    global _usual_hook
    if threading.excepthook is not _hook:
        _usual_hook, threading.excepthook = threading.excepthook, _hook


def _hook(arguments: threading.ExceptHookArgs) -> None:
    of_tensorboard = type(arguments.thread).__module__.startswith("tensorboard.")
    if not (of_tensorboard and isinstance(arguments.exc_value, OSError)):
        _usual_hook(arguments)


def read_metrics(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a metrics.csv without damaged rows and an unfinished last line."""
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        lines = file.readlines()
    try:
        for row in csv.DictReader(line for line in lines if line.endswith("\n")):
            if _is_row(row):
                yield {name: row[name] for name in METRICS}
    except csv.Error as error:
        raise FormatError(f"{path}: is not a table of metrics ({error}). Move it away.") from error


def _is_row(row: dict[Any, Any]) -> bool:
    """Return whether a row has a step, and numbers or nothing in all other columns."""
    try:
        int(row["step"])
        return all(row[name] == "" or float(row[name]) is not None for name in METRICS)
    except (KeyError, TypeError, ValueError):
        return False


def environment(trainer: Trainer) -> dict[str, str]:
    """Describe versions, device and command of a training."""
    device = trainer.device
    return {
        "dafxtool": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device != "cpu" else "cpu",
        "threads": str(torch.get_num_threads()),
        "processes": str(trainer.group.size),
        "command": " ".join(Path(word).name if i == 0 else word for i, word in enumerate(sys.argv)),
    }


def _tag(name: str) -> str:
    """Return the name of a column of metrics.csv in a log."""
    rest = name.removeprefix("validation_")
    return f"training/{name}" if rest == name else f"validation/{rest}"


def _write_text(path: Path, text: str) -> None:
    with atomic_write(path, overwrite=True) as temporary:
        temporary.write_text(text, "utf-8")
