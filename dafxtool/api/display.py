"""Show results in a notebook: tables, figures and audio players as HTML.

Results derive from `Displayed` and list their parts. Nothing is drawn or encoded until a notebook
asks for it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Displayed:
    """Base of results: HTML from `_parts`, a short text from `__repr__`."""

    def _parts(self) -> Iterator[str]:
        """Yield HTML fragments, from top to bottom."""
        yield f"<p>{escape(repr(self))}</p>"

    def _repr_html_(self) -> str:
        return "\n".join(self._parts())


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return an HTML table; every cell is escaped."""

    def line(cells: Sequence[Any], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f"<table><thead>{line(header, 'th')}</thead><tbody>{body}</tbody></table>"


def figure(draw: Callable[[Path], Any], alternative: str) -> str:
    """Return the figure that `draw(path)` writes as an embedded PNG.

    alternative  text for readers who do not see the image
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "figure.png"
        draw(path)
        encoded = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<img alt="{escape(alternative)}" style="max-width:100%" '
        f'src="data:image/png;base64,{encoded}">'
    )


def player(title: str, audio: NDArray[np.float32], sample_rate: int) -> str:
    """Return an audio player with a title; audio is (n_samples,)."""
    from dafxtool.audio.writer import encode

    encoded = base64.b64encode(encode(audio, sample_rate, "mp3")).decode()
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<audio controls preload="none" src="data:audio/mpeg;base64,{encoded}"></audio></figure>'
    )
