"""Draw sheets of spectrograms, as files or as pixels.

Spectrograms are linear magnitudes (n_bins, n_frames), lowest frequency first. They are drawn in dB
re the loudest bin of the whole sheet, time to the right, frequency up on the ERB-rate scale. A
difference is one magnitude over another in dB, white where they are equal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from dafxtool.errors import InputError
from dafxtool.plots.base import (
    DIFFERENCE_COLOURS,
    LABEL_PT,
    MARGIN,
    QUIET_INK,
    RULE,
    SPECTROGRAM_COLOURS,
    TICK_PT,
    TITLE_PT,
    Page,
    figure_pixels,
    format_number,
    save_figure,
    text_height_in,
    theme,
    wrap,
)
from dafxtool.plots.spectrogram_axes import (
    erb_rate,
    format_hertz,
    frequency_ticks,
    frequency_weights,
    time_ticks,
)
from dafxtool.utils.outputs import check_figure_path

FLOOR_DB = -80.0
GAP, GROUP_GAP = 0.08, 0.24  # inches
COLOUR_BAR = 0.62  # inches, with its tick labels and its name


@dataclass(frozen=True, eq=False)
class Panel:
    """One spectrogram of a sheet.

    magnitude  (n_bins, n_frames), linear
    title      above the panel, such as "MSE 0.0898"
    minus      (n_bins, n_frames), linear; if given, the panel shows magnitude over minus in dB
    """

    magnitude: ArrayLike
    title: str = ""
    minus: ArrayLike | None = None


@dataclass(frozen=True, eq=False)
class Sheet:
    """Spectrograms in rows and columns under one colour scale.

    panels          rows of columns, None for an empty cell
    frequencies_hz  (n_bins,), rising; frame_times_s (n_frames,), rising
    row_labels      one for each row ("dry", "wet"), or none
    column_labels   one for each column ("t = 0.25"), or none
    column_groups   heading and number of columns of each group, from left to right; groups are
                    separated by a gap: (("original A", 1), ("decoded", 7), ("original B", 1)).
                    Only the first line of a heading is bold
    floor_db        level re the loudest bin of the sheet that has the darkest colour
    """

    panels: Sequence[Sequence[Panel | None]]
    frequencies_hz: ArrayLike
    frame_times_s: ArrayLike
    row_labels: Sequence[str] = ()
    column_labels: Sequence[str] = ()
    column_groups: Sequence[tuple[str, int]] = ()
    title: str = ""
    floor_db: float = FLOOR_DB
    difference_name: str = "difference"

    def __post_init__(self) -> None:
        n_columns = len(self.panels[0]) if self.panels else 0
        if n_columns == 0 or not any(panel for row in self.panels for panel in row):
            raise InputError("a sheet has no panel. Give it at least one.")
        if any(len(row) != n_columns for row in self.panels):
            counts = [len(row) for row in self.panels]
            raise InputError(f"the rows of a sheet have {counts} panels. Fill them up with None.")
        self._check_count("row labels", len(self.row_labels), len(self.panels))
        self._check_count("column labels", len(self.column_labels), n_columns)
        self._check_count("columns in groups", sum(n for _, n in self.column_groups), n_columns)
        if not self.floor_db < 0:
            raise InputError(f"floor_db is {self.floor_db} (expected a value below 0).")

    @staticmethod
    def _check_count(what: str, count: int, expected: int) -> None:
        if count not in (0, expected):
            raise InputError(f"a sheet has {count} {what} (expected {expected} or none).")


def _checked_magnitude(magnitude: ArrayLike, shape: tuple[int, int]) -> NDArray[np.float64]:
    array = np.asarray(magnitude)
    if array.shape != shape or np.iscomplexobj(array):
        kind = "complex" if np.iscomplexobj(array) else "real"
        raise InputError(
            f"a spectrogram is {kind} of shape {array.shape} (expected real magnitudes of shape "
            f"{shape}: n_bins, n_frames)."
        )
    array = array.astype(np.float64)
    if not (np.isfinite(array) & (array >= 0)).all():
        raise InputError(
            "a spectrogram to be drawn holds negative or non-finite values: "
            "pass linear magnitudes, clamped at 0."
        )
    return array


def colour_table(name: str = SPECTROGRAM_COLOURS) -> NDArray[np.uint8]:
    """Return a colour map as (256, 3) RGB; the default runs from the floor to the loudest bin."""
    colours = matplotlib.colormaps[name](np.arange(256), bytes=True)
    return np.asarray(colours[:, :3], dtype=np.uint8)


def difference_table(n_colours: int = 255) -> NDArray[np.uint8]:
    """Return the colours of differences as RGB; of an odd number, the middle one is white."""
    colours = _difference_colours()(np.linspace(0, 1, n_colours), bytes=True)
    return np.asarray(colours[:, :3], dtype=np.uint8)


def _difference_colours() -> LinearSegmentedColormap:
    # An odd number of colours, so that the middle one is white.
    return LinearSegmentedColormap.from_list("difference", DIFFERENCE_COLOURS, N=257)


class _Spectrograms:
    """Axes, loudest bin and images in dB of the panels of a sheet."""

    N_ROWS = 400  # a panel of 2 inches at 200 dots per inch

    def __init__(self, sheet: Sheet) -> None:
        self.frequencies = np.asarray(sheet.frequencies_hz, dtype=np.float64)
        self.times = np.asarray(sheet.frame_times_s, dtype=np.float64)
        self._check_axes()
        self.floor_db = sheet.floor_db
        self.weights = frequency_weights(self.frequencies, self.N_ROWS)
        shape = (len(self.frequencies), len(self.times))
        present = [panel for row in sheet.panels for panel in row if panel]
        self.checked = {
            id(array): _checked_magnitude(array, shape)
            for panel in present
            for array in (panel.magnitude, panel.minus)
            if array is not None
        }
        self.loudest = max(array.max() for array in self.checked.values())
        differences = [self.image(panel) for panel in present if panel.minus is not None]
        self.difference_limit_db = self._limit(differences) if differences else 0.0

    def _check_axes(self) -> None:
        for axis, least in ((self.frequencies, 2), (self.times, 1)):
            if axis.ndim != 1 or len(axis) < least or not (np.diff(axis) > 0).all():
                raise InputError(
                    f"an axis of a spectrogram has shape {axis.shape} or does not rise (expected "
                    f"at least {least} rising frequencies in Hz or times in s)."
                )

    @staticmethod
    def _limit(differences: list[NDArray[np.float64]]) -> float:
        """Return the range of the colours: 99 % of the differences, rounded up to 10 dB."""
        return max(10.0, 10 * math.ceil(np.percentile(np.abs(differences), 99) / 10))

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Return left and right in s, bottom and top in ERB, with half a hop beyond each frame."""
        half = (self.times[1] - self.times[0]) / 2 if len(self.times) > 1 else 0.005
        low, high = erb_rate(self.frequencies[[0, -1]])
        return self.times[0] - half, self.times[-1] + half, float(low), float(high)

    def decibels(self, magnitude: ArrayLike) -> NDArray[np.float64]:
        if self.loudest == 0:
            return np.full((self.N_ROWS, len(self.times)), self.floor_db)
        power = self.weights @ (self.checked[id(magnitude)] / self.loudest) ** 2
        return 10 * np.log10(np.maximum(power, 10 ** (self.floor_db / 10)))

    def image(self, panel: Panel) -> NDArray[np.float64]:
        """Return the image of a panel (N_ROWS, n_frames) in dB, lowest frequency first."""
        shown = self.decibels(panel.magnitude)
        return shown if panel.minus is None else shown - self.decibels(panel.minus)

    def draw(self, axes: Axes, panel: Panel) -> AxesImage:
        limit = self.difference_limit_db
        plain = panel.minus is None
        return axes.imshow(
            self.image(panel),
            origin="lower",
            aspect="auto",
            extent=self.extent,
            cmap=SPECTROGRAM_COLOURS if plain else _difference_colours(),
            vmin=self.floor_db if plain else -limit,
            vmax=0.0 if plain else limit,
        )


