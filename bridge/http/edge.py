"""The outermost layer: nothing leaves without security headers or as a bare 500, and everything is measured."""

from __future__ import annotations

import time
from typing import Any

import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bridge.errors import TooLarge
from bridge.http.envelope import failure
from bridge.http.metrics import HttpMetrics

log = structlog.get_logger(__name__)

LARGEST_BODY = 1024 * 1024
"""Bytes. The largest legitimate body is a list of ten thousand ids."""

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Edge:
    """ASGI middleware. `https` adds Strict-Transport-Security. Answers that say nothing of caching are not cached."""

    def __init__(self, app: ASGIApp, *, metrics: HttpMetrics, https: bool) -> None:
        self.app = app
        self.metrics = metrics
        headers = dict(_HEADERS)
        if https:
            headers["Strict-Transport-Security"] = "max-age=31536000"
        self.headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                present = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(header for header in self.headers if header[0] not in present),
                ]
            await send(message)

        try:
            await self.app(scope, _limited(scope, receive), send_guarded)
        except Exception:
            log.exception("request_crashed", method=scope["method"], path=scope["path"])
            if status:
                raise  # half an answer is out: the server must cut the connection
            await failure(500, "INTERNAL_ERROR", "Something went wrong inside the bridge")(scope, receive, send_guarded)
        finally:
            self.metrics.count(scope["method"], _template(scope), status, time.perf_counter() - began)


def _limited(scope: Scope, receive: Receive) -> Receive:
    """`receive` that raises TooLarge to whoever reads more of a body than is allowed, before more than that is held.

    Starlette has a middleware for this, which answers in plain text."""
    declared = Headers(scope=scope).get("content-length", "")
    received = 0

    async def receive_limited() -> Message:
        nonlocal received
        if declared.isdigit() and int(declared) > LARGEST_BODY:
            raise TooLarge(found=int(declared), allowed=LARGEST_BODY)
        message = await receive()
        received += len(message.get("body", b""))
        if received > LARGEST_BODY:
            raise TooLarge(allowed=LARGEST_BODY)
        return message

    return receive_limited


def _template(scope: Scope) -> str:
    """The route's path as written in the table, so that ids do not become label values."""
    route: Any = scope.get("route")
    return getattr(route, "path", "") or "unknown"
