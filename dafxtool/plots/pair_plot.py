"""Draw pair plots: the lower triangle of a scatter matrix, coloured by label and shaded by a value.

Points are (n, k): column j is drawn against every column after it. The hue of a label follows from
its index in the legend. Within a hue, points with larger shades (0 to 1) are darker. A column has
the same scale in all plots. The conventions of plots.base hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import ArrayLike, NDArray

from dafxtool.errors import InputError
from dafxtool.plots.base import (
    LABEL_PT,
    MARGIN,
    MARKERS,
    PALETTE,
    QUIET_INK,
    TICK_PT,
    TITLE_PT,
    Page,
    format_number,
    linear_locator,
    save_figure,
    text_height_in,
    text_width_in,
    theme,
    typeset,
    wrap,
)
from dafxtool.utils.outputs import check_figure_path

BOX = 1.75  # inches, width and height of one scatter plot
GAP = 0.12
LEFT, BELOW = 0.62, 0.42  # room for the numbers and names of the axes
STRIP = (0.9, 0.1)  # inches, least width and height of a label's shades in the legend
LIGHTEST, DARKEST = 0.72, 0.5  # shares of white and of black in the ends of a hue


@dataclass(frozen=True, eq=False)
class PairPlot:
    """Points in k dimensions, drawn for each pair of dimensions.

    points  (n, k), k at least 2
    labels  n labels
    shades  (n,) from 0 to 1
    ends    label -> text for shade 0 and text for shade 1, such as ("12 dB", "42 dB"), in the
            order of the legend
    names   k names of the columns
    """

    points: ArrayLike
    labels: Sequence[str]
    shades: ArrayLike
    ends: Mapping[str, Sequence[str]]
    names: Sequence[str]

    def __post_init__(self) -> None:
        points, shades = np.asarray(self.points), np.asarray(self.shades)
        if points.ndim != 2 or points.shape[1] < 2 or not len(points):
            raise InputError(f"a pair plot has points of shape {points.shape} (expected (n, k)).")
        if not np.isfinite(points).all():
            raise InputError(
                "a pair plot has points with NaN or infinity (expected finite values)."
            )
        if len(self.labels) != len(points) or shades.shape != (len(points),):
            raise InputError(
                f"a pair plot has {len(points)} points, {len(self.labels)} labels and shades of "
                f"shape {shades.shape} (expected one label and one shade for each point)."
            )
        if len(self.names) != points.shape[1] or not set(self.labels) <= set(self.ends):
            raise InputError(
                "a pair plot lacks the name of a column or the shade texts of a label."
            )
        if len(self.ends) > len(PALETTE) * len(MARKERS):
            raise InputError(
                f"a pair plot has {len(self.ends)} different labels (expected at most "
                f"{len(PALETTE) * len(MARKERS)}). Fix some of the parameters."
            )


def hue(index: int) -> LinearSegmentedColormap:
    """Return a colour map from the lightest to the darkest shade of a label's colour."""
    colour = np.array(to_rgb(PALETTE[index % len(PALETTE)]))
    ends = [colour + LIGHTEST * (1 - colour), colour, colour * (1 - DARKEST)]
    return LinearSegmentedColormap.from_list("shades", [tuple(end) for end in ends])


def pair_figure(content: PairPlot, title: str = "", note: str = "") -> Figure:
    """Draw a pair plot as a matplotlib figure; draw_pair_plot writes a file."""
    with theme():
        points, n_plots = np.asarray(content.points), len(content.names) - 1
        legend_width, legend_height = _legend_width(content), len(content.ends) * _row_height()
        legend_left = MARGIN + LEFT + n_plots * (BOX + GAP) + 0.12
        if legend_height < (n_plots - 1) * (BOX + GAP) - GAP:  # the upper triangle has room
            legend_left -= BOX + GAP - 0.13
        width = max(MARGIN + LEFT + n_plots * (BOX + GAP), legend_left + legend_width) + MARGIN
        heading = wrap(title, width - 2 * MARGIN, TITLE_PT, "bold")
        subtitle = wrap(note, width - 2 * MARGIN, LABEL_PT)
        note_top = MARGIN + (text_height_in(heading, TITLE_PT) + 0.04 if heading else 0.0)
        top = note_top + (text_height_in(subtitle, LABEL_PT) + 0.1 if subtitle else 0.06)
        height = top + max(n_plots * (BOX + GAP) - GAP + BELOW, legend_height) + MARGIN
        page = Page(width, height)
        page.text(MARGIN, MARGIN, heading, TITLE_PT, weight="bold")
        page.text(MARGIN, note_top, subtitle, LABEL_PT, color=QUIET_INK)
        colours = _colours(content)
        limits = [_limits(column) for column in points.T]
        for row in range(n_plots):
            for column in range(row + 1):
                left = MARGIN + LEFT + column * (BOX + GAP)
                box = (left, top + row * (BOX + GAP), BOX, BOX)
                outer = (column == 0, row == n_plots - 1)
                _draw_scatter(page, box, content, (column, row + 1), limits, colours, outer)
        _draw_legend(page, content, legend_left, top)
        return page.figure


