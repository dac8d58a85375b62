"""The joint-spectrogram VAE.

Its input is a pair's standardised spectrograms (batch, 2, n_bins, n_frames), dry first; its latent
is one vector (batch, n_latent). Two architectures, which docs/model.md describes:

convolutional  the report's: stride-2 convolutions, batch normalisation, ReLU, and their mirror
residual       ours: a linear VAE in closed form, its latent in two parts, content and effect,
               a style that holds for the whole segment, and convolutions over time that learn
               what the linear part leaves
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dafxtool.config import ModelConfig
from dafxtool.errors import ConfigError
from dafxtool.models.base import JointVAE, RowDropout
from dafxtool.models.descriptors import Descriptors
from dafxtool.models.linear_basis import LinearBasis, cosine_basis, split_frames

STYLE_WIDTH = 512  # of the hidden layer that makes a style of descriptors
FILM_WIDTHS = (256, 128)  # of those that make scales and shifts of a style
HIDDEN_SHARE = 0.3  # of the rows of a batch are decoded without their change
FIRST_STYLE_LOG_VARIANCE = -4.6  # a deviation of 0.1
SMALLEST_DESCRIPTOR_DEVIATION = 1e-3
MOST_DEVIATIONS = 6.0  # what lies farther out is no better known


class ResidualVAE(JointVAE):
    """A linear VAE that is known in closed form, and networks that learn the rest.

    Its latent is in three parts:

    content  from the dry channel alone, and the dry channel is decoded from it alone
    change   what the wet channel has beyond the average effect's prediction from the dry one, at
             its time
    style    what the effect does, for the whole segment at once: from `descriptors`

    The wet channel is decoded from all three. Change and style together are the effect.

    The linear part (module `principal`) is measured once, before the first step, and stays as it
    is. Its coordinates are whitened, as the prior wants them, and its posterior is the one that
    minimises the loss of a linear VAE (Lucas et al. 2019, "Don't blame the ELBO!",
    arXiv:1911.02469). Convolutions over time add to the mean and to what is decoded, one number
    a latent to the log variance; all begin at zero, so training starts where the linear model ends.
    The style enters the convolutions by scaling and shifting their channels (FiLM, Perez et al.
    2018, arXiv:1709.07871).
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
    base_log_variance: Tensor
    shrinkage: Tensor
    cosines: Tensor
    descriptor_mean: Tensor
    descriptor_scale: Tensor

    def __init__(self, config: ModelConfig, shape: Sequence[int]) -> None:
        super().__init__(config, shape)
        _, n_bins, n_frames = self.shape
        self.k = min(config.n_components, n_bins)
        self.n_style = min(config.n_style, config.n_effect)
        self.n_change = min(config.n_effect - self.n_style, n_frames * self.k)
        self.n_effect = self.n_change + self.n_style
        self.n_content = config.n_latent - self.n_effect
        if self.n_content > n_frames * self.k:
            raise ConfigError(
                f"{config.n_latent} latents are more than spectrograms of {n_bins} bins and "
                f"{n_frames} frames have coefficients: use at most "
                f"{n_frames * self.k + self.n_effect}."
            )
        width, depth = config.channels[0], config.n_blocks
        self.content_encoder = _TemporalConvNet(self.k, self.k, width, depth)
        self.effect_encoder = _TemporalConvNet(2 * self.k, self.k, width, depth)
        self.dry_decoder = _TemporalConvNet(self.k, self.k, width, depth)
        self.wet_decoder = _TemporalConvNet(2 * self.k, self.k, width, depth, self.n_style)
        self.log_variance = nn.Parameter(torch.zeros(config.n_latent))
        if self.n_style:
            self.descriptors = Descriptors(n_bins, n_frames)
            self.style_encoder = _style_encoder(self.descriptors.n_descriptors, self.n_style)
        self._lay_out_buffers(n_bins, n_frames)

    @property
    def networks(self) -> list[nn.Module]:
        return [self.content_encoder, self.effect_encoder, self.dry_decoder, self.wet_decoder]

    @property
    def latent_scale(self) -> Tensor:
        style = self.content_scale.new_ones(self.n_style)
        return torch.cat([self.content_scale, self.effect_scale, style])

    def _lay_out_buffers(self, n_bins: int, n_frames: int) -> None:
        k, n_latent = self.k, self.config.n_latent
        n = self.descriptors.n_descriptors if self.n_style else 0
        for name, size in {
            "dry_mean": (n_bins,),
            "wet_mean": (n_bins,),
            "dry_basis": (n_bins, k),
            "dry_scale": (k,),
            "prediction": (k, n_bins),
            "change_basis": (n_bins, k),
            "change_scale": (k,),
            "content_scale": (self.n_content,),
            "effect_scale": (self.n_change,),
            "base_log_variance": (n_latent,),
            "shrinkage": (n_latent,),
            **({"descriptor_mean": (n,), "descriptor_scale": (n,)} if n else {}),
        }.items():
            fill = torch.ones if name.endswith("_scale") else torch.zeros
            self.register_buffer(name, fill(size))
        self.register_buffer("content_index", torch.arange(self.n_content))
        self.register_buffer("effect_index", torch.arange(self.n_change))
        self.register_buffer("cosines", cosine_basis(n_frames), persistent=False)

    def prepare(self, basis: LinearBasis, beta: float) -> None:
        """Set the linear part; the posterior's variance is the one that the loss asks for.

        Noise of variance v in a whitened latent of deviation s costs g s^2 v of squared error,
        where g is the squared norm of what the latent is decoded to: 1 for the effect, and 1 plus
        that of the prediction for the content. With beta KL the best v is (beta / 2) / (g s^2 +
        beta / 2), and the best mean is 1 - v of the projection.
        """
        for name, values in vars(basis).items():
            getattr(self, name).copy_(values)
        gain = 1 + basis.prediction.square().sum(dim=1)
        content = basis.content_scale.square() * gain[basis.content_index % self.k]
        variance = torch.cat([content, basis.effect_scale.square()])
        half = 0.5 * max(beta, 1e-6)
        log_variance = (half / (variance + half)).log()
        # Of the style nothing is known beforehand: little noise to begin with, and no shrinkage.
        style = torch.full((self.n_style,), FIRST_STYLE_LOG_VARIANCE, device=variance.device)
        self.base_log_variance.copy_(torch.cat([log_variance, style]))
        self.shrinkage.copy_(torch.cat([variance / (variance + half), torch.ones_like(style)]))

    @torch.no_grad()
    def describe(self, spectrogram: Tensor) -> Tensor:
        """Descriptors (batch, n_descriptors) of spectrograms, in their own units."""
        with _in_float32(spectrogram):
            described: Tensor = self.descriptors(spectrogram)
        return described

    def prepare_style(self, described: Tensor) -> None:
        """Take mean and deviation of the training split's descriptors (n, n_descriptors)."""
        self.descriptor_mean.copy_(described.mean(dim=0))
        deviation = described.std(dim=0, correction=0)
        self.descriptor_scale.copy_(deviation.clamp_min(SMALLEST_DESCRIPTOR_DEVIATION))

    def standardised_descriptors(self, described: Tensor) -> Tensor:
        """In deviations from the mean, as the style's encoder takes them."""
        deviations = (described - self.descriptor_mean) / self.descriptor_scale
        return deviations.clamp(-MOST_DEVIATIONS, MOST_DEVIATIONS)

    def _encode(self, spectrogram: Tensor) -> tuple[Tensor, Tensor]:
        with _in_float32(spectrogram):
            dry, wet = split_frames(spectrogram)
            components = (dry - self.dry_mean) @ self.dry_basis
            predicted = self.wet_mean + components @ self.prediction
            change = (wet - predicted) @ self.change_basis
        inputs = _side_by_side(components / self.dry_scale, change / self.change_scale)
        components = components + self._added(self.content_encoder, inputs[:, : self.k])
        change = change + self._added(self.effect_encoder, inputs)
        with _in_float32(spectrogram):
            content = (self.cosines @ components).flatten(1)[:, self.content_index]
            effect = (self.cosines @ change).flatten(1)[:, self.effect_index]
            parts = [content / self.content_scale, effect / self.effect_scale]
            if self.n_style:
                parts.append(self._style(spectrogram))
            mean = torch.cat(parts, dim=1)
        return mean * self.shrinkage, (self.base_log_variance + self.log_variance).expand_as(mean)

    def _decode(self, latent: Tensor) -> Tensor:
        with _in_float32(latent):
            sizes = (self.n_content, self.n_change, self.n_style)
            content, effect, style = latent.float().split(sizes, dim=1)
            components = self._over_time(content, self.content_index, self.content_scale)
            change = self._over_time(effect, self.effect_index, self.effect_scale)
        inputs = _side_by_side(components / self.dry_scale, change / self.change_scale)
        components = components + self._added(self.dry_decoder, inputs[:, : self.k])
        change = change + self._added(self.wet_decoder, inputs, style)
        with _in_float32(latent):
            dry = components @ self.dry_basis.T + self.dry_mean
            wet = self.wet_mean + components @ self.prediction + change @ self.change_basis.T
        return torch.stack([dry, wet], dim=1).transpose(2, 3)

    def without_change(self, latent: Tensor) -> Tensor:
        """Latents (batch, n_latent) whose wet channel is foretold from content and style alone."""
        if not self.n_style:
            return latent
        shown = torch.ones_like(latent[:1])
        shown[:, self.n_content : self.n_content + self.n_change] = 0
        return latent * shown

    def hide(self, latent: Tensor) -> Tensor:
        """Some rows have to do without the change: so the decoder learns to follow the style."""
        drawn = torch.rand(self.share.size * len(latent), 1, device=latent.device)
        hidden = self.share.of(drawn) < HIDDEN_SHARE
        return torch.where(hidden, self.without_change(latent), latent)

    def _style(self, spectrogram: Tensor) -> Tensor:
        described = self.standardised_descriptors(self.describe(spectrogram))
        style: Tensor = self.style_encoder(described)
        return style

    def _added(self, network: nn.Module, inputs: Tensor, style: Tensor | None = None) -> Tensor:
        """What a network adds to components (batch, n_frames, k), in the units of components."""
        dry = network in (self.content_encoder, self.dry_decoder)
        added: Tensor = network(inputs, style).float().transpose(1, 2)
        return added * (self.dry_scale if dry else self.change_scale)

    def _over_time(self, latent: Tensor, index: Tensor, scale: Tensor) -> Tensor:
        """Whitened coefficients (batch, n) back to components (batch, n_frames, k)."""
        flat = latent.new_zeros(len(latent), self.shape[2] * self.k)
        flat = flat.index_copy(1, index, latent.float() * scale)
        return self.cosines.T @ flat.view(len(latent), self.shape[2], self.k)


