"""A wire between the service and an AMI port, that can be cut without either side being told."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class Wire:
    """A TCP proxy to `host:port` on a port of its own. While it is cut, connections stand and nothing passes."""

    def __init__(self, host: str, port: int) -> None:
        self.port = 0
        self._there = (host, port)
        self._whole = asyncio.Event()
        self._whole.set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        """What is on its way is lost, for ever: connections that were open do not live again."""
        self._whole.clear()
        for task in self._tasks:
            task.cancel()

    def mend(self) -> None:
        """New connections pass."""
        self._whole.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._whole.is_set():
            self._kept.append(writer)
            return
        there = await asyncio.open_connection(*self._there)
        self._kept += [writer, there[1]]
        for source, sink in ((reader, there[1]), (there[0], writer)):
            task = asyncio.create_task(_carry(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def __aenter__(self) -> Self:
        self._kept: list[asyncio.StreamWriter] = []  # a connection that nobody holds would be closed
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._kept:
            writer.close()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    except ConnectionError:
        pass
    sink.close()
