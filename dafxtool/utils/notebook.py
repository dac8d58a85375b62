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


class Displayed:
    """Base of results: HTML from `_parts`, a short text from `__repr__`."""

    def _parts(self) -> Iterator[str]:
        """Yield HTML fragments, from top to bottom."""
        yield paragraph(repr(self))

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
        return image(path, alternative)


def image(path: Path, alternative: str) -> str:
    """Return a PNG file as an embedded image."""
    return (
        f'<img alt="{escape(alternative)}" style="max-width:100%" '
        f'src="data:image/png;base64,{_base64(path.read_bytes())}">'
    )


def audio_player(title: str, encoded: bytes, media_type: str) -> str:
    """Return a player with a title for an encoded audio file, embedded."""
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<audio controls preload="none" src="data:{media_type};base64,{_base64(encoded)}">'
        "</audio></figure>"
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