def _in_float32(values: Tensor) -> torch.autocast:
    """The linear part is exact to float32 whatever the network computes in."""
    return torch.autocast(values.device.type, enabled=False)


def _side_by_side(components: Tensor, change: Tensor) -> Tensor:
    """Two (batch, n_frames, k) as the channels (batch, 2 k, n_frames) of a convolution."""
    return torch.cat([components, change], dim=2).transpose(1, 2)


def _style_encoder(n_descriptors: int, n_style: int) -> nn.Module:
    """A shallow network: a few hundred pairs would be learnt by heart without its dropout."""
    return nn.Sequential(
        RowDropout(0.5),
        nn.Linear(n_descriptors, STYLE_WIDTH),
        nn.SiLU(),
        RowDropout(0.5),
        nn.Linear(STYLE_WIDTH, n_style),
    )


class _TemporalConvNet(nn.Module):
    """What is added to components, (batch, n_input, n_frames) -> (batch, n_output, n_frames).

    Convolutions that treat every moment alike, with dilations 1, 2, 4, ...: a few hundred segments
    have tens of thousands of frames to learn from. Zero at the start.

    style  (batch, n_style), if any, scales and shifts the channels within each block
    """

    def __init__(
        self, n_input: int, n_output: int, width: int, n_blocks: int, n_style: int = 0
    ) -> None:
        super().__init__()
        n_film = FILM_WIDTHS[1] if n_style else 0
        self.first = nn.Conv1d(n_input, width, 1)
        self.blocks = nn.ModuleList(_Block(width, 2**index, n_film) for index in range(n_blocks))
        self.last = nn.Sequential(_norm(width), nn.SiLU(), _zeroed(nn.Conv1d(width, n_output, 1)))
        if n_style:
            self.film = nn.Sequential(
                nn.Linear(n_style, FILM_WIDTHS[0]),
                nn.SiLU(),
                nn.Linear(FILM_WIDTHS[0], n_film),
                nn.SiLU(),
            )

    def forward(self, values: Tensor, style: Tensor | None = None) -> Tensor:
        hidden: Tensor = self.first(values)
        film = None if style is None or not hasattr(self, "film") else self.film(style)
        for block in self.blocks:
            hidden = block(hidden, film)
        added: Tensor = self.last(hidden)
        return added


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

    def __init__(self, n_channels: int, dilation: int, n_film: int) -> None:
        super().__init__()
        self.before = nn.Sequential(
            _norm(n_channels),
            nn.SiLU(),
            nn.Conv1d(n_channels, n_channels, 3, 1, dilation, dilation),
            _norm(n_channels),
        )
        self.film = _zeroed(nn.Linear(n_film, 2 * n_channels)) if n_film else None
        self.after = nn.Sequential(nn.SiLU(), _zeroed(nn.Conv1d(n_channels, n_channels, 1)))

    def forward(self, hidden: Tensor, film: Tensor | None) -> Tensor:
        inner = self.before(hidden)
        if self.film is not None and film is not None:
            scale, shift = self.film(film)[:, :, None].chunk(2, dim=1)
            inner = inner * (1 + scale) + shift
        return hidden + self.after(inner)
