"""Synthetic pairs, their spectrograms and a file of them, for benchmarks without recordings."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dafxtool import storage
from dafxtool.config import Configuration, SpectrogramConfig
from dafxtool.effects.effect import Effect
from dafxtool.effects.parameter import Parameter
from dafxtool.spectrogram.transform import compressed_pairs

N_PAIRS = 48  # distinct pairs; files repeat them


def sounds(config: SpectrogramConfig, n: int = N_PAIRS) -> NDArray[np.float32]:
    """Synthesise pairs (n, 2, n_samples): decaying tones, wet with an echo or softly clipped."""
    rng = np.random.default_rng(0)
    time_s = np.arange(config.n_samples, dtype=np.float32) / config.sample_rate
    made = np.empty((n, 2, config.n_samples), dtype=np.float32)
    for index in range(n):
        pitch_hz, fade = rng.uniform(80, 800), rng.uniform(2, 8)
        again_s = time_s % np.float32(rng.uniform(0.3, 0.9))
        dry = sum(np.sin(2 * np.pi * k * pitch_hz * time_s) / k for k in (1, 2, 3))
        dry = 0.3 * dry * np.exp(-fade * again_s)
        lag = int(rng.uniform(0.05, 0.25) * config.n_samples)
        echo = np.concatenate([np.zeros(lag, np.float32), dry[:-lag]])
        made[index] = dry, dry + 0.6 * echo if index % 2 else np.tanh(4 * dry) / 2
    return made


def spectrograms(config: SpectrogramConfig, device: str) -> tuple[Tensor, float, float]:
    """Return spectrograms (N_PAIRS, 2, n_bins, n_frames) on the device, their mean and std."""
    parts = [compressed_pairs(part, config, device) for part in np.split(sounds(config), 12)]
    values = torch.cat(parts)
    mean, std = float(values.mean()), float(values.std())
    return (values - mean) / std, mean, std


def write_file(path: Path, made: Configuration, n_rows: int) -> None:
    """Write a spectrograms file with n_rows for training and 4 for validation."""
    values, mean, std = spectrograms(made.spectrogram, "cpu")
    stored = values.half().numpy()
    level = Parameter("level", "dB", 0.0, 1.0, 0.5)
    effects = [Effect(name, (level,)).to_dict() for name in ("clip", "echo")]
    recordings = [
        {"path": f"{split}.wav", "folder": "", "split": split, "sample_rate": 8000}
        | {"n_channels": 1, "n_samples": 1, "track": 0}
        for split in ("train", "validation")
    ]
    described = {
        "spectrogram": asdict(made.spectrogram),
        **{"mean": mean, "std": std, "dtype": "float16", "pairs": {}},
    }
    columns = {
        "spectrogram": (stored.shape[1:], np.dtype("float16")),
        **{"mean": ((), np.float32), "std": ((), np.float32)},
    }
    total = n_rows + 4
    with storage.open_writer(
        path, storage.SPECTROGRAMS, columns, np.arange(total) % 2, described, effects, recordings
    ) as writer:
        for start in range(0, total, 16):
            rows = np.arange(start, min(start + 16, total))
            split = (rows >= n_rows).astype(np.int64)
            writer.put(
                start,
                spectrogram=stored[rows % N_PAIRS],
                mean=np.full(len(rows), mean, np.float32),
                std=np.full(len(rows), std, np.float32),
                effect=rows % 2,
                setting=np.full((len(rows), 1), 0.5),
                setting_text=storage.encode_texts(["level=0.5"] * len(rows)),
                recording=split,
                offset=rows,
                split=split,
            )
