"""Measure, draw and write how the latents change with each parameter of a sweep.

Distances are those of the latents that encode the effect, scaled. The mean latent of each segment
is subtracted, so that the change with the setting shows and not the difference between segments.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from dafxtool.effects.parameter import Parameter
from dafxtool.latents.projection import IDENTICAL_DISTANCE, principal_points
from dafxtool.latents.sweep import Sweep
from dafxtool.plots.pair_plot import PairPlot, draw_pair_plot
from dafxtool.plots.scatter import ScatterPanel, draw_maps
from dafxtool.utils.outputs import write_table
from dafxtool.utils.text import counted

FEWEST_VALUES = 3  # two values always have a perfect rank correlation
HEADER = (
    *("effect", "parameter", "from", "to", "latent range", "rank correlation"),
    *("level from (dB)", "level to (dB)"),
)
N_DIRECTIONS = 4  # principal directions in tables and pair plots
COLUMNS = (
    *("effect", "parameter", "value", "unit", "normalised", "level_db", "recording", "offset"),
    *(f"pc{index + 1}" for index in range(N_DIRECTIONS)),
)


@dataclass(frozen=True)
class ParameterEffect:
    """Change of the latents and of the level with one parameter.

    A value that cannot be computed is NaN.

    latent_range      largest distance between the latents of two values, mean over segments,
                      divided by the root mean square distance between two segments at the default;
                      NaN for one segment, and for segments with the same latent
    rank_correlation  absolute Spearman correlation between the values and the latents along the
                      parameter's first principal direction, mean over segments, 0 to 1; NaN for
                      fewer than three values, and for constant latents
    low_db, high_db   the effect's own level (RMS of wet over dry before levelling) at the first and
                      the last value, mean over segments; NaN where wet or dry is silent
    """

    effect: str
    parameter: str
    low: str
    high: str
    latent_range: float
    rank_correlation: float
    low_db: float
    high_db: float


def parameter_effects(sweep: Sweep) -> list[ParameterEffect]:
    """Measure how the latents change with each swept parameter."""
    distance = _distance_between_segments(sweep)
    effects = []
    for parameter in sweep.parameters:
        rows = sweep.rows_of(parameter.name)
        part, segment = sweep.latents.effect_part[rows].astype(np.float64), sweep.segment[rows]
        along = principal_points(_centre(part, segment), 1)[0][:, 0]
        members = [np.flatnonzero(segment == number) for number in range(len(sweep.default))]
        ranges = [float(pdist(part[each]).max(initial=0.0)) for each in members]
        least = IDENTICAL_DISTANCE * _size(part)
        correlations = [
            _rank_correlation(sweep.normalised[rows][each], along[each])
            if latent_range > least
            else math.nan
            for each, latent_range in zip(members, ranges, strict=True)
        ]
        low_db, high_db = (
            _mean(sweep.level_db[[rows[each[end]] for each in members]]) for end in (0, -1)
        )
        effects.append(
            ParameterEffect(
                effect=sweep.effect.name,
                parameter=parameter.name,
                low=parameter.text(float(sweep.value[rows[0]])),
                high=parameter.text(float(sweep.value[rows[-1]])),
                latent_range=float(np.mean(ranges)) / distance,
                rank_correlation=_mean(np.array(correlations)),
                low_db=low_db,
                high_db=high_db,
            )
        )
    return effects


def effect_rows(effects: Sequence[ParameterEffect]) -> list[tuple[str, ...]]:
    """Return the cells of HEADER for each parameter; a number without a basis is "-"."""

    def text(value: float, form: str) -> str:
        return "-" if math.isnan(value) else format(value, form)

    return [
        (
            *(each.effect, each.parameter, each.low, each.high),
            *(text(value, ".2f") for value in (each.latent_range, each.rank_correlation)),
            *(text(value, "+.1f") for value in (each.low_db, each.high_db)),
        )
        for each in effects
    ]


def _distance_between_segments(sweep: Sweep) -> float:
    """Return the root mean square distance of two segments at the default.

    NaN for one segment, and for segments with the same latent.
    """
    if len(sweep.default) < 2:
        return math.nan
    part = replace(sweep.latents, latent=sweep.default).effect_part.astype(np.float64)
    distance = math.sqrt(2 * float(part.var(axis=0, ddof=1).sum()))
    return distance if distance > IDENTICAL_DISTANCE * _size(part) else math.nan


def _size(part: NDArray[np.float64]) -> float:
    """Return the root mean square length of latents (n, n_latent)."""
    return float(np.sqrt(np.mean(np.square(part).sum(axis=1))))


def _mean(values: NDArray[np.float64]) -> float:
    """Return the mean of the finite values; NaN if there are none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else math.nan


