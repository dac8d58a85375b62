"""The linear part of the residual model, measured on the training split in closed form.

Three things are found, on frames (columns of a spectrogram, one channel of n_bins values each):

- the principal components of dry frames;
- the linear prediction of a wet frame from the components of its dry one: what all effects have
  in common;
- the principal components of what that prediction leaves: the change, which is the effect's own.

Over time, components go through a discrete cosine transform, the best basis for what is equally
likely at any time (Ahmed, Natarajan & Rao 1974). Of the coefficients, those of the largest
variance become latents: some of the dry components, the *content*, and some of the change, the
*effect*. Nothing but covariances of frames is estimated, so a few hundred segments are enough
where principal components of whole segments would learn them by heart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

SMALLEST_SCALE = 1e-4  # of the largest: a component without variance is not blown up
RIDGE = 1e-6  # of the mean variance, so that silent bins do not make the prediction singular


@dataclass(frozen=True)
class LinearBasis:
    """Means, orthonormal bases and deviations; an index counts (time, component) coefficients.

    dry_mean, wet_mean  (n_bins,)
    dry_basis           (n_bins, k), dry_scale (k,)
    prediction          (k, n_bins), from dry components to the wet frame
    change_basis        (n_bins, k), change_scale (k,)
    content_index       (n_content,) into (n_frames * k), content_scale (n_content,)
    effect_index        (n_effect,), effect_scale (n_effect,)
    """

    dry_mean: Tensor
    wet_mean: Tensor
    dry_basis: Tensor
    dry_scale: Tensor
    prediction: Tensor
    change_basis: Tensor
    change_scale: Tensor
    content_index: Tensor
    content_scale: Tensor
    effect_index: Tensor
    effect_scale: Tensor


def fit_linear_basis(
    batches: Callable[[], Iterable[Tensor]], n_components: int, n_content: int, n_effect: int
) -> LinearBasis:
    """The basis of spectrograms (batch, 2, n_bins, n_frames).

    batches  a function, since the data is gone through twice
    """
    mean, covariance = _joint_covariance(batches())
    n_bins = len(mean) // 2
    dry, cross = covariance[:n_bins, :n_bins], covariance[:n_bins, n_bins:]
    dry_basis, dry_scale = _principal(dry, n_components)
    regular = dry_basis.T @ dry @ dry_basis
    regular += RIDGE * regular.diagonal().mean() * torch.eye(len(regular), device=dry.device)
    prediction = torch.linalg.solve(regular, dry_basis.T @ cross)
    left = covariance[n_bins:, n_bins:] - prediction.T @ regular @ prediction
    change_basis, change_scale = _principal(left, n_components)
    nothing = torch.empty(0)
    basis = LinearBasis(
        dry_mean=mean[:n_bins].float(),
        wet_mean=mean[n_bins:].float(),
        dry_basis=dry_basis.float(),
        dry_scale=dry_scale.float(),
        prediction=prediction.float(),
        change_basis=change_basis.float(),
        change_scale=change_scale.float(),
        content_index=nothing,
        content_scale=nothing,
        effect_index=nothing,
        effect_scale=nothing,
    )
    content, effect = _coefficient_variances(batches(), basis)
    content_index, content_scale = _largest(content, n_content)
    effect_index, effect_scale = _largest(effect, n_effect)
    return replace(
        basis,
        content_index=content_index,
        content_scale=content_scale,
        effect_index=effect_index,
        effect_scale=effect_scale,
    )


def split_frames(batch: Tensor) -> tuple[Tensor, Tensor]:
    """(batch, 2, n_bins, n_frames) -> dry and wet frames, each (batch, n_frames, n_bins)."""
    frames = batch.float().transpose(2, 3)
    return frames[:, 0], frames[:, 1]


def cosine_basis(n_frames: int) -> Tensor:
    """The orthonormal DCT-II as a matrix (n_frames, n_frames): coefficients = basis @ frames."""
    time = (torch.arange(n_frames, dtype=torch.float64) + 0.5) / n_frames
    order = torch.arange(n_frames, dtype=torch.float64)[:, None]
    basis = (2 / n_frames) ** 0.5 * torch.cos(math.pi * order * time)
    basis[0] /= 2**0.5
    return basis.float()


def _joint_covariance(batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean (2 n_bins,) and covariance of frames with dry and wet end to end, in float64."""
    total: Tensor | float = 0.0
    products: Tensor | float = 0.0
    count = 0
    for batch in batches:
        frames = torch.cat(split_frames(batch), dim=2).flatten(0, 1)
        total = total + frames.sum(dim=0).double()
        products = products + (frames.T @ frames).double()
        count += len(frames)
    assert isinstance(total, Tensor) and isinstance(products, Tensor)
    mean = total / count
    return mean, products / count - torch.outer(mean, mean)


def _principal(covariance: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The first k eigenvectors (n, k) of a covariance, and the deviations along them."""
    values, vectors = torch.linalg.eigh(covariance)
    vectors = vectors.flip(1)[:, :k]
    scale = values.flip(0)[:k].clamp_min(0).sqrt()
    # A sign that does not hang on rounding: the largest entry of each column is positive.
    largest = vectors.abs().argmax(dim=0)
    signs = vectors[largest, torch.arange(vectors.shape[1], device=vectors.device)].sign()
    return vectors * signs, scale.clamp_min(float(scale[0]) * SMALLEST_SCALE + 1e-12)


def _coefficient_variances(batches: Iterable[Tensor], basis: LinearBasis) -> tuple[Tensor, Tensor]:
    """Mean squares (n_frames, k) of the coefficients of dry components and of the change."""
    content: Tensor | float = 0.0
    effect: Tensor | float = 0.0
    count = 0
    for batch in batches:
        components, change = components_of(batch, basis)
        cosines = cosine_basis(batch.shape[-1]).to(batch.device)
        content = content + (cosines @ components).square().sum(dim=0).double()
        effect = effect + (cosines @ change).square().sum(dim=0).double()
        count += len(batch)
    assert isinstance(content, Tensor) and isinstance(effect, Tensor)
    return content / count, effect / count


def components_of(batch: Tensor, basis: LinearBasis) -> tuple[Tensor, Tensor]:
    """Dry components and components of the change, each (batch, n_frames, k)."""
    dry, wet = split_frames(batch)
    components = (dry - basis.dry_mean) @ basis.dry_basis
    change = (wet - basis.wet_mean - components @ basis.prediction) @ basis.change_basis
    return components, change


def _largest(variances: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Indices of the largest variances, ordered by size, and the deviations there."""
    flat = variances.flatten()
    order = torch.argsort(flat, descending=True, stable=True)[:count]
    scale = flat[order].sqrt()
    if not count:
        return order, scale.float()
    return order, scale.clamp_min(float(scale[0]) * SMALLEST_SCALE + 1e-12).float()
