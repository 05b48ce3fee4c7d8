"""Recordings at an address: of a host that may be asked, once, and nothing else that calls itself one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from recordings_office import Office, content_of, eventually, working

from bridge.errors import RecordingFailed, RecordingGone, RecordingNotYet
from bridge.hosts import Hosts
from bridge.recordings.port import Wanted
from bridge.recordings.store import Store
from bridge.recordings.web import Addresses, Web

SOUND = b"ID3" + bytes(range(256)) * 2000
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Answer], Awaitable[str]]]:
    """A server on loopback that answers as it is told; its address."""
    runners: list[web.AppRunner] = []

    async def start(answer: Answer) -> str:
        app = web.Application()
        app.router.add_get("/{path:.*}", answer)
        runner = web.AppRunner(app)
        runners.append(runner)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}/file.mp3?once=1"

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def addresses() -> AsyncIterator[Addresses]:
    """The source, where 127.0.0.1 is trusted."""
    hosts = Hosts(["127.0.0.1"])
    yield Addresses(Web(hosts, ["mango-office.ru"]))
    hosts.close()


def wanted(address: str) -> Wanted:
    return Wanted(enterprise_number="0367", pbx_name="mango", call_id="entry", reference=address)


async def read(addresses: Addresses, address: str) -> bytes:
    async with addresses.open(wanted(address)) as stream:
        return b"".join([chunk async for chunk in stream.chunks])


async def test_a_recording_is_fetched_and_stored(
    office: Office, folder: Store, addresses: Addresses, serve: Callable[[Answer], Awaitable[str]]
) -> None:
    async def answer(request: web.Request) -> web.Response:
        assert request.query["once"] == "1"
        return web.Response(body=SOUND, content_type="audio/mpeg")

    address = await serve(answer)
    call = await office.call("entry", pbx="mango")
    await office.owe("address", address, call_id="entry", pbx="mango")
    async with working(office, folder, addresses, kind="address"):

        async def stored() -> bool:
            return (await office.the(call)).state == "stored"

        await eventually(stored)
    assert await content_of(folder, await office.the(call)) == SOUND


@pytest.mark.parametrize(
    "address",
    [
        "http://app.mango-office.ru/a.mp3",
        "https://mango-office.ru.evil.example/a.mp3",
        "https://evil.example/a.mp3",
        "https://user:pass@app.mango-office.ru/a.mp3",
        "https://app.mango-office.ru:8443/a.mp3",
        "https://169.254.169.254/latest/meta-data",
        "http://localhost/a.mp3",
        "file:///etc/passwd",
        "ftp://app.mango-office.ru/a.mp3",
        "//app.mango-office.ru/a.mp3",
        "https://[::1]/a.mp3",
        "https://[/a.mp3",
        "nonsense",
        "",
    ],
)
async def test_addresses_that_are_not_asked(addresses: Addresses, address: str) -> None:
    with pytest.raises(RecordingFailed) as refused:
        await read(addresses, address)
    assert refused.value.final


@pytest.mark.parametrize(
    ("status", "headers", "problem", "retry_after"),
    [
        (404, {}, RecordingGone, None),
        (410, {}, RecordingGone, None),
        (429, {"Retry-After": "7"}, RecordingNotYet, 7.0),
        (503, {}, RecordingNotYet, 60.0),
        (500, {}, RecordingFailed, None),
        (403, {}, RecordingFailed, None),
        (302, {"Location": "http://127.0.0.1:1/"}, RecordingFailed, None),
        (206, {}, RecordingFailed, None),
        (200, {"Content-Type": "text/html"}, RecordingFailed, None),
        (200, {"Content-Type": "application/json; charset=utf-8"}, RecordingFailed, None),
        (200, {"Content-Type": "audio/mpeg", "Content-Encoding": "br"}, RecordingFailed, None),
    ],
)
async def test_answers_that_are_no_recording(
    addresses: Addresses,
    serve: Callable[[Answer], Awaitable[str]],
    status: int,
    headers: dict[str, str],
    problem: type[Exception],
    retry_after: float | None,
) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=b"what it says", status=status, headers=headers)

    address = await serve(answer)
    with pytest.raises(problem) as found:
        await read(addresses, address)
    assert getattr(found.value, "retry_after", None) == retry_after
    assert "once=1" not in str(found.value), "the address may be all that it takes to hear it"


async def test_a_stream_that_breaks_off_says_so(
    addresses: Addresses, serve: Callable[[Answer], Awaitable[str]]
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(SOUND)), "Content-Type": "audio/mpeg"})
        await response.prepare(request)
        await response.write(SOUND[:1000])
        assert request.transport is not None
        request.transport.close()
        return response

    address = await serve(answer)
    with pytest.raises(RecordingFailed, match="broke off"):
        await read(addresses, address)


async def test_nobody_listens(addresses: Addresses) -> None:
    with pytest.raises(RecordingFailed, match="cannot be reached"):
        await read(addresses, "http://127.0.0.1:1/a.mp3")
