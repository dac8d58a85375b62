"""Define the blocks of a report (text, tables, figures with audio) and their HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
from markupsafe import Markup

from dafxtool.audio.reader import load_audio
from dafxtool.audio.writer import encode
from dafxtool.web.page import Fragment, data_uri, fill, read_asset

# --- blocks ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Text:
    """A paragraph; a quiet one is small and grey."""

    text: str
    quiet: bool = False
    kind: str = field(default="text", init=False)


@dataclass(frozen=True)
class Table:
    """A table; the header names the columns, and the first column names the rows."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    note: str = ""
    kind: str = field(default="table", init=False)


@dataclass(frozen=True)
class Image:
    """An image as a data URI, and its width in CSS pixels."""

    uri: str
    width: int


@dataclass(frozen=True)
class Clip:
    """Audio as a data URI, and the name on its button."""

    name: str
    uri: str


@dataclass(frozen=True)
class ClipRow:
    """A row of buttons that play clips, under a name such as "wet"."""

    name: str
    clips: Sequence[Clip]


@dataclass(frozen=True)
class Figure:
    """An image with a caption and audio; without an image, the caption of the block before it."""

    name: str
    image: Image | None
    caption: str
    clip_rows: Sequence[ClipRow] = ()
    kind: str = field(default="figure", init=False)


@dataclass(frozen=True)
class Html:
    """A fragment with its own style and scripts, such as the latent map."""

    fragment: Fragment
    kind: str = field(default="html", init=False)

    @property
    def html(self) -> Markup:
        return self.fragment.html


Block = Text | Table | Figure | Html


@dataclass(frozen=True)
class Section:
    """A section of a report; key is its address within the page."""

    key: str
    title: str
    blocks: Sequence[Block]


class TableLike(Protocol):
    """Title, note, header and rows, as the tables of an evaluation have them."""

    @property
    def title(self) -> str: ...
    @property
    def note(self) -> str: ...
    @property
    def header(self) -> Sequence[str]: ...
    @property
    def rows(self) -> Sequence[Sequence[str]]: ...


def section_fragments(sections: Sequence[Section]) -> list[Fragment]:
    """Render a table of contents and all sections as HTML."""
    contents = fill("contents.html", sections=sections)
    fragments = [Fragment(contents, read_asset("report.css"), (read_asset("report.js"),))]
    for section in sections:
        inner = [block.fragment for block in section.blocks if isinstance(block, Html)]
        html = fill("section.html", **vars(section))
        scripts = tuple(script for each in inner for script in each.scripts)
        fragments.append(Fragment(html, "".join(each.style for each in inner), scripts))
    return fragments


# --- images and audio -----------------------------------------------------------------------------


def draw_image(draw: Callable[[Path], Any]) -> Image:
    """Return the figure that a function draws into a file."""
    return png_image(draw_png(draw))


def draw_png(draw: Callable[[Path], Any]) -> bytes:
    """Return the PNG that a function draws into a file."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "figure.png"
        draw(path)
        return path.read_bytes()


def png_image(png: bytes) -> Image:
    """Embed a PNG of two pixels per CSS pixel; its width is in its header."""
    return Image(data_uri(png, "png"), int.from_bytes(png[16:20], "big") // 2)


def encode_clips(write: Callable[[Path], Sequence[tuple[Path, float | None]]]) -> dict[str, str]:
    """Encode the audio files that a function writes into a folder, as data URIs of FLAC.

    The keys are the last two parts of each file name, such as "wet-original".
    """
    uris = {}
    with TemporaryDirectory() as folder:
        for path, _ in write(Path(folder) / "audio"):
            if not path.stem[0].isdigit():  # the file with all steps in sequence
                continue
            samples, rate = load_audio(path)
            samples = samples / max(1.0, float(np.abs(samples).max()))  # FLAC has no headroom
            key = "-".join(path.stem.split("-")[-2:])
            uris[key] = data_uri(encode(samples, rate, "flac"), "flac")
    return uris