@dataclass(frozen=True)
class _Heading:
    """The wrapped heading of a column group, and the ends of its rule in inches."""

    name: str
    details: str
    left: float
    right: float

    @property
    def height(self) -> float:
        return text_height_in(self.name, LABEL_PT) + text_height_in(self.details, LABEL_PT)


@dataclass
class _SheetLayout:
    """Positions on a sheet in inches from its top left corner, and its wrapped text."""

    sheet: Sheet
    panel_width: float = 0.0
    panel_height: float = 0.0
    lefts: list[float] = field(default_factory=list)
    tops: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        sheet, n_columns = self.sheet, len(self.sheet.panels[0])
        self.panel_width = min(max(10.5 / n_columns, 1.3), 3.4 if n_columns > 1 else 4.6)
        self.panel_height = min(max(0.62 * self.panel_width, 1.55), 2.4)
        self.row_labels = [wrap(t, self.panel_height, LABEL_PT, "bold") for t in sheet.row_labels]
        rows_width = max((text_height_in(text, LABEL_PT) for text in self.row_labels), default=0.0)
        self.axis_left = MARGIN + rows_width + (0.06 if rows_width else 0)
        self._place_columns(self.axis_left + 0.46)
        self.width = self.right + 0.1 + COLOUR_BAR + MARGIN
        self._wrap_columns()
        self._place_rows()

    @property
    def right(self) -> float:
        return self.lefts[-1] + self.panel_width

    @property
    def bottom(self) -> float:
        return self.tops[-1] + self.panel_height

    def _place_columns(self, left: float) -> None:
        ends = set(np.cumsum([n for _, n in self.sheet.column_groups])[:-1])
        for column in range(len(self.sheet.panels[0])):
            left += GROUP_GAP - GAP if column in ends else 0.0
            self.lefts.append(left)
            left += self.panel_width + GAP

    def _wrap_columns(self) -> None:
        sheet, width = self.sheet, self.panel_width
        self.title = wrap(sheet.title, self.width - 2 * MARGIN, TITLE_PT, "bold")
        self.column_labels = [wrap(text, width, LABEL_PT) for text in sheet.column_labels]
        self.panel_titles = [
            [wrap(panel.title if panel else "", width, TICK_PT) for panel in row]
            for row in sheet.panels
        ]
        self.groups: list[_Heading] = []
        first = 0
        for heading, n_columns in sheet.column_groups:
            left, right = self.lefts[first], self.lefts[first + n_columns - 1] + width
            name, _, details = heading.partition("\n")
            name = wrap(name, right - left, LABEL_PT, "bold")
            details = wrap(details, right - left, LABEL_PT)
            self.groups.append(_Heading(name, details, left, right))
            first += n_columns

    def _place_rows(self) -> None:
        top = MARGIN + (text_height_in(self.title, TITLE_PT) + 0.1 if self.title else 0.0)
        heads = max((heading.height for heading in self.groups), default=0.0)
        self.groups_bottom = top + heads
        top = self.groups_bottom + (0.11 if heads else 0.0)
        labels = max((text_height_in(label, LABEL_PT) for label in self.column_labels), default=0.0)
        self.columns_bottom = top + labels
        top = self.columns_bottom + (0.03 if labels else 0.0)
        for titles in self.panel_titles:
            top += max(text_height_in(title, TICK_PT) for title in titles) + 0.03
            self.tops.append(top)
            top += self.panel_height + GAP
        self.height = self.bottom + 0.42


