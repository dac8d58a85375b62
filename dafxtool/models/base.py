"""Define the base class of all joint-spectrogram VAEs.

The input is a pair's standardised spectrograms (batch, 2, n_bins, n_frames), dry first; the latent
is one vector (batch, n_latent).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dafxtool.config import ModelConfig
from dafxtool.models.batch_shard import ALL_ROWS, RowDropout, Shard

MIN_LOG_VARIANCE, MAX_LOG_VARIANCE = -12.0, 6.0


class JointVAE(nn.Module, ABC):
    """Base class of both architectures.

    shape      (2, n_bins, n_frames) of the spectrograms
    n_content  number of the first latents, which encode the recording alone. The others encode the
               effect. 0 if the latent has no parts.
    n_style    number of the last latents, which describe the effect over the complete segment
    shard      rows of a batch on this process
    """

    shard = ALL_ROWS
    n_content = 0
    n_style = 0
    image_layout = False  # True for 2-D convolutions, which are faster in channels-last layout

    def __init__(self, config: ModelConfig, shape: Sequence[int]) -> None:
        super().__init__()
        self.config = config
        self.shape = tuple(int(n) for n in shape)

    @property
    def networks(self) -> list[nn.Module]:
        """Return the convolutions, which are worth compiling: real numbers and fixed shapes."""
        return []

    def set_shard(self, shard: Shard) -> None:
        """Set the rows of each batch on this process. Random draws are those of one process."""
        for module in self.modules():
            if isinstance(module, (RowDropout, JointVAE)):
                module.shard = shard

    def encode(self, spectrogram: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of the posterior, each (batch, n_latent) in float32."""
        mean, log_variance = self._encode(spectrogram)
        return mean.float(), log_variance.float().clamp(MIN_LOG_VARIANCE, MAX_LOG_VARIANCE)

    def decode(self, latent: Tensor, dry: Tensor | None = None) -> Tensor:
        """Decode latents (batch, n_latent) to spectrograms (batch, 2, n_bins, n_frames), float32.

        dry  true dry channel (batch, n_bins, n_frames) if it is known. The wet channel is
             predicted from it instead of from the decoded one. ConvolutionalVAE ignores it.
        """
        return self._decode(latent, dry).float()

    def forward(
        self, spectrogram: Tensor, noise: Tensor, described: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return reconstruction, mean and log variance of the posterior.

        noise      (batch, n_latent), standard normal. An argument, so that a resumed training uses
                   the same noise as an uninterrupted one.
        described  standardised descriptors, used by ResidualVAE
        """
        mean, log_variance = self.encode(spectrogram)
        latent = mean + noise * (0.5 * log_variance).exp()
        return self.decode(latent), mean, log_variance

    @property
    def latent_scale(self) -> Tensor:
        """Return the change of the decoded spectrogram per unit of each latent, (n_latent,)."""
        return torch.ones(self.config.n_latent)

    def style_of(self, mean: Tensor) -> Tensor:
        """Return the style of a posterior mean (batch, n_latent); without a style, the change."""
        return (
            mean[:, mean.shape[1] - self.n_style :] if self.n_style else mean[:, self.n_content :]
        )

    def encode_style(self, spectrogram: Tensor, described: Tensor | None = None) -> Tensor:
        """Return the style of spectrograms (batch, n_style), without the rest if it is apart.

        described  descriptors of the spectrograms if computed before, not standardised
        """
        return self.style_of(self.encode(spectrogram)[0])

    def without_change(self, latent: Tensor) -> Tensor:
        """Set the change of latents (batch, n_latent) to 0; do nothing without parts."""
        return latent

    @abstractmethod
    def _encode(self, spectrogram: Tensor) -> tuple[Tensor, Tensor]: ...

    @abstractmethod
    def _decode(self, latent: Tensor, dry: Tensor | None) -> Tensor: ...
