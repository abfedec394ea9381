"""What may come in: a short list of addresses, bodies of a known size, and no file that a request could name."""

from __future__ import annotations

import asyncio
import json
import re
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from polyscene.app.upload import Limits

OURS = r"/|/about|/(see|values|download)|/page\.(css|js)|/plotly\.min\.js|/favicon\.svg|/samples/[\w.-]+"
# Those that gradio's client uses. Its others (uploads, files by path, fetching of addresses) stay shut.
GRADIO = r"/config/?|/gradio_api/(info/?|queue/(join|data)|call/values(/\w+)?)"
OPEN = re.compile(f"{OURS}|{GRADIO}")
WORDS = (str, int, float, bool, type(None))
PATIENCE = 60.0  # seconds for a body to come in
SLACK = 4  # times the limit is read before a sender is cut off, so that most hear why

POLICY = "; ".join(
    (
        "default-src 'none'",
        "connect-src 'self'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",  # plotly's
        "img-src 'self' data: blob:",
        "media-src 'self' blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Door:
    """Stands before the whole application, gradio's part of it too. ``Limits.waiting`` bodies are held at most, so that
    senders, however many and slow, fill no memory."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app = app
        self.limits = limits
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = self._refuse(scope)
        if refusal or scope["method"] != "POST":
            await (refusal or self.app)(scope, receive, guarded)
            return
        self._held += 1
        try:
            body = await self._timely(scope["path"], receive)
            if isinstance(body, bytes):
                await self.app(scope, _again(body, receive), guarded)
            else:
                await body(scope, receive, guarded)
        finally:
            self._held -= 1

    def _refuse(self, scope: Scope) -> JSONResponse | None:
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return refused(405, "only GET and POST are answered")
        if not OPEN.fullmatch(scope["path"]):
            return refused(404, "there is nothing at this address")
        if _renamed(scope):
            return refused(421, "this page is for this machine alone, at http://127.0.0.1; --host opens it to others")
        if scope["method"] == "POST":
            if _foreign(Headers(scope=scope)):
                return refused(403, "another site's page may not send pictures here")
            if self._held >= self.limits.waiting:
                return refused(503, f"{self._held} pictures are waiting already; try again in a minute")
        return None

    async def _timely(self, path: str, receive: Receive) -> bytes | JSONResponse:
        try:
            return await asyncio.wait_for(self._body(path, receive), PATIENCE)
        except asyncio.TimeoutError:
            return refused(408, f"the picture did not come in within {PATIENCE:g} seconds; send a smaller one")

    async def _body(self, path: str, receive: Receive) -> bytes | JSONResponse:
        """The whole body, or why not. Of gradio's endpoints it is JSON whose arguments are words and numbers alone: an
        object could be taken for a file to read."""
        ours = not path.startswith("/gradio_api/")
        most = self.limits.bytes if ours else self.limits.bytes * 4 // 3 + 4096  # base64 and its wrapping
        pieces, length = [], 0
        while length <= SLACK * most:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            piece = message.get("body", b"")
            length += len(piece)
            if length <= most:
                pieces.append(piece)
            if not message.get("more_body"):
                break
        if length > most:
            return refused(413, f"too much was sent: at most {self.limits.megabytes:g} MB")
        body = b"".join(pieces)
        return (
            body if ours or _plain(body) else refused(422, "arguments are text and numbers; pictures are base64 text")
        )


def refused(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": message}, status)


def _foreign(headers: Headers) -> bool:
    """Whether a page of another site asks. Browsers say so, but over plain http to another machine only whose it is."""
    if site := headers.get("sec-fetch-site"):
        return site in ("cross-site", "same-site")
    origin = headers.get("origin")
    try:
        return origin is not None and urlsplit(origin).hostname != urlsplit(f"//{headers.get('host')}").hostname
    except ValueError:  # no address
        return True


def _renamed(scope: Scope) -> bool:
    """Whether this machine was reached over its loopback by another name: a site may give its own name our address, and
    its pages would then count as ours."""
    if not _loopback((scope.get("server") or ("",))[0]):
        return False
    try:
        name = urlsplit(f"//{Headers(scope=scope).get('host', '')}").hostname or ""
    except ValueError:
        return True
    return name != "localhost" and not name.endswith(".localhost") and not _loopback(name)


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _plain(body: bytes) -> bool:
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        return False
    given = asked.get("data") if isinstance(asked, dict) else None
    return isinstance(given, list) and all(isinstance(argument, WORDS) for argument in given)


def _again(body: bytes, receive: Receive) -> Receive:
    """``receive`` with a body that has been read."""
    unread: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return unread.pop() if unread else await receive()

    return replay
