"""Make small datasets for tests: a few seconds of seeded audio at 8 kHz."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from dafxtool.audio.writer import save_audio
from dafxtool.config import (
    Configuration,
    ModelConfig,
    SegmentConfig,
    SpectrogramConfig,
    SplitConfig,
    TrainingConfig,
)
from dafxtool.effects.builtin import builtin_effects

HELPERS = str(Path(__file__).parent)  # on the path of processes that tests start
RATE = 8000
N_SAMPLES = 4096
SEGMENTS = SegmentConfig(sample_rate=RATE, n_samples=N_SAMPLES)
SPLIT = SplitConfig(validation=0.25, test=0.25)
SPECTROGRAM = SpectrogramConfig(
    sample_rate=RATE, n_samples=N_SAMPLES, n_fft=256, hop_length=64, window_length=256
)
CONFIGURATION = Configuration(
    preset="small",
    segments=SEGMENTS,
    split=SPLIT,
    spectrogram=SPECTROGRAM,
    model=ModelConfig(channels=(16,), n_latent=24, n_effect=8, n_style=4, n_components=12),
    training=TrainingConfig(
        batch_size=4,
        learning_rate=2e-3,
        warmup_steps=2,
        max_steps=12,
        annealing_steps=6,
        label_steps=60,
        log_every=2,
        validate_every=4,
        checkpoint_every=3,
    ),
)


def write_recordings(folder: Path) -> Path:
    """Write two folders of four recordings of 1.5 s: plucked tones and swelling noise."""
    for index in range(4):
        rng = np.random.default_rng(index)
        time_s = np.arange(int(1.5 * RATE)) / RATE
        pitch = 110 * 2 ** (index / 3)
        pluck = sum(
            np.sin(2 * np.pi * k * pitch * time_s) * np.exp(-(time_s % 0.5) * 3 * k) / k
            for k in range(1, 6)
        )
        swell = rng.standard_normal(len(time_s)) * (0.2 + np.sin(2 * np.pi * 3 * time_s) ** 2)
        save_audio(folder / "plucks" / f"{index}.wav", (0.3 * pluck).astype(np.float32), RATE)
        save_audio(folder / "swells" / f"{index}.wav", (0.2 * swell).astype(np.float32), RATE)
    return folder


def chosen(*names: str):
    """Return built-in effects by name, without fixed parameters."""
    known = builtin_effects()
    return [(known[name].at(RATE), {}) for name in names]


def with_training(**values) -> Configuration:
    """Return CONFIGURATION with other training options."""
    return replace(CONFIGURATION, training=replace(CONFIGURATION.training, **values))
