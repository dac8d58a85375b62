"""Build the model of a configuration."""

from __future__ import annotations

from collections.abc import Sequence

from dafxtool.config import ModelConfig
from dafxtool.models.base import JointVAE
from dafxtool.models.convolutional import ConvolutionalVAE
from dafxtool.models.residual import ResidualVAE


def build_model(config: ModelConfig, shape: Sequence[int], exponent: float = 0.3) -> JointVAE:
    """Build the model of a configuration for spectrograms (2, n_bins, n_frames).

    exponent  exponent of the spectrograms' power law
    """
    if config.architecture == "convolutional":
        return ConvolutionalVAE(config, shape)
    return ResidualVAE(config, shape, exponent)
