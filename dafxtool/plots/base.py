"""Provide the shared parts of all figures: theme, text measured in inches, pages, and saving.

Conventions of the package: arrays in, one file out (PNG, SVG or PDF by the suffix of the path).
matplotlib and PIL are imported in this package only. pyplot is not used, so figures work without a
display and in threads: build, draw and save a figure inside theme(). Pages are laid out in inches
from their top left corner, so that a long label enlarges the page instead of overlapping its
neighbour. Text sizes are in points. Colours, fonts and sizes that figures share are defined here.
"""

from __future__ import annotations

import io
import re
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.textpath import TextToPath
from matplotlib.ticker import LogLocator, MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from dafxtool.utils.files import atomic_write
from dafxtool.utils.outputs import check_figure_path

DOTS_PER_INCH = 200
MARGIN = 0.12  # inches, around a page
N_COLUMNS = {1: 1, 2: 2, 4: 2}  # number of small panels -> columns; three for other numbers

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
# Helvetica and its relatives first. DejaVu comes with matplotlib and has the missing letters.
FONTS = ("Helvetica", "Arial", "Liberation Sans", "DejaVu Sans", "Noto Sans CJK JP")
TITLE_PT, LABEL_PT, TICK_PT = 10.0, 8.0, 7.0
LINE_SPACING = 1.2
THEME: dict[str, Any] = {
    "font.size": LABEL_PT,
    "text.color": INK,
    "text.parse_math": False,  # file names may contain "$"
    "text.hinting": "no_hinting",  # widths scale with the resolution, as text_width_in assumes
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
_DRAWING = threading.RLock()  # matplotlib's settings are global to the process


@contextmanager
def theme() -> Iterator[None]:
    """Apply the theme in place of the user's matplotlibrc, and restore that at the end."""
    installed = set(font_manager.get_font_names())
    settings: dict[Any, Any] = {**matplotlib.rcParamsDefault, **THEME}
    settings |= {"font.family": [name for name in FONTS if name in installed]}
    del settings["backend"]  # keep a notebook's own
    with _DRAWING, matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # it is drawn as a box
        yield


# --- text, in inches ----------------------------------------------------------------------------


def text_width_in(text: str, size_pt: float, weight: str = "normal") -> float:
    """Return the width of one line of text in inches."""
    font = font_manager.FontProperties(size=size_pt, weight=weight)
    return float(TextToPath().get_text_width_height_descent(text, font, ismath=False)[0]) / 72


def text_height_in(text: str, size_pt: float) -> float:
    """Return the height of wrapped text in inches; 0 for empty text."""
    return (text.count("\n") + 1) * size_pt * LINE_SPACING / 72 if text else 0.0


def typeset(text: str) -> str:
    """Use true minus signs, and keep numbers on one line with their units."""
    text = re.sub(r"(?<![\w-])-(?=\d)", "\N{MINUS SIGN}", " ".join(text.split()))
    return re.sub(r"(?<=\d) (?=(dB|Hz|kHz|ms|s|st|bit|%)\b|%)", "\N{NO-BREAK SPACE}", text)


def wrap(text: str, width_in: float, size_pt: float, weight: str = "normal") -> str:
    """Break text into lines of at most width_in inches.

    Existing line breaks are kept. Breaks are placed between the clauses of a label ("drive 12 dB,
    tone 3 kHz") where possible, else between words, else inside a word (file names).
    """

    def fits(line: str) -> bool:
        # At low resolutions text is up to 3 % wider than measured.
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
    lines = [line for paragraph in text.split("\n") for line in pack([typeset(paragraph)], finer)]
    return "\n".join(line.rstrip(" ") for line in lines)


# --- numbers on axes ----------------------------------------------------------------------------


def format_number(value: float, _position: object = None) -> str:
    """Format 1500 as "1500", 20000 as "20k", 3e6 as "3M", with a true minus sign."""
    if abs(value) >= 1e6:
        text = f"{value / 1e6:g}M"
    else:
        text = f"{value / 1e3:g}k" if abs(value) >= 1e4 else f"{value:.6g}"
    return re.sub(r"e-0*", "e-", text).replace("-", "\N{MINUS SIGN}")


def linear_locator(integer: bool = False) -> MaxNLocator:
    """Return a locator of at most five equal steps of round numbers."""
    return MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], integer=integer)


def log_locator(values: NDArray[np.float64]) -> LogLocator:
    """Return a locator of 1, 2, 5, 10 for narrow ranges, of powers of ten for wide ones."""
    few = values.max() < 500 * values.min()
    return LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=9)


# --- pages --------------------------------------------------------------------------------------


class Page:
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
        """Draw wrapped text below `top`, aligned by baselines, so that descenders shift nothing."""
        for index, line in enumerate(text.split("\n") if text else []):
            baseline = top + (0.92 + index * LINE_SPACING) * size / 72
            x, y = left / self.width, 1 - baseline / self.height
            self.figure.text(x, y, line, size=size, va="baseline", **style)

    def text_above(self, left: float, bottom: float, text: str, size: float, **style: Any) -> None:
        self.text(left, bottom - text_height_in(text, size), text, size, **style)

    def turned(self, left: float, middle: float, text: str, size: float, **style: Any) -> None:
        """Draw text rotated by 90 degrees, to the right of `left` and centred at `middle`."""
        style |= {"rotation": 90, "va": "center", "ha": "left", "multialignment": "center"}
        x, y = left / self.width, 1 - middle / self.height
        self.figure.text(x, y, text, size=size, linespacing=LINE_SPACING, **style)

    def line(self, lefts: Sequence[float], tops: Sequence[float], **style: Any) -> None:
        x = [left / self.width for left in lefts]
        y = [1 - top / self.height for top in tops]
        self.figure.add_artist(Line2D(x, y, transform=self.figure.transFigure, **style))


# --- files --------------------------------------------------------------------------------------


def save_figure(
    figure: Figure, path: Path, overwrite: bool, colours: Image.Image | None = None
) -> None:
    """Write a figure; `colours` is the palette of a PNG with indexed colours."""
    check_figure_path(path)
    kind = path.suffix.lower()[1:]
    # No dates, so that the same figure drawn twice is the same file.
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}[kind]
    with atomic_write(path, overwrite) as unfinished:
        if kind == "png" and colours is not None:
            image = Image.fromarray(figure_pixels(figure, DOTS_PER_INCH))
            image = image.quantize(palette=colours, dither=Image.Dither.NONE)
            image.save(unfinished, dpi=(DOTS_PER_INCH, DOTS_PER_INCH))
        else:
            # Into memory first: matplotlib's PDF writer does not report a full disk.
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=DOTS_PER_INCH, metadata=metadata)
            unfinished.write_bytes(buffer.getbuffer())


def figure_pixels(figure: Figure, dots_per_inch: float) -> NDArray[np.uint8]:
    """Render a figure to pixels (height, width, 3)."""
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(dots_per_inch)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
