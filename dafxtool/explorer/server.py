"""Serve the page on this machine until Ctrl-C."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from dafxtool.effects.vst3.isolation import end_worker
from dafxtool.errors import InputError
from dafxtool.explorer.security import Guard, new_token
from dafxtool.utils import signals

SECONDS_BETWEEN_CHECKS = 0.2
SECONDS_TO_END = 1.0
WILDCARDS = ("0.0.0.0", "::")


class PageServer:
    """An HTTP server whose port is bound before it starts, so that its address is known.

    port  0 takes a free one
    """

    def __init__(self, app: ASGIApp, host: str, port: int) -> None:
        self.host = host
        self._socket = _bind(host, port)
        self.port = int(self._socket.getsockname()[1])
        self._token = new_token()
        guarded = Guard(app, self._token, host, self.port)
        # The application reports its own bugs; uvicorn logs the connections that end, too.
        logging.getLogger("uvicorn.error").disabled = True
        config = uvicorn.Config(
            guarded,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
        )
        self._server = uvicorn.Server(config)  # in a thread it leaves signals alone
        self._thread = threading.Thread(target=self._run, name="server", daemon=True)

    @property
    def url(self) -> str:
        """Address to open on this machine, with the token."""
        return self._url_at("127.0.0.1" if self.host in WILDCARDS else self.host)

    @property
    def network_url(self) -> str:
        """Address for other machines, with the token."""
        return self._url_at(_own_address() if self.host in WILDCARDS else self.host)

    def _url_at(self, name: str) -> str:
        shown = f"[{name}]" if ":" in name else name
        return f"http://{shown}:{self.port}/?token={self._token}"

    def _run(self) -> None:
        with suppress(asyncio.CancelledError):
            asyncio.run(self._server.serve([self._socket]))

    def start(self) -> None:
        """Start the server in a thread."""
        self._thread.start()

    def wait(self) -> None:
        """Wait until the server ends; KeyboardInterrupt after Ctrl-C."""
        while self._thread.is_alive():
            time.sleep(SECONDS_BETWEEN_CHECKS)
            signals.check()

    def stop(self) -> None:
        """Stop the server and the plugins' process, without waiting for other threads."""
        self._server.should_exit = self._server.force_exit = True
        end_worker()
        self._thread.join(SECONDS_TO_END)
        self._socket.close()


def _bind(host: str, port: int) -> socket.socket:
    """Return a listening socket; InputError if the port is in use or the host is not local."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        bound = socket.socket(family, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        raise InputError(
            f"{host}:{port}: cannot listen there ({error.strerror or error}). Choose another "
            "--port or --host."
        ) from error
    bound.listen(64)
    return bound


def _own_address() -> str:
    """Return the address of this machine in its network, without sending anything."""
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # of a range for documentation (RFC 5737)
        return str(probe.getsockname()[0])
    return socket.gethostname()


def open_browser(url: str, opener: Callable[[str], Any] = webbrowser.open) -> bool:
    """Open a page in the user's browser; return False if there is none."""
    with suppress(webbrowser.Error):
        return bool(opener(url))
    return False
