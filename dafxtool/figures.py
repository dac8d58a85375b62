"""Draw spectrogram sheets, latent maps and training curves, and write tables of numbers.

Arrays in, one file out: PNG, SVG or PDF by the suffix of the path. This is the one home of
matplotlib. Nothing here touches pyplot, so it works without a display and from threads. Pages are
laid out by hand in inches from their top left corner, so that a long label makes the page grow
instead of running into its neighbour.

Spectrograms are linear magnitudes (n_bins, n_frames), lowest frequency first. They are drawn in dB
re the loudest bin of the whole sheet, time to the right, frequency up on the ERB-rate scale.
"""

from __future__ import annotations

import csv
import math
import re
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import font_manager, patheffects
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.colors import LinearSegmentedColormap, ListedColormap, LogNorm, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.textpath import TextToPath
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from dafxtool.errors import InputError
from dafxtool.files import writing

SUFFIXES = (".png", ".svg", ".pdf")
DOTS_PER_INCH = 200
FLOOR_DB = -80.0

# --- the theme: every colour, font and size is here ---------------------------------------------

INK = "#222222"
QUIET_INK = "#666666"
RULE = "#999999"
SPECTROGRAM_COLOURS = "magma"
# ColorBrewer's RdBu, with true white where nothing differs.
DIFFERENCE_COLOURS = (
    "#053061", "#2166AC", "#67A9CF", "#FFFFFF", "#EF8A62", "#B2182B", "#67001F",
)  # fmt: skip
VALUE_COLOURS = "viridis"
# Okabe & Ito 2008, "Color universal design", with a darker yellow that shows on white.
PALETTE = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#333333", "#B5A70A",
)  # fmt: skip
MARKERS = ("o", "^", "s", "D", "v", "P", "X", "p")
# Helvetica's kind first; DejaVu comes with matplotlib and has the letters that the others lack.
FONTS = ("Helvetica", "Arial", "Liberation Sans", "DejaVu Sans", "Noto Sans CJK JP")
TITLE_PT, LABEL_PT, TICK_PT = 10.0, 8.0, 7.0
LINE_SPACING = 1.2
THEME: dict[str, Any] = {
    "font.size": LABEL_PT,
    "text.color": INK,
    "text.parse_math": False,  # a "$" in the name of a file is a dollar
    "text.hinting": "no_hinting",  # widths in proportion, as measured, at every resolution
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.labelsize": LABEL_PT,
    "axes.linewidth": 0.6,
    "axes.titlesize": LABEL_PT,
    "legend.fontsize": LABEL_PT,
    "pdf.fonttype": 42,  # publishers refuse matplotlib's own choice, type 3
    "svg.hashsalt": "dafxtool",  # the same figure twice gives the same file
    **{f"{axis}tick.color": INK for axis in "xy"},
    **{f"{axis}tick.labelsize": TICK_PT for axis in "xy"},
    **{f"{axis}tick.major.size": 2.5 for axis in "xy"},
    **{f"{axis}tick.major.width": 0.6 for axis in "xy"},
    **{f"{axis}tick.major.pad": 2.0 for axis in "xy"},
}
_DRAWING = threading.RLock()  # matplotlib's settings belong to the process: one drawing at a time


@contextmanager
def _theme() -> Iterator[None]:
    """Our look whatever the user's matplotlibrc says, and theirs again afterwards."""
    installed = set(font_manager.get_font_names())
    settings: dict[Any, Any] = {**matplotlib.rcParamsDefault, **THEME}
    settings |= {"font.family": [name for name in FONTS if name in installed]}
    del settings["backend"]  # a notebook's own stays in force
    with _DRAWING, matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # drawn as a box
        yield


# --- text, in inches ----------------------------------------------------------------------------


def text_width_in(text: str, size_pt: float, weight: str = "normal") -> float:
    """Width of one line of text in inches."""
    font = font_manager.FontProperties(size=size_pt, weight=weight)
    return float(TextToPath().get_text_width_height_descent(text, font, ismath=False)[0]) / 72


def _height_in(text: str, size_pt: float) -> float:
    return (text.count("\n") + 1) * size_pt * LINE_SPACING / 72 if text else 0.0


def _typeset(text: str) -> str:
    """A true minus before numbers, and numbers kept on one line with their units."""
    text = re.sub(r"(?<![\w-])-(?=\d)", "\N{MINUS SIGN}", " ".join(text.split()))
    return re.sub(r"(?<=\d) (?=(dB|Hz|kHz|ms|s|st|bit|%)\b|%)", "\N{NO-BREAK SPACE}", text)


