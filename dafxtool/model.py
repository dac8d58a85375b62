"""The joint-spectrogram VAE.

Its input is a pair's standardised spectrograms (batch, 2, n_bins, n_frames), dry first; its latent
is one vector (batch, n_latent). Two architectures, which docs/model.md describes:

convolutional  the report's: stride-2 convolutions, batch normalisation, ReLU, and their mirror
residual       ours: a linear VAE in closed form, the probabilistic PCA of the training split, plus
               convolutions over time that learn what is left
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dafxtool.presets import ModelConfig
from dafxtool.principal import Basis

MIN_LOG_VARIANCE, MAX_LOG_VARIANCE = -12.0, 6.0
Size = tuple[int, int]


class JointVAE(nn.Module):
    """What both architectures have in common.

    shape  (2, n_bins, n_frames) of the spectrograms
    """

    def __init__(self, config: ModelConfig, shape: Sequence[int]) -> None:
        super().__init__()
        self.config = config
        self.shape = tuple(int(n) for n in shape)

    def encode(self, spectrogram: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the posterior, each (batch, n_latent) in float32."""
        mean, log_variance = self._encode(spectrogram)
        return mean.float(), log_variance.float().clamp(MIN_LOG_VARIANCE, MAX_LOG_VARIANCE)

    def decode(self, latent: Tensor) -> Tensor:
        """Latents (batch, n_latent) -> spectrograms (batch, 2, n_bins, n_frames) in float32."""
        return self._decode(latent).float()

    def forward(self, spectrogram: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction, mean and log variance; noise (batch, n_latent) draws from the posterior.

        The noise is passed in so that a resumed training draws what an undisturbed one would.
        """
        mean, log_variance = self.encode(spectrogram)
        return self.decode(mean + noise * (0.5 * log_variance).exp()), mean, log_variance

    def prepare(self, basis: Basis, beta: float) -> None:
        """Take what was measured on the training split before the first step; here nothing."""

    def _encode(self, spectrogram: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def _decode(self, latent: Tensor) -> Tensor:
        raise NotImplementedError


def build_model(config: ModelConfig, shape: Sequence[int]) -> JointVAE:
    """The model that a configuration describes, for spectrograms (2, n_bins, n_frames)."""
    kinds = {"convolutional": ConvolutionalVAE, "residual": ResidualVAE}
    return kinds[config.architecture](config, shape)


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


def halved(size: int, times: int) -> list[int]:
    """Sizes from the input's to the innermost; a convolution of width 3 and stride 2 rounds up."""
    sizes = [size]
    for _ in range(times):
        sizes.append((sizes[-1] + 1) // 2)
    return sizes


class ConvolutionalVAE(JointVAE):
    """The report's model of week 6."""

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
        self.encoder, self.decoder = nn.Sequential(*down), nn.Sequential(*up)
        self._inner = (channels[-1], *sizes[-1])
        n_inner = math.prod(self._inner)
        self.to_mean = nn.Linear(n_inner, config.n_latent)
        self.to_log_variance = nn.Linear(n_inner, config.n_latent)
        self.from_latent = nn.Linear(config.n_latent, n_inner)

    def _encode(self, spectrogram: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.encoder(spectrogram).flatten(1)
        return self.to_mean(hidden), self.to_log_variance(hidden)

    def _decode(self, latent: Tensor) -> Tensor:
        decoded: Tensor = self.decoder(self.from_latent(latent).view(-1, *self._inner))
        return decoded


class _Widen(nn.ConvTranspose2d):
    """A 3x3 transposed convolution of stride 2 from one size to exactly another."""

    def __init__(self, n_input: int, n_output: int, size: Size, larger: Size) -> None:
        padding = (larger[0] - (2 * size[0] - 1), larger[1] - (2 * size[1] - 1))
        super().__init__(n_input, n_output, 3, 2, 1, output_padding=padding)


class ResidualVAE(JointVAE):
    """A linear VAE that is known in closed form, and a network that learns the rest.

    A frame, dry and wet together, is described by n_components principal components of all
    frames; a segment, by n_latent principal components of its frames' components. With whitened
    coordinates that is the optimum of a linear VAE (Lucas et al. 2019, "Don't blame the ELBO!",
    arXiv:1911.02469; Tipping & Bishop 1999). It is measured once, before the first step, and stays
    as it is. Encoder and decoder add the outputs of convolutions over time, which begin at zero:
    so training starts where PCA ends.
    """

    frame_mean: Tensor
    frame_basis: Tensor
    frame_scale: Tensor
    segment_mean: Tensor
    segment_basis: Tensor
    segment_scale: Tensor
    base_log_variance: Tensor
    shrinkage: Tensor

    def __init__(self, config: ModelConfig, shape: Sequence[int]) -> None:
        super().__init__(config, shape)
        n_values, n_frames = self.shape[0] * self.shape[1], self.shape[2]
        n_components, n_latent = min(config.n_components, n_values), config.n_latent
        channels = config.channels
        lengths = halved(n_frames, len(channels) - 1)
        self._inner = (channels[-1], lengths[-1])
        self.encoder = _time_encoder(n_components, channels, config.n_blocks)
        self.to_mean = _zeroed(nn.Linear(math.prod(self._inner), n_latent))
        self.to_log_variance = _zeroed(nn.Linear(math.prod(self._inner), n_latent))
        self.from_latent = nn.Linear(n_latent, math.prod(self._inner))
        self.decoder = _time_decoder(n_components, channels, lengths, config.n_blocks)
        for name, size in {
            "frame_mean": (n_values,),
            "frame_basis": (n_values, n_components),
            "frame_scale": (n_components,),
            "segment_mean": (n_components * n_frames,),
            "segment_basis": (n_components * n_frames, n_latent),
            "segment_scale": (n_latent,),
            "base_log_variance": (n_latent,),
            "shrinkage": (n_latent,),
        }.items():
            fill = torch.ones if name.endswith("_scale") else torch.zeros
            self.register_buffer(name, fill(size))

    def prepare(self, basis: Basis, beta: float) -> None:
        """Set the linear part; the posterior's variance is the one that the loss asks for.

        With a squared error of s^2 (z - mean)^2 along a component of deviation s, the variance that
        minimises it plus beta KL is (beta / 2) / (s^2 + beta / 2), and the mean is shrunk by
        s^2 / (s^2 + beta / 2).
        """
        for name, values in vars(basis).items():
            getattr(self, name).copy_(values)
        variance, half = basis.segment_scale.square(), 0.5 * max(beta, 1e-6)
        self.base_log_variance.copy_((half / (variance + half)).log())
        self.shrinkage.copy_(variance / (variance + half))

    def _encode(self, spectrogram: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(spectrogram.device.type, enabled=False):
            frames = spectrogram.float().flatten(1, 2).transpose(1, 2)  # (batch, n_frames, values)
            components = (frames - self.frame_mean) @ self.frame_basis
            centred = components.flatten(1) - self.segment_mean
            linear = (centred @ self.segment_basis) * (self.shrinkage / self.segment_scale)
        hidden = self.encoder((components / self.frame_scale).transpose(1, 2)).flatten(1)
        mean = linear + self.to_mean(hidden).float()
        return mean, self.base_log_variance + self.to_log_variance(hidden).float()

    def _decode(self, latent: Tensor) -> Tensor:
        hidden = self.decoder(self.from_latent(latent).view(-1, *self._inner)).float()
        with torch.autocast(latent.device.type, enabled=False):
            linear = (latent.float() * self.segment_scale) @ self.segment_basis.T
            components = (linear + self.segment_mean).view(len(latent), self.shape[2], -1)
            components = components + hidden.transpose(1, 2) * self.frame_scale
            frames = components @ self.frame_basis.T + self.frame_mean
        return frames.transpose(1, 2).unflatten(1, self.shape[:2])


def _time_encoder(n_input: int, channels: Sequence[int], n_blocks: int) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv1d(n_input, channels[0], 3, 1, 1)]
    for before, after in itertools.pairwise(channels):
        layers += [_Block(before) for _ in range(n_blocks)]
        layers += [nn.Conv1d(before, after, 3, 2, 1)]
    layers += [_Block(channels[-1]) for _ in range(n_blocks)]
    return nn.Sequential(*layers, _norm(channels[-1]), nn.SiLU())


def _time_decoder(
    n_output: int, channels: Sequence[int], lengths: Sequence[int], n_blocks: int
) -> nn.Module:
    layers: list[nn.Module] = [_Block(channels[-1]) for _ in range(n_blocks)]
    for level in range(len(channels) - 1, 0, -1):
        layers += [_Stretch(channels[level], channels[level - 1], lengths[level - 1])]
        layers += [_Block(channels[level - 1]) for _ in range(n_blocks)]
    layers += [_norm(channels[0]), nn.SiLU(), _zeroed(nn.Conv1d(channels[0], n_output, 3, 1, 1))]
    return nn.Sequential(*layers)


def _norm(n_channels: int) -> nn.GroupNorm:
    """Group normalisation (Wu & He 2018, arXiv:1803.08494), which knows no batch."""
    return nn.GroupNorm(8 if n_channels % 8 == 0 else 1, n_channels)


def _zeroed(layer: nn.Linear | nn.Conv1d) -> nn.Module:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class _Block(nn.Module):
    """Pre-activation residual block over time (He et al. 2016, arXiv:1603.05027)."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _norm(n_channels),
            nn.SiLU(),
            nn.Conv1d(n_channels, n_channels, 3, 1, 1),
            _norm(n_channels),
            nn.SiLU(),
            _zeroed(nn.Conv1d(n_channels, n_channels, 3, 1, 1)),
        )

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.layers(hidden)


class _Stretch(nn.Module):
    """Twice as long and then cut to fit: sub-pixel convolution (Shi et al. 2016, 1609.05158)."""

    def __init__(self, n_input: int, n_output: int, length: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(n_input, 2 * n_output, 3, 1, 1)
        self.length = length

    def forward(self, hidden: Tensor) -> Tensor:
        halves = self.convolution(hidden).unflatten(1, (2, -1))  # (batch, 2, n_output, length)
        interleaved: Tensor = halves.permute(0, 2, 3, 1).flatten(2)
        return interleaved[..., : self.length]


def count_parameters(model: nn.Module) -> int:
    """Trained numbers; what was measured is not among them."""
    return sum(parameter.numel() for parameter in model.parameters())