def sheet_figure(sheet: Sheet) -> Figure:
    """Draw a sheet as a matplotlib figure; draw_sheet writes a file."""
    with theme():
        spectrograms, layout = _Spectrograms(sheet), _SheetLayout(sheet)
        page = Page(layout.width, layout.height)
        images: dict[bool, AxesImage] = {}
        for row, panels in enumerate(sheet.panels):
            for column, panel in enumerate(panels):
                if panel is not None:
                    image = _draw_panel(page, layout, spectrograms, row, column)
                    images[panel.minus is not None] = image
        _draw_sheet_text(page, layout)
        _draw_sheet_bars(page, layout, images)
        return page.figure


def _draw_panel(
    page: Page, layout: _SheetLayout, spectrograms: _Spectrograms, row: int, column: int
) -> AxesImage:
    panels = layout.sheet.panels
    left, top = layout.lefts[column], layout.tops[row]
    axes = page.axes(left, top, layout.panel_width, layout.panel_height)
    panel = panels[row][column]
    assert panel is not None
    image = spectrograms.draw(axes, panel)
    start, end, _, _ = spectrograms.extent
    hertz = frequency_ticks(spectrograms.frequencies, layout.panel_height)
    seconds = time_ticks(start, end, layout.panel_width)
    # Tick labels only at the left end of each row and the lower end of each column.
    leftmost = not any(panels[row][:column])
    lowest = not any(below[column] for below in panels[row + 1 :])
    axes.set_yticks(erb_rate(hertz), [format_hertz(tick) for tick in hertz] if leftmost else [])
    axes.set_xticks(seconds, [f"{tick:g}" for tick in seconds] if lowest else [])
    title = layout.panel_titles[row][column]
    page.text_above(left, top - 0.02, title, TICK_PT, color=QUIET_INK)
    return image


