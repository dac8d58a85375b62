"""Log images and audio of validation segments to TensorBoard and W&B.

At each validation a few segments are encoded, decoded, drawn beside the originals, and inverted to
audio. The audio of the originals is logged once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dafxtool.plots.curves import draw_curves
from dafxtool.plots.spectrograms import Panel, Sheet, render_rgb
from dafxtool.spectrogram.phase_retrieval import invert
from dafxtool.spectrogram.transform import linear_magnitude
from dafxtool.storage import some_positions
from dafxtool.training.loader import SplitLoader
from dafxtool.training.run_writer import RunWriter, read_metrics
from dafxtool.training.trainer import Trainer
from dafxtool.utils.files import disk_errors

N_EXAMPLES = 2


class TensorBoardCallback:
    """Callback of `train` that logs images and audio."""

    def __init__(self) -> None:
        self._originals_written = False

    @torch.no_grad()
    def __call__(self, trainer: Trainer, folder: RunWriter, validation: SplitLoader) -> None:
        chosen = some_positions(len(validation), N_EXAMPLES)
        batch = next(validation.batches(iter([chosen])))
        trainer.model.eval()
        decoded = trainer.model.decode(trainer.model.encode(batch)[0], batch[:, 0])
        config = trainer.configuration.spectrogram
        constants = validation.constants(chosen)
        original = linear_magnitude(batch.cpu().numpy(), constants, config)
        made = linear_magnitude(decoded.cpu().numpy(), constants, config)
        for number in range(len(chosen)):
            sheet = _sheet(original[number], made[number], config)
            image = render_rgb(sheet)
            name = f"reconstruction/{number + 1}"
            folder.add_image(name, image, trainer.step_number)
            self._log_audio(trainer, folder, number, original[number, 1], made[number, 1])
        self._originals_written = True

    def _log_audio(
        self, trainer: Trainer, folder: RunWriter, number: int, original: Any, made: Any
    ) -> None:
        """Log the wet channel as audio, with a retrieved phase: only magnitudes are stored here."""
        config = trainer.configuration.spectrogram
        name, rate, step = f"wet/{number + 1}", config.sample_rate, trainer.step_number
        if not self._originals_written:
            audio = invert(original, config, config.n_samples).audio
            folder.add_audio(f"{name}/original", audio, step, rate)
        audio = invert(made, config, config.n_samples, consistent=False).audio
        audio = np.clip(audio, -1.0, 1.0)
        folder.add_audio(f"{name}/reconstruction", audio, step, rate)


def _sheet(original: Any, made: Any, config: Any) -> Sheet:
    return Sheet(
        panels=[[Panel(original[c]), Panel(made[c])] for c in range(2)],
        frequencies_hz=config.frequencies_hz(),
        frame_times_s=config.frame_times_s(),
        row_labels=("dry", "wet"),
        column_labels=("original", "reconstruction"),
    )


@contextmanager
def scalar_log(
    folder: Path, resume: bool = False
) -> Iterator[Callable[[int, dict[str, float]], None]]:
    """Yield a function that logs figures of a step to TensorBoard.

    folder  of the log; what it holds is removed unless the training is resumed
    """
    from torch.utils.tensorboard import SummaryWriter

    with disk_errors(folder):
        if not resume:
            for old in folder.glob("events.*"):
                old.unlink()
        with SummaryWriter(str(folder)) as board:

            def log(step: int, figures: dict[str, float]) -> None:
                for name, value in figures.items():
                    board.add_scalar(name, value, step)

            yield log


def draw_training(path: Path, run: Path, overwrite: bool = False) -> None:
    """Draw the curves of the metrics.csv of a run."""
    rows = list(read_metrics(run / "metrics.csv"))
    names = {"loss": "loss", "dry_error": "MSE, dry", "wet_error": "MSE, wet", "kl": "KL in nats"}
    quantities = {
        title: {
            "training": _curve(rows, name),
            "validation": _curve(rows, f"validation_{name}"),
        }
        for name, title in names.items()
    }
    draw_curves(path, quantities, title=run.name, overwrite=overwrite)


def _curve(rows: Sequence[dict[str, str]], name: str) -> tuple[list[float], list[float]]:
    filled = [row for row in rows if row[name]]
    return [float(row["step"]) for row in filled], [float(row[name]) for row in filled]
