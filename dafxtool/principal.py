"""Principal components of frames and of segments: the linear part of the residual model.

Both are found by randomised subspace iteration (Halko, Martinsson & Tropp 2011,
arXiv:0909.4061), seeded, on the device where the data lies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

SMALLEST_SCALE = 1e-3  # of the largest: a component without variance is not blown up
POWER_ITERATIONS = 3
OVERSAMPLING = 16


@dataclass(frozen=True)
class Basis:
    """Means, orthonormal bases and standard deviations; value order is (channel, bin), (frame, k).

    frame_mean    (2 n_bins,); frame_basis (2 n_bins, n_components); frame_scale (n_components,)
    segment_mean  (n_frames n_components,); segment_basis (n_frames n_components, n_latent);
                  segment_scale (n_latent,)
    """

    frame_mean: Tensor
    frame_basis: Tensor
    frame_scale: Tensor
    segment_mean: Tensor
    segment_basis: Tensor
    segment_scale: Tensor


def measure_basis(
    batches: Callable[[], Iterable[Tensor]], n_components: int, n_latent: int, seed: int = 0
) -> Basis:
    """The basis of spectrograms (batch, 2, n_bins, n_frames).

    batches  a function, since the data is gone through twice
    """
    mean, covariance = _frame_covariance(batches())
    frame_basis, frame_scale = _principal(covariance, min(n_components, len(mean)), seed)
    components = torch.cat([(_frames(batch) - mean) @ frame_basis for batch in batches()]).flatten(
        1
    )
    segment_mean = components.mean(dim=0)
    centred = components - segment_mean
    segment_basis, segment_scale = _principal_of_rows(centred, n_latent, seed)
    return Basis(mean, frame_basis, frame_scale, segment_mean, segment_basis, segment_scale)


def _frames(batch: Tensor) -> Tensor:
    """(batch, 2, n_bins, n_frames) -> (batch, n_frames, 2 n_bins)."""
    return batch.float().flatten(1, 2).transpose(1, 2)


def _frame_covariance(batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    total, products, count = torch.zeros(()), torch.zeros(()), 0
    for batch in batches:
        frames = _frames(batch).flatten(0, 1)
        total = total.to(frames.device) + frames.sum(dim=0)
        products = products.to(frames.device) + frames.T @ frames
        count += len(frames)
    mean = total / count
    return mean, products / count - torch.outer(mean, mean)


def _principal(covariance: Tensor, k: int, seed: int) -> tuple[Tensor, Tensor]:
    """The first k eigenvectors (n, k) of a covariance, and the deviations along them."""
    size = min(len(covariance), k + OVERSAMPLING)
    subspace = _random(len(covariance), size, seed, covariance.device)
    for _ in range(POWER_ITERATIONS):
        subspace = torch.linalg.qr(covariance @ subspace).Q
    values, vectors = torch.linalg.eigh(subspace.T @ covariance @ subspace)
    order = torch.argsort(values, descending=True)[:k]
    return _signed(subspace @ vectors[:, order]), _scales(values[order])


def _principal_of_rows(rows: Tensor, k: int, seed: int) -> tuple[Tensor, Tensor]:
    """The same of centred rows (m, n), without their covariance; zeros beyond the rank."""
    size = min(*rows.shape, k + OVERSAMPLING)
    subspace = _random(rows.shape[1], size, seed + 1, rows.device)
    for _ in range(POWER_ITERATIONS):
        subspace = torch.linalg.qr(rows.T @ (rows @ subspace)).Q
    projected = rows @ subspace
    values, vectors = torch.linalg.eigh(projected.T @ projected / len(rows))
    order = torch.argsort(values, descending=True)[:k]
    basis, scales = _signed(subspace @ vectors[:, order]), _scales(values[order])
    missing = k - basis.shape[1]
    if missing > 0:  # fewer segments than latents: the rest is left to the network
        basis = torch.nn.functional.pad(basis, (0, missing))
        scales = torch.nn.functional.pad(scales, (0, missing), value=float(scales[-1]))
    return basis, scales


def _random(rows: int, columns: int, seed: int, device: torch.device) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator).to(device)


def _signed(basis: Tensor) -> Tensor:
    """Each column with its largest entry positive: a sign that does not hang on rounding."""
    largest = basis.abs().argmax(dim=0)
    return basis * basis[largest, torch.arange(basis.shape[1], device=basis.device)].sign()


def _scales(variances: Tensor) -> Tensor:
    deviations = variances.clamp_min(0).sqrt()
    return deviations.clamp_min(float(deviations[0]) * SMALLEST_SCALE + 1e-12)
