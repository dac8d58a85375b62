"""The base of all joint-spectrogram VAEs, and the parts of their loss.

The input is a pair's standardised spectrograms (batch, 2, n_bins, n_frames), dry first; the latent
is one vector (batch, n_latent).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dafxtool.config import ModelConfig

MIN_LOG_VARIANCE, MAX_LOG_VARIANCE = -12.0, 6.0


@dataclass(frozen=True)
class Shard:
    """The rows of a batch that one process has: the number-th of `size` equal parts."""

    number: int = 0
    size: int = 1

    def of(self, rows: Any) -> Any:
        """This process's part of something with as many rows as the whole batch."""
        if self.size == 1:
            return rows
        n = len(rows) // self.size
        return rows[self.number * n : (self.number + 1) * n]


ALL_ROWS = Shard()


class RowDropout(nn.Dropout):
    """Dropout whose draw hangs on a row's place in the whole batch, whoever has that row."""

    share = ALL_ROWS

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return input
        whole = input.new_ones((self.share.size * len(input), *input.shape[1:]))
        return input * self.share.of(functional.dropout(whole, self.p))


class JointVAE(nn.Module, ABC):
    """What both architectures have in common.

    shape      (2, n_bins, n_frames) of the spectrograms
    n_content  how many of the first latents tell of the recording alone, the rest of the effect;
               0 where the latent is not divided
    n_style    how many of the last latents hold for the whole segment, whenever something sounded
    share      which rows of a batch this process has
    """

    share = ALL_ROWS
    n_content = 0
    n_style = 0
    image_layout = False  # True where torch's channels-last layout suits the convolutions

    def __init__(self, config: ModelConfig, shape: Sequence[int]) -> None:
        super().__init__()
        self.config = config
        self.shape = tuple(int(n) for n in shape)

    @property
    def networks(self) -> list[nn.Module]:
        """The convolutions: real numbers, fixed shapes, worth compiling for a GPU."""
        return []

    def take_share(self, share: Shard) -> None:
        """See these rows of each batch from now on, and draw for them what all of it would draw."""
        for module in self.modules():
            if isinstance(module, (RowDropout, JointVAE)):
                module.share = share

    def encode(self, spectrogram: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the posterior, each (batch, n_latent) in float32."""
        mean, log_variance = self._encode(spectrogram)
        return mean.float(), log_variance.float().clamp(MIN_LOG_VARIANCE, MAX_LOG_VARIANCE)

    def decode(self, latent: Tensor, dry: Tensor | None = None) -> Tensor:
        """Latents (batch, n_latent) -> spectrograms (batch, 2, n_bins, n_frames) in float32.

        dry  the true dry channel (batch, n_bins, n_frames) where it is known: the wet channel is
             predicted from it in place of the decoded one. ConvolutionalVAE does not use it.
        """
        return self._decode(latent, dry).float()

    def forward(
        self, spectrogram: Tensor, noise: Tensor, described: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction, mean and log variance; noise (batch, n_latent) draws from the posterior.

        The noise is passed in so that a resumed training draws what an undisturbed one would.
        """
        mean, log_variance = self.encode(spectrogram)
        latent = mean + noise * (0.5 * log_variance).exp()
        return self.decode(latent), mean, log_variance

    @property
    def latent_scale(self) -> Tensor:
        """(n_latent,): by how much the decoded spectrogram changes with each latent, if known."""
        return torch.ones(self.config.n_latent)

    def style_of(self, mean: Tensor) -> Tensor:
        """The part of a posterior mean (batch, n_latent) that labels may shape; else all of it."""
        return (
            mean[:, mean.shape[1] - self.n_style :] if self.n_style else mean[:, self.n_content :]
        )

    def without_change(self, latent: Tensor) -> Tensor:
        """Latents (batch, n_latent) with nothing but content and style; here unchanged."""
        return latent

    @abstractmethod
    def _encode(self, spectrogram: Tensor) -> tuple[Tensor, Tensor]: ...

    @abstractmethod
    def _decode(self, latent: Tensor, dry: Tensor | None) -> Tensor: ...


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, 1)) in nats, summed over latents.

    mean, log_variance  (batch, n_latent)
    returns             (batch,)

    Kingma & Welling 2014, appendix B, arXiv:1312.6114.
    """
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(dim=-1)


def squared_error(reconstruction: Tensor, spectrogram: Tensor) -> Tensor:
    """Squared error of each channel, summed over bins and frames: (batch, 2)."""
    return (reconstruction.float() - spectrogram.float()).square().sum(dim=(-2, -1))
