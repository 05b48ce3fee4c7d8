"""Webhooks as administrators see them: word for word, and nobody else's."""

from __future__ import annotations

import httpx
import pytest
from http_office import People

from bridge.db.pool import Pool

PATH = "/api/v1/webhooks/mango"


@pytest.fixture
async def said(pool: Pool, client: httpx.AsyncClient) -> None:
    """Two to enterprise 0367, one of which is of no use; one to 0400; one that nobody knows whose it is."""
    await pool.executemany(
        "insert into mango_webhooks (enterprise_number, product, dialect, path, entry_id, body, state, reason, remote) "
        "values ($1, 'p', 'signed', $2, $3, $4, $5, $6, '81.88.80.132')",
        [
            ("0367", "events/call", "E1", '{"entry_id":"E1","name":"Анна"}'.encode(), "worked", None),
            ("0367", "events/call", None, b'\xff{"', "malformed", "json: it is not JSON"),
            ("0400", "events/call", "E1", b"{}", "new", None),
            (None, "x", None, b"", "refused", "vpbx_api_key: not known"),
        ],
    )


async def test_administrators_read_what_their_enterprise_was_told(said: None, sign_in: People) -> None:
    olga = await sign_in("olga")

    answer = (await olga.get(PATH)).raise_for_status().json()

    assert answer["pagination"]["total"] == 2
    newest, first = answer["data"]
    assert (newest["state"], newest["reason"], newest["body"]) == ("malformed", "json: it is not JSON", '\ufffd{"')
    assert (first["entry_id"], first["body"], first["size"]) == ("E1", '{"entry_id":"E1","name":"Анна"}', 35)
    assert (first["remote"], first["call"]) == ("81.88.80.132", None)


async def test_the_deployments_administrators_read_all_of_it(said: None, sign_in: People) -> None:
    root = await sign_in("root")

    answer = (await root.get(PATH)).json()
    assert [each["enterprise_number"] for each in answer["data"]] == [None, "0400", "0367", "0367"]

    answer = (await root.get(PATH, params={"enterprise_number": "0400"})).json()
    assert [each["state"] for each in answer["data"]] == ["new"]


async def test_they_are_found_by_state_and_by_call(said: None, sign_in: People) -> None:
    olga = await sign_in("olga")

    by_call = (await olga.get(PATH, params={"entry_id": "E1"})).json()["data"]
    by_state = (await olga.get(PATH, params={"state": "malformed"})).json()["data"]

    assert [each["state"] for each in by_call] == ["worked"]
    assert [each["entry_id"] for each in by_state] == [None]


@pytest.mark.parametrize(
    ("who", "query", "status"),
    [
        ("anna", {}, 403),
        ("robot", {}, 403),
        ("olga", {"enterprise_number": "0400"}, 404),
        ("olga", {"state": "x"}, 400),
    ],
)
async def test_who_may_not_or_asks_wrongly_is_refused(
    said: None, sign_in: People, who: str, query: dict[str, str], status: int
) -> None:
    somebody = await sign_in(who)

    assert (await somebody.get(PATH, params=query)).status_code == status
