"""One step of training after another: the model, its optimiser, schedules and the state of both."""

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
from torch.nn import functional

from dafxtool.config import Configuration
from dafxtool.models.base import kl_to_standard_normal, squared_error
from dafxtool.models.factory import build_model
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
from dafxtool.training.style_pretraining import (
    SETTING_SHARE,
    STYLE_BATCH,
    STYLE_DECAY,
    STYLE_NOISE,
    STYLE_PRIOR,
    STYLE_RATE,
)
from dafxtool.utils.progress import SILENT, Progress

VALIDATION_ROWS = 512
PRINCIPAL_ROWS = 1200  # of the training split, which the linear part is fitted on
CHANGE_ROWS = 256  # of it, which the coefficients of the change are chosen on
STEPS_BETWEEN_CHECKS = 16  # of the time limit, in the fit of the style


def _never() -> bool:
    return False


class Trainer:
    """A model in training: one `step` a batch, `validate`, and what a checkpoint has to keep.

    group  the processes that train together; after `spread` each steps on its share of a batch
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
                if each.ndim == 4:  # of convolutions over images: what GPUs convolve quickest
                    each.data = each.data.contiguous(memory_format=torch.channels_last)
        n_style = self.model.n_style or configuration.model.n_latent - self.model.n_content
        self._n_effects = n_effects if self.config.label_weight > 0 else 0
        self.labeller = nn.Linear(n_style, max(1, n_effects + n_parameters)).to(device)
        # A style that was fitted to the labels stays as it is: trained on, it tells recordings that
        # training never saw a little less well (docs/model.md). Without that fit, labels shape it
        # along the way.
        is_fitted = self._n_effects > 0 and self.model.n_style > 0 and self.config.label_steps > 0
        self._labels_along = self._n_effects > 0 and not is_fitted
        if is_fitted:
            self._style_encoder.requires_grad_(False)
        trained = [each for each in self.model.parameters() if each.requires_grad]
        with_labels = self._labels_along or not trained
        self.optimizer = torch.optim.Adam(
            [*trained, *self.labeller.parameters()] if with_labels else trained,
            lr=self.config.learning_rate,
            fused=True,
        )
        self.step_number = 0
        self.seconds = 0.0  # from the start of the command
        self.setup_seconds = 0.0  # of these, before the first step
        self.prepared = False  # was the fit before the first step completed?
        self.best_loss, self.best_step, self.stale = math.inf, 0, 0
        self.validation: dict[str, float] = {}
        self.pending: list[Tensor] = []  # figures of the steps since the last row of metrics.csv
        self._noise = torch.Generator(device=device)
        self._compiled = False
        # The same modules, or what averages their gradients over all processes.
        self._forward: nn.Module = self.model
        self._described: Tensor | None = None  # standardised descriptors of the training split
        self._told: nn.Module = self.labeller

    @property
    def _style_encoder(self) -> nn.Module:
        assert isinstance(self.model, ResidualVAE)
        return self.model.style_encoder

    @property
    def compiles(self) -> bool:
        """Are the convolutions compiled? Not where their norms wait for other processes."""
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

        is_over  once it returns True, the fit is completed with the segments read so far
        """
        config = self.configuration.model
        if config.architecture != "residual":
            self.prepared = True
            return
        progress.message("fitting principal components")
        positions = some_positions(len(training), PRINCIPAL_ROWS)

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
        if self._n_effects and not self._labels_along:
            progress.message("fitting the style to effects and settings")
            self._fit_style(described, training.targets(np.arange(len(described))), is_over)
        self.prepared = not is_over()
        if len(described) == len(training):
            self._described = model.standardised_descriptors(described)

    def fit_change(self, training: SplitLoader) -> None:
        """Choose what is coded of the wet channel beyond the present prediction."""
        if not isinstance(self.model, ResidualVAE):
            return
        self.model.eval()
        positions = some_positions(len(training), CHANGE_ROWS)
        parts = (positions[i : i + 32] for i in range(0, len(positions), 32))
        with self.uncompiled():
            self.model.fit_change(training.batches(parts), self.config.beta)

    def share_change(self) -> None:
        """Give all processes what the first one chose in `fit_change`."""
        if self.group.size > 1 and isinstance(self.model, ResidualVAE):
            for name in CHANGE_BUFFERS:
                self.group.send(getattr(self.model, name))

    def describe(self, training: SplitLoader, is_over: Callable[[], bool] = _never) -> None:
        """Compute the descriptors of the training split, which do not change from step to step.

        In batches of one size and order, so that a resumed run has the same numbers. Nothing is
        kept if is_over returns True before the end: then there is no time for a step either.
        """
        model = self.model
        if not isinstance(model, ResidualVAE) or not model.n_style or self._described is not None:
            return
        described = self._describe_rows(training, is_over)
        if len(described) == len(training):
            self._described = model.standardised_descriptors(described)

    def _describe_rows(self, training: SplitLoader, is_over: Callable[[], bool]) -> Tensor:
        """Descriptors (n, n_descriptors) of the first n rows: all, or as many as time allows."""
        assert isinstance(self.model, ResidualVAE)
        n = len(training)
        parts = (np.arange(i, min(i + 32, n)) for i in range(0, n, 32))
        described: list[Tensor] = []
        for batch in training.batches(parts):
            if described and is_over():
                break
            described.append(self.model.describe(batch))
        return torch.cat(described)

    def _fit_style(self, described: Tensor, targets: Targets, is_over: Callable[[], bool]) -> None:
        """Let the style tell effects and settings; the decoder learns to follow it afterwards.

        It is a small network on a few hundred numbers a segment: seconds, where a step of the
        whole model costs as much as hundreds of these. The noise stands for other recordings.
        """
        assert isinstance(self.model, ResidualVAE)
        encoder = self._style_encoder.requires_grad_(True).train()
        inputs = self.model.standardised_descriptors(described)
        parameters = [*encoder.parameters(), *self.labeller.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=STYLE_RATE, weight_decay=STYLE_DECAY)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            optimizer, max(1, self.config.label_steps)
        )
        rng = np.random.default_rng([self.config.seed, 6])
        torch.manual_seed(self.config.seed)
        n_threads = torch.get_num_threads()
        torch.set_num_threads(1)  # products this small only wait for other cores
        for step in range(self.config.label_steps):
            if step % STEPS_BETWEEN_CHECKS == 0 and is_over():
                break
            rows = torch.from_numpy(rng.integers(0, len(inputs), STYLE_BATCH)).to(inputs.device)
            noisy = inputs[rows] + STYLE_NOISE * torch.randn_like(inputs[rows])
            style = encoder(noisy)
            loss = self._label_loss(style, targets[rows]) + STYLE_PRIOR * style.square().mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
        encoder.requires_grad_(False)
        torch.set_num_threads(n_threads)

    def compile(self, n_rows: int, progress: Progress = SILENT) -> None:
        """Compile the convolutions for batches of n_rows; where that fails they stay as they are.

        In place, so that checkpoints keep their names. They are compiled and tried here, on zeros,
        so that no step has to wait or fail for it; nothing that is trained changes.
        """
        if not self.compiles:
            return
        progress.message("compiling the convolutions")
        before = {name: values.clone() for name, values in self.model.named_buffers()}
        torch.compiler.reset()  # what earlier trainings of this process compiled counts against us
        self._compiled = True
        try:
            for network in self.model.networks:
                network.compile(dynamic=False)
            self.model.train()
            batch = torch.zeros((n_rows, *self.model.shape), device=self.device)
            noise = torch.zeros((n_rows, self.configuration.model.n_latent), device=self.device)
            self._loss(batch, noise, self.config.beta)[0].backward()
        except Exception as error:  # whatever a compiler, or the lack of one, brings about
            for network in self.model.networks:
                network._compiled_call_impl = None
            self._compiled = False
            reason = next((line for line in str(error).splitlines() if line), type(error).__name__)
            progress.message(
                f"compiling failed ({reason[:100]}): training goes on without, only slower; "
                "--no-compile leaves this out"
            )
        self.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for name, values in self.model.named_buffers():
                values.copy_(before[name])

    def uncompiled(self) -> contextlib.AbstractContextManager[Any]:
        """In here the model runs as written: what was compiled is for one size of batch alone."""
        if not self._compiled:
            return contextlib.nullcontext()
        stance: contextlib.AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
        return stance

    def spread(self) -> None:
        """Give all processes the state of the first, and each its share of every batch.

        The first one alone measured the linear part and read the checkpoint: the same arithmetic
        on another machine may end on other last digits, which would stay apart from then on.
        """
        if self.group.size == 1:
            return
        with_shared_batch_norms(self.model, self.group)
        self.model.take_share(self.group.share)
        self._forward = self.group.wrapped(self.model)
        if self._labels_along:
            self._told = self.group.wrapped(self.labeller)
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
        """The share of training that is over, by steps or by wall time after the setup."""
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
        """One update; returns (loss, dry error, wet error, KL) without waiting for the device.

        batch    this process's share of the batch
        targets  the labels of all of it; used where no style was fitted to them before
        positions  of the rows of all of it in the training split, for what `describe` computed

        The posterior's noise hangs on (seed, step) and on the row's place in the whole batch.
        """
        self.model.train()
        if self.model.n_style and not any(
            each.requires_grad for each in self._style_encoder.parameters()
        ):
            self._style_encoder.eval()  # fitted: no dropout
        described = None
        if self._described is not None and positions is not None:
            own = torch.from_numpy(self.group.share.of(positions))
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
        loss, parts = self._loss(batch, self.group.share.of(noise), beta, targets, described)
        self.optimizer.zero_grad(set_to_none=True)
        if loss.requires_grad:  # a model without a predictor is complete in closed form
            loss.backward()
        if self.config.gradient_clip > 0:
            # Of what is trained: the style may hold gradients from its own fit.
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
        """Summed squared error + beta KL (+ labels), mean over the batch, and four parts, detached.

        The loss among the parts is without that of the labels, so that it can be compared.
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
        if targets is not None and self._labels_along:
            # Weighed against the squared error of one channel, whatever its size.
            weight = self.config.label_weight * batch.shape[-1] * batch.shape[-2]
            loss = loss + weight * self._label_loss(self.model.style_of(mean), targets)
        return loss, parts

    def _label_loss(self, style: Tensor, targets: Targets) -> Tensor:
        """Cross-entropy of the effect's name and squared error of its setting, told linearly.

        The style then has a direction for each effect and for each of its parameters, and half
        way between two latents lies half way between two settings.

        style    of the rows that this process has
        targets  of the whole batch, since a mean over settings is over those that are known
        """
        share = self.model.share
        told = self._told(style)
        names, settings = told[:, : self._n_effects], told[:, self._n_effects :]
        loss = functional.cross_entropy(names, share.of(targets.effect))
        known = targets.setting.isfinite()
        n_known = known.sum().clamp_min(1) / share.size
        errors = (settings - share.of(targets.setting).nan_to_num()).square() * share.of(known)
        return loss + SETTING_SHARE * errors.sum() / n_known

    @torch.no_grad()
    def validate(self, rows: SplitLoader) -> dict[str, float]:
        """Loss and errors of the decoded posterior means, with beta at its full weight."""
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
        """Plain tensors and builtins."""
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
            state["labeller"] = self.labeller.state_dict()
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
        self.labeller.load_state_dict(state["labeller"])
        self.optimizer.load_state_dict(state["optimizer"])
        for parameter, kept in self.optimizer.state.items():  # in this device's memory layout
            for name in ("exp_avg", "exp_avg_sq"):
                kept[name] = torch.empty_like(parameter).copy_(kept[name])
        self.step_number = int(state["step"])
        self.best_loss, self.best_step = float(state["best_loss"]), int(state["best_step"])
        self.stale, self.validation = int(state["stale"]), dict(state["validation"])
        self.pending = [figures.to(self.device) for figures in state["pending"]]
