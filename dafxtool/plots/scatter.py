"""Draw latent maps: points in two dimensions, coloured by their label or by a value.

Points are (n, 2). All maps of one figure share their limits, and x and y share their scale, so that
distances can be compared. The colour and the marker of a label follow from its index in the order
of labels. The conventions of plots.base hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import ListedColormap, LogNorm, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator
from numpy.typing import ArrayLike, NDArray

from dafxtool.errors import InputError
from dafxtool.plots.base import (
    LABEL_PT,
    LINE_SPACING,
    MARGIN,
    MARKERS,
    N_COLUMNS,
    PALETTE,
    QUIET_INK,
    RULE,
    TICK_PT,
    TITLE_PT,
    VALUE_COLOURS,
    Page,
    format_number,
    linear_locator,
    log_locator,
    save_figure,
    text_height_in,
    text_width_in,
    theme,
    typeset,
    wrap,
)
from dafxtool.utils.outputs import check_figure_path


@dataclass(frozen=True, eq=False)
class ScatterPanel:
    """Points in two dimensions, coloured by their label or by a value.

    points       (n, 2)
    labels       n labels, or none; each has a colour, and every eight of them a marker
    order        all labels in the order of their colours, so that two maps agree; other labels
                 follow in alphabetical order
    values       (n,) values that colour the points in place of the labels; a colour bar shows them
    value_name   label of the colour bar, such as "cutoff (Hz)"
    logarithmic  use a logarithmic colour scale
    context      (m, 2) further points, drawn in grey below
    paths        sequences of rows; a thin grey line joins the points of each
    """

    points: ArrayLike
    labels: Sequence[str] = ()
    title: str = ""
    axis_names: tuple[str, str] = ("", "")
    order: Sequence[str] = ()
    values: ArrayLike | None = None
    value_name: str = ""
    logarithmic: bool = False
    context: ArrayLike | None = None
    paths: Sequence[ArrayLike] = ()

    def __post_init__(self) -> None:
        for kind, points in (("points", self.points), ("context points", self.context)):
            array = np.zeros((1, 2)) if points is None else np.asarray(points)
            if array.ndim != 2 or array.shape[1] != 2 or not len(array):
                raise InputError(f"a map has {kind} of shape {array.shape} (expected (n, 2)).")
            if not np.isfinite(array).all():
                raise InputError(f"a map has {kind} with NaN or infinity (expected finite values).")
        self._check_labels()
        if self.values is not None:
            self._check_values(np.asarray(self.values))

    def _check_labels(self) -> None:
        n_points, n_labels = len(np.asarray(self.points)), len(self.labels)
        if n_labels not in (0, n_points):
            raise InputError(
                f"a map has {n_points} points and {n_labels} labels (expected one label a point)."
            )
        if len(self.names) > len(PALETTE) * len(MARKERS):
            raise InputError(
                f"a map has {len(self.names)} different labels (expected at most "
                f"{len(PALETTE) * len(MARKERS)}). Colour the points by a value."
            )

    def _check_values(self, values: NDArray[Any]) -> None:
        if values.shape != (len(np.asarray(self.points)),) or not np.isfinite(values).all():
            raise InputError(
                f"a map has values of shape {values.shape} or that are not finite "
                "(expected one finite value a point)."
            )
        if self.logarithmic and not (values > 0).all():
            raise InputError(
                "a logarithmic colour scale has values of 0 or below (expected above 0)."
            )

    @property
    def names(self) -> list[str]:
        """Different labels in the order of their colours."""
        return [*self.order, *sorted(set(self.labels) - set(self.order))]


def label_style(index: int) -> tuple[str, str]:
    """Return the colour and the marker of the label with this index; there are 64 of them."""
    return PALETTE[index % len(PALETTE)], MARKERS[index // len(PALETTE)]


def _point_style(n_points: int, n_labels: int) -> dict[str, Any]:
    """Choose size and opacity: more points are smaller and fainter, markers stay legible."""
    smallest = 3.5 if n_labels <= len(PALETTE) else 8.0  # square points
    return {
        "s": max(36 * max(n_points / 20, 1) ** -0.33, smallest),
        "alpha": min(max(0.9 * (n_points / 200) ** -0.2, 0.4), 0.9),
        "linewidths": 0.0,
    }


@dataclass(frozen=True)
class _Legend:
    """Legend with the marker, the wrapped name and the count of each label; sizes in inches."""

    entries: list[tuple[tuple[str, str], str, int]]
    NAME_WIDTH = 2.0
    MARKER_WIDTH = 0.18
    ROW_GAP = 0.035

    @classmethod
    def of(cls, content: ScatterPanel) -> _Legend:
        labels = list(content.labels)
        entries = [
            (label_style(index), wrap(name, cls.NAME_WIDTH, LABEL_PT), labels.count(name))
            for index, name in enumerate(content.names)
        ]
        return cls([entry for entry in entries if entry[2]])

    @property
    def width(self) -> float:
        names = [line for _, name, _ in self.entries for line in name.split("\n")]
        widest = max(text_width_in(name, LABEL_PT) for name in names)
        counts = max(text_width_in(f"{count:,}", LABEL_PT) for _, _, count in self.entries)
        return self.MARKER_WIDTH + widest + 0.15 + counts

    @property
    def height(self) -> float:
        return sum(text_height_in(name, LABEL_PT) + self.ROW_GAP for _, name, _ in self.entries)

    def draw(self, page: Page, left: float, top: float) -> None:
        for (colour, marker), name, count in self.entries:
            middle = top + text_height_in("x", LABEL_PT) / 2
            style = {"marker": marker, "color": colour, "markersize": 5, "markeredgewidth": 0}
            page.line([left + 0.05], [middle], **style)
            page.text(left + self.MARKER_WIDTH, top, name, LABEL_PT)
            right = left + self.width
            page.text(right, top, f"{count:,}", LABEL_PT, ha="right", color=QUIET_INK)
            top += text_height_in(name, LABEL_PT) + self.ROW_GAP


class _MapLayout:
    """Positions of maps in inches; all maps share their limits, and x and y their scale."""

    def __init__(self, maps: Sequence[ScatterPanel], title: str, note: str) -> None:
        self.n_columns = N_COLUMNS.get(len(maps), 3)
        self._set_limits(maps, 4.4 if len(maps) == 1 else 2.7)
        self.direct = [self._direct_labels(content) for content in maps]
        self.sides = [self._side_width(*each) for each in zip(maps, self.direct, strict=True)]
        self.pitch = 0.62 + self.box_width + max(self.sides)
        self.width = MARGIN + self.n_columns * self.pitch + MARGIN
        self.title = wrap(title, self.width - 2 * MARGIN, TITLE_PT, "bold")
        self.note = wrap(note, self.width - 2 * MARGIN, LABEL_PT)
        head_width = self.box_width + max(self.sides)
        self.titles = [wrap(content.title, head_width, LABEL_PT, "bold") for content in maps]
        self._place_rows(maps)

    def _set_limits(self, maps: Sequence[ScatterPanel], longest: float) -> None:
        clouds = [content.points for content in maps]
        clouds += [content.context for content in maps if content.context is not None]
        points = np.concatenate([np.asarray(cloud, dtype=np.float64) for cloud in clouds])
        low, high = points.min(axis=0), points.max(axis=0)
        span = np.maximum(high - low, 1e-6 * max(1.0, float(np.abs(points).max())))
        self.box_width, self.box_height = longest * np.maximum(span / span.max(), (0.75, 0.6))
        inches = np.array([self.box_width, self.box_height]) - 0.3  # points stay off the edges
        scale = float((span / inches).max())  # units an inch
        half = scale * np.array([self.box_width, self.box_height]) / 2
        centre = (low + high) / 2
        self.low, self.high = centre - half, centre + half

    def _direct_labels(self, content: ScatterPanel) -> dict[str, tuple[float, float]]:
        """Return the medians of the labels if there are few and their names would not touch."""
        names = [name for name in content.names if name in set(content.labels)]
        if content.values is not None or not 0 < len(names) <= len(PALETTE):
            return {}
        points, labels = np.asarray(content.points, dtype=np.float64), np.asarray(content.labels)
        medians = np.array([np.median(points[labels == name], axis=0) for name in names])
        inches = (medians - self.low) / (self.high[0] - self.low[0]) * self.box_width
        widths = np.array([text_width_in(name, LABEL_PT, "bold") for name in names]) + 0.08
        off_edges = np.minimum(inches[:, 0], self.box_width - inches[:, 0]) - widths / 2
        apart = np.abs(inches[:, None] - inches)
        touching = apart[..., 0] < (widths[:, None] + widths) / 2
        touching &= apart[..., 1] < LABEL_PT * LINE_SPACING / 72
        if off_edges.min() < 0 or touching.sum() > len(names):  # each touches itself
            return {}
        return {name: (float(x), float(y)) for name, (x, y) in zip(names, medians, strict=True)}

    @staticmethod
    def _side_width(content: ScatterPanel, direct: Mapping[str, tuple[float, float]]) -> float:
        if content.values is not None:
            return 0.75
        return _Legend.of(content).width + 0.2 if content.labels and not direct else 0.1

    def _place_rows(self, maps: Sequence[ScatterPanel]) -> None:
        top = MARGIN + (text_height_in(self.title, TITLE_PT) + 0.08 if self.title else 0.0)
        self.note_top = top - 0.04
        top += text_height_in(self.note, LABEL_PT) + 0.06 if self.note else 0.0
        self.tops: list[float] = []
        for first in range(0, len(maps), self.n_columns):
            row = range(first, min(first + self.n_columns, len(maps)))
            top += max(text_height_in(self.titles[index], LABEL_PT) for index in row) + 0.05
            self.tops.append(top)
            legends = [_Legend.of(maps[i]).height for i in row if self.has_legend(maps[i], i)]
            top += max([self.box_height + 0.42, *legends])
        self.height = top + 0.06

    def has_legend(self, content: ScatterPanel, index: int) -> bool:
        return content.values is None and len(content.labels) > 0 and not self.direct[index]

    def box(self, index: int) -> tuple[float, float]:
        """Return left and top of the box of a map."""
        row, column = divmod(index, self.n_columns)
        return MARGIN + 0.5 + column * self.pitch, self.tops[row]


def map_figure(maps: Sequence[ScatterPanel], title: str = "", note: str = "") -> Figure:
    """Draw maps as a matplotlib figure; draw_map and draw_maps write files."""
    if not maps:
        raise InputError("a figure of maps is empty (expected at least one map).")
    with theme():
        layout = _MapLayout(maps, title, note)
        page = Page(layout.width, layout.height)
        page.text(MARGIN, MARGIN, layout.title, TITLE_PT, weight="bold")
        page.text(MARGIN, layout.note_top, layout.note, LABEL_PT, color=QUIET_INK)
        for index, content in enumerate(maps):
            _draw_one_map(page, layout, index, content)
        return page.figure


def _draw_one_map(page: Page, layout: _MapLayout, index: int, content: ScatterPanel) -> None:
    left, top = layout.box(index)
    axes = page.axes(left, top, layout.box_width, layout.box_height)
    axes.set(xlim=(layout.low[0], layout.high[0]), ylim=(layout.low[1], layout.high[1]))
    axes.spines[["top", "right"]].set_visible(False)
    for axis, name in zip((axes.xaxis, axes.yaxis), content.axis_names, strict=True):
        axis.set_major_locator(linear_locator())
        axis.set_major_formatter(FuncFormatter(format_number))
        axis.set_label_text(typeset(name))
    page.text_above(left, top - 0.04, layout.titles[index], LABEL_PT, weight="bold")
    if content.context is not None:
        grey = np.asarray(content.context)
        axes.scatter(
            grey[:, 0], grey[:, 1], color="#DDDDDD", **_point_style(len(grey), 1), rasterized=True
        )
    if len(content.paths):
        lines = [np.asarray(content.points)[np.asarray(path)] for path in content.paths]
        axes.add_collection(LineCollection(lines, colors=RULE, linewidths=0.5, zorder=0.9))
    right = left + layout.box_width
    if content.values is not None:
        _draw_values(page, axes, content, (right + 0.15, top, 0.1, layout.box_height))
    else:
        _draw_labelled(axes, content)
        halo = [patheffects.withStroke(linewidth=2.5, foreground="white", alpha=0.9)]
        for name, (x, y) in layout.direct[index].items():
            bright = to_rgb(label_style(content.names.index(name))[0])
            style: dict[str, Any] = {"color": [0.6 * part for part in bright], "weight": "bold"}
            axes.text(x, y, name, ha="center", va="center", path_effects=halo, **style)
    if layout.has_legend(content, index):
        _Legend.of(content).draw(page, right + 0.2, top)
    else:  # a legend shows its own counts
        count = f"n = {len(np.asarray(content.points)):,}"
        under = top + layout.box_height + 0.23
        page.text(right, under, count, TICK_PT, ha="right", color=QUIET_INK)


def _draw_labelled(axes: Axes, content: ScatterPanel) -> None:
    points, names = np.asarray(content.points), content.names
    labels = np.array([names.index(label) for label in content.labels] or [0] * len(points))
    style = _point_style(len(points), len(names))
    # In shuffled parts, so that the label drawn last does not hide the others.
    shuffled = np.random.default_rng(0).permutation(len(points))
    for part in np.array_split(shuffled, min(8, len(points))):
        for group in np.unique(labels[part] // len(PALETTE)):
            rows = part[labels[part] // len(PALETTE) == group]
            colours = [label_style(label)[0] for label in labels[rows]]
            artist = axes.scatter(
                points[rows, 0], points[rows, 1], c=colours, marker=MARKERS[group], **style
            )
            artist.set_rasterized(len(points) > 2000)


def _draw_values(
    page: Page, axes: Axes, content: ScatterPanel, box: tuple[float, float, float, float]
) -> None:
    values, points = np.asarray(content.values, dtype=np.float64), np.asarray(content.points)
    scale = (LogNorm if content.logarithmic else Normalize)(values.min(), values.max())
    order = np.random.default_rng(0).permutation(len(points))
    artist: PathCollection = axes.scatter(
        points[order, 0], points[order, 1], c=values[order], cmap=_value_colours(), norm=scale,
        **_point_style(len(points), 1),
    )  # fmt: skip
    artist.set_rasterized(len(points) > 2000)
    bar = page.figure.colorbar(artist, cax=page.axes(*box))
    bar.solids.set_alpha(1)  # type: ignore[union-attr]
    bar.locator = log_locator(values) if content.logarithmic else linear_locator()
    bar.formatter = FuncFormatter(format_number)
    bar.minorlocator = NullLocator()
    bar.set_label(wrap(content.value_name, box[3], LABEL_PT))
    bar.update_ticks()


def _value_colours() -> ListedColormap:
    """Return the colours of values without the brightest ones, which would not show on white."""
    return ListedColormap(matplotlib.colormaps[VALUE_COLOURS](np.linspace(0, 0.93, 256)))


def draw_maps(
    path: Path,
    maps: Sequence[ScatterPanel],
    title: str = "",
    overwrite: bool = False,
    note: str = "",
) -> None:
    """Draw maps side by side on the same axes, such as one for each parameter of a sweep.

    note  one or two sentences below the title that explain the figure

    InputError for a suffix other than .png, .svg or .pdf; OutputExistsError and DiskError as in
    files.atomic_write.
    """
    check_figure_path(path)
    with theme():
        save_figure(map_figure(maps, title, note), path, overwrite)


def draw_map(
    path: Path,
    points: ArrayLike,
    labels: Sequence[str] = (),
    title: str = "",
    axis_names: tuple[str, str] = ("", ""),
    order: Sequence[str] = (),
    overwrite: bool = False,
) -> None:
    """Draw points (n, 2) coloured by their labels; see ScatterPanel and draw_maps for more."""
    content = ScatterPanel(points, labels, axis_names=axis_names, order=order)
    draw_maps(path, [content], title, overwrite)
