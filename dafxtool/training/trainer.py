"""Train a model step by step: optimiser, schedules, validation and state."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dafxtool.config import Configuration
from dafxtool.models.factory import build_model
from dafxtool.models.losses import kl_to_standard_normal, squared_error
from dafxtool.models.residual import CHANGE_BUFFERS, ResidualVAE
from dafxtool.storage import some_positions
from dafxtool.training.distributed import (
    ALONE,
    ProcessGroup,
    check_batch_norms,
    with_shared_batch_norms,
)
from dafxtool.training.loader import SplitLoader, Targets
from dafxtool.training.schedules import beta_at, learning_rate_at
from dafxtool.training.style_pretraining import BATCH_SIZE as LABEL_ROWS
from dafxtool.training.style_pretraining import fit_style, label_loss, style_loss
from dafxtool.utils.progress import SILENT, Progress

VALIDATION_ROWS = 512
LINEAR_ROWS = 1200  # of the training split: the linear part is fitted on them
CHANGE_ROWS = 256  # of the training split: coefficients of the change are chosen on them


def _never() -> bool:
    return False


class Trainer:
    """A model in training, with `step` for each batch, `validate`, and the state of a checkpoint.

    group  processes that train together; after `synchronise` each trains on its shard of a batch
    """

    def __init__(
        self,
        configuration: Configuration,
        shape: tuple[int, ...],
        device: str,
        n_effects: int = 0,
        n_parameters: int = 0,
        group: ProcessGroup = ALONE,
    ) -> None:
        self.configuration, self.device, self.group = configuration, device, group
        self.config = configuration.training
        torch.manual_seed(self.config.seed)
        exponent = configuration.spectrogram.exponent
        self.model = build_model(configuration.model, shape, exponent).to(device)
        check_batch_norms(self.model, group)
        self._images = self.model.image_layout and (device != "cpu" or self.compiles)
        if self._images:
            for each in self.model.parameters():
                if each.ndim == 4:  # weights of 2-D convolutions, faster on GPUs in this layout
                    each.data = each.data.contiguous(memory_format=torch.channels_last)
        n_style = self.model.n_style or configuration.model.n_latent - self.model.n_content
        self._n_effects = n_effects if self.config.label_weight > 0 else 0
        self.label_head = nn.Linear(n_style, max(1, n_effects + n_parameters)).to(device)
        # A style that was fitted to the labels is frozen unless `style_learns`: trained further, it
        # recognised effects of unseen recordings slightly less well (docs/model.md). A style that
        # was not fitted has the labels in the loss.
        self._is_fitted = (
            self._n_effects > 0 and self.model.n_style > 0 and self.config.label_steps > 0
        )
        self._trains_with_labels = self._n_effects > 0 and not self._is_fitted
        self._style_learns = self._is_fitted and self.config.style_learns
        if self._is_fitted and not self._style_learns:
            self._style_encoder.requires_grad_(False)
        trained = [each for each in self.model.parameters() if each.requires_grad]
        with_labels = self._trains_with_labels or self._style_learns or not trained
        self.optimizer = torch.optim.Adam(
            [*trained, *self.label_head.parameters()] if with_labels else trained,
            lr=self.config.learning_rate,
            fused=True,
        )
        self.step_number = 0
        self.seconds = 0.0  # from the start of the command
        self.setup_seconds = 0.0  # of these, before the first step
        self.prepared = False  # whether the fit before the first step is complete
        self.best_loss, self.best_step, self.stale = math.inf, 0, 0
        self.validation: dict[str, float] = {}
        self.pending: list[Tensor] = []  # losses of the steps since the last row of metrics.csv
        self._noise = torch.Generator(device=device)
        self._compiled = False
        # The same modules, or wrappers that average their gradients over all processes.
        self._forward: nn.Module = self.model
        # Standardised descriptors and labels of the training split.
        self._described: Tensor | None = None
        self._targets: Targets | None = None
        self._forward_labels: nn.Module = self.label_head

    @property
    def _style_encoder(self) -> nn.Module:
        assert isinstance(self.model, ResidualVAE)
        return self.model.style_encoder

    @property
    def compiles(self) -> bool:
        """Whether to compile the convolutions. Not if batch norms synchronise processes."""
        if self.model.image_layout and self.group.size > 1:
            return False
        wanted = self.config.compile
        return wanted == "always" or (wanted == "auto" and self.device != "cpu")

    @property
    def bfloat16(self) -> bool:
        if self.config.precision == "auto":
            return self.device != "cpu" and torch.cuda.is_bf16_supported()
        return self.config.precision == "bfloat16"

    def prepare(
        self,
        training: SplitLoader,
        progress: Progress = SILENT,
        is_over: Callable[[], bool] = _never,
    ) -> None:
        """Fit the linear part and the style to the training split, before the first step.

        is_over  once it returns True, the fit uses the segments read so far
        """
        config = self.configuration.model
        if config.architecture != "residual":
            self.prepared = True
            return
        progress.message("fitting principal components")
        positions = some_positions(len(training), LINEAR_ROWS)

        def batches() -> Iterator[Tensor]:
            parts = (positions[i : i + 32] for i in range(0, len(positions), 32))
            for index, batch in enumerate(training.batches(parts)):
                if index and is_over():
                    return
                yield batch

        model = self.model
        assert isinstance(model, ResidualVAE)
        model.fit_linear(batches, self.config.beta)
        if not model.n_style:
            self.prepared = not is_over()
            return
        described = self._describe_rows(training, is_over)
        model.prepare_style(described)
        if self._is_fitted:
            progress.message("fitting the style to effects and settings")
            targets = training.targets(np.arange(len(described)))
            fit_style(
                model, self.label_head, described, targets, self._n_effects, self.config, is_over
            )
            model.style_encoder.requires_grad_(self._style_learns)
        self.prepared = not is_over()
        if len(described) == len(training):
            self._described = model.standardised_descriptors(described)
            if self._style_learns:
                self._targets = training.targets(np.arange(len(training)))

    def fit_change(self, training: SplitLoader) -> None:
        """Choose the coefficients of the change for the present predictor."""
        if not isinstance(self.model, ResidualVAE):
            return
        self.model.eval()
        positions = some_positions(len(training), CHANGE_ROWS)
        parts = (positions[i : i + 32] for i in range(0, len(positions), 32))
        with self.uncompiled():
            self.model.fit_change(training.batches(parts), self.config.beta)

    def send_change(self) -> None:
        """Copy the result of `fit_change` from the first process to all."""
        if self.group.size > 1 and isinstance(self.model, ResidualVAE):
            for name in CHANGE_BUFFERS:
                self.group.send(getattr(self.model, name))

    def describe(self, training: SplitLoader, is_over: Callable[[], bool] = _never) -> None:
        """Compute the descriptors of the training split, which are constant during training.

        Batch size and order are fixed, so that a resumed run has the same numbers. Nothing is
        stored if is_over returns True before the end: then there is no time for a step either.
        """
        model = self.model
        if not isinstance(model, ResidualVAE) or not model.n_style or self._described is not None:
            return
        described = self._describe_rows(training, is_over)
        if len(described) == len(training):
            self._described = model.standardised_descriptors(described)
            if self._style_learns:
                self._targets = training.targets(np.arange(len(training)))

    def _describe_rows(self, training: SplitLoader, is_over: Callable[[], bool]) -> Tensor:
        """Describe the first n rows (n, n_descriptors): all, or as many as time allows."""
        assert isinstance(self.model, ResidualVAE)
        n = len(training)
        parts = (np.arange(i, min(i + 32, n)) for i in range(0, n, 32))
        described: list[Tensor] = []
        for batch in training.batches(parts):
            if described and is_over():
                break
            described.append(self.model.describe(batch))
        return torch.cat(described)

    def compile(self, n_rows: int, progress: Progress = SILENT) -> None:
        """Compile the convolutions for batches of n_rows. If that fails, use them uncompiled.

        Compiling is in place, so that names in checkpoints do not change. It is triggered here by a
        batch of zeros, so that no step waits or fails. Weights and buffers are not changed.
        """
        if not self.compiles:
            return
        progress.message("compiling the convolutions")
        before = {name: values.clone() for name, values in self.model.named_buffers()}
        torch.compiler.reset()  # earlier trainings of this process count towards a limit
        self._compiled = True
        try:
            for network in self.model.networks:
                network.compile(dynamic=False)
            self.model.train()
            batch = torch.zeros((n_rows, *self.model.shape), device=self.device)
            noise = torch.zeros((n_rows, self.configuration.model.n_latent), device=self.device)
            self._loss(batch, noise, self.config.beta)[0].backward()
        except Exception as error:  # compilers, and missing ones, raise many kinds of errors
            for network in self.model.networks:
                network._compiled_call_impl = None
            self._compiled = False
            reason = next((line for line in str(error).splitlines() if line), type(error).__name__)
            progress.message(
                f"compiling failed ({reason[:100]}): training continues without, more slowly; "
                "--no-compile skips compiling"
            )
        self.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for name, values in self.model.named_buffers():
                values.copy_(before[name])

    def uncompiled(self) -> contextlib.AbstractContextManager[Any]:
        """Run the model uncompiled: compiled code is for one batch size only."""
        if not self._compiled:
            return contextlib.nullcontext()
        stance: contextlib.AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
        return stance

    def synchronise(self) -> None:
        """Copy the state of the first process to all, and set the shard of each.

        Only the first process fitted the linear part and read the checkpoint: the same arithmetic
        on another machine may differ in the last digits, and the difference would remain.
        """
        if self.group.size == 1:
            return
        with_shared_batch_norms(self.model, self.group)
        self.model.set_shard(self.group.shard)
        self._forward = self.group.wrapped(self.model)
        if self._trains_with_labels:
            self._forward_labels = self.group.wrapped(self.label_head)
        self.step_number, self.seconds = self.group.from_first(
            lambda: (self.step_number, self.seconds)
        )
        parameters = [each for group in self.optimizer.param_groups for each in group["params"]]
        moved = self.group.from_first(lambda: [each in self.optimizer.state for each in parameters])
        for parameter in itertools.compress(parameters, moved):
            state = self.optimizer.state[parameter]
            if not state:
                state["step"] = torch.zeros((), device=parameter.device)
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
            for name in ("step", "exp_avg", "exp_avg_sq"):
                self.group.send(state[name])

    def done(self) -> float:
        """Return the completed fraction of training, by steps or by wall time after the setup."""
        by_time = 0.0
        if self.config.max_minutes:
            limit = 60 * self.config.max_minutes - self.setup_seconds
            by_time = (self.seconds - self.setup_seconds) / limit if limit > 0 else 1.0
        return max(self.step_number / self.config.max_steps, by_time)

    def step(
        self,
        batch: Tensor,
        targets: Targets | None = None,
        positions: NDArray[np.int64] | None = None,
    ) -> Tensor:
        """Update the model; return (loss, dry error, wet error, KL) without a device wait.

        batch      this process's shard of the batch
        targets    labels of the complete batch; used if the style was not fitted to them
        positions  of all rows of the batch in the training split, to reuse their descriptors

        The noise of the posterior depends on (seed, step) and on the index of the row in the batch.
        """
        self.model.train()
        if self._is_fitted:
            self._style_encoder.eval()  # no dropout
        described = None
        if self._described is not None and positions is not None:
            own = torch.from_numpy(self.group.shard.of(positions))
            described = self._described[own.to(self._described.device)]
        rate = learning_rate_at(self.step_number, self.done(), self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self._noise.manual_seed(self.config.seed * 1_000_003 + self.step_number)
        torch.manual_seed(self.config.seed * 1_000_003 + self.step_number)  # of dropout
        noise = torch.randn(
            (self.group.size * len(batch), self.configuration.model.n_latent),
            generator=self._noise,
            device=self.device,
        )
        beta = beta_at(self.step_number, self.config)
        loss, parts = self._loss(batch, self.group.shard.of(noise), beta, targets, described)
        if self._style_learns:
            loss = loss + self._label_weight(batch) * self._style_loss()
        self.optimizer.zero_grad(set_to_none=True)
        if loss.requires_grad:  # false without a predictor: the model is closed-form only
            loss.backward()
        if self.config.gradient_clip > 0:
            # Only trained parameters: the style may still have gradients of its own fit.
            trained = [each for group in self.optimizer.param_groups for each in group["params"]]
            torch.nn.utils.clip_grad_norm_(trained, self.config.gradient_clip)
        self.optimizer.step()
        self.step_number += 1
        return self.group.mean(parts)

    def _loss(
        self,
        batch: Tensor,
        noise: Tensor,
        beta: float,
        targets: Targets | None = None,
        described: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return squared error + beta KL (+ labels), averaged over the batch, and its parts.

        The parts are detached: loss without labels, dry error, wet error and KL.
        """
        if self._images:
            batch = batch.contiguous(memory_format=torch.channels_last)
        model = self._forward if self.model.training else self.model
        with torch.autocast(batch.device.type, torch.bfloat16, enabled=self.bfloat16):
            reconstruction, mean, log_variance = model(batch, noise, described)
        error = squared_error(reconstruction, batch).mean(dim=0)
        kl = kl_to_standard_normal(mean, log_variance).mean()
        loss = error.sum() + beta * kl
        per_value = error.detach() / (batch.shape[-1] * batch.shape[-2])
        parts = torch.stack([loss.detach(), per_value[0], per_value[1], kl.detach()])
        if targets is not None and self._trains_with_labels:
            labels = self._label_loss(self.model.style_of(mean), targets)
            loss = loss + self._label_weight(batch) * labels
        return loss, parts

    def _label_weight(self, batch: Tensor) -> float:
        """Return the weight of labels, relative to the squared error of a channel of any size."""
        return float(self.config.label_weight * batch.shape[-1] * batch.shape[-2])

    def _style_loss(self) -> Tensor:
        """Continue the fit of the style to the labels, on rows that depend on (seed, step)."""
        assert self._described is not None and self._targets is not None
        drawn = torch.randint(len(self._described), (LABEL_ROWS,))
        rows = drawn.to(self._described.device)
        return style_loss(
            self._style_encoder.train(),
            self.label_head,
            self._described[rows],
            self._targets[rows],
            self._n_effects,
            self.config.setting_weight,
        )

    def _label_loss(self, style: Tensor, targets: Targets) -> Tensor:
        """Compute the label loss for the styles of this process's rows; targets are of all rows."""
        predicted = self._forward_labels(style)
        weight = self.config.setting_weight
        return label_loss(predicted, targets, self._n_effects, weight, self.model.shard)

    @torch.no_grad()
    def validate(self, rows: SplitLoader) -> dict[str, float]:
        """Compute loss and errors of decoded posterior means, with the final beta."""
        self.model.eval()
        size = self.config.batch_size
        positions = some_positions(len(rows), VALIDATION_ROWS)
        chosen = (positions[i : i + size] for i in range(0, len(positions), size))
        total = torch.zeros(4, device=self.device)
        n_latent = self.configuration.model.n_latent
        with self.uncompiled():
            for batch in rows.batches(chosen):
                noise = torch.zeros((len(batch), n_latent), device=self.device)
                total += self._loss(batch, noise, self.config.beta)[1] * len(batch)
        names = ("loss", "dry_error", "wet_error", "kl")
        return dict(zip(names, (total / len(positions)).tolist(), strict=True))

    def state(self, with_optimizer: bool) -> dict[str, Any]:
        """Return the state as plain tensors and builtins."""
        state: dict[str, Any] = {
            "configuration": self.configuration.to_dict(),
            "shape": list(self.model.shape),
            "weights": self.model.state_dict(),
            "step": self.step_number,
            "seconds": self.seconds,
            "setup_seconds": self.setup_seconds,
            "prepared": self.prepared,
            "best_loss": self.best_loss,
            "best_step": self.best_step,
            "stale": self.stale,
            "validation": dict(self.validation),
            "pending": [figures.cpu() for figures in self.pending],
        }
        if with_optimizer:
            state["labeller"] = self.label_head.state_dict()
            state["optimizer"] = self.optimizer.state_dict()
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint. An incomplete fit before the first step starts again."""
        self.seconds = float(state["seconds"])
        self.setup_seconds = float(state.get("setup_seconds", 0.0))
        self.prepared = bool(state.get("prepared", True))
        if not self.prepared:
            return
        self.model.load_state_dict(state["weights"])
        self.label_head.load_state_dict(state["labeller"])
        self.optimizer.load_state_dict(state["optimizer"])
        for parameter, kept in self.optimizer.state.items():  # to the memory layout of this device
            for name in ("exp_avg", "exp_avg_sq"):
                kept[name] = torch.empty_like(parameter).copy_(kept[name])
        self.step_number = int(state["step"])
        self.best_loss, self.best_step = float(state["best_loss"]), int(state["best_step"])
        self.stale, self.validation = int(state["stale"]), dict(state["validation"])
        self.pending = [figures.to(self.device) for figures in state["pending"]]
