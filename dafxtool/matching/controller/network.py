"""Predict effect and settings of a pair of recordings with a small network.

The input of this controller is closed-form features of the audio of a pair, the descriptors of its
spectrograms, and the style latents of a run. Its output is a logit for each effect, and a mean and
a log variance for each parameter (heteroscedastic regression, Nix & Weigend 1994). The mean is a
linear estimate from a few features, to which the network adds the rest. The logits are those of the
network plus linear scores. Settings are normalised values, scaled so that a uniform draw has
variance 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from dafxtool.effects.effect import Effect
from dafxtool.errors import FormatError, InputError
from dafxtool.matching.controller.linear_estimates import LinearEffects, LinearEstimates
from dafxtool.matching.pair_features.features import VERSION, compute_features
from dafxtool.models.checkpoint import CHECKPOINT_VERSION, read_checkpoint, save_checkpoint
from dafxtool.models.descriptors import Descriptors
from dafxtool.models.residual import ResidualVAE
from dafxtool.models.run import Run
from dafxtool.training.loader import Targets

WIDTH = 256
DROPOUT = 0.1
SETTING_SCALE = 12**0.5  # from normalised values to unit variance
LOWEST_LOG_VARIANCE, HIGHEST_LOG_VARIANCE = -8.0, 2.0
LARGEST_FEATURE = 5.0  # standard deviations
LINEAR_GAINS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0)  # of linear scores in the logits
VARIANCE_POWER = 0.5  # beta of the beta-NLL (Seitzer et al. 2022, arXiv:2203.09168)
SETTING_WEIGHT = 2.0  # of the settings against the effect
SMALLEST_SETTING_SCALE = 0.05  # where a parameter hardly varies


@dataclass(frozen=True)
class Prediction:
    """Predictions of the controller for some pairs.

    logits        (batch, n_effects)
    setting       (batch, n_parameters), all effects' parameters side by side
    log_variance  (batch, n_parameters)
    """

    logits: Tensor
    setting: Tensor
    log_variance: Tensor


class Controller(nn.Module):
    """Predict effect and settings from features (batch, n_features).

    In training mode the logits are those of the network alone: it would learn nothing beside linear
    scores that are nearly exact on the pairs that these were fitted to.
    """

    feature_mean: Tensor
    feature_scale: Tensor
    linear_gain: Tensor
    setting_scale: Tensor

    def __init__(self, n_features: int, n_effects: int, n_parameters: int) -> None:
        super().__init__()
        self.register_buffer("feature_mean", torch.zeros(n_features))
        self.register_buffer("feature_scale", torch.ones(n_features))
        self.register_buffer("setting_scale", torch.ones(n_parameters))
        self.body = nn.Sequential(
            nn.Linear(n_features, WIDTH),
            nn.GELU(),
            nn.Dropout(DROPOUT),
            nn.Linear(WIDTH, WIDTH),
            nn.GELU(),
            nn.Dropout(DROPOUT),
        )
        self.effect = nn.Linear(WIDTH, n_effects)
        self.setting = nn.Linear(WIDTH, n_parameters)
        self.log_variance = nn.Linear(WIDTH, n_parameters)
        self.estimates = LinearEstimates(n_parameters)
        self.linear_effects = LinearEffects(n_features, n_effects)
        self.register_buffer("linear_gain", torch.zeros(()))
        nn.init.zeros_(self.setting.weight)  # at first the estimates alone
        nn.init.zeros_(self.setting.bias)

    def fit(self, features: Tensor, effect: Tensor, setting: Tensor | None) -> None:
        """Fit the scale of features and settings, and the linear parts, to the training split.

        effect   (n,)
        setting  (n, n_parameters) normalised as targets are; NaN for other effects' parameters;
                 None where labels do not supervise the settings
        """
        self.feature_mean.copy_(features.mean(dim=0))
        self.feature_scale.copy_(features.std(dim=0, correction=0).clamp_min(1e-4))
        self.linear_effects.fit(self._scale(features), effect)
        if setting is None:
            return
        self.estimates.fit(features, setting)
        mean = setting.nanmean(dim=0).nan_to_num()
        variance = (setting - mean).square().nanmean(dim=0).nan_to_num(1.0)
        self.setting_scale.copy_(variance.sqrt().clamp_min(SMALLEST_SETTING_SCALE))

    def forward(self, features: Tensor, noise: Tensor | None = None) -> Prediction:
        """Predict effect and settings.

        noise  (batch, n_features) added to the features, in standard deviations
        """
        scaled = self._scale(features)
        hidden = self.body(scaled if noise is None else scaled + noise)
        limit = SETTING_SCALE / 2
        estimates = self.estimates(features).clamp(-limit, limit)
        setting = estimates + self.setting_scale * self.setting(hidden)
        log_variance = self.log_variance(hidden).clamp(LOWEST_LOG_VARIANCE, HIGHEST_LOG_VARIANCE)
        logits = self.effect(hidden)
        if not self.training:
            logits = logits + self.linear_gain * self.linear_effects(scaled)
        return Prediction(
            logits,
            setting.clamp(-1.2 * limit, 1.2 * limit),
            log_variance + 2 * self.setting_scale.log(),
        )

    def _scale(self, features: Tensor) -> Tensor:
        scaled = (features - self.feature_mean) / self.feature_scale
        return scaled.clamp(-LARGEST_FEATURE, LARGEST_FEATURE)

    @torch.no_grad()
    def choose_linear_gain(self, predict: Callable[[], Tensor], effect: Tensor) -> None:
        """Choose the gain of the linear scores with the smallest cross entropy of held-out pairs.

        predict  returns the logits (n, n_effects) of the pairs with the present gain
        effect   (n,)
        """

        def error(gain: float) -> float:
            self.linear_gain.fill_(gain)
            return float(functional.cross_entropy(predict(), effect))

        self.linear_gain.fill_(min(LINEAR_GAINS, key=error))


def label_loss(prediction: Prediction, targets: Targets, scale: Tensor) -> Tensor:
    """Compute the cross entropy of the effect plus the beta-NLL of the true effect's settings.

    scale  (n_parameters,) standard deviation of each parameter. The errors are divided by it, so
           that a parameter with a narrow usual range counts as much as others.
    """
    loss = functional.cross_entropy(prediction.logits, targets.effect)
    known = targets.setting.isfinite()
    if not known.any():
        return loss
    error = ((prediction.setting - targets.setting.nan_to_num()) / scale).square()
    log_variance = prediction.log_variance - 2 * scale.log()
    variance = log_variance.exp()
    likelihood = 0.5 * (error / variance + log_variance)
    weighted = likelihood * variance.detach() ** VARIANCE_POWER
    return loss + SETTING_WEIGHT * weighted[known].mean()


@dataclass
class Matcher:
    """A controller, its effects, and the encoder that it belongs to.

    effects  in the order of the logits
    loss     "labels" or "audio"
    encoder  fine-tuned parameters of the run's model
    about    step, scores on held-out pairs, state of the optimiser, data
    """

    controller: Controller
    effects: list[Effect]
    loss: str
    encoder: dict[str, Tensor] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    def settings_of(
        self, prediction: Prediction, row: int, effect: int
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Return values, and standard deviations as shares of the range, for one effect."""
        first = sum(len(each.parameters) for each in self.effects[:effect])
        setting: dict[str, float] = {}
        deviations: dict[str, float] = {}
        for i, parameter in enumerate(self.effects[effect].parameters):
            value = float(prediction.setting[row, first + i].detach())
            setting[parameter.name] = parameter.from_normalised(value / SETTING_SCALE + 0.5)
            log_variance = float(prediction.log_variance[row, first + i].detach())
            deviations[parameter.name] = float(np.exp(0.5 * log_variance)) / SETTING_SCALE
        return setting, deviations