def _rank_correlation(values: NDArray[np.float64], along: NDArray[np.float32]) -> float:
    """Return the absolute Spearman correlation; NaN for constant or fewer than three values."""
    if len(np.unique(values)) < FEWEST_VALUES or np.ptp(along) == 0:
        return math.nan
    return abs(float(spearmanr(values, along).statistic))


def _centre(part: NDArray[np.floating[Any]], segment: NDArray[np.int64]) -> NDArray[np.float32]:
    """Subtract the mean of each segment from its latents (n, n_latent)."""
    centred = part.astype(np.float64)
    for number in np.unique(segment):
        centred[segment == number] -= centred[segment == number].mean(axis=0)
    return centred.astype(np.float32)


def principal_directions(sweep: Sweep) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Project the centred latents on their first principal directions: (n, up to 4), and names."""
    return principal_points(_centre(sweep.latents.effect_part, sweep.segment), N_DIRECTIONS)


def draw_sweep(path: Path, sweep: Sweep, title: str = "", overwrite: bool = False) -> None:
    """Draw a panel for each parameter, coloured by its value.

    Grey lines join the points of a segment. Errors as in plots.scatter.draw_maps.
    """
    points, names = principal_directions(sweep)
    panels = []
    for parameter in sweep.parameters:
        rows = sweep.rows_of(parameter.name)
        segment = sweep.segment[rows]
        panels.append(
            ScatterPanel(
                points[rows, :2],
                title=parameter.name,
                axis_names=(names[0], names[1]),
                values=sweep.value[rows],
                value_name=_name_with_unit(parameter),
                logarithmic=parameter.scale == "logarithmic",
                paths=[np.flatnonzero(segment == number) for number in np.unique(segment)],
            )
        )
    draw_maps(path, panels, title or sweep_title(sweep), overwrite, note=sweep_note(sweep))


def draw_sweep_pairs(path: Path, sweep: Sweep, title: str = "", overwrite: bool = False) -> None:
    """Draw the principal directions against each other.

    Colours are parameters; darker points have larger values. Errors as in draw_pair_plot.
    """
    points, names = principal_directions(sweep)
    ends = {
        p.name: tuple(p.text(float(sweep.value[sweep.rows_of(p.name)[end]])) for end in (0, -1))
        for p in sweep.parameters
    }
    plot = PairPlot(points, sweep.parameter, sweep.normalised, ends, names)
    draw_pair_plot(path, plot, title or sweep_title(sweep), sweep_note(sweep), overwrite)


def _name_with_unit(parameter: Parameter) -> str:
    return f"{parameter.name} ({parameter.unit})" if parameter.unit else parameter.name


def sweep_title(sweep: Sweep) -> str:
    """Describe a sweep in one line: effect, number of segments and recordings, run."""
    n_recordings = len(set(sweep.latents.labels.recording.tolist()))
    inputs = f"{counted(len(sweep.default), 'segment')} of {counted(n_recordings, 'recording')}"
    swept = "each parameter swept alone" if len(sweep.parameters) > 1 else "one parameter swept"
    return f"{sweep.effect.name}: {swept}, {inputs}, {Path(sweep.latents.run).name}"


def sweep_note(sweep: Sweep) -> str:
    """Return the note below the title: what the axes show, and the other parameters."""
    parts = [
        f"{name} fixed at {sweep.effect.parameter(name).text(value)}"
        for name, value in sweep.fixed.items()
    ]
    if len(sweep.parameters) > 1:
        parts.append("other parameters at their default")
    return (
        f"{', '.join(['Latents of the effect', *parts])}. The mean of each segment is subtracted, "
        "so that the change with the parameter shows."
    )


def write_sweep_table(path: Path, sweeps: Sequence[Sweep], overwrite: bool = False) -> None:
    """Write a CSV row for each setting and segment; errors as in outputs.write_table.

    The principal directions differ between effects.
    """
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for sweep in sweeps:
        labels, n = sweep.latents.labels, len(sweep)
        points, _ = principal_directions(sweep)
        columns["effect"] += [sweep.effect.name] * n
        columns["parameter"] += sweep.parameter
        columns["value"] += sweep.value.tolist()
        columns["unit"] += [sweep.effect.parameter(name).unit for name in sweep.parameter]
        columns["normalised"] += sweep.normalised.tolist()
        columns["level_db"] += sweep.level_db.tolist()
        columns["recording"] += [labels.path_of(row) for row in range(n)]
        columns["offset"] += labels.offset.tolist()
        for index in range(N_DIRECTIONS):
            exists = index < points.shape[1]
            columns[f"pc{index + 1}"] += list(points[:, index]) if exists else [""] * n
    write_table(path, columns, overwrite)
