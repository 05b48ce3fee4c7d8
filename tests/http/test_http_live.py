"""The live page's stream, over real connections: who is told what, when, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec
import pytest
from http_office import PASSWORD, Exchanges, Feed, Office
from starlette.applications import Starlette

from bridge.calls.model import Call, Started
from bridge.db import calls
from bridge.db.bus import Bus
from bridge.db.calls import CallWrite
from bridge.db.pool import Pool
from bridge.errors import TooManyRequests
from bridge.http import live
from bridge.http.app import create_app
from bridge.http.auth.principal import Principal
from bridge.http.feed import BusFeed
from bridge.http.live import Hub, Watcher
from bridge.http.metrics import HttpMetrics
from bridge.http.server import Server, listen
from bridge.http.services import HttpSettings, PbxState, Services


@asynccontextmanager
async def serving(app: Starlette, port: int = 0) -> AsyncIterator[tuple[Server, str]]:
    """A real uvicorn, on a free port unless told which."""
    sock = listen("127.0.0.1", port)
    server = Server(app)
    running = asyncio.create_task(server.serve([sock]))
    try:
        yield server, f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.stop()
        await running


@dataclass
class Event:
    name: str
    data: Any


@asynccontextmanager
async def watching(url: str, name: str, **headers: str) -> AsyncIterator[AsyncIterator[Event]]:
    """The stream of a page that `name` has open."""
    async with httpx.AsyncClient(base_url=url, timeout=20) as client:
        answer = await client.post("/login", data={"email": f"{name}@example.com", "password": PASSWORD})
        assert answer.status_code == 303, answer.text
        async with client.stream("GET", "/live", headers=headers) as response:
            assert response.status_code == 200
            assert response.headers["content-type"].startswith("text/event-stream")
            yield _events(response)


async def _events(response: httpx.Response) -> AsyncIterator[Event]:
    name = ""
    async for line in response.aiter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield Event(name, msgspec.json.decode(line.removeprefix("data: ")))


async def until(events: AsyncIterator[Event], name: str) -> Any:
    async with asyncio.timeout(15):
        async for event in events:
            if event.name == name:
                return event.data
    raise AssertionError(f"the stream ended without {name}")


def feed(services: Services) -> Feed:
    assert isinstance(services.feed, Feed)
    return services.feed


def rows(changes: dict[str, Any]) -> list[str]:
    return [row["id"] for row in changes["rows"]]


async def test_a_page_is_sent_the_state_and_then_what_changes(services: Services, office: Office, pool: Pool) -> None:
    async with serving(create_app(services)) as (_, url), watching(url, "olga") as events:
        state = await until(events, "state")
        assert f'id="call-{office.calls["live"]}"' in state
        assert f'id="call-{office.calls["of boris"]}"' not in state

        await pool.execute("update calls set result = 'answered' where id = $1", office.calls["live"])
        feed(services).announce("0367", office.calls["live"])
        changes = await until(events, "changes")

    (row,) = changes["rows"]
    assert (row["id"], row["list"]) == (f"call-{office.calls['live']}", "recent")
    assert "answered" in row["html"]


async def test_each_is_told_of_their_own_in_their_language(services: Services, office: Office) -> None:
    async with (
        serving(create_app(services)) as (_, url),
        watching(url, "anna", **{"Accept-Language": "ru"}) as anna,
        watching(url, "petr") as petr,
        watching(url, "boris") as boris,
        watching(url, "root") as root,
    ):
        for events in (anna, petr, boris, root):
            await until(events, "state")
        feed(services).announce("0367", office.calls["live"])
        feed(services).announce("0400", office.calls["of boris"])
        of_anna = await until(anna, "changes")
        of_boris = await until(boris, "changes")
        of_root = [await until(root, "changes")]
        while len({row for changes in of_root for row in rows(changes)}) < 3:
            of_root.append(await until(root, "changes"))
        feed(services).announce("0367", office.calls["of petr"])
        of_petr = await until(petr, "changes")

    assert rows(of_anna) == [f"call-{office.calls['live']}"]
    assert "разговор" in of_anna["rows"][0]["html"]
    assert rows(of_petr) == [f"call-{office.calls['of petr']}"], "the calls of others were never sent to him"
    assert set(rows(of_boris)) == {f"call-{office.calls['of boris']}", f"delivery-{office.deliveries['dead of boris']}"}


async def test_a_delivery_that_gets_on_is_shown_though_nobody_announced_it(
    services: Services, office: Office, pool: Pool
) -> None:
    async with serving(create_app(services)) as (_, url), watching(url, "olga") as events:
        await until(events, "state")
        await pool.execute("update deliveries set state = 'delivered' where id = $1", office.deliveries["dead"])
        changes = await until(events, "changes")

    assert set(rows(changes)) == {f"call-{office.calls['of petr']}", f"delivery-{office.deliveries['dead']}"}


async def test_a_call_that_was_part_of_another_disappears(services: Services, office: Office, pool: Pool) -> None:
    async with serving(create_app(services)) as (_, url), watching(url, "olga") as events:
        await until(events, "state")
        await pool.execute("delete from calls where id = $1", office.calls["live"])
        feed(services).announce("0367", office.calls["live"])
        changes = await until(events, "changes")

    assert changes == {"rows": [], "gone": [f"call-{office.calls['live']}"]}


async def test_a_pbx_that_goes_down_is_shown(services: Services, office: Office) -> None:
    assert isinstance(services.pbxs, Exchanges)
    async with serving(create_app(services)) as (_, url), watching(url, "olga") as events:
        await until(events, "state")
        services.pbxs.now = [
            PbxState(enterprise_number="0367", name="office", state="down", problem="it does not answer <b>")
        ]
        shown = await until(events, "pbxs")
        while "down" not in shown:
            shown = await until(events, "pbxs")

    assert "it does not answer &lt;b&gt;" in shown


async def test_what_a_caller_says_of_himself_is_text(services: Services, office: Office, pool: Pool) -> None:
    await pool.execute(
        "update calls set client_name = '<img src=x onerror=alert(1)>' where id = $1", office.calls["live"]
    )
    async with serving(create_app(services)) as (_, url), watching(url, "olga") as events:
        state = await until(events, "state")

    assert "<img" not in state
    assert "&lt;img src=x" in state


async def test_signing_out_ends_the_stream(
    services: Services, office: Office, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "HEARTBEAT", 0.1)
    monkeypatch.setattr("bridge.http.pages.HEARTBEAT", 0.1)
    async with serving(create_app(services)) as (_, url), watching(url, "olga") as events:
        await until(events, "state")
        await pool.execute("delete from sessions")
        async with asyncio.timeout(10):
            assert [event async for event in events if event.name != "pbxs"] == []


async def test_the_server_ends_at_once_though_pages_are_open(services: Services, office: Office) -> None:
    async with serving(create_app(services)) as (server, url), watching(url, "olga") as events:
        await until(events, "state")
        server.stop()
        async with asyncio.timeout(3):
            rest = [event.name async for event in events]

    assert rest in ([], ["pbxs"])


async def test_a_stranger_gets_no_stream(services: Services, office: Office) -> None:
    async with serving(create_app(services)) as (_, url), httpx.AsyncClient(base_url=url) as client:
        answer = await client.get("/live")

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "UNAUTHORIZED")


# --- the hub by itself ----------------------------------------------------------------------------------------------


def _principal(office: Office, name: str = "olga") -> Principal:
    return Principal(office.users[name], f"{name}@example.com", name, "administrator", "0367")


async def test_a_page_that_does_not_keep_up_is_sent_the_state_instead(services: Services, office: Office) -> None:
    hub = Hub(services, HttpMetrics(services.registry))
    watcher = Watcher(_principal(office), "en")
    stream = hub.stream(watcher)
    for expected in (b"retry: ", b"event: clock", b"event: state"):
        assert (await anext(stream)).startswith(expected)

    for number in range(1000):
        watcher.put(b"event: changes\ndata: %d\n\n" % number)

    assert watcher.queue.qsize() <= 100
    assert (await anext(stream)).startswith(b"event: state")
    await stream.aclose()


async def test_one_person_cannot_open_pages_without_end(services: Services, office: Office) -> None:
    hub = Hub(services, HttpMetrics(services.registry))
    streams = [hub.stream(Watcher(_principal(office), "en")) for _ in range(20)]
    for stream in streams:
        await anext(stream)

    with pytest.raises(TooManyRequests):
        await anext(hub.stream(Watcher(_principal(office), "en")))

    for stream in streams:
        await stream.aclose()
    again = hub.stream(Watcher(_principal(office), "en"))
    await anext(again)
    await again.aclose()


async def test_a_call_written_anywhere_reaches_every_page(
    services: Services, office: Office, pool: Pool, database_url: str
) -> None:
    """The whole way: the writer's transaction, NOTIFY, two processes' worth of hubs, two browsers."""
    bus = Bus(database_url)
    running = asyncio.create_task(bus.run())
    services.feed = BusFeed(bus)
    other = Services(
        settings=HttpSettings(secret_keys=services.settings.secret_keys),
        pool=pool,
        pbxs=services.pbxs,
        matrix=services.matrix,
        scripts=services.scripts,
        feed=BusFeed(bus),
    )
    call = Call(call_id="1795229999.7", direction="inbound", client_number="+79165550011", line="74951000001")
    try:
        await bus.connected.wait()
        async with (
            serving(create_app(services)) as (_, first),
            serving(create_app(other)) as (_, second),
            watching(first, "olga") as here,
            watching(second, "olga") as there,
        ):
            await until(here, "state")
            await until(there, "state")
            async with pool.acquire() as db, db.transaction():
                ids = await calls.save(db, "0367", "office", [CallWrite(call=call, changes=[Started(call=call)])])
                await calls.announce(db, "0367", ids.values())
            for events in (here, there):
                changes = await until(events, "changes")
                assert rows(changes) == [f"call-{ids[call.call_id]}"]
                assert "+7 916 555-00-11" in changes["rows"][0]["html"]
    finally:
        running.cancel()
        await asyncio.wait([running])
