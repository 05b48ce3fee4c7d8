"""Recordings of Mango Office: a link that works once, asked for at every attempt."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from aiohttp import web
from recordings_office import Office, content_of, eventually, working

from bridge.errors import (
    BadInput,
    DatabaseProblem,
    MangoPaused,
    MangoRefused,
    MangoTimeout,
    RecordingFailed,
    RecordingGone,
    RecordingNotYet,
)
from bridge.hosts import Hosts
from bridge.recorders import MangoFiles
from bridge.recordings.port import Wanted
from bridge.recordings.store import Store
from bridge.recordings.web import Web
from lab.cloud import cloud
from lab.mango import Knobs, scenarios

SOUND = b"ID3" + bytes(range(256)) * 1000


class Links:
    """Mango Office's links: each works once, and may break off the first time."""

    def __init__(self, url: str, *, break_first: bool = False) -> None:
        self.url, self.break_first = url, break_first
        self.given: list[str] = []
        self.spent: set[str] = set()

    async def recording_link(self, enterprise_number: str, recording_id: str) -> str:
        self.given.append(f"{self.url}/files/{len(self.given)}.mp3")
        return self.given[-1]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path in self.spent:
            raise web.HTTPNotFound
        self.spent.add(request.path)
        response = web.StreamResponse(headers={"Content-Length": str(len(SOUND)), "Content-Type": "audio/mpeg"})
        await response.prepare(request)
        if self.break_first and len(self.spent) == 1:
            await response.write(SOUND[:1000])
            assert request.transport is not None
            request.transport.close()
        else:
            await response.write(SOUND)
        return response


class Refuses:
    def __init__(self, problem: Exception) -> None:
        self.problem = problem

    async def recording_link(self, enterprise_number: str, recording_id: str) -> str:
        raise self.problem


@pytest.fixture
async def hosts() -> AsyncIterator[Hosts]:
    hosts = Hosts(["127.0.0.1"])
    yield hosts
    hosts.close()


@pytest.fixture
async def links() -> AsyncIterator[Links]:
    links = Links("", break_first=True)
    app = web.Application()
    app.router.add_get("/{path:.*}", links.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    links.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield links
    await runner.cleanup()


async def test_a_stream_that_breaks_off_is_begun_anew_with_another_link(
    office: Office, folder: Store, hosts: Hosts, links: Links
) -> None:
    call = await office.call("entry", pbx="mango")
    await office.owe("mango", "MToxMDA+/=", call_id="entry", pbx="mango")
    async with working(office, folder, MangoFiles(links, Web(hosts, ["mango-office.ru"])), kind="mango"):

        async def stored() -> bool:
            return (await office.the(call)).state == "stored"

        await eventually(stored)
    assert await content_of(folder, await office.the(call)) == SOUND
    assert len(links.given) == 2


async def test_a_link_that_is_spent_is_not_a_recording_that_is_gone(hosts: Hosts, links: Links) -> None:
    links.spent.add("/files/0.mp3")
    with pytest.raises(RecordingFailed) as failed:
        async with MangoFiles(links, Web(hosts, ["mango-office.ru"])).open(_wanted()):
            pass
    assert not failed.value.final


@pytest.mark.parametrize(
    ("problem", "outcome", "final", "retry_after"),
    [
        (MangoRefused("deleted", result=3320), RecordingGone, None, None),
        (MangoRefused("not found", status=404), RecordingNotYet, None, 60.0),
        (MangoRefused("the sign is wrong", result=3102), RecordingFailed, False, 600.0),
        (MangoPaused("leave it alone", retry_after=120.0), RecordingFailed, False, 120.0),
        (MangoTimeout("no answer"), RecordingFailed, False, None),
        (DatabaseProblem("away"), RecordingFailed, False, None),
        (BadInput("recording_id: not one"), RecordingFailed, True, None),
    ],
)
async def test_what_mangos_answers_mean(
    hosts: Hosts, problem: Exception, outcome: type[Exception], final: bool | None, retry_after: float | None
) -> None:
    with pytest.raises(outcome) as found:
        async with MangoFiles(Refuses(problem), Web(hosts, ["mango-office.ru"])).open(_wanted()):
            pass
    assert getattr(found.value, "final", None) is final
    assert getattr(found.value, "retry_after", None) == retry_after


def _wanted() -> Wanted:
    return Wanted(enterprise_number="0367", pbx_name="mango", call_id="entry", reference="id")


async def test_a_cloud_calls_recording_is_fetched_and_played(tmp_path: Path) -> None:
    async with cloud(tmp_path) as at:
        client = "79167770001"
        played = scenarios.inbound_answered(at.product, client, at=time.time() - 60, by="170", recipient="Cloud")
        await at.mango.storm(at.product, played.webhooks, Knobs())
        (file,) = at.product.files.values()
        headers = {"Authorization": f"Bearer {await at.service.login()}"}
        async with httpx.AsyncClient(base_url=at.service.url, headers=headers) as api:

            async def recording() -> httpx.Response | None:
                calls = (await api.get("/api/v1/calls", params={"search": client})).json()["data"]
                answers = [await api.get(f"/api/v1/calls/{call['id']}/recording") for call in calls]
                return next((answer for answer in answers if answer.status_code == 200), None)

            await eventually(recording, 20)
            answer = await recording()
        assert answer is not None
        assert answer.content == file.content
        assert answer.headers["content-type"] == "audio/mpeg"
        await eventually(lambda: [call.record_url for call in at.account.calls if call.record_url])
        async with httpx.AsyncClient() as stranger:
            (url,) = [call.record_url for call in at.account.calls if call.record_url]
            assert (await stranger.get(str(url))).content == file.content, "the CRM's link plays it"
