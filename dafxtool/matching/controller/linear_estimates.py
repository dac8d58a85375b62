"""Estimate each setting from a few features by ridge regression, fitted to one effect's pairs.

A hundred pairs of an effect are too few for a network to find which of some 2,600 features show a
setting. Correlation finds them: a closed-form estimate of the rate of an oscillator is the rate
itself. The network then adds the rest, which is not linear.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

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
        weight, offset = fit_ridge(scaled[:, selected], true)
        for buffer, values in (
            (self.selected, selected),
            (self.mean, mean[selected]),
            (self.scale, scale[selected]),
            (self.weight, weight),
        ):
            buffer[column, :n_selected] = torch.from_numpy(np.asarray(values)).to(buffer.dtype)
        self.bias[column] = offset


def fit_ridge(features: NDArray[np.float64], true: Vector) -> tuple[Vector, float]:
    """Fit weights and offset, with the penalty of the smallest leave-one-out error."""
    mean = features.mean(axis=0)
    left, size, right = np.linalg.svd(features - mean, full_matrices=False)
    centred = true - true.mean()
    along = left.T @ centred
    best, penalty = np.inf, float(PENALTIES[-1])
    for each in PENALTIES:
        shrunk = size**2 / (size**2 + each)
        leverage = np.square(left) @ shrunk + 1 / len(true)
        residual = (centred - left @ (shrunk * along)) / (1 - np.minimum(leverage, 0.99))
        if float(residual @ residual) < best:
            best, penalty = float(residual @ residual), float(each)
    weight = right.T @ (size / (size**2 + penalty) * along)
    return weight, float(true.mean() - mean @ weight)
