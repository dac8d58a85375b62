"""Answer the requests of the page: each action gets a workspace, a session and a JSON body."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

from dafxtool.errors import InputError
from dafxtool.explorer import exports
from dafxtool.explorer.images import pair_images
from dafxtool.explorer.messages import pack
from dafxtool.explorer.recordings import UPLOADED, Source, outline
from dafxtool.explorer.renderer import Rendered, describe_effect
from dafxtool.explorer.workspace import Session, Workspace
from dafxtool.utils.progress import Progress

if TYPE_CHECKING:
    from dafxtool.explorer.map_points import LatentMap
    from dafxtool.latents.interpolate import Interpolation
    from dafxtool.models.run import Run

Emit = Callable[[bytes], None]
Answer = Callable[[Workspace, Session, Any], bytes]
Stream = Callable[[Workspace, Session, Any, Emit], None]


def describe_recording(workspace: Workspace, source: Source) -> bytes:
    """Return a recording's description and the outline of its waveform."""
    waveform = outline(source.path, source.info, workspace.configuration.segments)
    about = {"nSamples": waveform.n_samples, "loudestStart": waveform.loudest_start}
    return pack({**source.to_dict(), **about}, {"outline": waveform.extremes})


def recording(workspace: Workspace, session: Session, body: Any) -> bytes:
    """Describe the recording with the requested key."""
    return describe_recording(workspace, workspace.source(session, _text(body, "recording")))


def effect(workspace: Workspace, session: Session, body: Any) -> bytes:
    """Describe an effect or a chain "a > b"."""
    return pack({"effect": describe_effect(workspace.renderer.effect(_text(body, "effect")))})


def render(workspace: Workspace, session: Session, body: Any) -> bytes:
    """Render a setting; return audio, spectrograms, levels, and its option and command."""
    request = workspace.request(session, body)
    rendered = workspace.renderer.render(request)
    images = workspace.renderer.images(rendered)
    rate = workspace.renderer.sample_rate
    content = {
        "setting": rendered.setting,
        "label": rendered.effect.label(rendered.setting, most=99),
        "line": exports.effect_line(rendered),
        "command": exports.command_line(rendered, request.source, request.start, rate),
        "limitDb": images.limit_db,
        **rendered.levels(),
    }
    return pack(content, {"dry": rendered.dry, "wet": rendered.wet, **images.arrays()})


def place(workspace: Workspace, session: Session, body: Any) -> bytes:
    """Locate a setting on the map."""
    latent_map, rendered = _map(workspace), _render(workspace, session, body)
    pair = rendered.pair(workspace.configuration.segments.level_dbfs)
    latent = latent_map.run.embed_audio(pair[None])[0]
    return pack(latent_map.locate(latent).to_dict())


def point(workspace: Workspace, session: Session, body: Any) -> bytes:
    """Return the audio, spectrograms, effect and setting of a point of the map."""
    from dafxtool.explorer.map_points import setting_at

    built, row = _map(workspace), int(_number(body, "point"))
    dry, wet = built.audio(row)
    images = pair_images(dry, wet, workspace.configuration.spectrogram)
    content = {"limitDb": images.limit_db, **setting_at(built.latents, row)}
    return pack(content, {"dry": dry, "wet": wet, **images.arrays()})


def decode(workspace: Workspace, session: Session, body: Any) -> bytes:
    """Decode a location on the map for the current segment."""
    from dafxtool.explorer.decoding import decode_at

    latent_map, rendered = _map(workspace), _render(workspace, session, body)
    decoded = decode_at(latent_map, _number(body, "x"), _number(body, "y"), rendered)
    images = decoded.images
    content = {"limitDb": images.limit_db, **latent_map.locate(decoded.latent).to_dict()}
    return pack(content, {"dry": rendered.dry, "wet": decoded.audio, **images.arrays()})


def wav(workspace: Workspace, session: Session, body: Any) -> bytes:
    """Return the wet segment, or with "complete" the complete wet recording, as WAV."""
    request = workspace.request(session, body)
    rendered = workspace.renderer.render(request)
    if body.get("complete"):
        gain = workspace.renderer.gain(request)
        return exports.recording_wav(rendered, request.source, gain)
    return exports.segment_wav(rendered.wet, workspace.renderer.sample_rate)


def sheet(workspace: Workspace, session: Session, body: Any) -> bytes:
    """Return the sheet of a setting as PNG."""
    request = workspace.request(session, body)
    rendered = workspace.renderer.render(request)
    return exports.sheet_png(rendered, request.source, request.start, workspace.configuration)


def original(workspace: Workspace, session: Session, body: Any) -> bytes:
    """Return the uploaded file, to be stored in a session file."""
    source = workspace.source(session, _text(body, "recording"))
    if source.kind != UPLOADED:
        raise InputError(f"{source.name}: not an upload. Use the original file.")
    return source.path.read_bytes()


# --- streams --------------------------------------------------------------------------------------


