"""Web pages that are one file: text escaped, sounds and pictures inside, nothing loaded.

A fragment is a part of a page: its HTML, its style and the scripts that it needs. Templates lie in
templates/ and escape whatever they are given; only Markup passes as it is. A page names the hashes
of its own scripts, so that a browser runs no other, whatever a recording may be called, and it
forbids every load from a network.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup
from numpy.typing import NDArray

from dafxtool import __version__
from dafxtool.plots.base import typeset
from dafxtool.utils.files import atomic_write

MIME_TYPES = {"mp3": "audio/mpeg", "flac": "audio/flac", "png": "image/png"}


@dataclass(frozen=True)
class Fragment:
    """A part of a page; scripts run in their order, each once however many fragments want it."""

    html: Markup
    style: str = ""
    scripts: tuple[str, ...] = ()


@lru_cache(maxsize=1)
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dafxtool.web"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["typeset"] = typeset
    return environment


def fill(template: str, **values: Any) -> Markup:
    """A template of templates/ with its values, which are escaped."""
    return Markup(_templates().get_template(template).render(**values))


def asset(name: str) -> str:
    """The text of a script or a style sheet of templates/."""
    return files("dafxtool.web").joinpath("templates", name).read_text("utf-8")


def module(name: str) -> str:
    """Bundle a JavaScript module of templates/ with the modules that it imports.

    A page in one file cannot import files, and its Content-Security-Policy allows no other
    source. The modules share one scope, so no two of them may define the same name.
    """
    parts: dict[str, str] = {}

    def add(name: str) -> None:
        if name not in parts:
            text = asset(name)
            parts[name] = ""
            for imported in _IMPORT.findall(text):
                add(imported)
            parts[name] = parts.pop(name) or _EXPORT.sub("", _IMPORT.sub("", text))

    add(name)
    return "".join(parts.values())


_IMPORT = re.compile(r'^import [^;]*? from "\./([^"]+)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const)\b)", re.MULTILINE)


def base64_text(content: bytes) -> str:
    """Encode bytes for a script or an address."""
    return base64.b64encode(content).decode()


def data_uri(content: bytes, kind: str) -> str:
    """Return an address that holds a sound or an image (mp3, flac, png)."""
    return f"data:{MIME_TYPES[kind]};base64,{base64_text(content)}"


def script_data(value: Any) -> Markup:
    """JSON that can stand inside of <script>: no letter in it ends the script or begins a tag."""
    return htmlsafe_json_dumps(value, separators=(",", ":"), allow_nan=False)


def packed(array: NDArray[Any]) -> str:
    """Encode the bytes of an array in base64, rows one after the other."""
    return base64_text(np.ascontiguousarray(array).tobytes())


def deflated(array: NDArray[Any]) -> str:
    """Compress the bytes of an array (zlib format), rows one after the other, in base64."""
    return base64_text(zlib.compress(np.ascontiguousarray(array).tobytes(), 9))


def page(title: str, fragments: Sequence[Fragment], introduction: str = "") -> str:
    """A whole page: a heading, a line below it, and the fragments."""
    scripts = list(dict.fromkeys(script for each in fragments for script in each.scripts))
    styles = [asset("page.css"), *dict.fromkeys(each.style for each in fragments if each.style)]
    hashes = [base64_text(hashlib.sha256(each.encode()).digest()) for each in scripts]
    return fill(
        "page.html",
        title=title,
        introduction=introduction,
        version=__version__,
        fragments=[each.html for each in fragments],
        styles=[Markup(style) for style in styles],
        scripts=[Markup(script) for script in scripts],
        allowed_scripts=" ".join(f"'sha256-{each}'" for each in hashes) or "'none'",
    )


def write_page(path: Path, text: str, overwrite: bool = False) -> None:
    """Write a page; errors of files.writing."""
    with atomic_write(path, overwrite) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))
