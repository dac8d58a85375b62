"""Synthesise audio to match effects on: notes, glides and noise that change every second."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def synthetic_notes(
    seconds: float = 2.7, sample_rate: int = 24_000, seed: int = 0
) -> NDArray[np.float32]:
    """Synthesise seeded notes (n_samples,) that peak at -12 dBFS."""
    rng = np.random.default_rng(seed)
    n_samples = round(seconds * sample_rate)
    audio = 1e-4 * rng.standard_normal(n_samples)
    start = 0
    while start < n_samples:
        length = min(round(rng.uniform(0.06, 0.35) * sample_rate), n_samples - start)
        time = np.arange(length) / sample_rate
        envelope = np.minimum(time / 0.005, 1) * np.exp(-time * rng.uniform(2, 12))
        level = 10 ** rng.uniform(-1.2, 0)
        if rng.random() < 0.3:
            note = rng.standard_normal(length)
        else:
            pitch = rng.uniform(90, 350) * (1 + rng.uniform(-0.3, 0.3) * time)
            phase = 2 * np.pi * np.cumsum(pitch) / sample_rate
            harmonics = range(1, int(0.4 * sample_rate / 400))
            tilt = rng.uniform(0.7, 1.6)
            note = sum(np.sin(k * phase + k) / k**tilt for k in harmonics)
        audio[start : start + length] += level * envelope * note
        start += round(length * rng.uniform(0.7, 1.2))
    return (0.25 * audio / np.abs(audio).max()).astype(np.float32)