def wrap(text: str, width_in: float, size_pt: float, weight: str = "normal") -> str:
    """Break text into lines of at most width_in inches.

    Lines that are there already stay. Breaks come between the clauses of a label ("drive 12 dB,
    tone 3 kHz") where that fits, else between words, else (names of files) inside of a word.
    """

    def fits(line: str) -> bool:
        # Screens of few dots set letters wider than measured, by up to 3 %.
        return 1.03 * text_width_in(line.rstrip(" "), size_pt, weight) <= width_in

    def pack(pieces: Sequence[str], finer: Sequence[str]) -> list[str]:
        lines: list[str] = []
        for piece in pieces:
            if lines and fits(lines[-1] + piece):
                lines[-1] += piece
            elif fits(piece) or not finer:
                lines.append(piece)
            else:
                lines += pack(re.findall(finer[0], piece), finer[1:])
        return lines

    finer = [r".+?(?:, |$)", r"[^ ]+ *", r"[^_\-./]+[_\-./]*|[_\-./]+", r"."]
    lines = [line for given in text.split("\n") for line in pack([_typeset(given)], finer)]
    return "\n".join(line.rstrip(" ") for line in lines)


class _Page:
    """A figure addressed in inches from its top left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height), facecolor="white")
        FigureCanvasAgg(self.figure)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        bottom = 1 - (top + height) / self.height
        box = (left / self.width, bottom, width / self.width, height / self.height)
        return self.figure.add_axes(box)

    def text(self, left: float, top: float, text: str, size: float, **style: Any) -> None:
        """Wrapped text below `top`, by its baselines: letters with tails do not lift the others."""
        for index, line in enumerate(text.split("\n") if text else []):
            baseline = top + (0.92 + index * LINE_SPACING) * size / 72
            x, y = left / self.width, 1 - baseline / self.height
            self.figure.text(x, y, line, size=size, va="baseline", **style)

    def text_above(self, left: float, bottom: float, text: str, size: float, **style: Any) -> None:
        self.text(left, bottom - _height_in(text, size), text, size, **style)

    def turned(self, left: float, middle: float, text: str, size: float, **style: Any) -> None:
        """Text that reads upwards, to the right of `left` and centred at `middle`."""
        style |= {"rotation": 90, "va": "center", "ha": "left", "multialignment": "center"}
        x, y = left / self.width, 1 - middle / self.height
        self.figure.text(x, y, text, size=size, linespacing=LINE_SPACING, **style)

    def line(self, lefts: Sequence[float], tops: Sequence[float], **style: Any) -> None:
        x = [left / self.width for left in lefts]
        y = [1 - top / self.height for top in tops]
        self.figure.add_artist(Line2D(x, y, transform=self.figure.transFigure, **style))


# --- files --------------------------------------------------------------------------------------


def check_figure_path(path: Path) -> None:
    """Refuse a suffix that no figure can have, before the work and not after it (InputError)."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"{path} has the suffix {path.suffix!r}: give a figure .png, .svg or .pdf."
        )


def _save(figure: Figure, path: Path, overwrite: bool, colours: Image.Image | None = None) -> None:
    """Write a figure; a PNG with the given palette where there is one."""
    check_figure_path(path)
    kind = path.suffix.lower()[1:]
    # No dates, so that the same figure drawn twice is the same file.
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}[kind]
    with writing(path, overwrite) as unfinished:
        if kind == "png" and colours is not None:
            image = Image.fromarray(_pixels(figure, DOTS_PER_INCH))
            image = image.quantize(palette=colours, dither=Image.Dither.NONE)
            image.save(unfinished, dpi=(DOTS_PER_INCH, DOTS_PER_INCH))
        else:
            figure.savefig(unfinished, format=kind, dpi=DOTS_PER_INCH, metadata=metadata)


def _pixels(figure: Figure, dots_per_inch: float) -> NDArray[np.uint8]:
    """(height, width, 3)"""
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(dots_per_inch)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _difference_colours() -> LinearSegmentedColormap:
    # An odd number of colours, so that white is one of them.
    return LinearSegmentedColormap.from_list("difference", DIFFERENCE_COLOURS, N=257)


def _sheet_palette() -> Image.Image:
    """The colours of a sheet in steps of half a dB; such a PNG is a third as large as full RGB."""
    magma, grey = matplotlib.colormaps[SPECTROGRAM_COLOURS], matplotlib.colormaps["gray"]
    shares = ((magma, 160), (_difference_colours(), 65), (grey, 31))
    steps = [colours(np.linspace(0, 1, n))[:, :3] for colours, n in shares]
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.rint(255 * np.concatenate(steps)).astype(int).ravel().tolist())
    return palette


