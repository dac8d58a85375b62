"""Estimate the phase of an STFT from its magnitude by phase-gradient heap integration (PGHI).

For a Gaussian window, the phase derivatives in time and frequency equal the derivatives of the
log-magnitude in frequency and time, up to scale and sign. For a Hann window this holds
approximately. Integrating them from loud bins to quiet ones gives a phase from which iterative
methods converge in a fraction of the iterations.

Source: Průša, Balazs & Søndergaard 2017, "A noniterative method for reconstruction of phase from
STFT magnitude", arXiv:1609.00291. Their heap visits bins one by one. Here the maximum spanning tree
of the loudest bins replaces it, because scipy computes the tree in compiled code. Both reach every
bin along the loudest path.

Magnitudes are (n_frames, n_bins), time first. `loud` holds the indices of the loud bins in the
flattened magnitude, in ascending order; most other arrays have one entry per loud bin.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from dafxtool.config import SpectrogramConfig

LOUD_FRACTION = 0.1  # of the bins are integrated; the phase of quieter ones is inaudible
RELATIVE_FLOOR = 1e-10  # of the largest magnitude; keeps logarithms finite


class Edges(NamedTuple):
    """Pairs of neighbouring loud bins: one entry per pair.

    tails, heads  indices into `loud`
    rises         phase difference from tail to head, radians
    levels        natural logarithm of the magnitude of the quieter bin
    """

    tails: NDArray[np.intp]
    heads: NDArray[np.intp]
    rises: NDArray[np.float64]
    levels: NDArray[np.float32]


def pghi_phase(
    magnitude: NDArray[np.float32], config: SpectrogramConfig, seed: int = 0
) -> NDArray[np.float32]:
    """Estimate the phase (n_frames, n_bins) in radians, in the convention of `stft`.

    magnitude  (n_frames, n_bins), linear

    Quiet bins get random phases, and so does the loudest bin of every connected component of loud
    bins. The phase at 0 Hz is 0 where it is not integrated.
    """
    uniform = np.random.default_rng(seed).random(magnitude.shape, dtype=np.float32)
    phase = (uniform * (2 * np.pi)).astype(np.float32)
    phase[:, 0] = 0.0
    loudest = float(magnitude.max(initial=0.0))
    if loudest > 0:
        level = np.log(np.maximum(magnitude, RELATIVE_FLOOR * loudest))
        loud = _loud_bins(magnitude)
        tree = _spanning_tree(_edges(loud, level, config), level.ravel()[loud])
        roots, rises = _integrate(*tree)
        flat = phase.reshape(-1)
        flat[loud] = np.remainder(flat[loud][roots] + rises, 2 * np.pi)
    # This phase refers to the centre of a frame, that of `stft` to n_fft / 2 samples earlier.
    phase += np.float32(np.pi) * (np.arange(config.n_bins, dtype=np.float32) % 2)
    return phase


def hann_gamma(config: SpectrogramConfig) -> float:
    """Return gamma of the Gaussian exp(-pi t^2 / gamma), t in samples, closest to the Hann window.

    Chosen so that a tone half a bin off centre gets its true frequency when the slope is a central
    difference over the bins. Without zero-padding this is 0.2561 window_length^2; Průša's table has
    0.25645. Zero-padding brings the bins closer together and makes gamma smaller.
    """
    step, offset = config.window_length / config.n_fft, 0.5  # both in cycles per window length
    rise = 0.5 * (_hann_level(offset - step) - _hann_level(offset + step))
    return config.window_length**2 * rise / (2 * math.pi * offset * step)


def _hann_level(offset: float) -> float:
    """Return the log-magnitude of the Hann window's spectrum, offset cycles per window from 0."""
    sincs = np.sinc(offset - np.array([-1.0, 0.0, 1.0]))
    return math.log(abs(float(sincs @ [0.25, 0.5, 0.25])))


