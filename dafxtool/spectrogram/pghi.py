"""A phase for a magnitude, from the magnitude alone: phase-gradient heap integration, made faster.

For a Gaussian window the slopes of the phase are those of the logarithm of the magnitude, turned
by a right angle; for a Hann window nearly so. Integrating them from loud bins to quiet ones gives
a start from which iterative methods need a fraction of the way.

Průša, Balazs & Søndergaard 2017, "A noniterative method for reconstruction of phase from STFT
magnitude", arXiv:1609.00291. Their heap, which visits bins one by one, is here the maximum spanning
tree of the loudest bins, which scipy finds at once: both take the loudest way to every bin.

Magnitudes are (n_frames, n_bins), time first, as the transform makes them. The loud bins are listed
by their place in the flattened magnitude, one after the other; most arrays here are over that list.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from dafxtool.config import SpectrogramConfig

LOUD_SHARE = 0.1  # of the bins is integrated; the others' phase matters no more than noise's
QUIETEST = 1e-10  # of the largest magnitude, so that logarithms stay finite


class Edges(NamedTuple):
    """Pairs of neighbouring loud bins."""

    tails: NDArray[np.intp]
    heads: NDArray[np.intp]
    rises: NDArray[np.float64]  # of the phase from tail to head, radians
    levels: NDArray[np.float32]  # of the quieter of the two, natural logarithm


def pghi_phase(
    magnitude: NDArray[np.float32], config: SpectrogramConfig, seed: int = 0
) -> NDArray[np.float32]:
    """Phase in radians of `stft`'s spectra, (n_frames, n_bins) like the magnitude.

    Quiet bins, and the first bin of every island of loud ones, get random phases; 0 Hz gets none.
    """
    drawn = np.random.default_rng(seed).random(magnitude.shape, dtype=np.float32)
    phase = (drawn * (2 * np.pi)).astype(np.float32)
    phase[:, 0] = 0.0
    loudest = float(magnitude.max(initial=0.0))
    if loudest > 0:
        level = np.log(np.maximum(magnitude, QUIETEST * loudest))
        loud = _loud_bins(magnitude)
        roots, climbed = _climb(*_tree(_edges(loud, level, config), level.ravel()[loud]))
        flat = phase.reshape(-1)
        flat[loud] = np.remainder(flat[loud][roots] + climbed, 2 * np.pi)
    # So far frames turned about their middle; those of stft begin n_fft / 2 samples earlier.
    phase += np.float32(np.pi) * (np.arange(config.n_bins, dtype=np.float32) % 2)
    return phase


def hann_gamma(config: SpectrogramConfig) -> float:
    """Width of the Gaussian exp(-pi t^2 / gamma), t in samples, that stands for the Hann window.

    The one that gives a tone half a cycle a window beside its bin its true frequency when the slope
    is a central difference over the bins. Without zero-padding this is 0.2561 window_length^2;
    Průša's table has 0.25645. With padding the bins are nearer to each other, and it is smaller.
    """
    step, offset = config.window_length / config.n_fft, 0.5  # both in cycles a window
    rise = 0.5 * (_hann_level(offset - step) - _hann_level(offset + step))
    return config.window_length**2 * rise / (2 * math.pi * offset * step)


def _hann_level(offset: float) -> float:
    """Logarithm of a Hann window's spectrum so many cycles a window beside its peak."""
    around = np.sinc(offset - np.array([-1.0, 0.0, 1.0]))
    return math.log(abs(float(around @ [0.25, 0.5, 0.25])))


def _loud_bins(magnitude: NDArray[np.float32]) -> NDArray[np.intp]:
    """The loudest bins, silent ones never, in the order of the array."""
    n_loud = max(1, int(LOUD_SHARE * magnitude.size))
    threshold = np.partition(magnitude, magnitude.size - n_loud, axis=None)[-n_loud]
    return np.flatnonzero((magnitude >= threshold) & (magnitude > 0))


def _edges(loud: NDArray[np.intp], level: NDArray[np.float32], config: SpectrogramConfig) -> Edges:
    """Neighbours in time, then in frequency, by the trapezoid rule over the phase's slopes.

    Průša, equations 19 to 22: over a frame the phase rises with the level's slope over the bins,
    over a bin it falls with the level's slope over the frames.
    """
    ratio = config.hop_length * config.n_fft / hann_gamma(config)
    frame, bin_number = np.divmod(loud, config.n_bins)
    turn = (2 * np.pi * config.hop_length / config.n_fft) * bin_number
    per_frame = ratio * _slope(level, loud, bin_number, axis=1) + turn
    per_bin = _slope(level, loud, frame, axis=0) / -ratio
    place = np.full(level.size, -1)
    place[loud] = np.arange(len(loud))
    levels = level.ravel()[loud]
    found = []
    for stride, slope in ((config.n_bins, per_frame), (1, per_bin)):
        inside = bin_number + 1 < config.n_bins if stride == 1 else frame + 1 < len(level)
        heads = np.where(inside, place[np.minimum(loud + stride, level.size - 1)], -1)
        tails = np.flatnonzero(heads >= 0)
        heads = heads[tails]
        rises = 0.5 * (slope[tails] + slope[heads])
        found.append(Edges(tails, heads, rises, np.minimum(levels[tails], levels[heads])))
    return Edges(*(np.concatenate(each) for each in zip(*found, strict=True)))


def _slope(
    level: NDArray[np.float32], loud: NDArray[np.intp], position: NDArray[np.intp], axis: int
) -> NDArray[np.float64]:
    """Central differences at the loud bins, one-sided ones at the array's ends."""
    stride = level.shape[1] if axis == 0 else 1
    forward = (position + 1 < level.shape[axis]).astype(np.intp)
    backward = (position > 0).astype(np.intp)
    flat = level.ravel()
    rise = flat[loud + stride * forward] - flat[loud - stride * backward]
    return rise / np.maximum(forward + backward, 1)


def _tree(
    edges: Edges, levels: NDArray[np.float32]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Each bin's parent in the loudest spanning tree, and how far the phase rises from it.

    The loudest bin of every island is a root: its own parent, with no rise.
    """
    n, ends = len(levels), (edges.tails, edges.heads)
    lengths = 1.0 + (edges.levels.max(initial=-np.inf) - edges.levels)  # 0 would be no edge
    graph = sparse.csr_matrix((lengths, ends), shape=(n, n))
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
    rises = sparse.csr_matrix((edges.rises, ends), shape=(n, n))
    bins = np.arange(n)
    return parents, np.asarray(rises[parents, bins] - rises[bins, parents]).ravel()


def _climb(
    parents: NDArray[np.intp], rises: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Each bin's root, and the sum of the rises on its way; every round doubles the stride."""
    climbed = rises.copy()
    while True:
        further = parents[parents]
        if np.array_equal(further, parents):
            return parents, climbed
        climbed += climbed[parents]
        parents = further
