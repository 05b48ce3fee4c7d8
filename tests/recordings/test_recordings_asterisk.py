"""A call is made through a real Asterisk, and its recording is in the bucket, in the CRM, and in a browser."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from playwright.async_api import expect
from recordings_office import S3, eventually

from bridge.ari.recordings import stored_recording
from bridge.errors import AriError
from bridge.recordings.store import Bucket
from lab.asterisk import HTTP_PORT
from lab.browser import opened
from lab.service import Service
from lab.stage import Stage, stage

CLIENT = "79161112233"
SEEK = """
player => new Promise((done, failed) => {
    const seek = () => {
        const length = player.duration;
        player.addEventListener("seeked", () => done([length, player.currentTime]), { once: true });
        player.currentTime = length - 0.5;
    };
    player.addEventListener("error", () => failed(new Error(player.error.message)), { once: true });
    if (player.readyState > 0) seek();
    else player.addEventListener("loadedmetadata", seek, { once: true });
})
"""
ENDED = """
player => player.ended || new Promise(done => player.addEventListener("ended", () => done(true), { once: true }))
"""


def bucket(s3_server: str, version: int) -> S3:
    name = f"asterisk-{version}"
    return S3(Bucket(name=name, key_id="key", secret="secret", region="ru-1", endpoint=s3_server), s3_server)


@pytest.fixture(scope="module", params=[22, 16], ids=["asterisk-22", "asterisk-16"])
async def at(
    request: pytest.FixtureRequest, s3_server: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    s3 = bucket(s3_server, request.param)
    await asyncio.to_thread(s3.make)
    settings = {
        "S3_ENDPOINT": s3.url,
        "S3_REGION": s3.bucket.region,
        "S3_BUCKET_NAME": s3.bucket.name,
        "S3_ACCESS_KEY_ID": s3.bucket.key_id,
        "S3_SECRET_ACCESS_KEY": s3.bucket.secret,
    }
    folder = tmp_path_factory.mktemp("stage")
    async with stage(folder, version=request.param, ring_seconds=3, settings=settings) as made:
        yield made


async def signed_in(service: Service) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=service.url, headers={"Authorization": f"Bearer {await service.login()}"})


async def whole(api: httpx.AsyncClient, client: str) -> dict[str, Any]:
    """The one call of this client, with everything that is known of it."""
    (call,) = (await api.get("/api/v1/calls", params={"search": client})).json()["data"]
    found: dict[str, Any] = (await api.get(f"/api/v1/calls/{call['id']}")).json()["data"]
    return found


async def test_a_recorded_call_is_in_the_bucket_the_crm_and_the_browser(at: Stage, s3_server: str) -> None:
    await at.company.inbound_answered(CLIENT, talk=2.0)
    await at.company.pbx.quiet()
    async with await signed_in(at.service) as api:

        async def stored() -> bool:
            return [each["state"] for each in (await whole(api, CLIENT))["recordings"]] == ["stored"]

        await eventually(stored, 20)
        call = await whole(api, CLIENT)
        (on_pbx,) = at.company.pbx.recordings.rglob(f"*{CLIENT}*.wav")
        played = await api.get(f"/api/v1/calls/{call['id']}/recording")
    file = on_pbx.read_bytes()
    assert len(file) > 16_000, "a second and more of speech"

    (key,) = await asyncio.to_thread(bucket(s3_server, at.company.pbx.version).objects)
    store = bucket(s3_server, at.company.pbx.version).store
    assert b"".join([window async for window in store.read(key, 0, await store.size(key))]) == file, "byte for byte"
    assert played.content == file
    async with httpx.AsyncClient() as stranger:
        assert (await stranger.get(call["recording_url"])).content == file

    (told,) = [each for each in at.account.calls if CLIENT in each.phone]
    assert told.record_url == call["recording_url"], "the CRM was given the link with the call"


@pytest.mark.parametrize("at", [22], indirect=True, ids=["asterisk-22"])
async def test_it_plays_and_seeks_in_a_browser(at: Stage) -> None:
    client = "79161112244"
    await at.company.inbound_answered(client, talk=2.0)
    await at.company.pbx.quiet()
    async with opened() as browser:
        page = await browser.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        await page.goto(at.service.url)
        await page.get_by_role("textbox").first.fill("admin@bridge.example")
        await page.locator("input[type=password]").fill("demo-admin-password")
        await page.get_by_role("button").click()
        row = page.locator("#recent tr.call", has_text="+7 916 111-22-44")
        await row.locator("button.play").click(timeout=20_000)
        player = page.locator("#player")
        await expect(player).to_be_visible()
        length, at_second = await player.evaluate(SEEK)
        assert length > 1.5
        assert abs(at_second - (length - 0.5)) < 0.1
        await player.evaluate(ENDED)
        assert complaints == []


@pytest.mark.parametrize("at", [22], indirect=True, ids=["asterisk-22"])
async def test_a_call_nobody_answered_has_no_recording(at: Stage) -> None:
    client = "79161112255"
    await at.company.inbound_missed(client)
    await at.company.pbx.quiet()
    async with await signed_in(at.service) as api:

        async def ended() -> bool:
            return bool((await whole(api, client))["ended_at"])

        await eventually(ended)
        call = await whole(api, client)
    assert (call["recordings"], call["recording_url"]) == ([], None)


async def test_ari_serves_its_folder_and_only_to_whom_it_knows(at: Stage) -> None:
    pbx = at.company.pbx
    url = f"http://{pbx.host}:{HTTP_PORT}/ari"
    for name in ("../../etc/asterisk", "nothing"):
        with pytest.raises(AriError) as refused:
            async with stored_recording(url, pbx.ari_user, pbx.ari_password, name):
                pass
        assert refused.value.http_status == 404
    with pytest.raises(AriError) as refused:
        async with stored_recording(url, pbx.ari_user, "wrong", "nothing"):
            pass
    assert refused.value.http_status == 401
