"""Schedules of learning rate and KL weight, and the order of batches."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dafxtool.config import TrainingConfig


def beta_at(step: int, config: TrainingConfig) -> float:
    """Return the weight of the KL term at a step.

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
    """Return the learning rate at a step.

    done  completed fraction of training, 0 to 1

    A linear warm-up, then constant, or half a cosine down to a hundredth (Loshchilov & Hutter
    2017, arXiv:1608.03983).
    """
    rate = config.learning_rate * min(1.0, (step + 1) / max(1, config.warmup_steps))
    if config.schedule == "cosine":
        rate *= 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return rate


def data_order(n_rows: int, config: TrainingConfig, first_step: int) -> Iterator[NDArray[np.int64]]:
    """Yield the positions of each batch from first_step on, permuted in every epoch."""
    size = min(config.batch_size, n_rows)
    per_epoch = n_rows // size
    for step in range(first_step, config.max_steps):
        epoch, index = divmod(step, per_epoch)
        if index == 0 or step == first_step:
            order = np.random.default_rng([config.seed, 4, epoch]).permutation(n_rows)
        yield order[index * size : (index + 1) * size]
