"""A response of server-sent events that ends with its source, its reader or the server, whichever is first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class EventStream(Response):
    """`X-Accel-Buffering: no` asks proxies of the nginx family to pass each event on at once."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._events) as events:
            sending = asyncio.create_task(self._send(events, send))
            leaving = asyncio.create_task(_left(receive))
            try:
                await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (sending, leaving):
                    task.cancel()
                await asyncio.wait((sending, leaving))
            if not sending.cancelled():
                sending.result()

    async def _send(self, events: AsyncGenerator[bytes, None], send: Send) -> None:
        """The head goes out with the first event, so that a refusal before it is still an ordinary answer."""
        begun = False
        async for event in events:
            if not begun:
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                begun = True
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
