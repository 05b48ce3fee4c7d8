"""A web application on a loopback port that can go away and come back, as an outside system does."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp


class _Server(uvicorn.Server):
    """uvicorn without its grip on the process's signals; it says when it listens and stops at once when told."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()
        self.stopping = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    async def main_loop(self) -> None:
        await self.stopping.wait()


class Listener:
    """One port that can go down and come back: while it is down, connections are refused and nobody else takes it."""

    def __init__(self, app: ASGIApp, port: int = 0) -> None:
        self._app = app
        self._held = _bound(port)
        self.port: int = self._held.getsockname()[1]
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def up(self) -> None:
        config = uvicorn.Config(
            self._app,
            lifespan="off",
            log_config=None,
            access_log=False,
            ws="none",
            date_header=False,
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve([_bound(self.port)]), name=f"listener:{self.port}")
        listening = asyncio.create_task(self._server.listening.wait())
        await asyncio.wait({self._task, listening}, return_when=asyncio.FIRST_COMPLETED)
        listening.cancel()
        if self._task.done():
            self._task.result()

    async def down(self) -> None:
        if self._server is not None and self._task is not None:
            self._server.stopping.set()
            await self._task
        self._server = self._task = None

    async def close(self) -> None:
        await self.down()
        self._held.close()


def _bound(port: int) -> socket.socket:
    # asyncio switches Nagle off only where the protocol is named: without it each answer waits 40 ms for an ACK.
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", port))
    return held
