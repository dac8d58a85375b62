"""Project latents to two dimensions, for maps."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dafxtool.errors import ConfigError, InputError

METHODS = ("umap", "pca")
N_NEIGHBOURS = 15
FEWEST_POINTS = 5


@dataclass(frozen=True)
class Projection:
    """points (n, 2) and what each axis is called."""

    points: NDArray[np.float32]
    axis_names: tuple[str, str]


def project(latents: NDArray[np.float32], method: str = "umap", seed: int = 0) -> Projection:
    """Latents (n, n_latent) in two dimensions, the same for the same seed.

    umap keeps neighbours together (McInnes et al. 2018, arXiv:1802.03426): near points are alike,
    distances between groups and their sizes say little. pca keeps straight lines and distances.
    """
    if method not in METHODS:
        raise ConfigError(f"the method {method!r} is unknown: use {' or '.join(METHODS)}.")
    if len(latents) < FEWEST_POINTS:
        raise InputError(
            f"a map of {len(latents)} segments shows nothing: give at least {FEWEST_POINTS}."
        )
    return _pca(latents) if method == "pca" else _umap(latents, seed)


def _pca(latents: NDArray[np.float32]) -> Projection:
    from sklearn.decomposition import PCA

    pca = PCA(n_components=2, svd_solver="full")
    points = pca.fit_transform(latents)
    shares = [f"PC {i} ({share:.0%} of variance)" for i, share in enumerate(_shares(pca), 1)]
    return Projection(points.astype(np.float32), (shares[0], shares[1]))


def _shares(pca: object) -> list[float]:
    return [float(share) for share in np.nan_to_num(pca.explained_variance_ratio_)]  # type: ignore[attr-defined]


def _umap(latents: NDArray[np.float32], seed: int) -> Projection:
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
        points = reducer.fit_transform(latents)
    return Projection(np.asarray(points, dtype=np.float32), ("UMAP 1", "UMAP 2"))