def write_table(path: Path, columns: Mapping[str, Sequence[Any]], overwrite: bool = False) -> None:
    """Write equally long columns as CSV with a header.

    Floats have as many digits as it takes to read the same float back in their own precision.
    InputError where the columns differ in length or the suffix is not .csv.
    """
    if path.suffix.lower() != ".csv":
        raise InputError(f"{path} has the suffix {path.suffix!r}: give a table .csv as its suffix.")
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"the columns of {path} differ in length ({lengths}): make them equal.")
    # newline="" and the explicit terminator give the same bytes on every system.
    with (
        writing(path, overwrite) as unfinished,
        open(unfinished, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in zip(*columns.values(), strict=True):
            writer.writerow([str(value) for value in row])  # str of a float is its shortest repr


# --- spectrograms -------------------------------------------------------------------------------


def erb_rate(frequency_hz: ArrayLike) -> NDArray[np.float64]:
    """Height of a frequency on the frequency axis: equivalent rectangular bandwidths below it.

    Nearly linear below 200 Hz and logarithmic above, as hearing is.
    Glasberg & Moore 1990, Hearing Research 47, equation 4.
    """
    return 21.4 * np.log10(1 + 0.00437 * np.asarray(frequency_hz, dtype=np.float64))


@dataclass(frozen=True, eq=False)
class Panel:
    """One spectrogram of a sheet.

    magnitude  (n_bins, n_frames), linear
    title      above the panel, such as "MSE 0.0898"
    minus      (n_bins, n_frames), linear; with it the panel shows magnitude over minus in dB
    """

    magnitude: ArrayLike
    title: str = ""
    minus: ArrayLike | None = None


@dataclass(frozen=True, eq=False)
class Sheet:
    """Spectrograms in rows and columns under one colour scale.

    panels          rows of columns, None for an empty place
    frequencies_hz  (n_bins,), rising; frame_times_s (n_frames,), rising
    row_labels      one a row ("dry", "wet"), or none
    column_labels   one a column ("t = 0.25"), or none
    column_groups   heading and number of columns of each group, from left to right; groups are set
                    apart by a gap: (("original A", 1), ("decoded", 7), ("original B", 1)). Only the
                    first line of a heading is bold
    floor_db        what is weaker, re the loudest bin of the sheet, has the darkest colour
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
            raise InputError("a sheet without a panel cannot be drawn: give it at least one.")
        if any(len(row) != n_columns for row in self.panels):
            found = [len(row) for row in self.panels]
            raise InputError(f"the rows of a sheet have {found} panels: fill them up with None.")
        self._check_count("row labels", len(self.row_labels), len(self.panels))
        self._check_count("column labels", len(self.column_labels), n_columns)
        self._check_count("columns in groups", sum(n for _, n in self.column_groups), n_columns)
        if not self.floor_db < 0:
            raise InputError(
                f"the floor of a sheet is {self.floor_db} dB: it has to be below 0 dB."
            )

    @staticmethod
    def _check_count(what: str, found: int, wanted: int) -> None:
        if found not in (0, wanted):
            raise InputError(f"a sheet has {found} {what} for {wanted}: give {wanted}, or none.")


def _checked_magnitude(magnitude: ArrayLike, shape: tuple[int, int]) -> NDArray[np.float64]:
    array = np.asarray(magnitude)
    if array.shape != shape or np.iscomplexobj(array):
        kind = "complex" if np.iscomplexobj(array) else "real"
        raise InputError(
            f"a spectrogram is {kind} of shape {array.shape}, while its axes want real magnitudes "
            f"of shape {shape}: pass (n_bins, n_frames)."
        )
    array = array.astype(np.float64)
    if not (np.isfinite(array) & (array >= 0)).all():
        raise InputError(
            "a spectrogram to be drawn holds negative or non-finite values: "
            "pass linear magnitudes, clamped at 0."
        )
    return array


def frequency_weights(frequencies_hz: ArrayLike, n_rows: int) -> NDArray[np.float64]:
    """Matrix (n_rows, n_bins) that takes power at the bins to the mean power in even ERB steps.

    Power between two bins is taken to be linear, so that a row narrower than a bin interpolates and
    a row wider than a bin averages: noise stays as bright at the top as at the bottom.
    """
    frequencies = np.asarray(frequencies_hz, dtype=np.float64)
    lowest, highest = erb_rate(frequencies[[0, -1]])
    steps = np.linspace(lowest, highest, n_rows + 1)
    edges_hz = (10 ** (steps / 21.4) - 1) / 0.00437
    edges = np.interp(edges_hz, frequencies, np.arange(len(frequencies)))  # in bins
    # The integral up to each edge of every bin's triangular interpolation function.
    offset = np.clip(edges[:, None] - np.arange(len(frequencies)), -1, 1)
    integral = np.where(offset < 0, (1 + offset) ** 2 / 2, 1 - (1 - offset) ** 2 / 2)
    return np.diff(integral, axis=0) / np.diff(edges)[:, None]


class _Spectrograms:
    """What the panels of a sheet share: axes, the loudest bin, and the images in dB."""

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
                    f"an axis of a spectrogram has shape {axis.shape} or does not rise: "
                    f"pass at least {least} rising frequencies in Hz or times in s."
                )

    @staticmethod
    def _limit(differences: list[NDArray[np.float64]]) -> float:
        """Covers 99 % of the differences, rounded up to 10 dB: a few bins do not pale the rest."""
        return max(10.0, 10 * math.ceil(np.percentile(np.abs(differences), 99) / 10))

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left and right in s, bottom and top in ERB; each frame reaches half way to the next."""
        half = (self.times[1] - self.times[0]) / 2 if len(self.times) > 1 else 0.005
        low, high = erb_rate(self.frequencies[[0, -1]])
        return self.times[0] - half, self.times[-1] + half, float(low), float(high)

    def decibels(self, magnitude: ArrayLike) -> NDArray[np.float64]:
        if self.loudest == 0:
            return np.full((self.N_ROWS, len(self.times)), self.floor_db)
        power = self.weights @ (self.checked[id(magnitude)] / self.loudest) ** 2
        return 10 * np.log10(np.maximum(power, 10 ** (self.floor_db / 10)))

    def image(self, panel: Panel) -> NDArray[np.float64]:
        """(N_ROWS, n_frames) in dB, lowest frequency first."""
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


def frequency_ticks(frequencies_hz: ArrayLike, height_in: float) -> list[float]:
    """Those of 100, 200, 500, 1000 ... Hz that fit on an axis of this height without touching."""
    lowest, highest = np.asarray(frequencies_hz, dtype=np.float64)[[0, -1]]
    inches_per_erb = height_in / float(erb_rate(highest) - erb_rate(lowest))
    ticks: list[float] = []
    # Powers of ten first: where there is room for some only, they are the ones to keep.
    for tick in (factor * 10.0**power for factor in (1, 2, 5) for power in range(2, 6)):
        gaps = np.abs(erb_rate(tick) - erb_rate(ticks)) * inches_per_erb
        if lowest <= tick <= highest and (gaps > TICK_PT * 1.1 / 72).all():
            ticks.append(tick)
    return sorted(ticks)


def time_ticks(start_s: float, end_s: float, width_in: float) -> list[float]:
    """Round times whose labels stay apart, and inside of the panel at its right end."""
    wanted_step = (end_s - start_s) * max(0.34 / width_in, 0.15)
    power = 10.0 ** math.floor(math.log10(wanted_step))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= wanted_step * 0.999)
    first, last = math.ceil(start_s / step - 1e-6), math.floor(end_s / step + 1e-6)
    ticks = [round(index * step, 9) for index in range(first, last + 1)]
    margin = 0.07 * (end_s - start_s) / width_in  # half of a label such as "0.5"
    return [tick for tick in ticks if tick <= end_s - margin] or ticks[:1]


def _number(value: float, _position: object = None) -> str:
    """1500 as "1500", 20000 as "20k", 3e6 as "3M", and a true minus."""
    if abs(value) >= 1e6:
        text = f"{value / 1e6:g}M"
    else:
        text = f"{value / 1e3:g}k" if abs(value) >= 1e4 else f"{value:.6g}"
    return re.sub(r"e-0*", "e-", text).replace("-", "\N{MINUS SIGN}")


def _hertz(value: float) -> str:
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"


GAP, GROUP_GAP, MARGIN = 0.08, 0.24, 0.12  # inches
COLOUR_BAR = 0.62  # inches, with its numbers and its name


@dataclass(frozen=True)
class _Heading:
    """The wrapped heading of some columns, and the ends of its rule in inches."""

    name: str
    details: str
    left: float
    right: float

    @property
    def height(self) -> float:
        return _height_in(self.name, LABEL_PT) + _height_in(self.details, LABEL_PT)


@dataclass
class _SheetLayout:
    """Where everything on a sheet is, in inches from its top left corner, and its wrapped text."""

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
        rows_width = max((_height_in(text, LABEL_PT) for text in self.row_labels), default=0.0)
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
        top = MARGIN + (_height_in(self.title, TITLE_PT) + 0.1 if self.title else 0.0)
        heads = max((heading.height for heading in self.groups), default=0.0)
        self.groups_bottom = top + heads
        top = self.groups_bottom + (0.11 if heads else 0.0)
        labels = max((_height_in(label, LABEL_PT) for label in self.column_labels), default=0.0)
        self.columns_bottom = top + labels
        top = self.columns_bottom + (0.03 if labels else 0.0)
        for titles in self.panel_titles:
            top += max(_height_in(title, TICK_PT) for title in titles) + 0.03
            self.tops.append(top)
            top += self.panel_height + GAP
        self.height = self.bottom + 0.42


def sheet_figure(sheet: Sheet) -> Figure:
    """The sheet as a matplotlib figure; for files there is draw_sheet."""
    with _theme():
        spectrograms, layout = _Spectrograms(sheet), _SheetLayout(sheet)
        page = _Page(layout.width, layout.height)
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
    page: _Page, layout: _SheetLayout, spectrograms: _Spectrograms, row: int, column: int
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
    # Numbers at the left end of each row and the lower end of each column only.
    leftmost = not any(panels[row][:column])
    lowest = not any(below[column] for below in panels[row + 1 :])
    axes.set_yticks(erb_rate(hertz), [_hertz(tick) for tick in hertz] if leftmost else [])
    axes.set_xticks(seconds, [f"{tick:g}" for tick in seconds] if lowest else [])
    title = layout.panel_titles[row][column]
    page.text_above(left, top - 0.02, title, TICK_PT, color=QUIET_INK)
    return image


def _draw_sheet_text(page: _Page, layout: _SheetLayout) -> None:
    page.text(MARGIN, MARGIN, layout.title, TITLE_PT, weight="bold")
    for heading in layout.groups:
        top = layout.groups_bottom - heading.height
        page.text(heading.left, top, heading.name, LABEL_PT, weight="bold")
        top += _height_in(heading.name, LABEL_PT)
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


def _draw_sheet_bars(page: _Page, layout: _SheetLayout, images: Mapping[bool, AxesImage]) -> None:
    names = {False: "dB re the loudest bin", True: f"{layout.sheet.difference_name} (dB)"}
    top, height = layout.tops[0], layout.bottom - layout.tops[0]
    part = (height - 0.3 * (len(images) - 1)) / len(images)
    for is_difference in sorted(images):
        axes = page.axes(layout.right + 0.12, top, 0.1, part)
        bar = page.figure.colorbar(images[is_difference], cax=axes)
        bar.locator = MaxNLocator(max(2, min(5, int(part / 0.35))), steps=[1, 2, 5, 10])
        bar.formatter = FuncFormatter(_number)
        bar.set_label(names[is_difference], size=TICK_PT)
        bar.update_ticks()
        top += part + 0.3


def draw_sheet(path: Path, sheet: Sheet, overwrite: bool = False) -> None:
    """Draw a sheet of spectrograms into a PNG, SVG or PDF file.

    InputError for another suffix and for magnitudes that are negative, not finite or of a shape
    that the axes do not have; OutputExistsError and DiskError as files.writing has them.
    """
    check_figure_path(path)
    with _theme():
        _save(sheet_figure(sheet), path, overwrite, _sheet_palette())


def draw_spectrogram(
    path: Path,
    magnitude: ArrayLike,
    frequencies_hz: ArrayLike,
    frame_times_s: ArrayLike,
    title: str = "",
    floor_db: float = FLOOR_DB,
    overwrite: bool = False,
) -> None:
    """Draw one spectrogram, a sheet of a single panel."""
    panels = [[Panel(magnitude)]]
    sheet = Sheet(panels, frequencies_hz, frame_times_s, title=title, floor_db=floor_db)
    draw_sheet(path, sheet, overwrite)


def render_rgb(sheet: Sheet, dots_per_inch: int = 100) -> NDArray[np.uint8]:
    """The sheet as pixels (height, width, 3), as TensorBoard takes them (dataformats="HWC")."""
    with _theme():
        return _pixels(sheet_figure(sheet), dots_per_inch)


# --- maps ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class PointMap:
    """Points in two dimensions, coloured by their label or by a value.

    points      (n, 2)
    labels      n of them, or none; each has a colour, and from the ninth on another marker
    order       all labels in the order of their colours, so that two maps agree; else alphabetical
    values      (n,); the points are coloured by them instead and a colour bar names them
    value_name  such as "cutoff (Hz)"; logarithmic gives each octave of the values the same room
    context     (m, 2) further points, drawn in grey below
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

    def __post_init__(self) -> None:
        for what, points in (("points", self.points), ("context", self.context)):
            array = np.zeros((1, 2)) if points is None else np.asarray(points)
            if array.ndim != 2 or array.shape[1] != 2 or not len(array):
                raise InputError(f"the {what} of a map have shape {array.shape}: pass (n, 2).")
            if not np.isfinite(array).all():
                raise InputError(f"the {what} of a map hold NaN or infinity: leave those out.")
        self._check_labels()
        if self.values is not None:
            self._check_values(np.asarray(self.values))

    def _check_labels(self) -> None:
        n_points, n_labels = len(np.asarray(self.points)), len(self.labels)
        if n_labels not in (0, n_points):
            raise InputError(f"a map has {n_points} points and {n_labels} labels: pass one each.")
        if len(self.names) > len(PALETTE) * len(MARKERS):
            raise InputError(
                f"a map has {len(self.names)} different labels, more than the "
                f"{len(PALETTE) * len(MARKERS)} that can be told apart: colour it by a value."
            )

    def _check_values(self, values: NDArray[Any]) -> None:
        if values.shape != (len(np.asarray(self.points)),) or not np.isfinite(values).all():
            raise InputError(
                f"the values of a map have shape {values.shape} or are not finite: "
                "pass one finite value a point."
            )
        if self.logarithmic and not (values > 0).all():
            raise InputError("a logarithmic map has values that are not above 0: use a linear one.")

    @property
    def names(self) -> list[str]:
        """The different labels in the order of their colours."""
        found = set(self.labels)
        return [*self.order, *sorted(found - set(self.order))]


def label_style(index: int) -> tuple[str, str]:
    """Colour and marker of the label with this index; 64 different ones."""
    return PALETTE[index % len(PALETTE)], MARKERS[index // len(PALETTE)]


def _point_style(n_points: int, n_labels: int) -> dict[str, Any]:
    """Smaller and fainter points the more there are; markers that differ stay large enough."""
    smallest = 3.5 if n_labels <= len(PALETTE) else 8.0  # square points
    return {
        "s": max(36 * max(n_points / 20, 1) ** -0.33, smallest),
        "alpha": min(max(0.9 * (n_points / 200) ** -0.2, 0.4), 0.9),
        "linewidths": 0.0,
    }


_N_COLUMNS = {1: 1, 2: 2, 4: 2}  # of so many small panels; else three


@dataclass(frozen=True)
class _Legend:
    """Marker, wrapped name and count of each label, in inches."""

    entries: list[tuple[tuple[str, str], str, int]]
    NAME_WIDTH = 2.0
    MARKER_WIDTH = 0.18
    ROW_GAP = 0.035

    @classmethod
    def of(cls, content: PointMap) -> _Legend:
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
        return sum(_height_in(name, LABEL_PT) + self.ROW_GAP for _, name, _ in self.entries)

    def draw(self, page: _Page, left: float, top: float) -> None:
        for (colour, marker), name, count in self.entries:
            middle = top + _height_in("x", LABEL_PT) / 2
            style = {"marker": marker, "color": colour, "markersize": 5, "markeredgewidth": 0}
            page.line([left + 0.05], [middle], **style)
            page.text(left + self.MARKER_WIDTH, top, name, LABEL_PT)
            right = left + self.width
            page.text(right, top, f"{count:,}", LABEL_PT, ha="right", color=QUIET_INK)
            top += _height_in(name, LABEL_PT) + self.ROW_GAP


class _MapLayout:
    """Boxes of maps in inches; all maps share their limits, and x and y their scale."""

    def __init__(self, maps: Sequence[PointMap], title: str) -> None:
        self.n_columns = _N_COLUMNS.get(len(maps), 3)
        self._set_limits(maps, 4.4 if len(maps) == 1 else 2.7)
        self.direct = [self._direct_labels(content) for content in maps]
        self.sides = [self._side_width(*each) for each in zip(maps, self.direct, strict=True)]
        self.pitch = 0.62 + self.box_width + max(self.sides)
        self.width = MARGIN + self.n_columns * self.pitch + MARGIN
        self.title = wrap(title, self.width - 2 * MARGIN, TITLE_PT, "bold")
        head_width = self.box_width + max(self.sides)
        self.titles = [wrap(content.title, head_width, LABEL_PT, "bold") for content in maps]
        self._place_rows(maps)

    def _set_limits(self, maps: Sequence[PointMap], longest: float) -> None:
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

    def _direct_labels(self, content: PointMap) -> dict[str, tuple[float, float]]:
        """Medians of the labels, where there are few labels and no name would touch another."""
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
    def _side_width(content: PointMap, direct: Mapping[str, tuple[float, float]]) -> float:
        if content.values is not None:
            return 0.75
        return _Legend.of(content).width + 0.2 if content.labels and not direct else 0.1

    def _place_rows(self, maps: Sequence[PointMap]) -> None:
        top = MARGIN + (_height_in(self.title, TITLE_PT) + 0.08 if self.title else 0.0)
        self.tops: list[float] = []
        for first in range(0, len(maps), self.n_columns):
            row = range(first, min(first + self.n_columns, len(maps)))
            top += max(_height_in(self.titles[index], LABEL_PT) for index in row) + 0.05
            self.tops.append(top)
            legends = [_Legend.of(maps[i]).height for i in row if self.has_legend(maps[i], i)]
            top += max([self.box_height + 0.42, *legends])
        self.height = top + 0.06

    def has_legend(self, content: PointMap, index: int) -> bool:
        return content.values is None and len(content.labels) > 0 and not self.direct[index]

    def box(self, index: int) -> tuple[float, float]:
        """Left and top of the box of a map."""
        row, column = divmod(index, self.n_columns)
        return MARGIN + 0.5 + column * self.pitch, self.tops[row]


def map_figure(maps: Sequence[PointMap], title: str = "") -> Figure:
    """The maps as a matplotlib figure; for files there are draw_map and draw_maps."""
    if not maps:
        raise InputError("a figure without a map cannot be drawn: give it at least one.")
    with _theme():
        layout = _MapLayout(maps, title)
        page = _Page(layout.width, layout.height)
        page.text(MARGIN, MARGIN, layout.title, TITLE_PT, weight="bold")
        for index, content in enumerate(maps):
            _draw_one_map(page, layout, index, content)
        return page.figure


def _draw_one_map(page: _Page, layout: _MapLayout, index: int, content: PointMap) -> None:
    left, top = layout.box(index)
    axes = page.axes(left, top, layout.box_width, layout.box_height)
    axes.set(xlim=(layout.low[0], layout.high[0]), ylim=(layout.low[1], layout.high[1]))
    axes.spines[["top", "right"]].set_visible(False)
    for axis, name in zip((axes.xaxis, axes.yaxis), content.axis_names, strict=True):
        axis.set_major_locator(_linear_locator())
        axis.set_major_formatter(FuncFormatter(_number))
        axis.set_label_text(_typeset(name))
    page.text_above(left, top - 0.04, layout.titles[index], LABEL_PT, weight="bold")
    if content.context is not None:
        grey = np.asarray(content.context)
        axes.scatter(
            grey[:, 0], grey[:, 1], color="#DDDDDD", **_point_style(len(grey), 1), rasterized=True
        )
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
    else:  # a legend has the counts of its own
        count = f"n = {len(np.asarray(content.points)):,}"
        under = top + layout.box_height + 0.23
        page.text(right, under, count, TICK_PT, ha="right", color=QUIET_INK)


def _draw_labelled(axes: Axes, content: PointMap) -> None:
    points, names = np.asarray(content.points), content.names
    labels = np.array([names.index(label) for label in content.labels] or [0] * len(points))
    style = _point_style(len(points), len(names))
    # In shuffled parts, so that the label drawn last does not hide the others.
    shuffled = np.random.default_rng(0).permutation(len(points))
    for part in np.array_split(shuffled, min(8, len(points))):
        for group in np.unique(labels[part] // len(PALETTE)):
            rows = part[labels[part] // len(PALETTE) == group]
            colours = [label_style(label)[0] for label in labels[rows]]
            drawn = axes.scatter(
                points[rows, 0], points[rows, 1], c=colours, marker=MARKERS[group], **style
            )
            drawn.set_rasterized(len(points) > 2000)


def _draw_values(
    page: _Page, axes: Axes, content: PointMap, box: tuple[float, float, float, float]
) -> None:
    values, points = np.asarray(content.values, dtype=np.float64), np.asarray(content.points)
    scale = (LogNorm if content.logarithmic else Normalize)(values.min(), values.max())
    order = np.random.default_rng(0).permutation(len(points))
    drawn: PathCollection = axes.scatter(
        points[order, 0], points[order, 1], c=values[order], cmap=_value_colours(), norm=scale,
        **_point_style(len(points), 1),
    )  # fmt: skip
    drawn.set_rasterized(len(points) > 2000)
    bar = page.figure.colorbar(drawn, cax=page.axes(*box))
    bar.solids.set_alpha(1)  # type: ignore[union-attr]
    bar.locator = _log_locator(values) if content.logarithmic else _linear_locator()
    bar.formatter = FuncFormatter(_number)
    bar.minorlocator = NullLocator()
    bar.set_label(wrap(content.value_name, box[3], LABEL_PT))
    bar.update_ticks()


def _value_colours() -> ListedColormap:
    """Without its brightest end, which would not show on white."""
    return ListedColormap(matplotlib.colormaps[VALUE_COLOURS](np.linspace(0, 0.93, 256)))


def _linear_locator(integer: bool = False) -> MaxNLocator:
    return MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], integer=integer)


def _log_locator(values: NDArray[np.float64]) -> LogLocator:
    """1, 2, 5, 10 where there is room for them, over wide spans powers of ten only."""
    few = values.max() < 500 * values.min()
    return LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=9)


def draw_maps(
    path: Path, maps: Sequence[PointMap], title: str = "", overwrite: bool = False
) -> None:
    """Draw maps side by side on the same axes, such as one for each parameter of a sweep.

    InputError for a suffix that is not .png, .svg or .pdf; errors of files.writing.
    """
    check_figure_path(path)
    with _theme():
        _save(map_figure(maps, title), path, overwrite)


def draw_map(
    path: Path,
    points: ArrayLike,
    labels: Sequence[str] = (),
    title: str = "",
    axis_names: tuple[str, str] = ("", ""),
    order: Sequence[str] = (),
    overwrite: bool = False,
) -> None:
    """Draw points (n, 2) coloured by their labels; for more see PointMap and draw_maps."""
    content = PointMap(points, labels, axis_names=axis_names, order=order)
    draw_maps(path, [content], title, overwrite)


# --- curves -------------------------------------------------------------------------------------

Curve = tuple[ArrayLike, ArrayLike]


def curves_figure(
    quantities: Mapping[str, Mapping[str, Curve]], title: str = "", x_name: str = "step"
) -> Figure:
    """The curves as a matplotlib figure; for files there is draw_curves."""
    if not quantities or not all(quantities.values()):
        raise InputError("a figure without a curve cannot be drawn: give it at least one.")
    names = list(dict.fromkeys(name for lines in quantities.values() for name in lines))
    colours = {name: PALETTE[(0, 3, 2, 5, 1, 4, 6, 7)[i % 8]] for i, name in enumerate(names)}
    with _theme():
        width, height, n_columns = 2.5, 1.65, _N_COLUMNS.get(len(quantities), 3)
        page_width = MARGIN + n_columns * (width + 0.62) + MARGIN
        heading = wrap(title, page_width - 2 * MARGIN, TITLE_PT, "bold")
        head = MARGIN + (_height_in(heading, TITLE_PT) + 0.06 if heading else 0.0)
        n_rows = math.ceil(len(quantities) / n_columns)
        page = _Page(page_width, head + 0.14 + n_rows * (height + 0.68))
        page.text(MARGIN, MARGIN, heading, TITLE_PT, weight="bold")
        _draw_curve_names(page, MARGIN + 0.5, head, colours)
        for index, (quantity, lines) in enumerate(quantities.items()):
            row, column = divmod(index, n_columns)
            left, top = MARGIN + 0.5 + column * (width + 0.62), head + 0.38 + row * (height + 0.68)
            axes = page.axes(left, top, width, height)
            _draw_quantity(axes, lines, colours)
            axes.set_xlabel(x_name, size=TICK_PT)
            page.text_above(left, top - 0.04, _typeset(quantity), LABEL_PT, weight="bold")
        return page.figure


def _draw_curve_names(page: _Page, left: float, top: float, colours: Mapping[str, str]) -> None:
    for name, colour in colours.items():
        middle = top + _height_in("x", LABEL_PT) / 2
        page.line((left, left + 0.2), (middle, middle), color=colour, linewidth=1.4)
        page.text(left + 0.26, top, name, LABEL_PT)
        left += 0.26 + text_width_in(name, LABEL_PT) + 0.25


def _draw_quantity(axes: Axes, lines: Mapping[str, Curve], colours: Mapping[str, str]) -> None:
    """Curves of one quantity: many points as a faint line under their moving average."""
    seen: list[NDArray[np.float64]] = []
    for name, curve in lines.items():
        x, y = (np.asarray(part, dtype=np.float64) for part in curve)
        if x.shape != y.shape or x.ndim != 1:
            raise InputError(
                f"the curve {name!r} has shapes {x.shape} and {y.shape}: pass two (n,)."
            )
        y = np.where(np.isfinite(y), y, np.nan)  # a gap where training went astray
        seen.append(y[np.isfinite(y)])
        style: dict[str, Any] = {"color": colours[name], "linewidth": 1.2}
        if len(x) > 200:
            axes.plot(x, y, color=colours[name], linewidth=0.5, alpha=0.3)
            n_mean = len(x) // 50
            x, y = x[n_mean // 2 :][: len(x) - n_mean + 1], _moving_average(y, n_mean)
        elif len(x) <= 40:
            style |= {"marker": "o", "markersize": 2.5}
        axes.plot(x, y, **style)
    _scale_quantity(axes, np.concatenate(seen))


def _moving_average(values: NDArray[np.float64], n_mean: int) -> NDArray[np.float64]:
    """(n - n_mean + 1,) means of n_mean neighbours."""
    return np.lib.stride_tricks.sliding_window_view(values, n_mean).mean(axis=1)


def _scale_quantity(axes: Axes, values: NDArray[np.float64]) -> None:
    """A logarithmic y axis where all values are positive and more than a decade apart."""
    if len(values) and values.min() > 0 and values.max() > 10 * values.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(_log_locator(values))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.yaxis.set_major_locator(_linear_locator())
    axes.xaxis.set_major_locator(_linear_locator(integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(_number))
    axes.xaxis.set_major_formatter(FuncFormatter(_number))
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
    """Draw training curves, a small panel for each quantity, into a PNG, SVG or PDF file.

    quantities  {"loss": {"train": (steps, values), "validation": (steps, values)}, ...}; values
                that are not finite leave gaps

    InputError for another suffix, for no curve, and for curves of unequal lengths.
    """
    check_figure_path(path)
    with _theme():
        _save(curves_figure(quantities, title, x_name), path, overwrite)
