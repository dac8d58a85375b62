"""Estimate settings and effects from features by ridge regression.

A hundred pairs of an effect are too few for a network to find which of some 2,600 features show a
setting. Correlation finds them: a closed-form estimate of the rate of an oscillator is the rate
itself. The network then adds the rest, which is not linear. Effects with one setting each are a
linear problem: ridge regression on all features solves it, where a network still errs.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

N_SELECTED = 30  # features of a setting
ROWS_PER_FEATURE = 4  # fewer features where an effect has few pairs
LARGEST = 3.0  # standard deviations of a feature over the pairs of the effect
SMALLEST_SCALE = 1e-3
PENALTIES = np.logspace(-1, 4, 16)

Vector = NDArray[np.float64]


class LinearEstimates(nn.Module):
    """Estimate settings (batch, n_parameters) from features (batch, n_features).

    Before `fit`, estimates are 0.
    """

    selected: Tensor
    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, n_parameters: int) -> None:
        super().__init__()
        shape = (n_parameters, N_SELECTED)
        self.register_buffer("selected", torch.zeros(shape, dtype=torch.long))
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(shape))
        self.register_buffer("weight", torch.zeros(shape))
        self.register_buffer("bias", torch.zeros(n_parameters))

    def forward(self, features: Tensor) -> Tensor:
        """Estimate all settings; those of effects that a pair does not have mean nothing."""
        values = (features[:, self.selected] - self.mean) / self.scale
        return (values.clamp(-LARGEST, LARGEST) * self.weight).sum(dim=2) + self.bias

    def fit(self, features: Tensor, setting: Tensor) -> None:
        """Select features and fit their weights.

        setting  (n, n_parameters); NaN for other effects' parameters
        """
        all_features, all_settings = features.double().numpy(), setting.double().numpy()
        for column in range(all_settings.shape[1]):
            known = np.isfinite(all_settings[:, column])
            if known.any():
                self._fit_one(column, all_features[known], all_settings[known, column])

    def _fit_one(self, column: int, features: NDArray[np.float64], true: Vector) -> None:
        self.bias[column] = float(true.mean())
        n_selected = min(N_SELECTED, len(true) // ROWS_PER_FEATURE, features.shape[1])
        error = true - true.mean()
        if not n_selected or float(error.std()) < SMALLEST_SCALE:
            return
        mean, scale = features.mean(axis=0), features.std(axis=0) + SMALLEST_SCALE
        scaled = np.clip((features - mean) / scale, -LARGEST, LARGEST)
        correlation = np.abs(error @ scaled) / (scaled.std(axis=0) + SMALLEST_SCALE)
        selected = np.argsort(-correlation, kind="stable")[:n_selected]
        weight, offset = fit_ridge(scaled[:, selected], true[:, None])
        for buffer, values in (
            (self.selected, selected),
            (self.mean, mean[selected]),
            (self.scale, scale[selected]),
            (self.weight, weight[:, 0]),
        ):
            buffer[column, :n_selected] = torch.from_numpy(np.asarray(values)).to(buffer.dtype)
        self.bias[column] = float(offset[0])


class LinearEffects(nn.Module):
    """Score effects (batch, n_effects) from scaled features: near 1 for the right one, else 0.

    Before `fit`, scores are 0.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, n_features: int, n_effects: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(n_features, n_effects))
        self.register_buffer("bias", torch.zeros(n_effects))

    def forward(self, scaled: Tensor) -> Tensor:
        """Score all effects."""
        return scaled @ self.weight + self.bias

    def fit(self, scaled: Tensor, effect: Tensor) -> None:
        """Fit the weights to scaled features (n, n_features) and effects (n,)."""
        is_effect = functional.one_hot(effect, len(self.bias)).double().numpy()
        weight, offset = fit_ridge(scaled.double().numpy(), is_effect)
        self.weight.copy_(torch.from_numpy(weight))
        self.bias.copy_(torch.from_numpy(offset))


def fit_ridge(
    features: NDArray[np.float64], true: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit weights and offsets, with the penalty of the smallest leave-one-out error.

    true  (n, n_targets), which share the penalty

    Return weights (n_features, n_targets) and offsets (n_targets,).
    """
    mean = features.mean(axis=0)
    left, size, right = np.linalg.svd(features - mean, full_matrices=False)
    centred = true - true.mean(axis=0)
    along = left.T @ centred
    best, penalty = np.inf, float(PENALTIES[-1])
    for each in PENALTIES:
        shrunk = size**2 / (size**2 + each)
        leverage = np.square(left) @ shrunk + 1 / len(true)
        residual = centred - left @ (shrunk[:, None] * along)
        error = float(np.square(residual / (1 - np.minimum(leverage, 0.99))[:, None]).sum())
        if error < best:
            best, penalty = error, float(each)
    weight = right.T @ ((size / (size**2 + penalty))[:, None] * along)
    return weight, true.mean(axis=0) - mean @ weight
