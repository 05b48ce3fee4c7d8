"""One connection listens for the whole process, notices its own death, and tells everybody to read again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from db_waiting import listening, until

from bridge.db.bus import Bus
from bridge.db.pool import Pool


async def test_everybody_hears_every_payload_in_order(pool: Pool, database_url: str) -> None:
    bus = Bus(database_url)
    one: list[str] = []
    other: list[str] = []
    bus.subscribe("news", one.append)
    bus.subscribe("news", other.append)
    async with listening(bus):
        for number in range(5):
            await pool.execute("select pg_notify('news', $1)", str(number))
        await until(lambda: len(other) == 5)

    assert one == other == ["0", "1", "2", "3", "4"]
    assert bus.figures()["heard"] == {"news": 5}


async def test_a_channel_may_be_subscribed_to_while_it_runs_and_left(pool: Pool, database_url: str) -> None:
    heard: list[str] = []
    async with listening(Bus(database_url)) as bus:
        leave = bus.subscribe("late", heard.append)

        async def told() -> None:
            while not heard:
                await pool.execute("select pg_notify('late', 'x')")
                await asyncio.sleep(0.01)

        await asyncio.wait_for(told(), 10)
        leave()
        before = len(heard)
        await pool.execute("select pg_notify('late', 'y')")
        await pool.execute("select pg_notify('late', 'z')")
        await until(lambda: bus.heard["late"] >= before + 2)

    assert "y" not in heard


async def test_a_lost_connection_is_made_again_and_everybody_catches_up(pool: Pool, database_url: str) -> None:
    bus = Bus(database_url)
    heard: list[str] = []
    caught_up: list[int] = []
    bus.subscribe("news", heard.append)
    bus.on_connect(lambda: caught_up.append(bus.connects))
    async with listening(bus):
        await pool.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and query ilike 'listen%'"
        )
        await until(lambda: caught_up == [1, 2])
        await pool.execute("select pg_notify('news', 'after')")
        await until(lambda: heard == ["after"])


async def test_one_subscriber_that_fails_does_not_deafen_the_others(pool: Pool, database_url: str) -> None:
    bus = Bus(database_url)
    heard: list[str] = []

    def broken(_: str) -> None:
        raise RuntimeError("out of order")

    bus.subscribe("news", broken)
    bus.subscribe("news", heard.append)
    async with listening(bus):
        await pool.execute("select pg_notify('news', 'x')")
        await until(lambda: heard == ["x"])


class Wire:
    """A way to the server that can be cut without either end being told."""

    def __init__(self, database_url: str, port: int) -> None:
        options = parse_qs(urlsplit(database_url).query)
        self.url = f"postgresql://bridge@127.0.0.1:{port}{urlsplit(database_url).path}?sslmode=disable"
        self._port = port
        self._socket = str(Path(options["host"][0], f".s.PGSQL.{options['port'][0]}"))
        self._server: asyncio.Server | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._writers: list[asyncio.StreamWriter] = []
        self._cut: set[asyncio.StreamWriter] = set()

    async def lay(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self._port)

    def cut(self) -> None:
        """Nothing more passes on what is connected now; both ends stay open."""
        self._cut.update(self._writers)

    async def remove(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_unix_connection(self._socket)
        self._writers += (writer, there_writer)
        for source, target in ((reader, there_writer), (there_reader, writer)):
            self._tasks.append(asyncio.create_task(self._pass(source, target)))

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                if target not in self._cut:
                    target.write(data)
                    await target.drain()
        finally:
            target.close()


@pytest.fixture
async def wire(database_url: str, unused_port: int) -> AsyncIterator[Wire]:
    wire = Wire(database_url, unused_port)
    try:
        yield wire
    finally:
        await wire.remove()


async def test_a_connection_that_died_half_open_is_found_by_the_ping(pool: Pool, wire: Wire) -> None:
    await wire.lay()
    bus = Bus(wire.url, ping_seconds=0.05, ping_timeout=0.2)
    heard: list[str] = []
    bus.subscribe("news", heard.append)
    async with listening(bus):
        wire.cut()
        await until(lambda: bus.connects == 2)
        await pool.execute("select pg_notify('news', 'after')")
        await until(lambda: heard == ["after"])


async def test_a_server_that_is_not_there_yet_is_waited_for(wire: Wire) -> None:
    bus = Bus(wire.url)
    task = asyncio.create_task(bus.run())
    await until(lambda: bus.failures >= 2)
    await wire.lay()
    await asyncio.wait_for(bus.connected.wait(), 10)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert bus.failures < 20
