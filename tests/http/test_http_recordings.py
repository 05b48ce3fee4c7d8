"""A call's recording is played by whoever may, whole or in part, and by nobody else."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from http_office import KEY, URL, Office, People

from bridge.db.pool import Pool
from bridge.http.services import Library, Services
from bridge.recordings.journal import Recordings
from bridge.recordings.links import Links
from bridge.recordings.store import WINDOW, Store

SOUND = b"RIFF" + bytes(range(256)) * 10_000  # more than two windows


@dataclass
class Shelf:
    """A recording of each of four calls, in the states that recordings have."""

    library: Library
    links: dict[str, str]

    def path(self, call: int) -> str:
        return f"/api/v1/calls/{call}/recording"


@pytest.fixture
async def shelf(pool: Pool, office: Office, services: Services, tmp_path: Path) -> Shelf:
    store = Store.in_folder(tmp_path / "recordings")
    recordings = Recordings(Links([KEY], URL))
    services.library = Library(recordings=recordings, store=store)

    async def chunks() -> AsyncIterator[bytes]:
        yield SOUND

    links = {}
    for name, number, pbx in (
        ("of anna", "0367", "office"),
        ("of petr", "0367", "office"),
        ("live", "0367", "office"),
        ("of boris", "0400", "shop"),
    ):
        call_id = await pool.fetchval("select call_id from calls where id = $1", office.calls[name])
        async with pool.acquire() as conn, conn.transaction():
            links[name] = await recordings.owe(conn, number, pbx, call_id, "asterisk", f"{name}.wav")
    for name in ("of anna", "of boris"):
        stored = await store.put(f"{office.calls[name]}.wav", chunks(), "audio/wav")
        await pool.execute(
            "update recordings r set state = 'stored', key = $2, size = $3, sha256 = $4, content_type = 'audio/wav',"
            " stored_at = now() from calls c where c.id = $1 and (r.enterprise_number, r.call_id)"
            " = (c.enterprise_number, c.call_id)",
            office.calls[name],
            f"{office.calls[name]}.wav",
            stored.size,
            stored.sha256,
        )
    await pool.execute("update recordings set state = 'failed', reason = 'no route' where reference = 'of petr.wav'")
    return Shelf(services.library, links)


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


# --- who ------------------------------------------------------------------------------------------------------------


async def test_whoever_sees_the_call_hears_it(sign_in: People, office: Office, shelf: Shelf) -> None:
    for person in ("anna", "petr", "olga", "robot", "root"):
        answer = await (await sign_in(person)).get(shelf.path(office.calls["of anna"]))
        assert answer.status_code == 200
        assert answer.content == SOUND


async def test_nobody_else_does(sign_in: People, client: httpx.AsyncClient, office: Office, shelf: Shelf) -> None:
    path = shelf.path(office.calls["of anna"])
    assert code(await client.get(path)) == (401, "UNAUTHORIZED")
    others = shelf.path(office.calls["live"])
    assert code(await (await sign_in("petr")).get(others)) == (404, "CALL_NOT_FOUND")
    assert code(await (await sign_in("boris")).get(path)) == (404, "CALL_NOT_FOUND")


async def test_a_signed_link_opens_its_recording_without_signing_in(
    client: httpx.AsyncClient, office: Office, shelf: Shelf
) -> None:
    assert (await client.get(shelf.links["of anna"])).content == SOUND
    token = shelf.links["of anna"].partition("token=")[2]
    for wrong in (
        shelf.path(office.calls["of boris"]) + f"?token={token}",
        shelf.path(office.calls["of anna"]) + f"?token={token[:-1]}",
        shelf.path(office.calls["of anna"]) + "?token=",
        shelf.path(10**9) + f"?token={token}",
    ):
        assert code(await client.get(wrong)) == (404, "RECORDING_NOT_FOUND")


async def test_a_players_own_parameters_do_no_harm(client: httpx.AsyncClient, shelf: Shelf) -> None:
    assert (await client.get(shelf.links["of anna"] + "&nocache=1")).status_code == 200


async def test_links_are_taken_back_by_administrators(
    sign_in: People, client: httpx.AsyncClient, office: Office, shelf: Shelf
) -> None:
    revoke = shelf.path(office.calls["of anna"]) + "/revoke"
    assert code(await (await sign_in("anna")).post(revoke)) == (403, "FORBIDDEN")
    assert code(await (await sign_in("boris")).post(revoke)) == (404, "CALL_NOT_FOUND")
    assert (await client.get(shelf.links["of anna"])).status_code == 200

    answer = await (await sign_in("olga")).post(revoke)

    assert code(await client.get(shelf.links["of anna"])) == (404, "RECORDING_NOT_FOUND")
    assert (await client.get(answer.json()["data"]["recording_url"])).content == SOUND


# --- what -----------------------------------------------------------------------------------------------------------


async def test_the_whole_and_its_head(client: httpx.AsyncClient, office: Office, shelf: Shelf) -> None:
    for method in ("GET", "HEAD"):
        answer = await client.request(method, shelf.links["of anna"])
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "audio/wav"
        assert answer.headers["content-length"] == str(len(SOUND))
        assert answer.headers["accept-ranges"] == "bytes"
        name = f"call-{office.calls['of anna']}.wav"
        assert answer.headers["content-disposition"] == f'inline; filename="{name}"'
        assert answer.headers["etag"] == f'"{hashlib.sha256(SOUND).hexdigest()[:32]}"'
        assert answer.content == (SOUND if method == "GET" else b"")


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("0-", 0, len(SOUND)),
        ("0-1", 0, 2),
        (f"{WINDOW - 3}-{WINDOW + 3}", WINDOW - 3, WINDOW + 4),
        ("-44", len(SOUND) - 44, len(SOUND)),
        (f"1000-{10**12}", 1000, len(SOUND)),
    ],
)
async def test_a_range(client: httpx.AsyncClient, shelf: Shelf, asked: str, start: int, end: int) -> None:
    answer = await client.get(shelf.links["of anna"], headers={"Range": f"bytes={asked}"})
    assert answer.status_code == 206
    assert answer.content == SOUND[start:end]
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(SOUND)}"
    assert answer.headers["content-length"] == str(end - start)


async def test_a_range_that_is_not_there(client: httpx.AsyncClient, shelf: Shelf) -> None:
    answer = await client.get(shelf.links["of anna"], headers={"Range": f"bytes={len(SOUND)}-"})
    assert code(answer) == (416, "RANGE_NOT_SATISFIABLE")
    assert answer.headers["content-range"] == f"bytes */{len(SOUND)}"


async def test_parts_of_what_has_changed_are_not_sent(client: httpx.AsyncClient, shelf: Shelf) -> None:
    link = shelf.links["of anna"]
    etag = (await client.head(link)).headers["etag"]
    same = await client.get(link, headers={"Range": "bytes=0-9", "If-Range": etag})
    other = await client.get(link, headers={"Range": "bytes=0-9", "If-Range": '"another"'})
    assert (same.status_code, len(same.content)) == (206, 10)
    assert (other.status_code, len(other.content)) == (200, len(SOUND))


async def test_what_a_browser_has_already_is_not_sent_again(client: httpx.AsyncClient, shelf: Shelf) -> None:
    link = shelf.links["of anna"]
    etag = (await client.head(link)).headers["etag"]
    answer = await client.get(link, headers={"If-None-Match": etag})
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["cache-control"] == "private, no-cache"


async def test_what_is_not_there_yet_says_so(
    sign_in: People, client: httpx.AsyncClient, office: Office, shelf: Shelf
) -> None:
    answer = await client.get(shelf.links["live"])
    assert code(answer) == (404, "RECORDING_NOT_READY")
    assert int(answer.headers["retry-after"]) > 0
    answer = await (await sign_in("anna")).get(shelf.path(office.calls["live"]))
    assert answer.json()["error"]["details"]["state"] == "waiting"


async def test_what_will_not_be_there_says_why_to_those_who_may_know(
    sign_in: People, client: httpx.AsyncClient, office: Office, shelf: Shelf
) -> None:
    answer = await client.get(shelf.links["of petr"])
    assert code(answer) == (404, "RECORDING_NOT_FOUND")
    assert "no route" not in answer.text
    answer = await (await sign_in("olga")).get(shelf.path(office.calls["of petr"]))
    assert answer.json()["error"]["details"] == {"state": "failed", "reason": "no route"}


async def test_a_call_without_a_recording(
    pool: Pool, sign_in: People, client: httpx.AsyncClient, office: Office, shelf: Shelf
) -> None:
    await pool.execute("delete from recordings where reference = 'live.wav'")
    answer = await (await sign_in("anna")).get(shelf.path(office.calls["live"]))
    assert code(answer) == (404, "RECORDING_NOT_FOUND")


async def test_a_file_that_somebody_removed_from_the_store(
    client: httpx.AsyncClient, office: Office, shelf: Shelf, tmp_path: Path
) -> None:
    (tmp_path / "recordings" / f"{office.calls['of anna']}.wav").unlink()
    assert code(await client.get(shelf.links["of anna"])) == (404, "RECORDING_NOT_FOUND")


async def test_what_was_given_up_is_fetched_again_when_staff_ask(
    pool: Pool, sign_in: People, office: Office, shelf: Shelf
) -> None:
    path = shelf.path(office.calls["of petr"]) + "/retry"
    assert code(await (await sign_in("petr")).post(path)) == (403, "FORBIDDEN")
    answer = await (await sign_in("olga")).post(path)
    assert answer.json()["data"] == {"retried": 1}
    assert await pool.fetchval("select state from recordings where reference = 'of petr.wav'") == "waiting"


async def test_one_call_shows_its_recordings(sign_in: People, office: Office, shelf: Shelf) -> None:
    olga = await sign_in("olga")
    whole = (await olga.get(f"/api/v1/calls/{office.calls['of anna']}")).json()["data"]
    (recording,) = whole["recordings"]
    assert recording["state"] == "stored"
    assert recording["size"] == len(SOUND)
    assert recording["sha256"] == hashlib.sha256(SOUND).hexdigest()
    assert recording["url"] == whole["recording_url"] == shelf.links["of anna"]
    (failed,) = (await olga.get(f"/api/v1/calls/{office.calls['of petr']}")).json()["data"]["recordings"]
    assert (failed["state"], failed["reason"]) == ("failed", "no route")
