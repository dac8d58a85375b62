"""Project latents to a map, and draw and write it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dafxtool.latents.columns import csv_cells, setting_columns
from dafxtool.latents.projection import Projection, project
from dafxtool.latents.table import Latents
from dafxtool.plots.scatter import draw_map
from dafxtool.utils.outputs import write_table
from dafxtool.utils.text import counted


def latent_map(
    latents: Latents, method: str = "tsne", seed: int = 0, part: str = "effect"
) -> Projection:
    """Project each segment to a point (x, y).

    part  "effect": the latents that encode the effect; "all": all latents, scaled
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
    """Draw a point for each segment and a colour for each effect (the report's figures 1, 2)."""
    draw_map(
        path,
        projection.points,
        latents.effects(),
        title=title,
        axis_names=projection.axis_names,
        order=latents.labels.effect_names,  # the same colours in every map
        overwrite=overwrite,
    )


def write_map_table(
    path: Path, latents: Latents, projection: Projection, overwrite: bool = False
) -> None:
    """Write the coordinates and labels of each point as CSV; errors as in outputs.write_table."""
    labels, n = latents.labels, len(latents)
    columns: dict[str, Sequence[Any]] = {
        "x": projection.points[:, 0].tolist(),
        "y": projection.points[:, 1].tolist(),
        "effect": latents.effects(),
        **{name: csv_cells(column) for name, column in setting_columns(labels).items()},
        "recording": [labels.path_of(row) for row in range(n)],
        "offset": labels.offset.tolist(),
        "split": [labels.split_of(row) for row in range(n)],
    }
    write_table(path, columns, overwrite)


def identical_lines(projection: Projection) -> list[str]:
    """Return a sentence on points that share a location; none if there are no such points."""
    n = projection.n_identical
    if not n:
        return []
    total = len(projection.points)
    return [f"{n} of {total} points have the same latents and location as another one"]


def map_title(latents: Latents) -> str:
    """Describe a map in one line: effects, segments, splits and run."""
    names, labels = dict.fromkeys(latents.effects()), latents.labels
    splits = " and ".join(dict.fromkeys(labels.split_of(row) for row in range(len(latents))))
    size = f"{counted(len(names), 'effect')}, {counted(len(latents), 'segment')}"
    return f"{size} ({splits}), {Path(latents.run).name}"
