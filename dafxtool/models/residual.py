"""The residual VAE: a linear VAE in closed form around a predictor of the wet channel.

Input: standardised spectrograms (batch, 2, n_bins, n_frames), dry first. docs/model.md describes
it beside the convolutional one of the weekly report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from dafxtool.config import ModelConfig
from dafxtool.errors import ConfigError
from dafxtool.models.base import (
    MAX_LOG_VARIANCE,
    MIN_LOG_VARIANCE,
    JointVAE,
)
from dafxtool.models.batch_shard import RowDropout
from dafxtool.models.descriptors import Descriptors
from dafxtool.models.dry_predictor import DryPredictor
from dafxtool.models.linear_basis import (
    cosine_basis,
    ear_weight,
    fit_linear_basis,
    largest_variances,
    split_frames,
)

STYLE_WIDTH = 512  # of the hidden layer from descriptors to style
DROPPED_SHARE = 0.4  # of the rows of a batch: decoded without their change
FIRST_STYLE_LOG_VARIANCE = -6.0  # standard deviation 0.05
SMALLEST_DESCRIPTOR_DEVIATION = 1e-3
# Mean square of wet minus dry that the pretrained model predicts for an unchanged recording, in
# standardised units.
PREDICTION_FLOOR = 0.005
MOST_DEVIATIONS = 6.0  # descriptors are clipped there: outliers carry no information
CHANGE_BUFFERS = ("change_mean", "change_index", "change_deviation", "log_variance")


class ResidualVAE(JointVAE):
    """A linear VAE in closed form, and a predictor of the wet channel from the dry one.

    The latent has three parts:

    content  encodes the dry channel alone; the dry channel is decoded from it alone
    change   encodes the difference of the wet channel from its prediction, over time
    style    describes the effect over the complete segment, from `descriptors`

    The wet channel is predicted from the dry channel and the style by `dry_predictor`, or without
    blocks by the average effect of `linear_basis`. The decoded change is added. The dry channel is
    the true one if it is known, else the decoded one.

    Content and change are the coefficients of largest variance, whitened to fit the prior. Their
    posterior minimises the loss of a linear VAE (Lucas et al. 2019, "Don't blame the ELBO!",
    arXiv:1911.02469). Only the predictor is trained; `fit_change` is called again after it.
    """

    dry_mean: Tensor
    dry_basis: Tensor
    dry_scale: Tensor
    wet_gain: Tensor
    wet_offset: Tensor
    prediction: Tensor
    change_basis: Tensor
    change_scale: Tensor
    content_index: Tensor
    content_scale: Tensor
    change_index: Tensor
    change_deviation: Tensor
    change_mean: Tensor
    log_variance: Tensor
    weight: Tensor
    cosines: Tensor
    descriptor_mean: Tensor
    descriptor_scale: Tensor

    def __init__(self, config: ModelConfig, shape: Sequence[int], exponent: float) -> None:
        super().__init__(config, shape)
        _, n_bins, n_frames = self.shape
        self.k = min(config.n_components, n_bins)
        self.n_style = min(config.n_style, config.n_effect)
        self.n_change = min(config.n_effect - self.n_style, n_frames * self.k)
        self.n_effect = self.n_change + self.n_style
        self.n_content = config.n_latent - self.n_effect
        if self.n_content > n_frames * self.k:
            raise ConfigError(
                f"n_latent is too large for spectrograms of {n_bins} bins and {n_frames} frames "
                f"(found {config.n_latent}, expected at most "
                f"{n_frames * self.k + self.n_effect}). Set fewer latents."
            )
        self.predictor: DryPredictor | None = None
        if self.n_style:
            self.descriptors = Descriptors(
                *(n_bins, n_frames, exponent),
                config.descriptor_floor_db,
                config.setting_descriptors,
            )
            self.style_encoder = _style_encoder(self.descriptors.n_descriptors, self.n_style)
            if config.n_blocks:
                self.predictor = DryPredictor(
                    (n_bins, n_frames),
                    self.k,
                    self.n_style,
                    config.channels[0],
                    config.n_blocks,
                    exponent,
                )
        self._register_buffers(n_bins, n_frames)

    @property
    def networks(self) -> list[nn.Module]:
        return [] if self.predictor is None else [*self.predictor.blocks]

    @property
    def latent_scale(self) -> Tensor:
        style = self.content_scale.new_ones(self.n_style)
        return torch.cat([self.content_scale, self.change_deviation, style])

    def _register_buffers(self, n_bins: int, n_frames: int) -> None:
        k, n_latent = self.k, self.config.n_latent
        n = self.descriptors.n_descriptors if self.n_style else 0
        for name, size in {
            "dry_mean": (n_bins,),
            "dry_basis": (n_bins, k),
            "dry_scale": (k,),
            "wet_gain": (n_bins,),
            "wet_offset": (n_bins,),
            "prediction": (k, k),
            "change_basis": (n_bins, k),
            "change_scale": (k,),
            "content_scale": (self.n_content,),
            "change_deviation": (self.n_change,),
            "change_mean": (k,),
            "log_variance": (n_latent,),
            **({"descriptor_mean": (n,), "descriptor_scale": (n,)} if n else {}),
        }.items():
            is_scale = name.endswith(("_scale", "_gain", "_deviation"))
            self.register_buffer(name, (torch.ones if is_scale else torch.zeros)(size))
        self.register_buffer("content_index", torch.arange(self.n_content))
        self.register_buffer("change_index", torch.arange(self.n_change))
        self.register_buffer("cosines", cosine_basis(n_frames), persistent=False)
        weight = ear_weight(n_bins, self.config.ear_weighting)
        self.register_buffer("weight", weight, persistent=False)

    # Fitting --------------------------------------------------------------------------------------

    @torch.no_grad()
    def fit_linear(self, batches: Callable[[], Iterable[Tensor]], beta: float) -> None:
        """Fit bases and the average effect to spectrograms (batch, 2, n_bins, n_frames)."""
        basis = fit_linear_basis(batches, self.k, self.weight)
        for name, values in vars(basis).items():
            if name != "floor":
                getattr(self, name).copy_(values)
        if self.predictor is not None:
            self.predictor.floor.copy_(basis.floor)
        variance: Tensor | float = 0.0
        count = 0
        for batch in batches():
            coefficients = self.cosines @ self.components_of(split_frames(batch)[0])
            variance = variance + coefficients.square().sum(dim=0).double()
            count += len(batch)
        assert isinstance(variance, Tensor)
        index, scale = largest_variances(variance / count, self.n_content)
        self.content_index.copy_(index)
        self.content_scale.copy_(scale)
        self.log_variance[: self.n_content] = linear_log_variance(scale, beta)
        # The style is not fitted yet: start with little noise.
        self.log_variance[self.n_content + self.n_change :] = FIRST_STYLE_LOG_VARIANCE

    @torch.no_grad()
    def fit_change(self, batches: Iterable[Tensor], beta: float) -> None:
        """Choose the coefficients with the largest variance after the prediction."""
        total: Tensor | float = 0.0
        squares: Tensor | float = 0.0
        count = 0
        for batch in batches:
            dry, wet = split_frames(batch)
            left = self._change_components(wet - self.predict(dry, self._style(batch)))
            total = total + left.double().mean(dim=1).sum(dim=0)
            squares = squares + (self.cosines @ left).double().square().sum(dim=0)
            count += len(batch)
        assert isinstance(total, Tensor) and isinstance(squares, Tensor)
        mean = total / count
        # A constant over time contributes to the first cosine only.
        squares[0] = (squares[0] / count - self.shape[2] * mean.square()).clamp_min(0) * count
        index, scale = largest_variances(squares / count, self.n_change)
        self.change_mean.copy_(mean)
        self.change_index.copy_(index)
        self.change_deviation.copy_(scale)
        part = slice(self.n_content, self.n_content + self.n_change)
        self.log_variance[part] = linear_log_variance(scale, beta)

    @torch.no_grad()
    def describe(self, spectrogram: Tensor) -> Tensor:
        """Compute the descriptors (batch, n_descriptors) of spectrograms, not standardised."""
        with _in_float32(spectrogram):
            described: Tensor = self.descriptors(spectrogram)
        return described

    def prepare_style(self, described: Tensor) -> None:
        """Store mean and standard deviation of the descriptors of the training split."""
        self.descriptor_mean.copy_(described.mean(dim=0))
        deviation = described.std(dim=0, correction=0)
        self.descriptor_scale.copy_(deviation.clamp_min(SMALLEST_DESCRIPTOR_DEVIATION))

    def standardised_descriptors(self, described: Tensor) -> Tensor:
        """Standardise descriptors for the style encoder."""
        deviations = (described - self.descriptor_mean) / self.descriptor_scale
        return deviations.clamp(-MOST_DEVIATIONS, MOST_DEVIATIONS)

    # Encoding and decoding ------------------------------------------------------------------------

    def forward(
        self, spectrogram: Tensor, noise: Tensor, described: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return reconstruction, mean and log variance of the posterior.

        The prediction is computed once, from the noisy style; the change is computed against it.
        In training some rows are decoded without their change, so that the predictor does not
        depend on it.

        described  standardised descriptors of the rows, if computed before
        """
        dry, wet = split_frames(spectrogram)
        deviation = (0.5 * self.log_variance).exp()
        n_coded = self.n_content + self.n_change
        style = self._style(spectrogram, described)
        with _in_float32(spectrogram):
            components = self.components_of(dry)
        noisy_style = style + noise[:, n_coded:] * deviation[n_coded:]
        base, predicted = self._predict(dry, components, noisy_style)
        with _in_float32(spectrogram):
            change = self._change(self._change_components(wet - base) - predicted)
            mean = torch.cat([self._content(components), change, style], dim=1)
            latent = mean + noise * deviation
            if self.training:
                latent = self.drop_change(latent)
            wet = base + self._from_change_components(predicted + self._decoded_change(latent))
            decoded = torch.stack([self._dry(latent), wet], dim=1)
        return decoded.transpose(2, 3), mean, self.log_variance.expand_as(mean)

    def encode_style(self, spectrogram: Tensor, described: Tensor | None = None) -> Tensor:
        if not self.n_style:
            return super().encode_style(spectrogram)
        if described is not None:
            described = self.standardised_descriptors(described)
        return self._style(spectrogram, described)

    def predict(self, dry: Tensor, style: Tensor) -> Tensor:
        """Predict wet frames (batch, n_frames, n_bins) from dry ones and style (batch, n_style)."""
        with _in_float32(dry):
            base, predicted = self._predict(dry, self.components_of(dry), style)
            return base + self._from_change_components(predicted)

    def _predict(self, dry: Tensor, components: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
        """Predict wet frames, and components of the change to add to them."""
        with _in_float32(dry):
            change = components @ self.prediction
        base = dry
        if self.predictor is not None:
            base, added = self.predictor(dry, components / self.dry_scale, style)
            change = change + added * self.change_scale
        base = self.wet_offset + self.wet_gain * base
        if self.predictor is None or self.training:
            return base, change
        return self._without_floor(dry, base, change)

    def _without_floor(self, dry: Tensor, base: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
        """Shrink a predicted difference from dry that is not above the predictor's own error.

        An effect that changes less than the predictor errs is better predicted by the dry channel.
        Larger differences are left as they are, which a Wiener filter (power 1 for 2) does not do.
        """
        with _in_float32(dry):
            difference = base + self._from_change_components(change) - dry
            energy = difference.square().mean(dim=(1, 2), keepdim=True)
            kept = 1 - (PREDICTION_FLOOR / energy.clamp_min(PREDICTION_FLOOR)).square()
            return dry + kept * (base - dry), kept * change

    def _encode(self, spectrogram: Tensor) -> tuple[Tensor, Tensor]:
        dry, wet = split_frames(spectrogram)
        style = self._style(spectrogram)
        with _in_float32(spectrogram):
            components = self.components_of(dry)
        base, predicted = self._predict(dry, components, style)
        with _in_float32(spectrogram):
            change = self._change(self._change_components(wet - base) - predicted)
            mean = torch.cat([self._content(components), change, style], dim=1)
        return mean, self.log_variance.expand_as(mean)

    def _decode(self, latent: Tensor, dry: Tensor | None) -> Tensor:
        latent = latent.float()
        with _in_float32(latent):
            decoded_dry = self._dry(latent)
            change = self._from_change_components(self._decoded_change(latent))
        source = decoded_dry if dry is None else dry.float().transpose(1, 2)
        wet = self.predict(source, latent[:, self.n_content + self.n_change :]) + change
        return torch.stack([decoded_dry, wet], dim=1).transpose(2, 3)

    def without_change(self, latent: Tensor) -> Tensor:
        """Set the change of latents (batch, n_latent) to 0."""
        shown = torch.ones_like(latent[:1])
        shown[:, self.n_content : self.n_content + self.n_change] = 0
        return latent * shown

    def drop_change(self, latent: Tensor) -> Tensor:
        """Set the change of randomly chosen rows to 0."""
        drawn = torch.rand(self.shard.size * len(latent), 1, device=latent.device)
        is_dropped = self.shard.of(drawn) < DROPPED_SHARE
        return torch.where(is_dropped, self.without_change(latent), latent)

    # Frames and coefficients ----------------------------------------------------------------------

    def components_of(self, dry: Tensor) -> Tensor:
        """Project dry frames (batch, n_frames, n_bins) on the basis: (batch, n_frames, k)."""
        return (dry - self.dry_mean) @ (self.weight[:, None] * self.dry_basis)

    def _change_components(self, left: Tensor) -> Tensor:
        return left @ (self.weight[:, None] * self.change_basis)

    def _from_change_components(self, components: Tensor) -> Tensor:
        return components @ (self.change_basis / self.weight[:, None]).T

    def _style(self, spectrogram: Tensor, described: Tensor | None = None) -> Tensor:
        if not self.n_style:
            return spectrogram.new_zeros(len(spectrogram), 0)
        if described is None:
            described = self.standardised_descriptors(self.describe(spectrogram))
        style: Tensor = self.style_encoder(described)
        return style.float()

    def _content(self, components: Tensor) -> Tensor:
        """Compute the posterior mean of the content (batch, n_content) from dry components."""
        coefficients = (self.cosines @ components).flatten(1)[:, self.content_index]
        return self._shrunk(coefficients / self.content_scale, 0)

    def _change(self, left: Tensor) -> Tensor:
        """Compute the posterior mean of the change (batch, n_change) from residual components."""
        coefficients = (self.cosines @ (left - self.change_mean)).flatten(1)[:, self.change_index]
        return self._shrunk(coefficients / self.change_deviation, self.n_content)

    def _shrunk(self, whitened: Tensor, first: int) -> Tensor:
        """Multiply projections by 1 - variance, which gives the posterior mean."""
        return whitened * (1 - self.log_variance[first : first + whitened.shape[1]].exp())

    def _dry(self, latent: Tensor) -> Tensor:
        coefficients = latent[:, : self.n_content] * self.content_scale
        components = self._over_time(coefficients, self.content_index)
        return components @ (self.dry_basis / self.weight[:, None]).T + self.dry_mean

    def _decoded_change(self, latent: Tensor) -> Tensor:
        """Decode the change to components (batch, n_frames, k)."""
        part = latent[:, self.n_content : self.n_content + self.n_change]
        coded = self._over_time(part * self.change_deviation, self.change_index)
        return coded + self.change_mean

    def _over_time(self, coefficients: Tensor, index: Tensor) -> Tensor:
        """Invert the cosine transform of coefficients (batch, n): (batch, n_frames, k)."""
        flat = coefficients.new_zeros(len(coefficients), self.shape[2] * self.k)
        flat = flat.index_copy(1, index, coefficients)
        return self.cosines.T @ flat.view(len(coefficients), self.shape[2], self.k)


def linear_log_variance(scale: Tensor, beta: float) -> Tensor:
    """Return the posterior log variance that minimises squared error + beta KL of a linear VAE.

    Noise of variance v in a whitened latent of standard deviation s costs s^2 v of squared error:
    the best v is (beta / 2) / (s^2 + beta / 2), and the best mean is (1 - v) times the projection.
    """
    half = 0.5 * max(beta, 1e-6)
    log_variance = (half / (scale.square() + half)).log()
    return log_variance.clamp(MIN_LOG_VARIANCE, MAX_LOG_VARIANCE)


def _in_float32(values: Tensor) -> torch.autocast:
    """Disable autocast: the linear part is computed in float32 at every precision."""
    return torch.autocast(values.device.type, enabled=False)


def _style_encoder(n_descriptors: int, n_style: int) -> nn.Module:
    """Build a shallow network with dropout, against overfitting a few hundred pairs."""
    return nn.Sequential(
        RowDropout(0.3),
        nn.Linear(n_descriptors, STYLE_WIDTH),
        nn.SiLU(),
        RowDropout(0.5),
        nn.Linear(STYLE_WIDTH, n_style),
    )


def count_parameters(model: nn.Module) -> int:
    """Count the trainable parameters; fitted buffers are not included."""
    return sum(parameter.numel() for parameter in model.parameters())
