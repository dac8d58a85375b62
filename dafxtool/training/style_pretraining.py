"""Fit the style encoder to the labels of the training split, before the first step.

The encoder is a small network on a few hundred descriptors a segment: this takes seconds. A step of
the complete model costs as much as hundreds of its steps.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dafxtool.config import TrainingConfig
from dafxtool.models.batch_shard import ALL_ROWS, Shard
from dafxtool.models.residual import ResidualVAE
from dafxtool.training.loader import Targets

BATCH_SIZE, LEARNING_RATE = 64, 2e-3
NOISE = 0.3  # in standard deviations of each descriptor: it simulates other recordings
WEIGHT_DECAY = 1.0
PRIOR_WEIGHT = 0.3  # keeps the style near its prior, whose standard deviation is 1
STEPS_BETWEEN_CHECKS = 16  # of the time limit
# More epochs than this recognise no more effects of other speakers: with 40 segments 0.91 after 160
# and after 2,400 epochs, with worse settings after the latter.
MAX_EPOCHS = 200
MIN_STEPS = 100


def fit_style(
    model: ResidualVAE,
    label_head: nn.Module,
    described: Tensor,
    targets: Targets,
    n_effects: int,
    config: TrainingConfig,
    is_over: Callable[[], bool],
) -> None:
    """Fit the style encoder and the label head to effects and settings.

    label_head  linear layer from the style to effects and settings
    described   descriptors (n, n_descriptors), not standardised
    is_over     ends the fit early once it returns True
    """
    encoder = model.style_encoder.requires_grad_(True).train()
    inputs = model.standardised_descriptors(described)
    parameters = [*encoder.parameters(), *label_head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    steps = n_style_steps(len(inputs), config.label_steps)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
    rng = np.random.default_rng([config.seed, 6])
    torch.manual_seed(config.seed)
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # for products this small, threads only wait for each other
    for step in range(steps):
        if step % STEPS_BETWEEN_CHECKS == 0 and is_over():
            break
        rows = torch.from_numpy(rng.integers(0, len(inputs), BATCH_SIZE)).to(inputs.device)
        loss = style_loss(
            encoder, label_head, inputs[rows], targets[rows], n_effects, config.setting_weight
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    torch.set_num_threads(n_threads)


def n_style_steps(n_rows: int, label_steps: int) -> int:
    """Return the number of steps for n_rows: label_steps, or fewer where the rows are few."""
    return min(label_steps, max(MIN_STEPS, MAX_EPOCHS * n_rows // BATCH_SIZE))


def style_loss(
    encoder: nn.Module,
    label_head: nn.Module,
    inputs: Tensor,
    targets: Targets,
    n_effects: int,
    setting_weight: float,
) -> Tensor:
    """Return the loss of the labels and of the prior, with noise on the descriptors.

    inputs          standardised descriptors (n, n_descriptors)
    setting_weight  as of `label_loss`
    """
    style = encoder(inputs + NOISE * torch.randn_like(inputs))
    loss = label_loss(label_head(style), targets, n_effects, setting_weight)
    return loss + PRIOR_WEIGHT * style.square().mean()


def label_loss(
    predicted: Tensor,
    targets: Targets,
    n_effects: int,
    setting_weight: float,
    shard: Shard = ALL_ROWS,
) -> Tensor:
    """Sum the cross-entropy of effects and the squared error of settings.

    With linear predictions, the style has a direction for each effect and for each parameter, and
    the mean of two styles corresponds to the mean of two settings.

    predicted       (n, n_effects + n_parameters), of this process's rows
    targets         of the complete batch, because the mean over settings is over all known ones
    setting_weight  of the squared error, relative to the cross-entropy
    """
    effects, settings = predicted[:, :n_effects], predicted[:, n_effects:]
    loss = functional.cross_entropy(effects, shard.of(targets.effect))
    is_known = targets.setting.isfinite()
    n_known = is_known.sum().clamp_min(1) / shard.size
    errors = (settings - shard.of(targets.setting).nan_to_num()).square() * shard.of(is_known)
    return loss + setting_weight * errors.sum() / n_known