def _draw_sheet_text(page: Page, layout: _SheetLayout) -> None:
    page.text(MARGIN, MARGIN, layout.title, TITLE_PT, weight="bold")
    for heading in layout.groups:
        top = layout.groups_bottom - heading.height
        page.text(heading.left, top, heading.name, LABEL_PT, weight="bold")
        top += text_height_in(heading.name, LABEL_PT)
        page.text(heading.left, top, heading.details, LABEL_PT)
        ends, height = (heading.left, heading.right), layout.groups_bottom + 0.04
        page.line(ends, (height, height), color=RULE, linewidth=0.6)
    for label, left in zip(layout.column_labels, layout.lefts, strict=False):
        page.text_above(left, layout.columns_bottom, label, LABEL_PT)
    for row, top in enumerate(layout.tops):
        middle = top + layout.panel_height / 2
        page.turned(layout.axis_left, middle, "frequency (Hz)", TICK_PT)
        if layout.row_labels:
            page.turned(MARGIN, middle, layout.row_labels[row], LABEL_PT, weight="bold")
    centre = (layout.lefts[0] + layout.right) / 2
    page.text(centre, layout.bottom + 0.2, "time (s)", TICK_PT, ha="center")


def _draw_sheet_bars(page: Page, layout: _SheetLayout, images: Mapping[bool, AxesImage]) -> None:
    names = {False: "dB re the loudest bin", True: f"{layout.sheet.difference_name} (dB)"}
    top, height = layout.tops[0], layout.bottom - layout.tops[0]
    part = (height - 0.3 * (len(images) - 1)) / len(images)
    for is_difference in sorted(images):
        axes = page.axes(layout.right + 0.12, top, 0.1, part)
        bar = page.figure.colorbar(images[is_difference], cax=axes)
        bar.locator = MaxNLocator(max(2, min(5, int(part / 0.35))), steps=[1, 2, 5, 10])
        bar.formatter = FuncFormatter(format_number)
        bar.set_label(names[is_difference], size=TICK_PT)
        bar.update_ticks()
        top += part + 0.3


def _sheet_palette() -> Image.Image:
    """Return the colours of a sheet in steps of 0.5 dB; such a PNG is a third of RGB's size."""
    magma, grey = matplotlib.colormaps[SPECTROGRAM_COLOURS], matplotlib.colormaps["gray"]
    counts = ((magma, 160), (_difference_colours(), 65), (grey, 31))
    steps = [colours(np.linspace(0, 1, n))[:, :3] for colours, n in counts]
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.rint(255 * np.concatenate(steps)).astype(int).ravel().tolist())
    return palette


def draw_sheet(path: Path, sheet: Sheet, overwrite: bool = False) -> None:
    """Draw a sheet of spectrograms into a PNG, SVG or PDF file.

    InputError for another suffix and for magnitudes that are negative, not finite or of another
    shape than the axes; OutputExistsError and DiskError as in files.atomic_write.
    """
    check_figure_path(path)
    with theme():
        save_figure(sheet_figure(sheet), path, overwrite, _sheet_palette())


def draw_spectrogram(
    path: Path,
    magnitude: ArrayLike,
    frequencies_hz: ArrayLike,
    frame_times_s: ArrayLike,
    title: str = "",
    floor_db: float = FLOOR_DB,
    overwrite: bool = False,
) -> None:
    """Draw one spectrogram: a sheet of a single panel."""
    panels = [[Panel(magnitude)]]
    sheet = Sheet(panels, frequencies_hz, frame_times_s, title=title, floor_db=floor_db)
    draw_sheet(path, sheet, overwrite)


def render_rgb(sheet: Sheet, dots_per_inch: int = 100) -> NDArray[np.uint8]:
    """Draw a sheet as pixels (height, width, 3), TensorBoard's dataformats="HWC"."""
    with theme():
        return figure_pixels(sheet_figure(sheet), dots_per_inch)
