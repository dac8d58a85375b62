"""Project latents to two dimensions, for maps.

Latents (n, n_latent) become points (n, 2). Points depend on the latents and the seed alone, not on
the number of threads. Segments with the same latent have the same point.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from numpy.typing import NDArray

from dafxtool.errors import ConfigError, InputError, MissingDependencyError

METHODS = ("tsne", "umap", "pca")
LARGEST_PERPLEXITY = 30.0  # neighbours that t-SNE keeps together, where there are enough points
ANGLE = 0.8  # of Barnes-Hut; 8,000 points 32 s in place of 50 s with 0.5, as trustworthy
N_NEIGHBOURS = 15  # the same of UMAP
FEWEST_POINTS = 3
# Relative to the RMS distance from the mean. One segment embedded in two batches differs by 1e-7,
# which is the rounding of float32; the nearest of 8,000 different segments by 2e-2.
SAME_LATENT = 1e-4


@dataclass(frozen=True)
class Projection:
    """Points of a map.

    points       (n, 2)
    axis_names   name of each axis
    n_identical  number of points whose latent is the one of another point, at the same place
    """

    points: NDArray[np.float32]
    axis_names: tuple[str, str]
    n_identical: int = 0


def project(latents: NDArray[np.float32], method: str = "tsne", seed: int = 0) -> Projection:
    """Project latents (n, n_latent) to two dimensions.

    tsne and umap keep neighbours together: near points are alike, distances between groups and
    their sizes say little. pca keeps distances as far as two directions can. UMAP is the optional
    extra dafxtool[umap].

    tsne  van der Maaten & Hinton 2008, started from the first two principal components
    umap  McInnes et al. 2018, arXiv:1802.03426
    """
    check_method(method)
    if len(latents) < FEWEST_POINTS:
        raise InputError(
            f"a map needs at least {FEWEST_POINTS} segments (found {len(latents)}). Give more "
            "recordings or pairs."
        )
    from threadpoolctl import threadpool_limits

    rows, place = distinct(latents)
    # Sums over threads depend on their number, and small problems are faster without them.
    with threadpool_limits(1):
        if method == "pca" or len(rows) < FEWEST_POINTS:
            points, names = _pca(latents)
            points = points[rows]
        elif method == "tsne":
            points, names = _tsne(latents[rows], seed), ("t-SNE 1", "t-SNE 2")
        else:
            points, names = _umap(latents[rows], seed), ("UMAP 1", "UMAP 2")
    sizes = np.bincount(place)
    return Projection(points[place], names, int(sizes[sizes > 1].sum()))


def check_method(method: str) -> None:
    """Refuse an unknown method, and one whose package is not installed; import none."""
    if method not in METHODS:
        raise ConfigError(f"the method {method!r} is unknown: use {' or '.join(METHODS)}.")
    if method == "umap":
        try:
            version("umap-learn")
        except PackageNotFoundError as error:
            raise MissingDependencyError("dafxtool[umap]", "--method umap") from error


def distinct(latents: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the first of each group of identical latents, and the group (n,) of every row."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    unique, group = np.unique(latents, axis=0, return_inverse=True)
    scale = float(np.sqrt(np.mean(np.square(latents - latents.mean(axis=0)).sum(axis=1))))
    pairs = cKDTree(unique).query_pairs(SAME_LATENT * scale, output_type="ndarray")
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(unique),) * 2)
    merged = connected_components(links, directed=False)[1][group.reshape(-1)]
    _, rows, place = np.unique(merged, return_index=True, return_inverse=True)
    order = np.argsort(rows)  # in the order of the latents, whatever their values
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rows[order], rank[place.reshape(-1)]


def principal_points(
    latents: NDArray[np.float32], n_directions: int
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Latents (n, n_latent) along their first principal directions (n, n_directions), and names.

    There are no more directions than rows or latents.
    """
    from sklearn.decomposition import PCA

    pca = PCA(n_components=min(n_directions, *latents.shape), svd_solver="full")
    with np.errstate(invalid="ignore"):  # where nothing moves, all shares are 0 of 0
        points = pca.fit_transform(latents)
    names = [f"PC {i} ({share:.0%} of variance)" for i, share in enumerate(_shares(pca), 1)]
    return points.astype(np.float32), tuple(names)


def _pca(latents: NDArray[np.float32]) -> tuple[NDArray[np.float32], tuple[str, str]]:
    points, names = principal_points(latents, 2)
    return points, (names[0], names[1])


def _shares(pca: object) -> list[float]:
    return [float(share) for share in np.nan_to_num(pca.explained_variance_ratio_)]  # type: ignore[attr-defined]


def perplexity(n_points: int) -> float:
    """Number of neighbours that t-SNE keeps together.

    Half of all others where there are few: with a third, 5 to 10 points lose 0.03 to 0.08 of their
    trustworthiness.
    """
    return min(LARGEST_PERPLEXITY, (n_points - 1) / 2)


def _tsne(latents: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    from sklearn.manifold import TSNE

    neighbours = perplexity(len(latents))
    reducer = TSNE(init="pca", perplexity=neighbours, angle=ANGLE, random_state=seed)
    return np.asarray(reducer.fit_transform(latents), dtype=np.float32)


def _umap(latents: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from umap import UMAP

        reducer = UMAP(
            n_components=2,
            n_neighbors=min(N_NEIGHBOURS, len(latents) - 1),
            min_dist=0.1,
            random_state=seed,
            n_jobs=1,
            init="pca" if len(latents) < 50 else "spectral",
        )
        return np.asarray(reducer.fit_transform(latents), dtype=np.float32)
