"""The joint-spectrogram VAE.

Its input is a pair's standardised spectrograms (batch, 2, n_bins, n_frames), dry first; its latent
is one vector (batch, n_latent). Two architectures: `convolutional` is the report's (stride-2
convolutions, batch normalisation, ReLU), `residual` is ours. Sizes are halved rounding up, so any
number of bins and frames works and the decoder gives back exactly the size that came in.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from dafxtool.presets import ModelConfig

MIN_LOG_VARIANCE, MAX_LOG_VARIANCE = -12.0, 6.0
Size = tuple[int, int]


class JointVAE(nn.Module):
    """Encoder, posterior and decoder for spectrograms of one size.

    shape  (2, n_bins, n_frames) of the spectrograms
    """

    def __init__(self, config: ModelConfig, shape: Sequence[int]) -> None:
        super().__init__()
        self.config = config
        self.shape = tuple(int(n) for n in shape)
        sizes = halved_sizes(self.shape[1], self.shape[2], len(config.channels))
        parts = {"convolutional": _convolutional, "residual": _residual}
        self.encoder, self.decoder = parts[config.architecture](config, self.shape[0], sizes)
        self._inner = (config.channels[-1], *sizes[-1])
        n_inner = config.channels[-1] * sizes[-1][0] * sizes[-1][1]
        self.to_mean = nn.Linear(n_inner, config.n_latent)
        self.to_log_variance = nn.Linear(n_inner, config.n_latent)
        self.from_latent = nn.Linear(config.n_latent, n_inner)

    def encode(self, spectrogram: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the posterior, each (batch, n_latent) in float32."""
        hidden = self.encoder(spectrogram).flatten(1)
        mean, log_variance = self.to_mean(hidden), self.to_log_variance(hidden)
        return mean.float(), log_variance.float().clamp(MIN_LOG_VARIANCE, MAX_LOG_VARIANCE)

    def decode(self, latent: Tensor) -> Tensor:
        """Latents (batch, n_latent) -> spectrograms (batch, 2, n_bins, n_frames)."""
        hidden = self.from_latent(latent).view(-1, *self._inner)
        return self.decoder(hidden).float()

    def forward(self, spectrogram: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction, mean and log variance; noise (batch, n_latent) draws from the posterior.

        The noise is passed in so that a resumed training draws what an undisturbed one would.
        """
        mean, log_variance = self.encode(spectrogram)
        return self.decode(mean + noise * (0.5 * log_variance).exp()), mean, log_variance


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


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Spherical interpolation of latents a, b (n_latent,) at t (n_steps,): (n_steps, n_latent).

    Direction turns at constant speed, length goes linearly; falls back to a straight line where
    the two point the same way. Shoemake 1985, "Animating rotation with quaternion curves".
    """
    length_a, length_b = a.norm(), b.norm()
    tiny = torch.finfo(a.dtype).tiny
    unit_a, unit_b = a / length_a.clamp_min(tiny), b / length_b.clamp_min(tiny)
    angle = torch.arccos((unit_a @ unit_b).clamp(-1.0, 1.0))
    if float(angle.sin()) < 1e-4:
        return lerp(a, b, t)
    t = t[:, None]
    direction = (((1 - t) * angle).sin() * unit_a + (t * angle).sin() * unit_b) / angle.sin()
    mixed = direction * ((1 - t) * length_a + t * length_b)
    return torch.where(t == 0, a, torch.where(t == 1, b, mixed))


def lerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Straight line between latents a, b (n_latent,) at t (n_steps,): (n_steps, n_latent)."""
    return (1 - t[:, None]) * a + t[:, None] * b


def halved_sizes(n_bins: int, n_frames: int, times: int) -> list[Size]:
    """Sizes from the input's to the innermost; a 3x3 convolution of stride 2 rounds up."""
    sizes = [(n_bins, n_frames)]
    for _ in range(times):
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    return sizes


def _convolutional(
    config: ModelConfig, n_input: int, sizes: Sequence[Size]
) -> tuple[nn.Module, nn.Module]:
    """The report's: 3x3 convolutions of stride 2, batch normalisation, ReLU, and their mirror."""
    channels = (n_input, *config.channels)
    down: list[nn.Module] = []
    for before, after in itertools.pairwise(channels):
        down += [nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
    up: list[nn.Module] = []
    for level in range(len(config.channels), 0, -1):
        after = channels[level - 1]
        up.append(_Widen(channels[level], after, sizes[level], sizes[level - 1]))
        if level > 1:
            up += [nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*down), nn.Sequential(*up)


class _Widen(nn.ConvTranspose2d):
    """A 3x3 transposed convolution of stride 2 from one size to exactly another."""

    def __init__(self, n_input: int, n_output: int, size: Size, larger: Size) -> None:
        padding = tuple(b - (2 * s - 1) for s, b in zip(size, larger, strict=True))
        super().__init__(n_input, n_output, 3, 2, 1, output_padding=padding)  # type: ignore[arg-type]


def _residual(
    config: ModelConfig, n_input: int, sizes: Sequence[Size]
) -> tuple[nn.Module, nn.Module]:
    """Residual blocks between halvings; group normalisation, which knows no batch."""
    channels = config.channels
    down: list[nn.Module] = [nn.Conv2d(n_input, channels[0], 5, 2, 2)]
    for before, after in itertools.pairwise(channels):
        down += [_Block(before) for _ in range(config.n_blocks)]
        down += [nn.Conv2d(before, after, 3, 2, 1)]
    down += [_Block(channels[-1]) for _ in range(config.n_blocks)]
    down += [_norm(channels[-1]), nn.SiLU()]
    up: list[nn.Module] = [_Block(channels[-1]) for _ in range(config.n_blocks)]
    for level in range(len(channels) - 1, 0, -1):
        up += [_Enlarge(channels[level], channels[level - 1], sizes[level])]
        up += [_Block(channels[level - 1]) for _ in range(config.n_blocks)]
    up += [_norm(channels[0]), nn.SiLU(), _Enlarge(channels[0], n_input, sizes[0])]
    return nn.Sequential(*down), nn.Sequential(*up)


def _norm(n_channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(8 if n_channels % 8 == 0 else 1, n_channels)


class _Block(nn.Module):
    """Pre-activation residual block (He et al. 2016, arXiv:1603.05027)."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _norm(n_channels),
            nn.SiLU(),
            nn.Conv2d(n_channels, n_channels, 3, 1, 1),
            _norm(n_channels),
            nn.SiLU(),
            nn.Conv2d(n_channels, n_channels, 3, 1, 1),
        )
        last = self.layers[-1]
        assert isinstance(last, nn.Conv2d)
        nn.init.zeros_(last.weight)  # each block begins as the identity

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.layers(hidden)


class _Enlarge(nn.Module):
    """Twice the size and then cut to fit: sub-pixel convolution, without checkerboards.

    Shi et al. 2016, arXiv:1609.05158.
    """

    def __init__(self, n_input: int, n_output: int, size: Size) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(n_input, 4 * n_output, 3, 1, 1)
        self.size = size

    def forward(self, hidden: Tensor) -> Tensor:
        enlarged = functional.pixel_shuffle(self.convolution(hidden), 2)
        return enlarged[..., : self.size[0], : self.size[1]]
