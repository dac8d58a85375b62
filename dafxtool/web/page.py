"""Render web pages as single files with embedded audio and images.

A fragment is a part of a page: its HTML, its style and its scripts. The templates in templates/
escape all values except Markup. The Content-Security-Policy of a page lists the hashes of its own
scripts, so that a browser runs no script from a file name, and forbids all loads from a network.
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
    """A part of a page; each script runs once, in the order of the fragments."""

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
    """Render a template of templates/; its values are escaped."""
    return Markup(_templates().get_template(template).render(**values))


def read_asset(name: str) -> str:
    """Read a script or a style sheet of templates/."""
    return files("dafxtool.web").joinpath("templates", name).read_text("utf-8")


def bundle(name: str) -> str:
    """Bundle a JavaScript module of templates/ with the modules that it imports.

    A page in one file cannot import files, and its Content-Security-Policy allows no other
    source. The modules share one scope, so no two of them may define the same name.
    """
    parts: dict[str, str] = {}

    def add(name: str) -> None:
        if name not in parts:
            text = read_asset(name)
            parts[name] = ""
            for imported in _IMPORT.findall(text):
                add(imported)
            parts[name] = parts.pop(name) or _EXPORT.sub("", _IMPORT.sub("", text))

    add(name)
    return "".join(parts.values())


_IMPORT = re.compile(r'^import [^;]*? from "\./([^"]+)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const)\b)", re.MULTILINE)


def to_base64(content: bytes) -> str:
    """Encode bytes in base64."""
    return base64.b64encode(content).decode()


def data_uri(content: bytes, kind: str) -> str:
    """Embed audio or an image (mp3, flac, png) in a data URI."""
    return f"data:{MIME_TYPES[kind]};base64,{to_base64(content)}"


def script_json(value: Any) -> Markup:
    """Encode JSON for a <script> element, without characters that could end it or start a tag."""
    return htmlsafe_json_dumps(value, separators=(",", ":"), allow_nan=False)


def pack(array: NDArray[Any]) -> str:
    """Encode the bytes of an array in base64, in row-major order."""
    return to_base64(np.ascontiguousarray(array).tobytes())


def deflate(array: NDArray[Any]) -> str:
    """Compress the bytes of an array (zlib format, row-major order) and encode them in base64."""
    return to_base64(zlib.compress(np.ascontiguousarray(array).tobytes(), 9))


def render_page(title: str, fragments: Sequence[Fragment], introduction: str = "") -> str:
    """Render a page with a heading, a paragraph below it, and the fragments."""
    scripts = list(dict.fromkeys(script for each in fragments for script in each.scripts))
    styles = [
        read_asset("page.css"),
        *dict.fromkeys(each.style for each in fragments if each.style),
    ]
    hashes = [to_base64(hashlib.sha256(each.encode()).digest()) for each in scripts]
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
    """Write a page; OutputExistsError and DiskError as in files.atomic_write."""
    with atomic_write(path, overwrite) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))
