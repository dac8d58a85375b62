"""Provide the files of the page and its initial contents."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from dafxtool import __version__
from dafxtool.explorer.images import image_style
from dafxtool.explorer.renderer import describe_effect
from dafxtool.explorer.workspace import Session, Workspace
from dafxtool.models.checkpoint import is_pretrained
from dafxtool.web.page import read_asset

KINDS = {".js": "text/javascript", ".css": "text/css"}
# Files of the package web: the map component, and styles shared with its pages.
SHARED = (
    "page.css",
    "point_map.css",
    "point_finding.js",
    "point_map.js",
    "point_map_controls.js",
    "point_map_drawing.js",
    "point_map_input.js",
    "point_painter.js",
    "point_view.js",
    "spectral.js",
)


def page_html() -> str:
    """Return the HTML of the page. Its scripts request the initial contents."""
    return _read("explore.html")


def static_file(name: str) -> tuple[str, str] | None:
    """Return the text and media type of a script or style sheet; None if there is none."""
    kind = KINDS.get(Path(name).suffix)
    if kind is None:
        return None
    if name in SHARED:
        return read_asset(name), kind
    own = {each.name for each in files(__package__).joinpath("templates").iterdir()}
    return (_read(name), kind) if name in own else None


def _read(name: str) -> str:
    return files(__package__).joinpath("templates", name).read_text("utf-8")


def opening_data(workspace: Workspace, session: Session, first: dict[str, Any]) -> dict[str, Any]:
    """Return the initial contents: effects, recordings, colours and the run.

    first  recording, start, effect and setting to open with, if any
    """
    sources = [*session.uploads.sources.values(), *workspace.shared.values()]
    run, renderer = workspace.run, workspace.renderer
    described = None
    if run is not None:
        described = {
            "name": "pretrained model" if is_pretrained(run.path) else run.path.name,
            "effects": list(dict.fromkeys(str(each["name"]) for each in run.effects)),
        }
    return {
        "version": __version__,
        "sampleRate": renderer.sample_rate,
        "nSamples": workspace.configuration.segments.n_samples,
        "style": image_style(workspace.configuration.spectrogram),
        "effects": [describe_effect(each) for each in renderer.builtin],
        "plugins": renderer.plugin_names,  # described when they are chosen: loading takes time
        "recordings": [each.to_dict() for each in sources],
        "run": described,
        "first": first,
    }
