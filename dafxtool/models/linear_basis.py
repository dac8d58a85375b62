"""The linear part of the residual model, fitted on the training split in closed form.

Frames are columns of a spectrogram, one channel of n_bins values each. Fitted are

- the principal components of dry frames, weighted by the density of the ear's bands;
- the average effect: the dry frame with a gain for each bin, and a linear prediction of the rest
  from the dry components;
- the principal components of the residual of the wet frame, the change.

Over time, components go through a discrete cosine transform, the best basis for a stationary
process (Ahmed, Natarajan & Rao 1974). The coefficients of largest variance become latents. Only
covariances of frames are estimated: principal components of whole segments would overfit a few
hundred segments.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

SMALLEST_SCALE = 1e-4  # of the largest, so that components without variance are not amplified
RIDGE = 1e-6  # of the mean variance, so that silent bins do not make the prediction singular
NOMINAL_NYQUIST_HZ = 12_000.0  # assumed for the ERB bands at every sample rate
# Smallest share of a bin's variance outside the basis from which a gain is fitted.
SMALLEST_REMAINDER = 1e-6


@dataclass(frozen=True)
class LinearBasis:
    """Means, orthonormal bases and gains of weighted frames.

    dry_mean, wet_gain, wet_offset  (n_bins,)
    dry_basis     (n_bins, k) of weighted dry frames, dry_scale (k,) their standard deviations
    prediction    (k, k), from dry components to components of the change
    change_basis  (n_bins, k) of weighted wet frames, change_scale (k,)
    floor         the smallest value of a dry frame: silence
    """

    dry_mean: Tensor
    dry_basis: Tensor
    dry_scale: Tensor
    wet_gain: Tensor
    wet_offset: Tensor
    prediction: Tensor
    change_basis: Tensor
    change_scale: Tensor
    floor: Tensor


def fit_linear_basis(
    batches: Callable[[], Iterable[Tensor]], n_components: int, weight: Tensor
) -> LinearBasis:
    """Fit the basis to spectrograms (batch, 2, n_bins, n_frames) whose bins have a weight.

    batches  returns an iterator over them; called once
    """
    mean, covariance, floor = _joint_covariance(batches())
    n = len(mean) // 2
    w = weight.double().to(mean.device)
    dry_mean, wet_mean = mean[:n], mean[n:]
    dry, cross, wet = covariance[:n, :n], covariance[:n, n:], covariance[n:, n:]
    dry_basis, dry_scale = _principal(dry * torch.outer(w, w), n_components)
    analysis, synthesis = w[:, None] * dry_basis, dry_basis / w[:, None]
    outside = torch.eye(n, dtype=w.dtype, device=w.device) - synthesis @ analysis.T
    gain = _outside_gain(dry, cross, outside)
    # Residual of the wet frame after the gain: covariance, and cross-covariance with components.
    left = wet - gain[:, None] * cross - (gain[:, None] * cross).T
    left = (left + torch.outer(gain, gain) * dry) * torch.outer(w, w)
    with_components = analysis.T @ (cross - dry * gain) * w
    regular = analysis.T @ dry @ analysis
    regular += RIDGE * regular.diagonal().mean() * torch.eye(len(regular), device=w.device)
    prediction = torch.linalg.solve(regular, with_components)
    left = left - prediction.T @ with_components
    change_basis, change_scale = _principal((left + left.T) / 2, n_components)
    return LinearBasis(
        dry_mean=dry_mean.float(),
        dry_basis=dry_basis.float(),
        dry_scale=dry_scale.float(),
        wet_gain=gain.float(),
        wet_offset=(wet_mean - gain * dry_mean).float(),
        prediction=(prediction @ change_basis).float(),
        change_basis=change_basis.float(),
        change_scale=change_scale.float(),
        floor=floor.float(),
    )


def _outside_gain(dry: Tensor, cross: Tensor, outside: Tensor) -> Tensor:
    """Fit gains (n_bins,) from the residual of dry bins outside the basis to wet bins."""
    remainder = ((outside @ dry) * outside).sum(dim=1)
    shared = (outside * cross.T).sum(dim=1)
    plain = cross.diagonal() / dry.diagonal().clamp_min(1e-12)
    known = remainder > SMALLEST_REMAINDER * dry.diagonal()
    gain = torch.where(known, shared / remainder.clamp_min(1e-12), plain)
    return gain.clamp(0.0, 1.0)


def ear_weight(n_bins: int, strength: float) -> Tensor:
    """Return weights (n_bins,) whose squares follow the density of ERB bands, mean square 1.

    strength  0 weighs all bins alike, 1 follows the density

    Glasberg & Moore 1990, "Derivation of auditory filter shapes from notched-noise data".
    """
    frequency_khz = torch.linspace(0, NOMINAL_NYQUIST_HZ / 1000, n_bins, dtype=torch.float64)
    weight = (4.37 * frequency_khz + 1).pow(-strength / 2)
    return (weight / weight.square().mean().sqrt()).float()


def split_frames(batch: Tensor) -> tuple[Tensor, Tensor]:
    """Split (batch, 2, n_bins, n_frames) into dry and wet frames, (batch, n_frames, n_bins)."""
    frames = batch.float().transpose(2, 3)
    return frames[:, 0], frames[:, 1]


def cosine_basis(n_frames: int) -> Tensor:
    """Return the orthonormal DCT-II as a matrix (n_frames, n_frames)."""
    time = (torch.arange(n_frames, dtype=torch.float64) + 0.5) / n_frames
    order = torch.arange(n_frames, dtype=torch.float64)[:, None]
    basis = (2 / n_frames) ** 0.5 * torch.cos(math.pi * order * time)
    basis[0] /= 2**0.5
    return basis.float()


def _joint_covariance(batches: Iterable[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean (2 n_bins,) and covariance of joined dry and wet frames, and the dry minimum."""
    total: Tensor | float = 0.0
    products: Tensor | float = 0.0
    smallest: list[Tensor] = []
    count = 0
    for batch in batches:
        frames = torch.cat(split_frames(batch), dim=2).flatten(0, 1)
        total = total + frames.sum(dim=0).double()
        products = products + (frames.T @ frames).double()
        smallest.append(batch[:, 0].min())
        count += len(frames)
    assert isinstance(total, Tensor) and isinstance(products, Tensor)
    mean = total / count
    return mean, products / count - torch.outer(mean, mean), torch.stack(smallest).min()


def _principal(covariance: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the first k eigenvectors (n, k) of a covariance, and the standard deviations."""
    values, vectors = torch.linalg.eigh(covariance)
    vectors = vectors.flip(1)[:, :k]
    scale = values.flip(0)[:k].clamp_min(0).sqrt()
    # Fix the sign independently of rounding: the largest entry of each column is positive.
    largest = vectors.abs().argmax(dim=0)
    signs = vectors[largest, torch.arange(vectors.shape[1], device=vectors.device)].sign()
    return vectors * signs, scale.clamp_min(float(scale[0]) * SMALLEST_SCALE + 1e-12)


def largest_variances(variances: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return indices of the largest variances, ordered by size, and the standard deviations."""
    flat = variances.flatten()
    order = torch.argsort(flat, descending=True, stable=True)[:count]
    scale = flat[order].sqrt()
    if not count:
        return order, scale.float()
    return order, scale.clamp_min(float(scale[0]) * SMALLEST_SCALE + 1e-12).float()
