"""Describe held samples and quantised levels, which a bit-crusher leaves."""

from __future__ import annotations

import numpy as np

from dafxtool.matching.pair import Pair
from dafxtool.matching.pair_features.arrays import Vector

MOST_RUN = 24  # samples
SMALLEST_CHANGE = 0.01  # of the largest change


def held_features(pair: Pair) -> Vector:
    """Compute how many samples change, the lengths of held runs, and the spacing of levels."""
    wet = pair.wet.astype(np.float64)
    change = np.abs(np.diff(wet))
    loud = np.abs(wet[1:]) > 0.1 * np.abs(wet).max()
    changed = change > SMALLEST_CHANGE * float(change.max(initial=1e-30))
    exact = change > 1e-7
    at = np.flatnonzero(changed)
    runs = np.diff(at) if len(at) > 1 else np.array([1])
    histogram = np.bincount(np.minimum(runs, MOST_RUN), minlength=MOST_RUN + 1)[1:] / len(runs)
    # Longer runs are several held samples of the same level.
    short = runs[runs <= 1.5 * np.median(runs)]
    rate = pair.sample_rate / float(short.mean())
    share = float(exact[loud].mean()) if loud.any() else 1.0
    levels = np.unique(np.rint(wet * 2**20))
    gaps = np.diff(levels)
    spacing = np.percentile(gaps, (10, 50, 90)) if len(gaps) else np.ones(3)
    peak = float(np.abs(wet).max()) * 2**20
    return np.concatenate(
        [
            [np.log2(rate), np.log2(share + 1e-3), float(changed.mean())],
            np.log2(len(levels) + 1.0) * np.ones(1),
            np.log2((spacing + 1.0) / max(peak, 1.0)),
            histogram,
        ]
    )
