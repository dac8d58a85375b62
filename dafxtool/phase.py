"""A phase for a magnitude, from the magnitude alone: phase-gradient heap integration, made faster.

For a Gaussian window the slopes of the phase are those of the logarithm of the magnitude, turned
by a right angle; for a Hann window nearly so. Integrating them from loud bins to quiet ones gives
a start from which iterative methods need a fraction of the way.

Průša, Balazs & Søndergaard 2017, "A noniterative method for reconstruction of phase from STFT
magnitude", arXiv:1609.00291. Their heap, which visits bins one by one, is here the maximum spanning
tree of the loudest bins, which scipy finds at once: both take the loudest way to every bin.

Arrays are (n_frames, n_bins), time first, as the transform makes them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from dafxtool.stft import SpectrogramConfig

# The Gaussian nearest to a Hann window of length 1 is exp(-pi t^2 / this); Průša, table 1.
HANN_GAMMA = 0.25645
LOUD_SHARE = 0.12  # of the bins is integrated; the others' phase is heard no more than noise's
QUIETEST = 1e-10  # of the largest magnitude, so that logarithms stay finite


def gradient_phase(
    magnitude: NDArray[np.float32], config: SpectrogramConfig, seed: int = 0
) -> NDArray[np.float32]:
    """Phase in radians of `stft`'s spectra, (n_frames, n_bins) like the magnitude.

    Quiet bins, and the first bin of every island of loud ones, get random phases; 0 Hz gets none.
    """
    rng = np.random.default_rng(seed)
    phase = rng.uniform(-np.pi, np.pi, magnitude.shape)
    phase[:, 0] = 0.0
    loudest = float(magnitude.max(initial=0.0))
    if loudest > 0:
        level = np.log(np.maximum(magnitude, QUIETEST * loudest))
        loud = _loud_bins(magnitude)
        index = np.full(magnitude.shape, -1)
        index[loud] = np.arange(len(loud[0]))
        tails, heads, steps, weights = _edges(index, level, config)
        parents, ascents = _tree(tails, heads, steps, weights, level[loud])
        roots, climbed = _climb(parents, ascents)
        phase[loud] = phase[loud][roots] + climbed
    # So far frames turned about their middle; stft's begin n_fft / 2 samples earlier.
    phase[:, 1::2] += np.pi
    return phase.astype(np.float32)


def _loud_bins(magnitude: NDArray[np.float32]) -> tuple[NDArray[np.intp], ...]:
    """Indices of the loudest bins, silent ones never."""
    n_loud = max(1, int(LOUD_SHARE * magnitude.size))
    threshold = np.partition(magnitude, magnitude.size - n_loud, axis=None)[-n_loud]
    return np.nonzero((magnitude >= threshold) & (magnitude > 0))


def _edges(
    index: NDArray[np.intp], level: NDArray[np.float32], config: SpectrogramConfig
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Neighbouring loud bins: from, to, how far the phase rises between them, loudness.

    The rises are the trapezoid rule over the phase's slopes (Průša, equations 19 to 22).
    """
    gamma = HANN_GAMMA * config.window_length**2
    ratio = config.hop_length * config.n_fft / gamma
    turn = 2 * np.pi * config.hop_length / config.n_fft * np.arange(level.shape[1])
    per_frame = ratio * _slope(level, axis=1) + turn
    per_bin = -_slope(level, axis=0) / ratio
    found = []
    for axis, slope in ((0, per_frame), (1, per_bin)):
        before, after = (
            tuple(slice(*ends) if axis == along else slice(None) for along in (0, 1))
            for ends in ((None, -1), (1, None))
        )
        both = (index[before] >= 0) & (index[after] >= 0)
        found.append(
            (
                index[before][both],
                index[after][both],
                0.5 * (slope[before][both] + slope[after][both]),
                np.minimum(level[before][both], level[after][both]),
            )
        )
    tails, heads, steps, weights = (np.concatenate(each) for each in zip(*found, strict=True))
    return tails, heads, steps, weights


def _slope(values: NDArray[np.float32], axis: int) -> NDArray[np.float64]:
    """Central differences, 0 where there is only one value."""
    if values.shape[axis] < 2:
        return np.zeros(values.shape)
    return np.gradient(values.astype(np.float64), axis=axis)


def _tree(
    tails: NDArray, heads: NDArray, steps: NDArray, weights: NDArray, levels: NDArray
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Each bin's parent in the loudest spanning tree, and how far the phase rises from it.

    The loudest bin of every island is a root: its own parent, with no rise.
    """
    n = len(levels)
    lengths = 1.0 + (weights.max(initial=0.0) - weights)  # short is loud; 0 would be no edge
    graph = sparse.csr_matrix((lengths, (tails, heads)), shape=(n, n))
    forest = csgraph.minimum_spanning_tree(graph).tocoo()
    n_islands, island = csgraph.connected_components(forest, directed=False)
    order = np.argsort(levels, kind="stable")
    roots = np.empty(n_islands, dtype=np.intp)
    roots[island[order]] = order  # the last one written is the loudest
    # One more bin, n, joins the roots, so that a single search from it reaches all of them.
    rows = np.concatenate([forest.row, np.full(n_islands, n)])
    columns = np.concatenate([forest.col, roots])
    joined = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(n + 1, n + 1))
    _, parents = csgraph.breadth_first_order(joined, n, directed=False)
    parents = parents[:n].astype(np.intp)
    parents[roots] = roots
    rises = sparse.csr_matrix((steps, (tails, heads)), shape=(n, n))
    rises = rises - rises.T
    bins = np.arange(n)
    return parents, np.asarray(rises[parents, bins]).ravel()


def _climb(
    parents: NDArray[np.intp], ascents: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Each bin's root, and the sum of the rises on its way; every round doubles the stride."""
    parents, climbed = parents.copy(), ascents.copy()
    while True:
        further = parents[parents]
        if np.array_equal(further, parents):
            return parents, climbed
        climbed += climbed[parents]
        parents = further
