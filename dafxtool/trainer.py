"""One step of training after another: the model, its optimiser, schedules and the state of both."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dafxtool.model import ResidualVAE, build_model, kl_to_standard_normal, squared_error
from dafxtool.presets import Configuration, TrainingConfig
from dafxtool.principal import measure_basis
from dafxtool.progress import SILENT, Progress
from dafxtool.rows import Rows

VALIDATION_ROWS = 512
PRINCIPAL_ROWS = 4000  # of the training split, which the linear part is measured on


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
