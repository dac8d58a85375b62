"""Terms of the loss of a joint-spectrogram VAE: KL divergence and squared error."""

from __future__ import annotations

from torch import Tensor


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Compute KL(N(mean, exp(log_variance)) || N(0, 1)) in nats, summed over latents.

    mean, log_variance  (batch, n_latent)
    returns             (batch,)

    Kingma & Welling 2014, appendix B, arXiv:1312.6114.
    """
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(dim=-1)


def squared_error(reconstruction: Tensor, spectrogram: Tensor) -> Tensor:
    """Sum the squared error of each channel over bins and frames: (batch, 2)."""
    return (reconstruction.float() - spectrogram.float()).square().sum(dim=(-2, -1))
