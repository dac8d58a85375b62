"""Latent maps: every segment as a point in two dimensions, to look at."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafxtool.errors import ConfigError, InputError
from dafxtool.latents.table import Latents
from dafxtool.plots.scatter import draw_map
from dafxtool.utils.outputs import write_table


def latent_map(
    latents: Latents, method: str = "umap", seed: int = 0, part: str = "effect"
) -> Projection:
    """Where each segment lies in two dimensions.

    part  effect: by the latents that tell of the effect; all: by all of them
    """
    chosen = latents.effect_part if part == "effect" else latents.latent * latents.scale
    return project(chosen, method, seed)


def draw_latent_map(
    path: Path,
    latents: Latents,
    projection: Projection,
    title: str = "",
    overwrite: bool = False,
) -> None:
    """Figures 1 and 2 of the report: one point a segment, one colour an effect."""
    draw_map(
        path,
        projection.points,
        latents.effects(),
        title=title,
        axis_names=projection.axis_names,
        order=latents.labels.effect_names,  # so that colours agree from map to map
        overwrite=overwrite,
    )


def write_map_table(
    path: Path, latents: Latents, projection: Projection, overwrite: bool = False
) -> None:
    """The coordinates and labels of each point."""
    labels, n = latents.labels, len(latents)
    columns: dict[str, Sequence[Any]] = {
        "x": projection.points[:, 0].tolist(),
        "y": projection.points[:, 1].tolist(),
        "effect": latents.effects(),
        "setting": labels.setting_text,
        "recording": [labels.path_of(row) for row in range(n)],
        "offset": labels.offset.tolist(),
        "split": [labels.split_of(row) for row in range(n)],
    }
    write_table(path, columns, overwrite)


def map_title(latents: Latents) -> str:
    """What a map shows, in a line."""
    names, labels = dict.fromkeys(latents.effects()), latents.labels
    splits = " and ".join(dict.fromkeys(labels.split_of(row) for row in range(len(latents))))
    return f"{len(names)} effects, {len(latents)} segments ({splits}), {Path(latents.run).name}"


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


def _pca(latents: NDArray[np.float32]) -> Projection:
    points, names = principal_points(latents, 2)
    return Projection(points, (names[0], names[1]))


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
