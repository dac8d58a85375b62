"""The convolutional VAE of the weekly report: strided convolutions, batch normalisation, ReLU."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from torch import Tensor, nn

from dafxtool.config import ModelConfig
from dafxtool.models.base import JointVAE

Size = tuple[int, int]


def halved(size: int, times: int) -> list[int]:
    """List sizes from input to innermost layer. Width 3 with stride 2 rounds up."""
    sizes = [size]
    for _ in range(times):
        sizes.append((sizes[-1] + 1) // 2)
    return sizes


class ConvolutionalVAE(JointVAE):
    """The model of the weekly report of week 6."""

    image_layout = True

    @property
    def networks(self) -> list[nn.Module]:
        return [self.encoder, self.decoder]

    def __init__(self, config: ModelConfig, shape: Sequence[int]) -> None:
        super().__init__(config, shape)
        channels = (self.shape[0], *config.channels)
        depth = len(config.channels)
        sizes = list(zip(*(halved(n, depth) for n in self.shape[1:]), strict=True))
        down: list[nn.Module] = []
        for before, after in itertools.pairwise(channels):
            down += [nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
        up: list[nn.Module] = []
        for level in range(depth, 0, -1):
            after = channels[level - 1]
            up.append(_Widen(channels[level], after, sizes[level], sizes[level - 1]))
            if level > 1:
                up += [nn.BatchNorm2d(after), nn.ReLU()]
        self.encoder, self.decoder = _Stack(*down), _Stack(*up)
        self._inner = (channels[-1], *sizes[-1])
        n_inner = math.prod(self._inner)
        self.to_mean = nn.Linear(n_inner, config.n_latent)
        self.to_log_variance = nn.Linear(n_inner, config.n_latent)
        self.from_latent = nn.Linear(config.n_latent, n_inner)

    def _encode(self, spectrogram: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.encoder(spectrogram).flatten(1)
        return self.to_mean(hidden), self.to_log_variance(hidden)

    def _decode(self, latent: Tensor, dry: Tensor | None) -> Tensor:
        decoded: Tensor = self.decoder(self.from_latent(latent).view(-1, *self._inner))
        return decoded


class _Stack(nn.Sequential):
    """Layers in sequence, in a class of our own, because torch.compile skips torch's own."""

    def forward(self, input: Tensor) -> Tensor:
        output: Tensor = super().forward(input)
        return output


class _Widen(nn.ConvTranspose2d):
    """A 3x3 transposed convolution of stride 2 with an exact output size."""

    def __init__(self, n_input: int, n_output: int, size: Size, larger: Size) -> None:
        padding = (larger[0] - (2 * size[0] - 1), larger[1] - (2 * size[1] - 1))
        super().__init__(n_input, n_output, 3, 2, 1, output_padding=padding)
