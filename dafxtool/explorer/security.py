"""Protect a local server from other pages, other users and other machines.

The address in the terminal contains a token, like Jupyter's. The page's first request exchanges it
for a cookie. Every request needs this cookie, one of the server's own names as Host, and no Origin
or the server's own. Another Host is DNS rebinding: the name of another page that was redirected to
this machine.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
from http.cookies import SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def new_token() -> str:
    """Return a token that cannot be guessed."""
    return secrets.token_urlsafe(24)


def is_loopback(host: str) -> bool:
    """Return whether a server bound to this host is reachable from this machine only."""
    return host in LOOPBACK


class Guard:
    """ASGI middleware that refuses all requests but those of the server's own page.

    host, port  address that the server is bound to
    """

    def __init__(self, app: ASGIApp, token: str, host: str, port: int) -> None:
        self.app, self.token, self.host, self.port = app, token, host, port
        self.cookie = f"dafxtool-{port}"  # cookies are shared by all ports of a name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self.app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if not self.is_own(headers.get("host", "")):
            return _refuse("This server does not answer to that name.")
        origin = headers.get("origin")
        if origin is not None and not self._is_own_origin(origin, headers["host"]):
            return _refuse("Requests from other pages are refused.")
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return _refuse("Requests from other pages are refused.")
        query = parse_qs(scope["query_string"].decode("ascii", "replace"))
        token = query.get("token", [""])[0]
        if scope["path"] == "/" and token and self._is_token(token):
            response = RedirectResponse("/", 303)
            response.set_cookie(self.cookie, self.token, httponly=True, samesite="strict")
            return response
        cookies = SimpleCookie(headers.get("cookie", ""))
        if self.cookie in cookies and self._is_token(cookies[self.cookie].value):
            return None
        return _refuse("Open the address that 'dafxtool explore' printed: it contains a token.")

    def _is_token(self, text: str) -> bool:
        return secrets.compare_digest(text.encode(), self.token.encode())

    def is_own(self, host: str) -> bool:
        """Return whether a Host header names this server."""
        try:
            parts = urlsplit(f"//{host}")
            name, port = parts.hostname or "", parts.port or 80
        except ValueError:
            return False
        if port != self.port:
            return False
        if name in LOOPBACK or name == self.host:
            return True
        if is_loopback(self.host):
            return False
        # An address cannot be rebound, only a name.
        return _is_address(name) or name.lower() == socket.gethostname().lower()

    def _is_own_origin(self, origin: str, host: str) -> bool:
        return origin == f"http://{host}"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _refuse(text: str) -> Response:
    return PlainTextResponse(text, 403)
