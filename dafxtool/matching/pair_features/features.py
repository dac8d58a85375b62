"""Compute all features of a pair."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dafxtool.matching.hints.pitch import best_shift
from dafxtool.matching.pair import Pair
from dafxtool.matching.pair_features.filter_shapes import filter_features
from dafxtool.matching.pair_features.gain import gain_features, ring_features
from dafxtool.matching.pair_features.held_samples import held_features
from dafxtool.matching.pair_features.level_follower import follower_features
from dafxtool.matching.pair_features.response import frequency_features, impulse_features
from dafxtool.matching.pair_features.voices import moving_delay_features, phaser_features
from dafxtool.matching.pair_features.waveshape import distribution_features, drive_features

VERSION = 1  # raised with every change of a feature: a matcher belongs to one version
LARGEST = 100.0  # features are logarithms, shares and values near 1
MOST_SEMITONES = 12.0


def compute_features(audio: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    """Compute features (n_features,) of dry and wet audio (2, n_samples)."""
    pair = Pair(audio[0], audio[1], sample_rate)
    with np.errstate(all="ignore"):  # silent recordings
        parts = [
            impulse_features(pair),
            frequency_features(pair),
            filter_features(pair),
            held_features(pair),
            distribution_features(pair),
            drive_features(pair),
            gain_features(pair),
            ring_features(pair),
            follower_features(pair),
            moving_delay_features(pair),
            phaser_features(pair),
            np.array(best_shift(pair, MOST_SEMITONES)),
        ]
    joined = np.nan_to_num(np.concatenate(parts), posinf=LARGEST, neginf=-LARGEST)
    return np.clip(joined, -LARGEST, LARGEST).astype(np.float32)
