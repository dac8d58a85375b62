"""Hold the state of a server: effects, recordings, the latent map, a session for each tab."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dafxtool.config import Configuration
from dafxtool.errors import InputError
from dafxtool.explorer.recordings import (
    Source,
    Uploads,
    built_in_sources,
    named_sources,
)
from dafxtool.explorer.renderer import Renderer, Request
from dafxtool.explorer.worker_threads import LatestOnly
from dafxtool.utils.progress import SILENT, Progress

if TYPE_CHECKING:
    from dafxtool.explorer.map_points import LatentMap
    from dafxtool.latents.interpolate import Interpolation
    from dafxtool.models.run import Run

MOST_SESSIONS = 64
MOST_NAME = 200  # characters of an effect's text


@dataclass
class Session:
    """State of one tab: uploads, request queues and the last interpolation."""

    uploads: Uploads
    queues: dict[str, LatestOnly] = field(default_factory=dict)
    path: tuple[Any, Interpolation] | None = None

    def queue(self, kind: str) -> LatestOnly:
        """Return the queue for a kind of request."""
        return self.queues.setdefault(kind, LatestOnly())


class Workspace:
    """State of a server.

    folder  temporary folder; the caller removes it
    run     trained model; None disables the map and decoding
    """

    def __init__(
        self,
        folder: Path,
        configuration: Configuration,
        recordings: Sequence[Path] = (),
        plugins: Sequence[Path] = (),
        run: Run | None = None,
        pairs: Path | None = None,
        progress: Progress = SILENT,
    ) -> None:
        self.folder, self.configuration, self.run, self.pairs = folder, configuration, run, pairs
        self.renderer = Renderer(configuration, plugins, progress)
        self.built_in = built_in_sources(folder / "built-in")
        named = named_sources([path.absolute() for path in recordings], progress)
        self.shared = {each.key: each for each in (*named, *self.built_in)}
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._map: LatentMap | None = None
        self._map_lock = threading.Lock()

    def session(self, key: str) -> Session:
        """Return the session of a tab; a new one replaces the least recently used."""
        if not (8 <= len(key) <= 64 and key.isascii() and key.isalnum()):
            raise InputError("the page sent no valid session key. Reload it.")
        if key not in self._sessions:
            while len(self._sessions) >= MOST_SESSIONS:
                self._sessions.popitem(last=False)
            self._sessions[key] = Session(Uploads(self.folder / "uploads" / key))
        self._sessions.move_to_end(key)
        return self._sessions[key]

    def source(self, session: Session, key: str) -> Source:
        """Return a shared recording, or an upload of the tab."""
        source = self.shared.get(key) or session.uploads.sources.get(key)
        if source is None:
            raise InputError("the recording is no longer on the server. Open it again.")
        return source

    def request(self, session: Session, body: Any) -> Request:
        """Parse a request of the page; InputError if it is incomplete."""
        try:
            setting = {str(name): float(value) for name, value in body["setting"].items()}
            effect, start = str(body["effect"])[:MOST_NAME], int(body["start"])
            return Request(self.source(session, str(body["recording"])), start, effect, setting)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError("the page sent an incomplete request. Reload it.") from error

    @property
    def latent_map(self) -> LatentMap | None:
        """Latent map; None before it is built."""
        return self._map

    def build_map(self, progress: Progress) -> LatentMap | None:
        """Return the map, and build it on first use; None without a run."""
        from dafxtool.explorer.map_points import build_map

        with self._map_lock:
            if self._map is None and self.run is not None:
                self._map = build_map(self.run, self.pairs, self.built_in, progress)
        return self._map