class _PageProgress(Progress):
    """Send progress to the page. If the page is closed, this ends the work."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._text, self._done, self._total = "", 0, 0

    def start(
        self, description: str, total: int | None = None, unit: str = "item", done: int = 0
    ) -> None:
        self._text, self._done, self._total = description, done, total or 0
        self._send()

    def advance(self, n: int = 1, **values: Any) -> None:
        self._done += n
        self._send()

    def message(self, text: str) -> None:
        self._emit(pack({"kind": "progress", "text": text, "share": 0}))

    def _send(self) -> None:
        share = self._done / self._total if self._total else 0.0
        self._emit(pack({"kind": "progress", "text": self._text, "share": share}))


def latent_map(workspace: Workspace, session: Session, body: Any, emit: Emit) -> None:
    """Build the map and send its points."""
    from dafxtool.web.latent_map import map_data, point_descriptions

    built = workspace.build_map(_PageProgress(emit))
    if built is None:
        raise InputError("no map, because there is no run. Train one, or name one with --run.")
    content = {
        "kind": "map",
        "map": map_data(built.latents, built.projection),
        "points": point_descriptions(built.latents),
    }
    emit(pack(content))


def between(workspace: Workspace, session: Session, body: Any, emit: Emit) -> None:
    """Send the steps from one setting to another, from coarse to fine."""
    from dafxtool.explorer.decoding import path_steps

    path, run = _path(workspace, session, body)
    content: dict[str, Any] = {"kind": "path", "nSteps": len(path.positions)}
    if path.latents is not None and workspace.latent_map is not None:
        locations = [workspace.latent_map.locate(each) for each in path.latents]
        content["locations"] = [[each.x, each.y] for each in locations]
    emit(pack(content))
    for index, audio, images in path_steps(path, run):
        described = {"kind": "step", "index": index, "limitDb": images.limit_db}
        emit(pack(described, {"wet": audio, **images.arrays()}))


def between_sheet(workspace: Workspace, session: Session, body: Any) -> bytes:
    """Return the sheet of a path as PNG."""
    from dafxtool.explorer.decoding import path_sheet

    return path_sheet(*_path(workspace, session, body))


def match(workspace: Workspace, session: Session, body: Any, emit: Emit) -> None:
    """Match a reference; send each improved answer."""
    from dafxtool.explorer import matching

    mode = _text(body, "mode")
    if mode not in matching.MODES:
        raise InputError(f"unknown kind of match {mode!r}. Reload the page.")
    named = [workspace.renderer.effect(str(name)) for name in body.get("effects", [])]
    task = matching.Task(
        workspace.source(session, _text(body, "recording")).path,
        workspace.source(session, _text(body, "reference")).path,
        mode,
        matching.candidates(named),
    )
    with closing(matching.match(task)) as messages:  # a closed page ends the search
        for message in messages:
            emit(pack(message))


# --- parts ----------------------------------------------------------------------------------------


def _map(workspace: Workspace) -> LatentMap:
    if workspace.latent_map is None:
        raise InputError("the map is not ready yet. Wait until it appears.")
    return workspace.latent_map


def _render(workspace: Workspace, session: Session, body: Any) -> Rendered:
    return workspace.renderer.render(workspace.request(session, body))


def _path(workspace: Workspace, session: Session, body: Any) -> tuple[Interpolation, Run]:
    """Return the path between "a" and "b", and the run that analysed it."""
    from dafxtool.explorer.decoding import example_of, path_between

    if not isinstance(body, Mapping):
        raise InputError("the page sent an incomplete request. Reload it.")
    ends = [workspace.request(session, body.get(name)) for name in ("a", "b")]
    detailed = bool(body.get("detailed"))
    run = workspace.run
    if run is None:
        from dafxtool.models.run import without_training

        if not detailed:
            raise InputError("decoding needs a run (found none). Choose the detailed path.")
        run = without_training(workspace.configuration)
    key = (*ends, detailed)
    if session.path is None or session.path[0] != key:
        a, b = (
            example_of(workspace.renderer.render(each), run, each.source.name, each.start)
            for each in ends
        )
        session.path = (key, path_between(a, b, run, detailed))
    return session.path[1], run


def _text(body: Any, name: str) -> str:
    value = body.get(name) if isinstance(body, Mapping) else None
    if not isinstance(value, str):
        raise InputError("the page sent an incomplete request. Reload it.")
    return value


def _number(body: Any, name: str) -> float:
    value = body.get(name) if isinstance(body, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
        raise InputError("the page sent an incomplete request. Reload it.")
    return float(value)


ANSWERS: dict[str, Answer] = {
    "recording": recording,
    "effect": effect,
    "render": render,
    "place": place,
    "point": point,
    "decode": decode,
}
STREAMS: dict[str, Stream] = {"map": latent_map, "between": between, "match": match}
FILES: dict[str, tuple[Answer, str]] = {
    "wav": (wav, "audio/wav"),
    "sheet": (sheet, "image/png"),
    "original": (original, "application/octet-stream"),
    "between-sheet": (between_sheet, "image/png"),
}
