"""Measure segments trained on per second, beside the bare step on one constant batch.

    python benchmarks/bench_train.py                         # the built-in recordings
    python benchmarks/bench_train.py --recordings FOLDER

The preset is small, the device the CPU. dafxtool is the loop of dafxtool.training.train.train, from
spectrograms.h5, with validation, logging and checkpoints postponed to its end. It is timed from the
start of its first step to the start of its last, without what happens once: reading the file into
memory, principal components, the first and the last validation. The third method reads every batch
from the file.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from common import check, options, print_header, print_rates, recordings_in, side_by_side

from dafxtool import storage
from dafxtool.config import Configuration
from dafxtool.dataset.render import render
from dafxtool.effects.builtin import builtin_effects
from dafxtool.models.checkpoint import read_checkpoint
from dafxtool.models.residual import CHANGE_BUFFERS
from dafxtool.presets import PRESETS
from dafxtool.spectrogram.compute import compute_spectrograms
from dafxtool.training import loader as rows_module
from dafxtool.training.loader import SplitLoader
from dafxtool.training.schedules import data_order
from dafxtool.training.train import train
from dafxtool.training.trainer import Trainer
from dafxtool.utils.progress import Progress

BARE = "Trainer.step, one batch"
NEVER = 1_000_000


def main() -> None:
    parser = options(__doc__, rounds=3)
    parser.add_argument("--steps", type=int, default=17, help="steps of each method per round [17]")
    parser.add_argument("--pairs", type=int, default=300, help="number of pairs in the file [300]")
    parser.add_argument("--threads", type=int, help="threads of torch [its default]")
    chosen = parser.parse_args()
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    print_header("train", "torch", "h5py")
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        data = make_data(recordings_in(chosen.recordings, scratch), scratch, chosen.pairs)
        measure(data, scratch, unobserved(chosen.steps), chosen.rounds)


def make_data(recordings: Path, scratch: Path, n_pairs: int) -> Path:
    preset, known = PRESETS["small"], builtin_effects()
    effects: list[Any] = [(known[name], {}) for name in ("overdrive", "delay")]
    pairs, data = scratch / "pairs.h5", scratch / "spectrograms.h5"
    render([recordings], pairs, effects, preset.segments, preset.split, n_pairs // 2)
    compute_spectrograms(pairs, data, preset.spectrogram, device="cpu")
    return data


def unobserved(n_steps: int) -> Configuration:
    """Return the preset small without validation, logging and labels, as in the bare step."""
    preset = PRESETS["small"]
    return replace(
        preset,
        training=replace(
            preset.training,
            max_steps=n_steps,
            label_weight=0.0,
            log_every=NEVER,
            validate_every=NEVER,
            checkpoint_every=NEVER,
            checkpoint_seconds=float(NEVER),
        ),
    )


def measure(data: Path, scratch: Path, result: Configuration, rounds: int) -> None:
    n_steps, size = result.training.max_steps, result.training.batch_size
    with storage.Hdf5Reader(data, storage.SPECTROGRAMS) as reader:
        rows = SplitLoader(reader, reader.labels.rows_of(("train",)), "cpu")
        n_rows, n_bytes = len(rows), len(rows) * reader.bytes_per_row
        check_weights(data, scratch / "checked", unobserved(4), rows)
        trainer = Trainer(result, (2, *result.spectrogram.shape), "cpu")
        trainer.prepare(rows)
        trainer.fit_change(rows)
        batch = next(rows.batches(data_order(n_rows, result.training, 0))).clone()
        timings = side_by_side(
            {
                BARE: lambda: bare(trainer, batch, n_steps),
                "dafxtool, data in memory": lambda: loop(data, scratch / "run", result, "memory"),
                "dafxtool, data in the file": lambda: loop(data, scratch / "run", result, "file"),
            },
            rounds,
            timed=True,
        )
    n_weights = sum(each.numel() for each in trainer.model.parameters())
    print(
        f"{n_rows} spectrograms of {' x '.join(map(str, trainer.model.shape))} to train on "
        f"({n_bytes / 1e6:.0f} MB), batches of {size}, {n_weights / 1e6:.2f} million weights, "
        f"float32, {n_steps - 1} steps a round, {torch.get_num_threads()} threads.\n"
    )
    print_rates(timings, (n_steps - 1) * size, "segments", BARE)


def bare(trainer: Trainer, batch: torch.Tensor, n_steps: int) -> float:
    """Return seconds from the start of the first step to the start of the last."""
    trainer.step_number = 0
    with stopwatch() as starts:
        for _ in range(n_steps):
            trainer.step(batch)
    return starts[-1] - starts[0]


def loop(data: Path, run: Path, result: Configuration, place: str) -> float:
    with stopwatch() as starts, held_in(place) as messages:
        train(data, run, result, "cpu", overwrite=True, progress=messages)
    check(any(f"in {place};" in line for line in messages.lines), f"the data is not in {place}")
    check(len(starts) == result.training.max_steps, "the loop took a different number of steps")
    return starts[-1] - starts[0]


@contextmanager
def stopwatch() -> Iterator[list[float]]:
    """Record the start of each call of Trainer.step."""
    starts: list[float] = []
    step = Trainer.step

    def noted(trainer: Trainer, *arguments: Any) -> torch.Tensor:
        starts.append(time.perf_counter())
        return step(trainer, *arguments)

    with patch.object(Trainer, "step", noted):
        yield starts


class MessageLog(Progress):
    """Store progress messages."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def message(self, text: str) -> None:
        self.lines.append(text)


@contextmanager
def held_in(place: str) -> Iterator[MessageLog]:
    """Hold the rows in memory, or read them from the file as if memory were short."""
    share = 0.0 if place == "file" else rows_module.MEMORY_SHARE
    with patch.object(rows_module, "MEMORY_SHARE", share):
        yield MessageLog()


def check_weights(data: Path, folder: Path, result: Configuration, rows: SplitLoader) -> None:
    """Check that both loops end with the weights of bare steps over the same batches."""
    by_hand = Trainer(result, (2, *result.spectrogram.shape), "cpu")
    by_hand.prepare(rows)
    by_hand.fit_change(rows)
    by_hand.describe(rows)
    for positions in data_order(len(rows), result.training, 0):
        by_hand.step(next(rows.batches(iter([positions]))), positions=positions)
    for place in ("memory", "file"):
        loop(data, folder / place, result, place)
        saved = read_checkpoint(folder / place / "checkpoints" / "last.pt")["weights"]
        for name, expected in by_hand.model.state_dict().items():
            if name in CHANGE_BUFFERS:  # chosen again at the end, which is validated
                continue
            near = np.allclose(saved[name].numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)
            check(near, f"{name} ends with other weights, with the data in {place}")


if __name__ == "__main__":
    main()
