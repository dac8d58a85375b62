"""Project latents (n, n_latent) to points (n, 2) of a map.

Points depend on the latents and the seed alone, not on the number of threads. Segments with the
same latents have the same point.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from numpy.typing import NDArray

from dafxtool.errors import ConfigError, InputError, MissingDependencyError

METHODS = ("tsne", "umap", "pca")
MAX_PERPLEXITY = 30.0  # effective number of neighbours of t-SNE, for large maps
ANGLE = 0.8  # of Barnes-Hut; 8,000 points take 32 s, and 50 s with 0.5 at equal quality
N_NEIGHBOURS = 15  # of UMAP
MIN_POINTS = 3
# Latents closer than this count as identical, relative to the RMS distance from the mean. The same
# segment in two batches differs by 1e-7 (rounding of float32), the two nearest of 8,000 different
# segments by 2e-2.
IDENTICAL_DISTANCE = 1e-4


@dataclass(frozen=True)
class Projection:
    """Points of a map.

    points       (n, 2)
    axis_names   name of each axis
    n_identical  number of points with the latents, and so the location, of another point
    """

    points: NDArray[np.float32]
    axis_names: tuple[str, str]
    n_identical: int = 0


def project(latents: NDArray[np.float32], method: str = "tsne", seed: int = 0) -> Projection:
    """Project latents (n, n_latent) to two dimensions.

    method  "tsne": van der Maaten & Hinton 2008, initialised with the first two principal
            components. "umap": McInnes et al. 2018, arXiv:1802.03426, the extra dafxtool[umap].
            "pca": the first two principal components

    tsne and umap keep neighbours together, but not the sizes of groups or the distances between
    them. pca keeps distances as far as two directions can.

    InputError for fewer than three segments; errors as in check_method.
    """
    check_method(method)
    if len(latents) < MIN_POINTS:
        raise InputError(
            f"a map needs at least {MIN_POINTS} segments (found {len(latents)}). Give more "
            "recordings or pairs."
        )
    from threadpoolctl import threadpool_limits

    rows, group = find_distinct(latents)
    # One thread: sums depend on the number of threads, and small problems are faster without them.
    with threadpool_limits(1):
        if method == "pca" or len(rows) < MIN_POINTS:
            points, names = _pca(latents)
            points = points[rows]
        elif method == "tsne":
            points, names = _tsne(latents[rows], seed), ("t-SNE 1", "t-SNE 2")
        else:
            points, names = _umap(latents[rows], seed), ("UMAP 1", "UMAP 2")
    sizes = np.bincount(group)
    return Projection(points[group], names, int(sizes[sizes > 1].sum()))


def check_method(method: str) -> None:
    """Check that a method exists and its package is installed, without importing it.

    ConfigError or MissingDependencyError.
    """
    if method not in METHODS:
        raise ConfigError(f"unknown method {method!r}. Use {' or '.join(METHODS)}.")
    if method == "umap":
        try:
            version("umap-learn")
        except PackageNotFoundError as error:
            raise MissingDependencyError("dafxtool[umap]", "--method umap") from error


def find_distinct(latents: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Group identical latents: return the first row of each group, and the group (n,) of each row.

    Groups are numbered in the order of their first rows.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    unique, inverse = np.unique(latents, axis=0, return_inverse=True)
    scale = float(np.sqrt(np.mean(np.square(latents - latents.mean(axis=0)).sum(axis=1))))
    pairs = cKDTree(unique).query_pairs(IDENTICAL_DISTANCE * scale, output_type="ndarray")
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(unique),) * 2)
    merged = connected_components(links, directed=False)[1][inverse.reshape(-1)]
    _, rows, group = np.unique(merged, return_index=True, return_inverse=True)
    order = np.argsort(rows)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rows[order], rank[group.reshape(-1)]


def principal_points(
    latents: NDArray[np.float32], n_directions: int
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Project latents (n, n_latent) on their first principal directions.

    Returns points (n, n_directions) and the names of the directions; fewer if there are fewer rows
    or latents.
    """
    from sklearn.decomposition import PCA

    pca = PCA(n_components=min(n_directions, *latents.shape), svd_solver="full")
    with np.errstate(invalid="ignore"):  # the shares of constant latents are 0 / 0
        points = pca.fit_transform(latents)
    names = [f"PC {i} ({share:.0%} of variance)" for i, share in enumerate(_shares(pca), 1)]
    return points.astype(np.float32), tuple(names)


def _pca(latents: NDArray[np.float32]) -> tuple[NDArray[np.float32], tuple[str, str]]:
    points, names = principal_points(latents, 2)
    return points, (names[0], names[1])


def _shares(pca: object) -> list[float]:
    return [float(share) for share in np.nan_to_num(pca.explained_variance_ratio_)]  # type: ignore[attr-defined]


def perplexity(n_points: int) -> float:
    """Return the perplexity of t-SNE: 30, or half the number of other points if there are few.

    A third instead of half would cost 5 to 10 points 0.03 to 0.08 of their trustworthiness.
    """
    return min(MAX_PERPLEXITY, (n_points - 1) / 2)


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
