"""Compute the spectrograms of the page as bytes, with the axes and colours of sheets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafxtool.config import SpectrogramConfig
from dafxtool.plots.spectrogram_axes import erb_rate, format_hertz, frequency_weights
from dafxtool.plots.spectrograms import FLOOR_DB, colour_table, difference_table

N_ROWS = 256
N_DIFFERENCES = 255  # an odd number: the middle one is "equal"
TICKS_HZ = (100, 500, 1000, 2000, 5000, 10_000, 20_000)


@dataclass(frozen=True)
class Images:
    """Spectrograms of a pair, lowest frequency first.

    dry, wet    (N_ROWS, n_frames), dB re the loudest bin of both: 0 is FLOOR_DB or less, 255 is
                0 dB
    difference  (N_ROWS, n_frames), wet over dry: 0 is -limit_db, 254 is limit_db
    """

    dry: NDArray[np.uint8]
    wet: NDArray[np.uint8]
    difference: NDArray[np.uint8]
    limit_db: float

    def arrays(self) -> dict[str, NDArray[np.uint8]]:
        """Return the images by name, for a message."""
        return {"dryImage": self.dry, "wetImage": self.wet, "differenceImage": self.difference}


def pair_images(
    dry: NDArray[np.float32], wet: NDArray[np.float32], config: SpectrogramConfig
) -> Images:
    """Compute the images of audio (n_samples,)."""
    from dafxtool.spectrogram.stft import magnitude

    return magnitude_images(magnitude(dry, config).numpy(), magnitude(wet, config).numpy(), config)


def magnitude_images(
    dry: NDArray[np.float32], wet: NDArray[np.float32], config: SpectrogramConfig
) -> Images:
    """Compute the images of linear magnitudes (n_bins, n_frames)."""
    loudest = max(float(dry.max()), float(wet.max()))
    dry_db, wet_db = (_decibels(each, loudest, config) for each in (dry, wet))
    difference = wet_db - dry_db
    # 99 % of the differences, rounded up to 10 dB, as on a sheet.
    limit = max(10.0, 10 * math.ceil(float(np.percentile(np.abs(difference), 99)) / 10))
    middle = (N_DIFFERENCES - 1) / 2
    steps = np.clip(np.rint(middle * (1 + difference / limit)), 0, N_DIFFERENCES - 1)
    return Images(_levels(dry_db), _levels(wet_db), steps.astype(np.uint8), limit)


def _decibels(
    magnitude: NDArray[np.float32], loudest: float, config: SpectrogramConfig
) -> NDArray[np.float32]:
    if loudest == 0:
        return np.full((N_ROWS, magnitude.shape[1]), FLOOR_DB, dtype=np.float32)
    power = _weights(config) @ np.square(magnitude / np.float32(loudest))
    return np.asarray(10 * np.log10(np.maximum(power, 10 ** (FLOOR_DB / 10))), dtype=np.float32)


@lru_cache(maxsize=4)
def _weights(config: SpectrogramConfig) -> NDArray[np.float32]:
    return frequency_weights(config.frequencies_hz(), N_ROWS).astype(np.float32)


def _levels(decibels: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.rint(255 * (1 - decibels / np.float32(FLOOR_DB))).astype(np.uint8)


def image_style(config: SpectrogramConfig) -> dict[str, Any]:
    """Return colours (RGB), axes and range, with which the page draws images."""
    highest_hz = config.sample_rate / 2
    top = float(erb_rate(highest_hz))
    return {
        "colours": colour_table().ravel().tolist(),
        "differenceColours": difference_table(N_DIFFERENCES).ravel().tolist(),
        "floorDb": FLOOR_DB,
        "seconds": config.n_samples / config.sample_rate,
        "ticks": [
            [float(erb_rate(hertz)) / top, format_hertz(hertz)]
            for hertz in TICKS_HZ
            if hertz < 0.93 * highest_hz
        ],
    }
