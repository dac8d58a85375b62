"""Latent maps: every segment as a point in two dimensions, to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dafxtool.latents.projection import Projection, project
from dafxtool.latents.table import Latents
from dafxtool.plots.scatter import draw_map
from dafxtool.utils.outputs import write_table


def latent_map(
    latents: Latents, method: str = "tsne", seed: int = 0, part: str = "effect"
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


def identical_lines(projection: Projection) -> list[str]:
    """Sentence on points that share a place, if there are any."""
    n = projection.n_identical
    if not n:
        return []
    total = len(projection.points)
    return [f"{n} of {total} points are identical to another one: same latent, same place"]


def map_title(latents: Latents) -> str:
    """What a map shows, in a line."""
    names, labels = dict.fromkeys(latents.effects()), latents.labels
    splits = " and ".join(dict.fromkeys(labels.split_of(row) for row in range(len(latents))))
    return f"{len(names)} effects, {len(latents)} segments ({splits}), {Path(latents.run).name}"
