"""Text, tables, figures, sounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
from markupsafe import Markup

from dafxtool.audio.io import load_audio
from dafxtool.audio.writer import encode
from dafxtool.web.page import Fragment, asset, data_uri, fill

# --- what a section is made of --------------------------------------------------------------------


@dataclass(frozen=True)
class Words:
    text: str
    quiet: bool = False
    kind: str = field(default="words", init=False)


@dataclass(frozen=True)
class Table:
    """header has a name for each column; the first column names the rows."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    note: str = ""
    kind: str = field(default="table", init=False)


@dataclass(frozen=True)
class Picture:
    """uri is an address that holds it; width in pixels of the page."""

    uri: str
    width: int


@dataclass(frozen=True)
class Sound:
    name: str
    uri: str


@dataclass(frozen=True)
class Sounds:
    """Buttons in a row, under a name such as "wet"."""

    name: str
    sounds: Sequence[Sound]


@dataclass(frozen=True)
class Figure:
    """Without a picture it is the caption of the block before."""

    name: str
    picture: Picture | None
    caption: str
    sounds: Sequence[Sounds] = ()
    kind: str = field(default="figure", init=False)


@dataclass(frozen=True)
class Html:
    """A part of the page that has been made elsewhere, with its script."""

    fragment: Fragment
    kind: str = field(default="html", init=False)

    @property
    def html(self) -> Markup:
        return self.fragment.html


Block = Words | Table | Figure | Html


@dataclass(frozen=True)
class Section:
    key: str
    title: str
    blocks: Sequence[Block]


class TableLike(Protocol):
    """What an evaluation's tables have."""

    @property
    def title(self) -> str: ...
    @property
    def note(self) -> str: ...
    @property
    def header(self) -> Sequence[str]: ...
    @property
    def rows(self) -> Sequence[Sequence[str]]: ...


def _fragments(sections: Sequence[Section]) -> list[Fragment]:
    contents = fill("contents.html", sections=sections)
    style, script = asset("report.css"), asset("report.js")
    made = [Fragment(contents, style, (script,))]
    for section in sections:
        inside = [block.fragment for block in section.blocks if isinstance(block, Html)]
        html = fill("section.html", **vars(section))
        scripts = tuple(script for each in inside for script in each.scripts)
        made.append(Fragment(html, "".join(each.style for each in inside), scripts))
    return made


# --- pictures and sounds --------------------------------------------------------------------------


def _drawn(draw: Callable[[Path], Any]) -> Picture:
    """What a function draws into a file."""
    return _picture(_png(draw))


def _png(draw: Callable[[Path], Any]) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "figure.png"
        draw(path)
        return path.read_bytes()


def _picture(png: bytes) -> Picture:
    """A PNG at twice the density of a page; its width is in its header."""
    return Picture(data_uri(png, "png"), int.from_bytes(png[16:20], "big") // 2)


def _sounds(write: Callable[[Path], Sequence[tuple[Path, float | None]]]) -> dict[str, str]:
    """What a function writes into a folder, as FLAC, by the last two words of each name."""
    made = {}
    with TemporaryDirectory() as folder:
        for path, _ in write(Path(folder) / "sounds"):
            if not path.stem[0].isdigit():  # all of them in one go
                continue
            samples, rate = load_audio(path)
            samples = samples / max(1.0, float(np.abs(samples).max()))  # 16 bits hold no more
            made["-".join(path.stem.split("-")[-2:])] = data_uri(
                encode(samples, rate, "flac"), "flac"
            )
    return made