def _loud_bins(magnitude: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the ascending flat indices of the loudest LOUD_FRACTION of bins above 0."""
    n_loud = max(1, int(LOUD_FRACTION * magnitude.size))
    threshold = np.partition(magnitude, magnitude.size - n_loud, axis=None)[-n_loud]
    return np.flatnonzero((magnitude >= threshold) & (magnitude > 0))


def _edges(loud: NDArray[np.intp], level: NDArray[np.float32], config: SpectrogramConfig) -> Edges:
    """Return pairs of neighbours in time, then in frequency, with their phase differences.

    Průša, equations 19 to 22. From frame to frame the phase rises with the level's slope over the
    bins. From bin to bin it falls with the level's slope over the frames. The trapezoidal rule
    integrates both.
    """
    ratio = config.hop_length * config.n_fft / hann_gamma(config)
    frame, bin_number = np.divmod(loud, config.n_bins)
    turn = (2 * np.pi * config.hop_length / config.n_fft) * bin_number
    per_frame = ratio * _slope(level, loud, bin_number, axis=1) + turn
    per_bin = _slope(level, loud, frame, axis=0) / -ratio
    index_in_loud = np.full(level.size, -1)
    index_in_loud[loud] = np.arange(len(loud))
    levels = level.ravel()[loud]
    edges = []
    for stride, slope in ((config.n_bins, per_frame), (1, per_bin)):
        inside = bin_number + 1 < config.n_bins if stride == 1 else frame + 1 < len(level)
        heads = np.where(inside, index_in_loud[np.minimum(loud + stride, level.size - 1)], -1)
        tails = np.flatnonzero(heads >= 0)
        heads = heads[tails]
        rises = 0.5 * (slope[tails] + slope[heads])
        edges.append(Edges(tails, heads, rises, np.minimum(levels[tails], levels[heads])))
    return Edges(*(np.concatenate(each) for each in zip(*edges, strict=True)))


def _slope(
    level: NDArray[np.float32], loud: NDArray[np.intp], index: NDArray[np.intp], axis: int
) -> NDArray[np.float64]:
    """Return central differences along an axis at the loud bins, one-sided at the array's ends.

    index  of each loud bin along the axis
    """
    stride = level.shape[1] if axis == 0 else 1
    forward = (index + 1 < level.shape[axis]).astype(np.intp)
    backward = (index > 0).astype(np.intp)
    flat = level.ravel()
    rise = flat[loud + stride * forward] - flat[loud - stride * backward]
    return rise / np.maximum(forward + backward, 1)


def _spanning_tree(
    edges: Edges, levels: NDArray[np.float32]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return each bin's parent in the loudest spanning tree, and the phase rise from it.

    levels  natural logarithm of each loud bin's magnitude

    The loudest bin of every connected component is a root: its own parent, with a rise of 0.
    """
    n, ends = len(levels), (edges.tails, edges.heads)
    # Lengths are at least 1, because a sparse graph has no edges of length 0.
    lengths = 1.0 + (edges.levels.max(initial=-np.inf) - edges.levels)
    graph = sparse.csr_matrix((lengths, ends), shape=(n, n))
    forest = csgraph.minimum_spanning_tree(graph).tocoo()
    n_components, component = csgraph.connected_components(forest, directed=False)
    order = np.argsort(levels, kind="stable")
    roots = np.empty(n_components, dtype=np.intp)
    roots[component[order]] = order  # numpy keeps the last value written: the loudest bin
    # A further node, n, is linked to all roots, so that one search from it reaches every bin.
    rows = np.concatenate([forest.row, np.full(n_components, n)])
    columns = np.concatenate([forest.col, roots])
    connected = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(n + 1, n + 1))
    _, parents = csgraph.breadth_first_order(connected, n, directed=False)
    parents = parents[:n].astype(np.intp)
    parents[roots] = roots
    rises = sparse.csr_matrix((edges.rises, ends), shape=(n, n))
    bins = np.arange(n)
    return parents, np.asarray(rises[parents, bins] - rises[bins, parents]).ravel()


def _integrate(
    parents: NDArray[np.intp], rises: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return each bin's root, and the sum of the rises from the root to the bin.

    Pointer jumping: each round doubles the number of edges that a parent index spans.
    """
    total = rises.copy()
    while True:
        grandparents = parents[parents]
        if np.array_equal(grandparents, parents):
            return parents, total
        total += total[parents]
        parents = grandparents
