"""Draw training curves, one small panel for each quantity.

A curve is two arrays (n,), steps and values. Values that are not finite leave gaps. A curve has the
same colour in all panels. A curve of many points is a faint line with its moving average above it.
Curves of a few points have markers, and an axis on which a small change looks small.
A quantity that spans more than a decade has a logarithmic axis. The conventions of plots.base hold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator
from numpy.typing import ArrayLike, NDArray

from dafxtool.errors import InputError
from dafxtool.plots.base import (
    LABEL_PT,
    MARGIN,
    N_COLUMNS,
    PALETTE,
    TICK_PT,
    TITLE_PT,
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

Curve = tuple[ArrayLike, ArrayLike]
FEW_POINTS = 3  # of a curve that is drawn by its points
SMALLEST_SPAN = 0.2  # of the axis of such curves, relative to the largest value
MARKERS = (("o", 6.5, "white"), ("s", 3.5, None), ("^", 4.5, "white"))  # shape, size in pt, face


def curves_figure(
    quantities: Mapping[str, Mapping[str, Curve]], title: str = "", x_name: str = "step"
) -> Figure:
    """Draw curves as a matplotlib figure; draw_curves writes a file."""
    if not quantities or not all(quantities.values()):
        raise InputError("a figure of curves is empty (expected at least one curve in each panel).")
    names = list(dict.fromkeys(name for lines in quantities.values() for name in lines))
    colours = {name: PALETTE[(0, 3, 2, 5, 1, 4, 6, 7)[i % 8]] for i, name in enumerate(names)}
    with theme():
        width, height, n_columns = 2.5, 1.65, N_COLUMNS.get(len(quantities), 3)
        page_width = MARGIN + n_columns * (width + 0.62) + MARGIN
        heading = wrap(title, page_width - 2 * MARGIN, TITLE_PT, "bold")
        head = MARGIN + (text_height_in(heading, TITLE_PT) + 0.06 if heading else 0.0)
        n_rows = math.ceil(len(quantities) / n_columns)
        page = Page(page_width, head + 0.14 + n_rows * (height + 0.68))
        page.text(MARGIN, MARGIN, heading, TITLE_PT, weight="bold")
        _draw_curve_names(page, MARGIN + 0.5, head, colours)
        for index, (quantity, lines) in enumerate(quantities.items()):
            row, column = divmod(index, n_columns)
            left, top = MARGIN + 0.5 + column * (width + 0.62), head + 0.38 + row * (height + 0.68)
            axes = page.axes(left, top, width, height)
            _draw_quantity(axes, lines, colours)
            axes.set_xlabel(x_name, size=TICK_PT)
            page.text_above(left, top - 0.04, typeset(quantity), LABEL_PT, weight="bold")
        return page.figure


def _draw_curve_names(page: Page, left: float, top: float, colours: Mapping[str, str]) -> None:
    for name, colour in colours.items():
        middle = top + text_height_in("x", LABEL_PT) / 2
        page.line((left, left + 0.2), (middle, middle), color=colour, linewidth=1.4)
        page.text(left + 0.26, top, name, LABEL_PT)
        left += 0.26 + text_width_in(name, LABEL_PT) + 0.25


def _draw_quantity(axes: Axes, lines: Mapping[str, Curve], colours: Mapping[str, str]) -> None:
    """Draw the curves of one quantity into its panel."""
    finite: list[NDArray[np.float64]] = []
    is_short = all(np.size(steps) <= FEW_POINTS for steps, _ in lines.values())
    for index, (name, curve) in enumerate(lines.items()):
        x, y = (np.asarray(part, dtype=np.float64) for part in curve)
        if x.shape != y.shape or x.ndim != 1:
            raise InputError(
                f"the curve {name!r} has steps and values of shapes {x.shape} and {y.shape} "
                "(expected two equal shapes (n,))."
            )
        y = np.where(np.isfinite(y), y, np.nan)  # a gap where training diverged
        finite.append(y[np.isfinite(y)])
        style: dict[str, Any] = {"color": colours[name], "linewidth": 1.2}
        if is_short:  # markers of several curves stay visible where they lie on each other
            shape, size, face = MARKERS[index % len(MARKERS)]
            style |= {"marker": shape, "markersize": size, "linestyle": (0, (1, 2))}
            style["markerfacecolor"] = face or colours[name]
        elif len(x) > 200:
            axes.plot(x, y, color=colours[name], linewidth=0.5, alpha=0.3)
            n_mean = len(x) // 50
            x, y = x[n_mean // 2 :][: len(x) - n_mean + 1], _moving_average(y, n_mean)
        elif len(x) <= 40:
            style |= {"marker": "o", "markersize": 2.5}
        axes.plot(x, y, **style)
    values = np.concatenate(finite)
    _scale_axes(axes, values)
    if is_short and len(values):
        middle, largest = (values.min() + values.max()) / 2, np.abs(values).max()
        half = max(SMALLEST_SPAN * largest, np.ptp(values)) / 2
        if half and axes.get_yscale() == "linear":
            axes.set_ylim(middle - 1.15 * half, middle + 1.15 * half)
            axes.yaxis.set_major_locator(linear_locator())


def _moving_average(values: NDArray[np.float64], n_mean: int) -> NDArray[np.float64]:
    """Return the means of n_mean neighbours: (n - n_mean + 1,)."""
    return np.lib.stride_tricks.sliding_window_view(values, n_mean).mean(axis=1)


def _scale_axes(axes: Axes, values: NDArray[np.float64]) -> None:
    """Set scales and ticks: logarithmic for positive values that span more than a decade."""
    if len(values) and values.min() > 0 and values.max() > 10 * values.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(log_locator(values))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.yaxis.set_major_locator(linear_locator())
    axes.xaxis.set_major_locator(linear_locator(integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(format_number))
    axes.xaxis.set_major_formatter(FuncFormatter(format_number))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#E5E5E5", linewidth=0.5)
    axes.set_axisbelow(True)


def draw_curves(
    path: Path,
    quantities: Mapping[str, Mapping[str, Curve]],
    title: str = "",
    x_name: str = "step",
    overwrite: bool = False,
) -> None:
    """Draw training curves, one small panel for each quantity, into a PNG, SVG or PDF file.

    quantities  {"loss": {"train": (steps, values), "validation": (steps, values)}, ...}; values
                that are not finite leave gaps

    InputError for another suffix, for no curve, and for steps and values of unequal lengths;
    OutputExistsError and DiskError as in files.atomic_write.
    """
    check_figure_path(path)
    with theme():
        save_figure(curves_figure(quantities, title, x_name), path, overwrite)
