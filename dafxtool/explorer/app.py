"""Define the web application: the page, its files, and its requests.

Requests are JSON or an upload, answers are binary messages (see messages). A tab names itself in
the header X-Session. Errors of the user are answered with status 400 and one sentence.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from dafxtool.errors import DafxError, InputError
from dafxtool.explorer import actions
from dafxtool.explorer.messages import pack
from dafxtool.explorer.page import opening_data, page_html, static_file
from dafxtool.explorer.recordings import LARGEST_UPLOAD_BYTES
from dafxtool.explorer.worker_threads import Closed, Superseded, WorkerThread
from dafxtool.explorer.workspace import Session, Workspace

LARGEST_REQUEST_BYTES = 1 << 20
MESSAGES = "application/octet-stream"


class Application:
    """Request handlers of one server, and the threads that they use."""

    def __init__(self, workspace: Workspace, opening: dict[str, Any]) -> None:
        self.workspace, self.opening = workspace, opening
        self.live = WorkerThread("live")  # built-in effects and the model
        self.plugins = WorkerThread("plugins")  # a plugin that hangs must not stop other tabs
        self.background = WorkerThread("background")
        # Not a thread of its own for each map: a plugin's process ends with the thread that
        # started it (PR_SET_PDEATHSIG).
        self.mapping = WorkerThread("map")

    def routes(self) -> list[Route]:
        """Return the routes of the server."""
        return [
            Route("/", self.index),
            Route("/static/{name}", self.static),
            Route("/opening", self.open, methods=["POST"]),
            Route("/recordings", self.upload, methods=["POST"]),
            *(
                Route(f"/{name}", self.answer(name, action), methods=["POST"])
                for name, action in actions.ANSWERS.items()
            ),
            *(
                Route(f"/{name}", self.streamed(name, action), methods=["POST"])
                for name, action in actions.STREAMS.items()
            ),
            *(
                Route(f"/{name}", self.file(action, kind), methods=["POST"])
                for name, (action, kind) in actions.FILES.items()
            ),
        ]

    async def index(self, request: HttpRequest) -> Response:
        """Send the page."""
        return HTMLResponse(page_html())

    async def open(self, request: HttpRequest) -> Response:
        """Send the initial contents of the page."""
        session = self._session(request)
        content = opening_data(self.workspace, session, self.opening)
        return Response(pack(content), media_type=MESSAGES)

    async def static(self, request: HttpRequest) -> Response:
        """Send a script or a style sheet."""
        file = static_file(request.path_params["name"])
        if file is None:
            raise HTTPException(404)
        content, kind = file
        return Response(content, media_type=kind)

    async def upload(self, request: HttpRequest) -> Response:
        """Store an uploaded recording, named by the header X-Name; return its description."""
        session = self._session(request)
        content = await _read_body(request, LARGEST_UPLOAD_BYTES)
        name = unquote(request.headers.get("x-name", ""))
        config = self.workspace.configuration.segments

        def work() -> bytes:
            source = session.uploads.add(name, content, config)
            return actions.describe_recording(self.workspace, source)

        return Response(await self.background.run(work), media_type=MESSAGES)

    def answer(self, name: str, action: actions.Answer) -> Callable[..., Awaitable[Response]]:
        """Return a handler. A new request of a tab replaces its waiting one."""

        async def handle(request: HttpRequest) -> Response:
            session, body = self._session(request), await _read_json(request)
            thread = self._thread(body)
            # A queue for each thread: requests without plugins do not wait for plugins.
            queue = session.queue(f"{name} {thread.name}")
            message = await queue.run(thread, lambda: action(self.workspace, session, body))
            return Response(message, media_type=MESSAGES)

        return handle

    def streamed(self, name: str, action: actions.Stream) -> Callable[..., Awaitable[Response]]:
        """Return a handler that streams messages until the page closes the stream."""

        async def handle(request: HttpRequest) -> Response:
            session, body = self._session(request), await _read_json(request)
            threads = {"map": self.mapping, "between": self.background}
            thread = threads.get(name) or WorkerThread(name)

            def work(emit: actions.Emit) -> None:
                action(self.workspace, session, body, emit)

            stream = _with_errors(thread.stream(work))
            if name not in threads:
                stream = _ending(stream, thread)
            return StreamingResponse(stream, media_type=MESSAGES)

        return handle

    def file(self, action: actions.Answer, kind: str) -> Callable[..., Awaitable[Response]]:
        """Return a handler that sends a file."""

        async def handle(request: HttpRequest) -> Response:
            session, body = self._session(request), await _read_json(request)
            thread = self.plugins if self._is_plugin(body) else self.background
            content = await thread.run(lambda: action(self.workspace, session, body))
            return Response(content, media_type=kind)

        return handle

    def _session(self, request: HttpRequest) -> Session:
        return self.workspace.session(request.headers.get("x-session", ""))

    def _thread(self, body: Any) -> WorkerThread:
        return self.plugins if self._is_plugin(body) else self.live

    def _is_plugin(self, body: Any) -> bool:
        named = body.get("effect") if isinstance(body, dict) else None
        return self.workspace.renderer.uses_plugin(named) if isinstance(named, str) else False


async def _ending(stream: AsyncIterator[bytes], thread: WorkerThread) -> AsyncIterator[bytes]:
    """End the thread of a stream with the stream."""
    try:
        async for each in stream:
            yield each
    finally:
        thread.end()


async def _with_errors(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Send an error as the last message: the HTTP status of a stream is sent already."""
    try:
        async for each in stream:
            yield each
    except Closed:
        return
    except DafxError as error:
        yield pack({"kind": "error", "error": str(error)})
    except Exception as error:
        traceback.print_exception(error)
        yield pack({"kind": "error", "error": _bug(error)})


async def _read_body(request: HttpRequest, most_bytes: int) -> bytes:
    """Read a request body up to a limit. Its Content-Length may be wrong."""
    too_large = InputError(
        f"the upload is too large (expected at most {most_bytes >> 20} MiB). Choose another file."
    )
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > most_bytes:
        raise too_large
    content = bytearray()
    async for block in request.stream():
        content += block
        if len(content) > most_bytes:
            raise too_large
    return bytes(content)


async def _read_json(request: HttpRequest) -> Any:
    content = await _read_body(request, LARGEST_REQUEST_BYTES)
    try:
        return json.loads(content)
    except ValueError as error:
        raise InputError("the page sent an incomplete request. Reload it.") from error


def _bug(error: Exception) -> str:
    return f"a bug in dafxtool ({type(error).__name__}). The terminal shows the traceback."


async def _refuse(request: HttpRequest, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 400)


async def _superseded(request: HttpRequest, error: Exception) -> Response:
    return JSONResponse({"superseded": True}, 409)


async def _report_bug(request: HttpRequest, error: Exception) -> Response:
    traceback.print_exception(error)
    return JSONResponse({"error": _bug(error)}, 500)


def build_app(workspace: Workspace, opening: dict[str, Any]) -> Starlette:
    """Build the application of a workspace.

    opening  recording, start, effect and setting that the page opens with, if any
    """
    handlers: dict[Any, Any] = {
        DafxError: _refuse,
        Superseded: _superseded,
        Exception: _report_bug,
    }
    routes: Iterable[Route] = Application(workspace, opening).routes()
    return Starlette(routes=list(routes), exception_handlers=handlers)