class FeatureExtractor:
    """Compute features of pairs: those of the audio, descriptors, and style latents of a run."""

    def __init__(self, run: Run) -> None:
        self.run = run
        model = run.model
        _, n_bins, n_frames = model.shape
        with_settings = run.configuration.model.setting_descriptors
        self._describe: Callable[[Tensor], Tensor] = (
            model.describe
            if isinstance(model, ResidualVAE) and model.n_style
            else Descriptors(n_bins, n_frames, with_settings=with_settings).to(run.device)
        )

    @property
    def sample_rate(self) -> int:
        """Sample rate of the audio in Hz."""
        return self.run.configuration.segments.sample_rate

    @torch.no_grad()
    def __call__(
        self, audio: NDArray[np.float32], of_audio: NDArray[np.float32] | None = None
    ) -> Tensor:
        """Compute features (n, n_features) of audio (n, 2, n_samples), dry first, on the CPU.

        of_audio  (n, n_audio_features) if they are known
        """
        if of_audio is None:
            of_audio = np.stack([compute_features(each, self.sample_rate) for each in audio])
        spectrogram = self.spectrogram(audio)
        described = self._describe(spectrogram)
        style = self.run.model.encode_style(spectrogram, described)
        return torch.cat([torch.from_numpy(of_audio), described.cpu(), style.cpu()], dim=1)

    def spectrogram(self, audio: NDArray[np.float32]) -> Tensor:
        """Compute standardised spectrograms (n, 2, n_bins, n_frames) on the run's device."""
        return torch.from_numpy(self.run.analyse(audio)[0]).to(self.run.device)

    def style(self, spectrogram: Tensor) -> Tensor:
        """Return the latents (n, n_style) that encode the effect."""
        return self.run.model.encode_style(spectrogram)

    @property
    def n_style(self) -> int:
        """Number of latents, which are the last features."""
        model = self.run.model
        return model.n_style or model.config.n_latent - model.n_content


