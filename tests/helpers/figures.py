"""Content for figures, and checks of their text."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from dafxtool.plots.spectrograms import Panel, Sheet

SAMPLE_RATE = 24_000
FREQUENCIES = np.linspace(0, SAMPLE_RATE / 2, 1025)
TIMES = np.arange(65) * 2048 / SAMPLE_RATE


def noise(seed: int = 0, level: float = 1.0) -> np.ndarray:
    shape = (len(FREQUENCIES), len(TIMES))
    return level * np.random.default_rng(seed).rayleigh(size=shape)


def sheet_of(*magnitudes: np.ndarray, **more) -> Sheet:
    return Sheet([[Panel(magnitude) for magnitude in magnitudes]], FREQUENCIES, TIMES, **more)


def drawn_texts(figure: Figure) -> list[Text]:
    """Return all text that is drawn; an axis also keeps undrawn labels beyond its limits."""
    texts = list(figure.texts)
    for axes in figure.axes:
        texts += axes.texts
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
            texts += [axis.label, *(label for value, label in ticks if low <= value <= high)]
    return [text for text in texts if text.get_text()]


def assert_apart_and_inside(figure: Figure) -> None:
    """Assert that texts neither overlap nor leave the page."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    width, height = canvas.get_width_height()
    boxes = [(text.get_text(), text.get_window_extent().extents) for text in drawn_texts(figure)]
    for text, (left, bottom, right, top) in boxes:
        assert left >= 0 and bottom >= 0 and right <= width and top <= height, text
    for (a, one), (b, other) in combinations(boxes, 2):
        apart_x = one[2] <= other[0] + 1 or other[2] <= one[0] + 1
        apart_y = one[3] <= other[1] + 1 or other[3] <= one[1] + 1
        assert apart_x or apart_y, (a, b)
