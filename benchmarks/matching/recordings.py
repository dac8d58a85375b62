"""Dry segments of the recordings of a folder, and the effects that are drawn for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dafxtool.audio.find_recordings import find_recordings
from dafxtool.audio.reader import load_audio
from dafxtool.effects.builtin import builtin_effects
from dafxtool.errors import DafxError
from dafxtool.matching.objective import rms

RATE, N_SAMPLES = 24_000, 131_072
AUDIBLE = 0.01  # objective of the unprocessed recording above which an effect is audible
EFFECTS = {name: effect.at(RATE) for name, effect in builtin_effects().items()}
REAL = [name for name in EFFECTS if name not in ("clean", "gain")]
Array = NDArray[np.float32]


class Recordings:
    """Dry segments of a folder's recordings, chosen by number.

    seconds         duration of dry recording and reference with other content
    budget          length of the searches of unpaired recordings and of plugins
    plugins         names of the VST3 files to measure; all if empty
    effects         names of the effects to measure, in pairs with one effect; all if empty
    first           number of the first pair
    seed            of effects and settings
    with_baselines  whether pairs of one effect are matched by the baselines, too
    """

    def __init__(
        self,
        folders: Sequence[Path],
        seconds: float,
        budget: str,
        plugins: Sequence[str] = (),
        effects: Sequence[str] = (),
        first: int = 0,
        seed: int = 0,
        with_baselines: bool = True,
    ) -> None:
        self.files = find_recordings(folders)
        self.folders = sorted({path.parent for path in self.files})
        self.seconds, self.budget, self.first, self.seed = seconds, budget, first, seed
        self.plugins, self.effects, self.with_baselines = plugins, effects, with_baselines

    def dry(self, number: int, n_samples: int = N_SAMPLES) -> Array:
        """Join recordings of one folder; the result peaks at -12 dBFS."""
        rng = np.random.default_rng(1000 + number)
        folder = self.folders[number % len(self.folders)]
        files = [path for path in self.files if path.parent == folder]
        parts: list[Array] = []
        for index in rng.permutation(len(files)).tolist() * 8:
            try:
                samples, _ = load_audio(files[index], RATE)
            except DafxError:
                continue
            if rms(samples) < 0.003:
                continue
            first = int(rng.integers(max(1, samples.size - n_samples)))
            part = samples[first : first + n_samples]
            if rms(part) < 0.003:
                continue
            parts.append(part)
            if sum(part.size for part in parts) >= n_samples:
                break
        joined = np.concatenate(parts)
        joined = np.resize(joined, n_samples)
        return (0.25 * joined / np.abs(joined).max()).astype(np.float32)