def save_matcher(path: Path, matcher: Matcher) -> None:
    """Write a matcher completely or not at all, as plain tensors and builtins."""
    controller = matcher.controller
    save_checkpoint(
        path,
        {
            "kind": "matcher",
            "features": VERSION,
            "weights": controller.state_dict(),
            "effects": [effect.to_dict() for effect in matcher.effects],
            "loss": matcher.loss,
            "encoder": matcher.encoder,
            "about": matcher.about,
        },
    )


def load_matcher(path: Path) -> Matcher:
    """Read a matcher; InputError for a missing file, FormatError if it is not a matcher."""
    if not path.is_file():
        raise InputError(f"{path}: no such matcher. Train one with 'dafxtool train-matcher'.")
    if not is_zipfile(path):
        raise FormatError(f"{path}: not a matcher. Train one with 'dafxtool train-matcher'.")
    contents = read_checkpoint(path)
    if contents.get("kind") != "matcher":
        raise FormatError(
            f"{path}: not a matcher (found a checkpoint of version {CHECKPOINT_VERSION}). Train "
            "one with 'dafxtool train-matcher'."
        )
    version = contents.get("features", 0)
    if version != VERSION:
        raise FormatError(
            f"{path}: a matcher with features of another version (found {version}, expected "
            f"{VERSION}). Train it again with 'dafxtool train-matcher --overwrite'."
        )
    effects = [Effect.from_dict(dict(each)) for each in contents["effects"]]
    weights: Mapping[str, Tensor] = contents["weights"]
    controller = new_controller(len(weights["feature_mean"]), effects)
    try:
        controller.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise FormatError(f"{path}: damaged matcher. Train it again.") from error
    return Matcher(
        controller.eval(), effects, contents["loss"], contents["encoder"], contents["about"]
    )


def new_controller(n_features: int, effects: Sequence[Effect]) -> Controller:
    """Build an untrained controller for some effects."""
    n_parameters = sum(len(effect.parameters) for effect in effects)
    return Controller(n_features, len(effects), n_parameters)
