"""Webhooks as they arrive: who is believed, what is kept of whom, what is answered."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from webhook_desk import (
    FLAT,
    JULY,
    JULYS,
    JUNE,
    JUNES,
    JUNES_SECOND,
    SIGNED,
    Desk,
    Guest,
    configured,
    eventually,
    furnish,
    open_desk,
)

from bridge.db import webhooks
from bridge.db.pool import Pool
from bridge.db.scope import Scope
from bridge.errors import DatabaseProblem
from bridge.mango import intake
from bridge.mango.config import Product
from bridge.mango.journal import Journal, Webhook, keep_history
from bridge.mango.products import Owned
from bridge.mango.routes import LARGEST_BODY, STRANGERS_A_MINUTE
from lab.mango.signing import sealed

CALL = {"entry_id": "E1", "call_id": "L1", "seq": 1, "timestamp": 1_795_224_000, "call_state": "Appeared"}


@pytest.fixture
async def desk(pool: Pool) -> AsyncIterator[Desk]:
    await furnish(pool)
    async with open_desk(pool) as desk:
        yield desk


# --- Mango's own dialect ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("events/call", CALL),
        ("events/call/", CALL),
        ("events/summary", {"entry_id": "E1", "call_direction": 1, "end_time": 1}),
        ("events/recording", {"entry_id": "E1", "recording_id": "R", "recording_state": "Started"}),
        ("events/record/added", {"entry_id": "E1", "recording_id": "R", "user_id": -1}),
        ("events/dtmf", {"entry_id": "E1", "dtmf": "1"}),
        ("result/callback", {"command_id": "c", "result": 1000}),
        ("vpbx/result/callback/", {"command_id": "c", "result": "1000"}),
        ("recording", {"entry_id": "E1", "recording_id": "R", "recording_state": "Completed"}),
        ("", CALL),
    ],
)
async def test_what_mango_signed_is_kept_and_thanked_for(desk: Desk, path: str, document: dict[str, Any]) -> None:
    answer = await desk.say(path, document)

    assert (answer.status_code, answer.json()) == (200, {"success": True})
    (row,) = await desk.kept()
    assert (row["enterprise_number"], row["product"], row["dialect"]) == (JUNE, JUNES.name, "signed")
    assert (row["path"], row["entry_id"], row["state"]) == (path.strip("/"), document.get("entry_id"), "new")
    assert (row["remote"], json.loads(row["body"])) == ("81.88.80.132", document)


@pytest.mark.parametrize(
    "document",
    [
        '{ "entry_id" : "E+/=",\n "from": {"number": "79160000000"} }',
        '{"entry_id":"E","name":"\\u0410\\u043d\\u043d\\u0430"}',
        '{"entry_id":"E","name":"Анна & Co = 100%"}',
        '{"entry_id":7}',
    ],
)
async def test_the_json_is_kept_byte_for_byte_as_it_was_signed(desk: Desk, document: str) -> None:
    assert (await desk.say("events/call", document)).status_code == 200

    (row,) = await desk.kept()
    assert row["body"] == document.encode()
    assert row["sign"] == sealed(JUNES.api_key, JUNES.api_salt, document)["sign"]


async def test_plus_and_slash_of_base64_survive_the_form(desk: Desk) -> None:
    entry_id = base64.b64encode(b"\xfb\xef\xbe\xff\xfb").decode()
    assert "+" in entry_id

    await desk.say("events/call", {**CALL, "entry_id": entry_id})

    assert [row["entry_id"] for row in await desk.kept()] == [entry_id]


async def test_a_wrong_sign_opens_nothing_and_is_counted_and_seen(desk: Desk) -> None:
    answer = await desk.say("events/call", CALL, salt="another salt")

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "UNAUTHORIZED")
    assert desk.counted("events/call", "refused") == 1
    (row,) = await desk.kept()
    assert (row["state"], row["enterprise_number"], row["entry_id"]) == ("refused", JUNE, None)
    assert row["reason"].startswith("sign:")


@pytest.mark.parametrize(
    "change",
    [
        {"sign": ""},
        {"sign": "0" * 64},
        {"json": json.dumps({**CALL, "seq": 2})},
        {"vpbx_api_key": JUNES_SECOND.api_key},
        {"vpbx_api_key": JULYS.api_key},
        {"vpbx_api_key": ""},
        {"vpbx_api_key": "nobodys"},
    ],
)
async def test_nothing_but_the_whole_of_key_json_and_sign_is_believed(desk: Desk, change: dict[str, str]) -> None:
    form = sealed(JUNES.api_key, JUNES.api_salt, json.dumps(CALL)) | change

    answer = await desk.post(f"{SIGNED}/events/call", urlencode(form).encode())

    assert answer.status_code == 401
    assert {row["state"] for row in await desk.kept()} == {"refused"}


async def test_credentials_are_kept_nowhere(desk: Desk) -> None:
    """Neither the key of what was believed, nor of what was refused, nor in either dialect."""
    form = sealed(JUNES.api_key, JUNES.api_salt, json.dumps(CALL))
    flat = {"call_id": "F", "status": "start", "vpbx_api_key": JUNES.api_key, "vpbx_api_id": "june-1"}
    await desk.post(f"{SIGNED}/events/call", urlencode(form).encode())
    await desk.post(f"{SIGNED}/events/call", urlencode(form | {"sign": "no"}).encode())
    await desk.post(f"{SIGNED}/events/call", urlencode(form).encode() + b"&json=twice")
    await desk.say_flat(flat)
    await desk.say_flat(flat | {"vpbx_api_id": "no"})
    await desk.say_flat(flat | {"comment": JUNES.api_key})
    await desk.say_flat(json.dumps(flat).encode()[:-1])

    rows = await desk.kept()
    assert len(rows) == 7
    said = "\n".join(str(dict(row)) for row in rows)
    assert JUNES.api_key not in said
    assert JUNES.api_salt not in said


@pytest.mark.parametrize("document", ["", "{", "[]", "null", '"text"', '{"entry_id": "\\ud800"}', "{}{}"])
async def test_signed_nonsense_is_a_bad_request_and_kept(desk: Desk, document: str) -> None:
    answer = await desk.say("events/call", document)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BAD_REQUEST")
    (row,) = await desk.kept()
    assert (row["state"], row["enterprise_number"], row["body"]) == ("malformed", JUNE, document.encode())


async def test_unknown_kinds_are_kept_and_thanked_for(desk: Desk) -> None:
    answer = await desk.say("events/md/onAppealClose", {"appeal": 1})

    assert answer.status_code == 200
    (row,) = await desk.kept()
    assert (row["state"], row["path"], row["reason"]) == ("ignored", "events/md/onAppealClose", "it names no call")


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", [SIGNED, f"{SIGNED}/", f"{SIGNED}/ping", FLAT])
async def test_the_cabinets_check_of_the_connection_is_answered(desk: Desk, method: str, path: str) -> None:
    assert (await desk.client.request(method, path)).status_code == 200

    assert desk.counted("", "check") + desk.counted("other", "check") == 1
    assert [(row["state"], row["enterprise_number"]) for row in await desk.kept()] == [("ignored", None)]


async def test_json_that_nobody_signed_is_no_check_of_the_connection(desk: Desk) -> None:
    answer = await desk.post(f"{SIGNED}/events/call", json.dumps(CALL).encode(), "application/json")

    assert answer.status_code == 401


async def test_a_form_with_a_field_twice_is_refused(desk: Desk) -> None:
    form = sealed(JUNES.api_key, JUNES.api_salt, json.dumps(CALL))

    answer = await desk.post(f"{SIGNED}/events/call", urlencode(form).encode() + b"&json=%7B%7D")

    assert (answer.status_code, answer.json()["error"]["details"]["field"]) == (400, "json")


async def test_too_large_a_body_is_refused_counted_and_not_kept(desk: Desk) -> None:
    answer = await desk.say("events/call", {**CALL, "x": "y" * LARGEST_BODY})

    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "TOO_LARGE")
    assert await desk.kept() == []
    assert desk.counted("other", "too_large") == 1


async def test_words_of_the_house_in_a_path_mean_nothing(desk: Desk) -> None:
    """A webhook posted to …/statistics is no row of the history."""
    await desk.say("statistics", {"entry_id": "E", "context_start_time": 1})

    (row,) = await desk.kept()
    assert intake.event_of(row["dialect"], row["path"], row["body"]).__class__.__name__ == "Unknown"


# --- whose it is ------------------------------------------------------------------------------------------------------


async def test_products_are_told_apart_by_their_keys(desk: Desk) -> None:
    for product in (JUNES, JUNES_SECOND, JULYS):
        assert (await desk.say("events/call", CALL, product)).status_code == 200

    assert [(row["enterprise_number"], row["product"]) for row in await desk.kept()] == [
        (JUNE, JUNES.name),
        (JUNE, JUNES_SECOND.name),
        (JULY, JULYS.name),
    ]


async def test_no_enterprise_is_shown_anothers_webhooks(desk: Desk) -> None:
    await desk.say("events/call", CALL, JUNES)
    await desk.say("events/call", CALL, JULYS)
    await desk.say("events/call", CALL, Product(api_key="nobodys", api_salt="s"))

    async with desk.pool.acquire() as connection:
        for scope, expected in ((Scope(JUNE), [JUNE]), (Scope(JULY), [JULY]), (Scope(None), [None, JULY, JUNE])):
            listed, total = await webhooks.listed(connection, scope)
            assert [row["enterprise_number"] for row in listed] == expected
            assert total == len(expected)


async def test_a_key_that_two_enterprises_claim_belongs_to_whose_credential_it_is(pool: Pool) -> None:
    await furnish(pool)
    await pool.execute("update enterprises set integrations_config = $1", configured(JUNES))
    async with open_desk(pool) as desk:
        assert (await desk.say("events/call", CALL)).status_code == 401

        digest = await pool.fetchval("select sha256($1::bytea)", JUNES.api_key.encode())
        await pool.execute("insert into credentials values ('mango', $1, $2, '')", digest, JULY)
        await desk.products.refresh()

        assert (await desk.say("events/call", CALL)).status_code == 200
        assert [row["enterprise_number"] for row in await desk.kept(state="new")] == [JULY]


async def test_the_deployments_product_serves_the_enterprise_that_names_none(pool: Pool) -> None:
    ours = Product(api_key="deployments-key", api_salt="deployments-salt")
    await furnish(pool)
    await pool.execute("update enterprises set integrations_config = $2 where number = $1", JULY, configured())
    async with open_desk(pool, default=ours) as desk:
        await desk.say("events/call", CALL, ours)

        assert [row["enterprise_number"] for row in await desk.kept(state="new")] == [JULY]


async def test_what_is_said_to_a_switched_off_integration_is_kept_and_not_worked(desk: Desk) -> None:
    await desk.pool.execute(
        "update enterprises set integrations_config = $2 where number = $1", JUNE, configured(JUNES, enabled=False)
    )
    await desk.products.refresh()

    assert (await desk.say("events/call", CALL)).status_code == 200
    assert [(row["state"], row["entry_id"]) for row in await desk.kept()] == [("ignored", "E1")]


async def test_an_inactive_enterprise_has_no_product(desk: Desk) -> None:
    await desk.pool.execute("update enterprises set active = false where number = $1", JUNE)
    await desk.products.refresh()

    assert (await desk.say("events/call", CALL)).status_code == 401


# --- the flat dialect -------------------------------------------------------------------------------------------------

START = {
    "call_id": "F1",
    "from": "+79161234567",
    "to": "+74951230001",
    "direction": "in",
    "status": "start",
    "timestamp": 1_795_224_000,
    "vpbx_api_id": "june-1",
    "vpbx_api_key": JUNES.api_key,
}


async def test_a_flat_webhook_is_kept_under_its_call(desk: Desk) -> None:
    answer = await desk.say_flat(START)

    assert (answer.status_code, answer.json()) == (200, {"success": True})
    (row,) = await desk.kept()
    assert (row["enterprise_number"], row["dialect"], row["entry_id"], row["state"]) == (JUNE, "flat", "F1", "new")
    assert json.loads(row["body"]) == START | {"vpbx_api_key": "***"}


@pytest.mark.parametrize(
    "change",
    [
        {"vpbx_api_key": "wrong"},
        {"vpbx_api_key": JULYS.api_key},
        {"vpbx_api_id": "wrong"},
        {"vpbx_api_id": ""},
        {"vpbx_api_id": None},
        {"vpbx_api_key": JUNES_SECOND.api_key, "vpbx_api_id": ""},
        {"vpbx_api_key": {"$ne": ""}},
    ],
)
async def test_a_flat_webhook_needs_both_halves_of_its_credential(desk: Desk, change: dict[str, Any]) -> None:
    assert (await desk.say_flat(START | change)).status_code == 401
    assert {row["state"] for row in await desk.kept()} == {"refused"}


@pytest.mark.parametrize("body", [b"{", b"[]", b"7", b"\xff", b'{"a":' * 2000])
async def test_a_flat_body_that_is_no_object_is_a_bad_request_and_kept(desk: Desk, body: bytes) -> None:
    assert (await desk.say_flat(body)).status_code == 400
    assert {row["state"] for row in await desk.kept()} == {"malformed"}


async def test_mangos_own_dialect_is_understood_at_the_flat_address_too(desk: Desk) -> None:
    assert (await desk.say("events/call", CALL, base=FLAT)).status_code == 200

    assert [(row["dialect"], row["path"]) for row in await desk.kept()] == [("signed", "events/call")]


async def test_the_flat_address_may_be_another(pool: Pool) -> None:
    await furnish(pool)
    async with open_desk(pool, flat_path="/hooks/ats") as desk:
        assert (await desk.say_flat(START, "/hooks/ats")).status_code == 200
        assert (await desk.say_flat(START, FLAT)).status_code == 200


# --- who may post -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("remote", "status"),
    [("81.88.82.45", 200), ("::ffff:81.88.82.45", 200), ("10.1.2.3", 200), ("81.88.82.46", 403), ("unix", 403)],
)
async def test_only_listed_addresses_may_post_where_there_is_a_list(pool: Pool, remote: str, status: int) -> None:
    await furnish(pool)
    async with open_desk(pool, addresses=("81.88.82.45", "10.0.0.0/8")) as desk:
        desk.address = remote
        desk.open()

        assert (await desk.say("events/call", CALL)).status_code == status
        assert len(await desk.kept()) == (status == 200)
        assert desk.counted("other", "forbidden") == (status == 403)


async def test_of_strangers_only_so_much_is_kept_but_all_of_it_counted(pool: Pool) -> None:
    await furnish(pool)
    now = [0.0]
    async with open_desk(pool, clock=lambda: now[0]) as desk:
        for _ in range(STRANGERS_A_MINUTE + 5):
            assert (await desk.say("events/call", CALL, salt="wrong")).status_code == 401
        assert len(await desk.kept()) == STRANGERS_A_MINUTE
        assert desk.counted("events/call", "refused") == STRANGERS_A_MINUTE + 5

        now[0] = 61.0
        await desk.say("events/call", CALL, salt="wrong")
        assert len(await desk.kept()) == STRANGERS_A_MINUTE + 1


# --- settings ---------------------------------------------------------------------------------------------------------


async def test_strangers_are_told_no_settings(desk: Desk) -> None:
    assert (await desk.client.get(f"{FLAT}/settings")).status_code == 401


async def test_settings_are_masked_and_ones_own(pool: Pool) -> None:
    await furnish(pool)
    async with open_desk(pool, api_url="https://app.mango-office.ru/vpbx", public_url="https://b.example") as desk:
        desk.guest = Guest(JUNE)
        answer = await desk.client.get(f"{FLAT}/settings")

        assert answer.status_code == 200
        told = answer.json()["data"]
        assert {name: told[name] for name in ("webhookUrl", "apiUrl", "apiKey", "apiId")} == {
            "webhookUrl": FLAT,
            "apiUrl": "https://app.mango-office.ru/vpbx",
            "apiKey": "***",
            "apiId": "***",
        }
        assert told["signedWebhookUrl"] == "https://b.example" + SIGNED
        assert [each["name"] for each in told["products"]] == [JUNES.name, JUNES_SECOND.name]
        for product in (JUNES, JUNES_SECOND, JULYS):
            assert product.api_key not in answer.text
            assert product.api_salt not in answer.text


# --- durable before it is answered ------------------------------------------------------------------------------------


async def test_without_a_database_nobody_is_thanked(desk: Desk) -> None:
    desk.pool.terminate()

    answer = await desk.say("events/call", CALL)

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "DATABASE_PROBLEM")
    assert answer.headers["Retry-After"] == "1"


async def test_a_connection_that_died_costs_no_webhook(desk: Desk) -> None:
    """The journal keeps one; when the server has closed it meanwhile, another is taken."""
    await desk.say("events/call", CALL)
    await desk.pool.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and datname = "
        "current_database()"
    )

    assert (await desk.say("events/call", {**CALL, "seq": 2})).status_code == 200
    assert len(await desk.kept()) == 2


async def test_what_finds_no_room_is_refused_and_counted(desk: Desk) -> None:
    journal = Journal(desk.pool, most_waiting=2, patience=0.2)  # nobody writes it
    full = [asyncio.create_task(journal.keep(_webhook(str(number)))) for number in range(2)]
    await asyncio.sleep(0)

    with pytest.raises(DatabaseProblem, match="Too many"):
        await journal.keep(_webhook("3"))
    assert journal.refused == 1
    for answer in await asyncio.gather(*full, return_exceptions=True):
        assert isinstance(answer, DatabaseProblem)
    assert await desk.kept() == []


async def test_room_is_bounded_in_bytes_too(desk: Desk) -> None:
    journal = Journal(desk.pool, most_bytes=100, patience=0.1)

    with pytest.raises(DatabaseProblem, match="Too many"):
        await journal.keep(_webhook("x" * 101))


async def test_many_at_once_share_transactions_and_none_is_lost(desk: Desk) -> None:
    await asyncio.gather(*(desk.say("events/call", {**CALL, "seq": number}) for number in range(300)))

    assert {json.loads(row["body"])["seq"] for row in await desk.kept()} == set(range(300))
    assert desk.journal.batches < 300


async def test_one_that_the_database_refuses_costs_the_others_nothing(desk: Desk) -> None:
    """Its enterprise was removed in the moment it was judged."""
    journal = Journal(desk.pool)
    asked = [journal.keep(_webhook(str(number), JUNE if number != 3 else "gone")) for number in range(6)]
    keeping = asyncio.gather(*asked, return_exceptions=True)
    await asyncio.sleep(0)
    writing = asyncio.create_task(journal.run())

    answers = await keeping
    writing.cancel()

    assert [isinstance(answer, DatabaseProblem) for answer in answers] == [number == 3 for number in range(6)]
    assert len(await desk.kept()) == 5


async def test_at_the_end_what_waits_is_refused(desk: Desk) -> None:
    journal = Journal(desk.pool)
    writing = asyncio.create_task(journal.run())
    await asyncio.sleep(0)
    async with desk.pool.acquire() as connection, connection.transaction():
        await connection.execute("lock table mango_webhooks")
        keeping = asyncio.create_task(journal.keep(_webhook("1")))
        await eventually(lambda: _someone_waits(desk.pool))
        writing.cancel()
        with pytest.raises(DatabaseProblem, match="ending"):
            await keeping
    await asyncio.gather(writing, return_exceptions=True)


async def test_history_that_was_heard_before_is_no_news(desk: Desk) -> None:
    said = [("E1", b'{"a":1}'), ("E1", b'{"a":2}'), ("E2", b'{"a":1}'), ("E2", b'{"a":1}')]
    async with desk.pool.acquire() as connection:
        assert await keep_history(connection, JUNE, JUNES.name, said) == 3
        assert await keep_history(connection, JUNE, JUNES.name, said) == 0
        assert await keep_history(connection, JULY, JULYS.name, said[:1]) == 1


# --- whatever comes ---------------------------------------------------------------------------------------------------

OWNED = Owned(enterprise_number=JUNE, product=JUNES, enabled=True)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(
    ["entry_id", "call_id", "seq", "timestamp", "call_state", "from", "to", "status", "result", "recording_id"]
)


def find(api_key: str) -> Owned | None:
    return OWNED if api_key == JUNES.api_key else None


@given(body=st.binary(max_size=400), path=st.text(max_size=30))
def test_any_bytes_are_judged_and_nothing_of_strangers_is_new(body: bytes, path: str) -> None:
    for judged in (intake.signed(body, path, "r", find), intake.flat(body, "r", find)):
        assert judged.outcome in ("check", "refused", "malformed")
        assert judged.webhook.state != "new"
        assert judged.stranger


@given(document=st.dictionaries(NAMES | st.text(), ANYTHING, max_size=8), path=st.text(max_size=30))
def test_whatever_mango_signs_is_judged_and_can_be_read_later(document: dict[str, Any], path: str) -> None:
    text = json.dumps(document)
    form = sealed(JUNES.api_key, JUNES.api_salt, text)

    judged = intake.signed(urlencode(form).encode(), path, "r", find)

    assert judged.outcome in ("taken", "ignored", "malformed")
    assert judged.webhook.body == text.encode()
    if judged.outcome != "malformed":
        event = intake.event_of("signed", judged.webhook.path, judged.webhook.body, 1.0)
        assert event.entry_id in (judged.webhook.entry_id, None)


@given(document=st.dictionaries(NAMES | st.text(), ANYTHING, max_size=8))
def test_whatever_a_flat_webhook_says_it_is_judged_and_its_key_forgotten(document: dict[str, Any]) -> None:
    said = {**document, "vpbx_api_key": JUNES.api_key, "vpbx_api_id": JUNES.api_id}

    judged = intake.flat(json.dumps(said).encode(), "r", find)

    assert judged.outcome in ("taken", "ignored", "malformed")
    assert JUNES.api_key.encode() not in judged.webhook.body


@given(st.dictionaries(st.text(st.characters(codec="utf-8"), min_size=1), st.binary(), min_size=1, max_size=8))
def test_a_forms_fields_are_the_bytes_that_were_sent(given_fields: dict[str, bytes]) -> None:
    body = "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in given_fields.items())

    assert intake.fields(body.encode()) == given_fields


def _webhook(body: str, number: str = JUNE) -> Webhook:
    return Webhook(
        enterprise_number=number,
        product="p",
        dialect="signed",
        path="events/call",
        body=body.encode(),
        state="new",
        entry_id="E1",
    )


async def _someone_waits(pool: Pool) -> bool:
    return bool(
        await pool.fetchval(
            "select exists (select from pg_stat_activity where wait_event_type = 'Lock' and datname = "
            "current_database())"
        )
    )
