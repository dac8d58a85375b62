"""Serve the explorer: effects, latent map and interpolation in a browser, live."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from dafxtool.api import checks, defaults
from dafxtool.api.arguments import SILENT, PathLike, Paths, Progress, as_paths
from dafxtool.api.described_chains import write_out_chain
from dafxtool.audio.find_recordings import find_recordings
from dafxtool.audio.reader import read_info
from dafxtool.errors import InputError, MissingDependencyError
from dafxtool.models.checkpoint import default_run, is_pretrained
from dafxtool.presets import PRESETS

if TYPE_CHECKING:
    from dafxtool.explorer.server import PageServer
    from dafxtool.explorer.workspace import Workspace
    from dafxtool.models.run import Run

HOST = "127.0.0.1"


@dataclass(frozen=True)
class ExploreResult:
    """The address that was served."""

    url: str


def explore(
    recordings: Paths = None,
    *,
    run: Run | PathLike | None = None,
    effect: str | None = None,
    start: float | None = None,
    plugins: Paths = None,
    host: str = HOST,
    port: int = 0,
    browser: bool = True,
    device: str = "auto",
    ready: Callable[[str], None] | None = None,
    progress: Progress = SILENT,
) -> ExploreResult:
    """Serve a page with effects, latent map and interpolation until Ctrl-C.

    recordings  files and folders, beside the built-in ones
    run         a loaded run or its path; None takes the newest in runs/, else the pretrained
                model; where there is neither, there is no map
    effect      effect and setting to open with, such as "delay:time=300"
    start       s, start of the segment to open with
    host        address to listen at; another one than 127.0.0.1 lets other machines connect
    port        0 takes a free one
    browser     open the page in the browser
    ready       called with the address, once the server answers

    MissingDependencyError without the extra dafxtool[explore]; InputError, RecordingError,
    EffectError, PluginError.
    """
    with serve(
        recordings,
        run=run,
        effect=effect,
        start=start,
        plugins=plugins,
        host=host,
        port=port,
        device=device,
        progress=progress,
    ) as server:
        from dafxtool.explorer.server import open_browser

        with suppress(KeyboardInterrupt):
            if ready is not None:
                ready(server.url)
            if browser and not open_browser(server.url):
                progress.message("no browser was found: open the address yourself.")
            server.wait()
        return ExploreResult(server.url)


@contextmanager
def serve(
    recordings: Paths = None,
    *,
    run: Run | PathLike | None = None,
    effect: str | None = None,
    start: float | None = None,
    plugins: Paths = None,
    host: str = HOST,
    port: int = 0,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Iterator[PageServer]:
    """Serve the explorer inside a with statement; arguments and errors as of explore."""
    for package in ("starlette", "uvicorn"):
        if find_spec(package) is None:
            raise MissingDependencyError("dafxtool[explore]", "explore")
    checks.check_settings(device)
    effect = write_out_chain(effect, defaults.named_run(run)) if effect else None
    checks.check_effects([effect] if effect else [], as_paths(plugins))
    if named := as_paths(recordings):
        find_recordings(named)
    for path in named:
        if path.is_file():
            read_info(path)
    if start is not None:
        _check_start(start, find_recordings(named) if named else [])
    if run is not None:
        checks.check_run(defaults.named_run(run))
    loaded = _run(run, device, progress)
    with TemporaryDirectory(prefix="dafxtool-explore-", ignore_cleanup_errors=True) as folder:
        workspace = _workspace(Path(folder), recordings, plugins, loaded, progress)
        from dafxtool.explorer.app import build_app
        from dafxtool.explorer.security import is_loopback
        from dafxtool.explorer.server import PageServer

        app = build_app(workspace, _opening(workspace, effect, start))
        server = PageServer(app, host, port)
        if not is_loopback(host):
            progress.message(
                f"{host}: other machines on this network can open {server.network_url}"
            )
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _check_start(start: float, recordings: Sequence[Path]) -> None:
    """Raise InputError for a start outside the first recording that is named."""
    seconds = read_info(recordings[0]).seconds if recordings else math.inf
    if not 0 <= start < seconds:
        raise InputError(
            f"start: outside the first recording (found {start:g} s, expected 0 to less than "
            f"{seconds:.2f} s). Choose another start."
        )


def _run(run: Run | PathLike | None, device: str, progress: Progress) -> Run | None:
    """Return the run to use; None where there is none, which is no error here."""
    if run is not None:
        return defaults.loaded_run(run, device)
    try:
        path = default_run()
    except InputError:
        progress.message("no run in runs/: there is no map. Train one, or name one with --run.")
        return None
    what = "no run in runs/: taking the pretrained model" if is_pretrained(path) else ""
    progress.message(what or f"no --run: taking {path}")
    return defaults.loaded_run(path, device)


def _workspace(
    folder: Path, recordings: Paths, plugins: Paths, run: Run | None, progress: Progress
) -> Workspace:
    from dafxtool.explorer.workspace import Workspace

    configuration = run.configuration if run is not None else PRESETS["small"]
    pairs = None
    if run is not None:
        from dafxtool.explorer.map_points import pairs_file_of

        pairs = pairs_file_of(run)
    named = as_paths(recordings)
    return Workspace(
        folder,
        configuration,
        find_recordings(named) if named else [],
        as_paths(plugins),
        run,
        pairs,
        progress,
    )


def _opening(workspace: Workspace, effect: str | None, start: float | None) -> dict[str, Any]:
    """Return what the page opens with: a setting, and a place in the first recording."""
    first: dict[str, Any] = {}
    if effect is not None:
        choice, setting = workspace.renderer.parse(effect)
        first |= {"effect": choice, "setting": setting}
    if start is not None:
        first["start"] = round(start * workspace.renderer.sample_rate)
    return first
