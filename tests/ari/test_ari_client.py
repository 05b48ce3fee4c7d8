"""ARI against real Asterisks, and against servers that are none."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from bridge.ari import client
from bridge.ari.client import Ari
from bridge.errors import AriError, BadInput
from lab.asterisk import HTTP_PORT, Asterisk
from lab.company import Company

Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]


def url(pbx: Asterisk) -> str:
    return f"http://{pbx.host}:{HTTP_PORT}/ari"


@pytest.fixture
async def ari(company: Company) -> AsyncIterator[Ari]:
    opened = await Ari.open(url(company.pbx), company.pbx.ari_user, company.pbx.ari_password)
    yield opened
    await opened.close()


async def test_it_says_which_asterisk_it_is(company: Company, ari: Ari) -> None:
    assert (await ari.info()).version.startswith(f"{company.pbx.version}.")


async def test_phones_that_are_registered_are_online(ari: Ari) -> None:
    endpoints = {endpoint.resource: endpoint for endpoint in await ari.list_endpoints()}
    assert endpoints["150"].technology == "PJSIP"
    assert endpoints["150"].state == "online"


async def test_a_call_is_two_channels_with_amis_ids(company: Company, ari: Ari) -> None:
    conversation = await company.inbound("79161110201", by="150")
    channels = {channel.name.partition("-")[0]: channel for channel in await ari.list_channels()}
    assert channels["PJSIP/trunk"].caller.number == "79161110201"
    assert channels["PJSIP/150"].connected.number == "79161110201"
    endpoints = {endpoint.resource: endpoint for endpoint in await ari.list_endpoints()}
    assert endpoints["150"].channels == (channels["PJSIP/150"].id,)
    async with company.pbx.tap() as tap:
        await tap.send({"Action": "CoreShowChannels"})
        listed = await tap.until(lambda message: message.get("Channel") == channels["PJSIP/150"].name)
        assert listed["Uniqueid"] == channels["PJSIP/150"].id
    await conversation.end("client")


async def test_what_asterisk_refuses_is_an_error_with_its_status_and_words(ari: Ari) -> None:
    with pytest.raises(AriError, match="Channel not found") as refused:
        await ari.channels.get(channelId="no/such channel?")
    assert refused.value.http_status == 404
    with pytest.raises(AriError) as unknown:
        await ari.transport.request("GET", "/nonsense")
    assert unknown.value.http_status == 404
    with pytest.raises(AriError) as method:
        await ari.transport.request("DELETE", "/asterisk/info")
    assert method.value.http_status == 405


async def test_true_is_written_as_asterisk_reads_it(company: Company, ari: Ari) -> None:
    conversation = await company.inbound("79161110202", by="151")
    (trunk,) = [channel for channel in await ari.list_channels() if channel.name.startswith("PJSIP/trunk")]
    # refused because the channel is in no application, not because of `beep`
    with pytest.raises(AriError, match="Stasis"):
        await ari.channels.record(channelId=trunk.id, name="x", format="wav", beep=True)
    await conversation.end("client")


async def test_the_docs_are_read_once_per_version(company: Company, ari: Ari) -> None:
    again = await Ari.open(url(company.pbx), company.pbx.ari_user, company.pbx.ari_password)
    assert again.swagger.api_docs is ari.swagger.api_docs
    await again.close()


async def test_a_wrong_password_is_refused(company: Company) -> None:
    with pytest.raises(AriError) as refused:
        await Ari.open(url(company.pbx), company.pbx.ari_user, "wrong")
    assert refused.value.http_status == 401


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """`await serve(handler)` answers every request with the handler; gives the URL."""
    runners: list[web.ServerRunner] = []

    async def start(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> str:
        async def each(request: web.BaseRequest) -> web.StreamResponse:
            return await handler(request)  # type: ignore[arg-type]

        runner = web.ServerRunner(web.Server(each), shutdown_timeout=1)  # type: ignore[arg-type]
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        runners.append(runner)
        return f"http://127.0.0.1:{runner.addresses[0][1]}/ari"

    yield start
    for runner in runners:
        await runner.cleanup()


async def test_the_password_is_in_the_header_and_never_in_the_url(serve: Serve) -> None:
    asked: list[tuple[str, str]] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append((str(request.url), request.headers["Authorization"]))
        return web.Response(status=500)

    with pytest.raises(AriError):
        await Ari.open(await serve(handler), "Юзер", "p&a+s%s#w")
    ((address, header),) = asked
    assert "p&a" not in address
    assert base64.b64decode(header.removeprefix("Basic ")).decode() == "Юзер:p&a+s%s#w"


async def test_a_redirect_is_not_followed_with_our_password(serve: Serve) -> None:
    reached: list[str] = []

    async def elsewhere(request: web.Request) -> web.Response:
        reached.append(request.headers.get("Authorization", ""))
        return web.json_response({"system": {"version": "22"}})

    there = await serve(elsewhere)

    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": there})

    with pytest.raises(AriError) as refused:
        await Ari.open(await serve(handler), "bridge", "s3cret")
    assert refused.value.http_status == 302
    assert reached == []


@pytest.mark.parametrize(
    "body", ["<html>a router's login page</html>", "[]", '{"system": {"version": 22}}', "", "\xff"]
)
async def test_something_else_than_asterisk_is_an_error_and_not_believed(serve: Serve, body: str) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=body.encode("latin-1"))

    with pytest.raises(AriError, match="something else than Asterisk"):
        await Ari.open(await serve(handler), "bridge", "x")


@pytest.mark.parametrize("docs", ["{}", '{"apis": 5}', '{"apis": [{"path": "/a", "description": ""}]}', "nonsense"])
async def test_docs_that_are_none_are_an_error(serve: Serve, docs: str) -> None:
    async def handler(request: web.Request) -> web.Response:
        info = '{"system": {"version": "0.0-none"}}'
        return web.Response(text=info if request.path.endswith("info") else docs)

    with pytest.raises(AriError):
        await Ari.open(await serve(handler), "bridge", "x")
    assert "0.0-none" not in client._docs


async def test_silence_ends_at_the_time_out(serve: Serve) -> None:
    over = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        await over.wait()
        return web.Response()

    with pytest.raises(AriError, match="did not answer in time"):
        await Ari.open(await serve(handler), "bridge", "x", timeout=0.1)
    over.set()


async def test_an_endless_answer_is_cut(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_ANSWER", 1000)

    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=b" " * 5000)

    with pytest.raises(AriError, match="longer than"):
        await Ari.open(await serve(handler), "bridge", "x")


async def test_an_answer_in_many_pieces_is_whole(serve: Serve) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in (b'{"system": ', b'{"version": "22', b'.1"}}' + b" " * 500_000):
            await response.write(piece)
        return response

    transport = client.Transport(await serve(handler), "bridge", "x", 5)
    answer = await transport.request("GET", "/asterisk/info")
    await transport.close()
    assert len(answer.body) > 500_000


async def test_nobody_there_is_an_error() -> None:
    with pytest.raises(AriError, match="cannot be reached") as nobody:
        await Ari.open("http://127.0.0.1:1/ari", "bridge", "x")
    assert nobody.value.http_status == 0


@pytest.mark.parametrize(
    "bad", ["", "ftp://x/ari", "127.0.0.1:8088", "http://user:pw@x/ari", "http:///ari", "http://x/ari?a=b"]
)
async def test_an_address_that_is_none_is_refused(bad: str) -> None:
    with pytest.raises(BadInput) as refused:
        await Ari.open(bad, "bridge", "x")
    assert refused.value.details["field"] == "ari.url"
