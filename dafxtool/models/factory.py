"""Build_model(config)."""

from __future__ import annotations

from collections.abc import Sequence

from dafxtool.config import ModelConfig
from dafxtool.models.base import JointVAE
from dafxtool.models.convolutional import ConvolutionalVAE
from dafxtool.models.residual import ResidualVAE


def build_model(config: ModelConfig, shape: Sequence[int]) -> JointVAE:
    """The model that a configuration describes, for spectrograms (2, n_bins, n_frames)."""
    kinds = {"convolutional": ConvolutionalVAE, "residual": ResidualVAE}
    return kinds[config.architecture](config, shape)
