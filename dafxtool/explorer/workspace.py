"""What a server holds: effects, recordings, the map of its run, and one session for each tab."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dafxtool.config import Configuration
from dafxtool.errors import InputError
from dafxtool.explorer.lanes import LatestOnly
from dafxtool.explorer.recordings import (
    Source,
    Uploads,
    built_in_sources,
    named_sources,
)
from dafxtool.explorer.renderer import Renderer, Request
from dafxtool.utils.progress import SILENT, Progress

if TYPE_CHECKING:
    from dafxtool.explorer.map_points import LatentMap
    from dafxtool.latents.interpolate import Interpolation
    from dafxtool.models.run import Run

MOST_SESSIONS = 64
MOST_NAME = 200  # characters of an effect's text


@dataclass
class Session:
    """One tab: its uploads, its queues and the last path between two settings."""

    uploads: Uploads
    queues: dict[str, LatestOnly] = field(default_factory=dict)
    path: tuple[Any, Interpolation] | None = None

    def queue(self, kind: str) -> LatestOnly:
        """Return the queue of a kind of request."""
        return self.queues.setdefault(kind, LatestOnly())


class Workspace:
    """The state of a server.

    folder  temporary folder, which is removed with the server
    run     the model; None: there is no map, and everything else works
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
        """Return the session of a tab; the one that was unused longest makes room for a new one."""
        if not (8 <= len(key) <= 64 and key.isascii() and key.isalnum()):
            raise InputError("the page sent no session. Reload it.")
        if key not in self._sessions:
            while len(self._sessions) >= MOST_SESSIONS:
                self._sessions.popitem(last=False)
            self._sessions[key] = Session(Uploads(self.folder / "uploads" / key))
        self._sessions.move_to_end(key)
        return self._sessions[key]

    def source(self, session: Session, key: str) -> Source:
        """Return a shared recording, or one of the tab."""
        source = self.shared.get(key) or session.uploads.sources.get(key)
        if source is None:
            raise InputError("the recording is no longer on the server. Open it again.")
        return source

    def request(self, session: Session, body: Any) -> Request:
        """Read what the page asks for; InputError if it makes no sense."""
        try:
            setting = {str(name): float(value) for name, value in body["setting"].items()}
            effect, start = str(body["effect"])[:MOST_NAME], int(body["start"])
            return Request(self.source(session, str(body["recording"])), start, effect, setting)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError("the page sent an incomplete request. Reload it.") from error

    @property
    def latent_map(self) -> LatentMap | None:
        """The map, once it is built."""
        return self._map

    def build_map(self, progress: Progress) -> LatentMap | None:
        """Return the map, which is built on first use; None without a run."""
        from dafxtool.explorer.map_points import build_map

        with self._map_lock:
            if self._map is None and self.run is not None:
                self._map = build_map(self.run, self.pairs, self.built_in, progress)
        return self._map