def _colours(content: PairPlot) -> NDArray[np.float64]:
    """Return the RGBA colour of each point: (n, 4)."""
    colours = np.zeros((len(content.labels), 4))
    labels, shades = np.asarray(content.labels), np.asarray(content.shades, dtype=np.float64)
    for index, label in enumerate(content.ends):
        colours[labels == label] = hue(index)(np.clip(shades[labels == label], 0, 1))
    return colours


def _limits(column: NDArray[np.floating]) -> tuple[float, float]:
    low, high = float(column.min()), float(column.max())
    edge = 0.06 * (high - low) or 1.0
    return low - edge, high + edge


def _draw_scatter(
    page: Page,
    box: tuple[float, float, float, float],
    content: PairPlot,
    columns: tuple[int, int],
    limits: Sequence[tuple[float, float]],
    colours: NDArray[np.float64],
    outer: tuple[bool, bool],
) -> None:
    points, (x, y) = np.asarray(content.points), columns
    axes = page.axes(*box)
    axes.set(xlim=limits[x], ylim=limits[y])
    axes.spines[["top", "right"]].set_visible(False)
    # Shuffled, so that the label drawn last does not hide the others.
    order = np.random.default_rng(0).permutation(len(points))
    size = max(14 * max(len(points) / 200, 1) ** -0.4, 3.5)
    marker_of = {label: index // len(PALETTE) for index, label in enumerate(content.ends)}
    markers = np.array([marker_of[label] for label in content.labels])
    for marker in np.unique(markers):
        rows = order[markers[order] == marker]
        style = {"marker": MARKERS[marker], "s": size, "alpha": 0.85, "linewidths": 0}
        artist = axes.scatter(points[rows, x], points[rows, y], c=colours[rows], **style)
        artist.set_rasterized(len(points) > 2000)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(linear_locator())
        axis.set_major_formatter(FuncFormatter(format_number))
    axes.tick_params(labelleft=outer[0], labelbottom=outer[1])
    if outer[0]:
        axes.set_ylabel(wrap(content.names[y], BOX, LABEL_PT))
    if outer[1]:
        axes.set_xlabel(wrap(content.names[x], BOX, LABEL_PT))


def _row_height() -> float:
    return text_height_in("x", LABEL_PT) + STRIP[1] + text_height_in("x", TICK_PT) + 0.12


def _legend_width(content: PairPlot) -> float:
    names = [text_width_in(label, LABEL_PT, "bold") + 0.2 for label in content.ends]
    ends = [
        sum(text_width_in(end, TICK_PT) for end in pair) + 0.2 for pair in content.ends.values()
    ]
    return max(*names, *ends, STRIP[0])


def _draw_legend(page: Page, content: PairPlot, left: float, top: float) -> None:
    """Draw the name and the shades of each label, with the texts of the two end shades."""
    width = _legend_width(content)
    for index, (label, (low, high)) in enumerate(content.ends.items()):
        page.text(left, top, label, LABEL_PT, weight="bold")
        if len(content.ends) > len(PALETTE):
            style = {"color": hue(index)(0.5), "markersize": 5, "markeredgewidth": 0}
            middle, marker = top + text_height_in("x", LABEL_PT) / 2, MARKERS[index // len(PALETTE)]
            page.line([left + width - 0.05], [middle], marker=marker, **style)
        strip_top = top + text_height_in(label, LABEL_PT) + 0.02
        axes = page.axes(left, strip_top, width, STRIP[1])
        axes.imshow(np.linspace(0, 1, 64)[None], cmap=hue(index), aspect="auto")
        axes.set_axis_off()
        under = strip_top + STRIP[1] + 0.02
        page.text(left, under, typeset(low), TICK_PT, color=QUIET_INK)
        page.text(left + width, under, typeset(high), TICK_PT, ha="right", color=QUIET_INK)
        top += _row_height()


def draw_pair_plot(
    path: Path, content: PairPlot, title: str = "", note: str = "", overwrite: bool = False
) -> None:
    """Draw a pair plot into a PNG, SVG or PDF file.

    InputError for another suffix; OutputExistsError and DiskError as in files.atomic_write.
    """
    check_figure_path(path)
    with theme():
        save_figure(pair_figure(content, title, note), path, overwrite)
