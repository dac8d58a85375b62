"""Draw an evaluation: scores and baselines with their intervals, and a confusion matrix.

The conventions of plots.base hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

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
)
from dafxtool.utils.outputs import check_figure_path

PANEL = 3.1  # inches, width of the axis of values
ROW = 0.24
GAP = 0.4  # between columns
HEAD, FOOT = 0.42, 0.45  # of a panel: title and legend above, axis below
CELL = 0.42  # width and height of a cell of the confusion matrix
N_COLUMNS = 2
Interval = tuple[float, float, float]  # value, low, high


@dataclass(frozen=True)
class Intervals:
    """One panel: a row for each name, a marker for each method.

    rows    name -> method -> (value, low, high)
    limits  ends of the axis; None fits it to the values
    """

    title: str
    rows: Mapping[str, Mapping[str, Interval]]
    limits: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class Confusion:
    """A confusion matrix: counts (n, n) of segments of effect i that were predicted as effect j."""

    names: Sequence[str]
    counts: NDArray[np.int64]
    title: str = ""


def evaluation_figure(
    panels: Sequence[Intervals], confusion: Confusion | None = None, title: str = ""
) -> Figure:
    """Draw the panels in two columns, and the confusion matrix after them.

    InputError for panels without rows.
    """
    panels = [panel for panel in panels if panel.rows]
    if not panels:
        raise InputError(
            "an evaluation has no scores to draw (expected at least one panel with rows)."
        )
    names = max(text_width_in(name, TICK_PT) for panel in panels for name in panel.rows) + 0.12
    width = names + PANEL
    head = MARGIN + text_height_in("x", TITLE_PT) + 0.12
    heights = [HEAD + ROW * len(panel.rows) + FOOT for panel in panels]
    if confusion is not None:
        heights.append(HEAD + CELL * len(confusion.names) + 2 * FOOT)
    locations, ends = _columns(heights, head)
    page = Page(2 * MARGIN + len(ends) * width + (len(ends) - 1) * GAP + 0.1, max(ends))
    page.text(MARGIN, MARGIN, typeset(title), TITLE_PT, weight="bold")
    for panel, (column, top) in zip(panels, locations, strict=False):
        _draw_panel(page, MARGIN + column * (width + GAP), top, names, panel)
    if confusion is not None:
        column, top = locations[-1]
        _draw_confusion(page, MARGIN + column * (width + GAP), top, names, confusion)
    return page.figure


def _columns(heights: Sequence[float], head: float) -> tuple[list[tuple[int, float]], list[float]]:
    """Return (column, top) of each panel, always in the shorter column, and the columns' ends."""
    ends = [head] * min(N_COLUMNS, len(heights))
    locations = []
    for height in heights:
        column = int(np.argmin(ends))
        locations.append((column, ends[column]))
        ends[column] += height
    return locations, ends


def _draw_legend(
    page: Page, left: float, top: float, styles: Mapping[str, tuple[str, str]]
) -> None:
    axes = page.axes(0, 0, page.width, page.height)
    axes.set_axis_off()
    axes.set_xlim(0, page.width)
    axes.set_ylim(page.height, 0)
    for name, (colour, marker) in styles.items():
        axes.plot([left + 0.05], [top + 0.07], marker=marker, color=colour, markersize=4)
        page.text(left + 0.13, top, name, TICK_PT)
        left += 0.13 + text_width_in(name, TICK_PT) + 0.16


def _draw_panel(page: Page, left: float, top: float, names: float, panel: Intervals) -> None:
    all_methods = dict.fromkeys(method for row in panel.rows.values() for method in row)
    styles = {
        method: (PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)])
        for i, method in enumerate(all_methods)
    }
    page.text(left, top, typeset(panel.title), LABEL_PT, weight="bold")
    _draw_legend(page, left, top + 0.2, styles)
    axes = page.axes(left + names, top + HEAD, PANEL, ROW * len(panel.rows))
    for row, methods in enumerate(panel.rows.values()):
        shifts = np.linspace(-0.28, 0.28, len(methods)) if len(methods) > 1 else [0.0]
        for shift, (method, (value, low, high)) in zip(shifts, methods.items(), strict=True):
            colour, marker = styles[method]
            if not np.isfinite(value):
                continue
            if np.isfinite(low) and np.isfinite(high):
                axes.plot([low, high], [row + shift] * 2, color=colour, linewidth=1, alpha=0.7)
            axes.plot([value], [row + shift], marker=marker, color=colour, markersize=3.5)
        if row % 2:
            axes.axhspan(row - 0.5, row + 0.5, color="#F4F4F4", zorder=0)
    axes.set_ylim(len(panel.rows) - 0.5, -0.5)
    if panel.limits:
        axes.set_xlim(*panel.limits)
    elif axes.get_xlim()[0] > 0:
        axes.set_xlim(left=0)
    axes.set_yticks(range(len(panel.rows)), list(map(typeset, panel.rows)), size=TICK_PT)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(linear_locator())
    axes.xaxis.set_major_formatter(FuncFormatter(format_number))
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", color="#E5E5E5", linewidth=0.5)
    axes.set_axisbelow(True)


def _draw_confusion(
    page: Page, left: float, top: float, names: float, confusion: Confusion
) -> None:
    n = len(confusion.names)
    page.text(left, top, typeset(confusion.title), LABEL_PT, weight="bold")
    axes = page.axes(left + names, top + HEAD - 0.15, CELL * n, CELL * n)
    shares = confusion.counts / np.maximum(confusion.counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Greys", vmin=0, vmax=1, aspect="auto")
    for (row, column), count in np.ndenumerate(confusion.counts):
        ink = "white" if shares[row, column] > 0.5 else QUIET_INK
        axes.text(column, row, str(count), ha="center", va="center", size=TICK_PT, color=ink)
    axes.set_yticks(range(n), list(map(typeset, confusion.names)), size=TICK_PT)
    axes.set_xticks(
        range(n), list(map(typeset, confusion.names)), size=TICK_PT, rotation=35, ha="right"
    )
    axes.tick_params(length=0)


def draw_evaluation(
    path: Path,
    panels: Sequence[Intervals],
    confusion: Confusion | None = None,
    title: str = "",
    overwrite: bool = False,
) -> None:
    """Draw an evaluation into a PNG, SVG or PDF file.

    InputError for another suffix and for panels without rows; OutputExistsError and DiskError as
    in files.atomic_write.
    """
    check_figure_path(path)
    with theme():
        save_figure(evaluation_figure(panels, confusion, title), path, overwrite)
