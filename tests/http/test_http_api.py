"""Calls and deliveries as the API shows them, and what it says to bad input."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from http_office import Office, People

from bridge.db.pool import Pool

CALLS = "/api/v1/calls"


def _names(office: Office, answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    by_id = {number: name for name, number in office.calls.items()}
    return [by_id[call["id"]] for call in answer.json()["data"]]


async def test_a_list_has_the_documented_shape_and_ours_beside_it(sign_in: People, office: Office) -> None:
    olga = await sign_in("olga")

    answer = await olga.get(CALLS, params={"search": "Петров"})

    assert answer.json()["pagination"] == {"page": 1, "limit": 50, "total": 1, "pages": 1}
    call = answer.json()["data"][0]
    assert answer.json()["success"] is True
    documented = {
        "id": office.calls["of anna"],
        "caller_number": "+79161234567",
        "receiver_number": "74951000001",
        "status": "completed",
        "answered_at": "2026-11-20T21:01:05Z",
        "ended_at": "2026-11-20T21:02:05Z",
        "duration": 60,
        "notes": "",
        "assigned_user_id": None,
        "answered_by_user_id": office.users["anna"],
        "caller_company_id": None,
        "customer_name": None,
        "company": None,
        "email": None,
        "call_purpose": None,
        "priority": None,
        "is_on_hold": False,
        "tags": ["новый клиент", "продажи"],
    }
    ours = {
        "call_id": "1795224440.0",
        "direction": "inbound",
        "result": "answered",
        "client_number": "+79161234567",
        "line": "74951000001",
        "extensions": ["150", "151"],
        "answered_by": "150",
        "wait_seconds": 5,
        "talk_seconds": 60,
        "enterprise_number": "0367",
    }
    assert {name: call[name] for name in documented | ours} == documented | ours
    assert "accepted_at" in call


async def test_one_call_has_its_timeline_deliveries_and_people(sign_in: People, office: Office, pool: Pool) -> None:
    await pool.execute(
        "insert into call_timeline (call_pk, at, change, details) values ($1, $2, 'ringing', $3)",
        office.calls["of anna"],
        datetime(2026, 11, 20, 21, 1, tzinfo=UTC),
        {"extensions": ["150"]},
    )
    olga = await sign_in("olga")

    call = (await olga.get(f"{CALLS}/{office.calls['of anna']}")).json()["data"]

    assert call["tags"] == "новый клиент, продажи"
    assert (call["answered_user_first_name"], call["answered_user_last_name"]) == ("Анна", "Иванова")
    assert call["timeline"] == [{"at": "2026-11-20T21:01:00Z", "change": "ringing", "details": {"extensions": ["150"]}}]
    assert [(owed["kind"], owed["state"]) for owed in call["deliveries"]] == [("record", "delivered")]
    assert call["legs"] == []
    assert call["customer_phone"] == "+79161234567"
    assert call["transfer_count"] == 0


async def test_active_calls_are_those_that_go_on(sign_in: People, office: Office) -> None:
    olga = await sign_in("olga")

    answer = await olga.get(CALLS + "/active")

    assert _names(office, answer) == ["live"]
    call = answer.json()["data"][0]
    assert (call["status"], call["result"], call["ended_at"]) == ("accepted", "active", None)
    assert (call["is_muted"], call["is_speaker_on"]) == (False, False)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["live", "of petr", "of anna"]),
        ({"status": "missed"}, ["of petr"]),
        ({"search": "Иван"}, ["of anna"]),
        ({"search": "8 (916) 123-45-67"}, ["of anna"]),
        ({"search": "765-43"}, ["of petr"]),
        ({"search": "%"}, []),
        ({"search": "' or 1=1 --"}, []),
        ({"search": ""}, ["live", "of petr", "of anna"]),
        ({"limit": "1", "page": "2"}, ["of petr"]),
        ({"page": "9"}, []),
        ({"date_from": "2026-11-20T21:02:00Z"}, ["live", "of petr"]),
        ({"date_to": "2026-11-20T21:02:00Z"}, ["of petr", "of anna"]),
        ({"date_from": "2026-11-21"}, ["live", "of petr", "of anna"]),
        ({"date_to": "2026-11-20"}, []),
        ({"date_from": "2026-11-21T00:02:00"}, ["live", "of petr"]),
        ({"date_from": "2026-11-21T00:02:00 03:00"}, ["live", "of petr"]),
        ({"enterprise_number": "0367", "status": "accepted"}, ["live"]),
    ],
)
async def test_a_list_is_narrowed(sign_in: People, office: Office, query: dict[str, str], expected: list[str]) -> None:
    olga = await sign_in("olga")

    assert _names(office, await olga.get(CALLS, params=query)) == expected


async def test_a_list_is_narrowed_to_one_person(sign_in: People, office: Office) -> None:
    olga = await sign_in("olga")

    assert _names(office, await olga.get(CALLS, params={"userId": office.users["petr"]})) == ["of petr", "of anna"]
    assert _names(office, await olga.get(CALLS + "/active", params={"userId": office.users["petr"]})) == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("page=0", "page"),
        ("page=x", "page"),
        ("page=", "page"),
        ("page=99999999999999999999", "page"),
        ("limit=501", "limit"),
        ("limit=-1", "limit"),
        ("status=answered", "status"),
        ("status=", "status"),
        ("date_from=yesterday", "date_from"),
        ("date_from=0001-01-01", "date_from"),
        ("date_to=9999-12-31", "date_to"),
        ("userId=1.5", "userId"),
        ("userId=0", "userId"),
        ("user_id=1", "user_id"),
        ("search=%00", "search"),
        ("search=" + "x" * 201, "search"),
        ("page=1&page=2", "page"),
        ("enterprise_number=../x", "enterprise_number"),
        ("unknown", "unknown"),
    ],
)
async def test_a_wrong_parameter_is_named(sign_in: People, query: str, field: str) -> None:
    olga = await sign_in("olga")

    answer = await olga.get(f"{CALLS}?{query}")

    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["details"]["field"]) == (400, "BAD_REQUEST", field)
    assert error["message"].startswith(field + ":")


async def test_the_words_that_are_possible_are_listed(sign_in: People) -> None:
    olga = await sign_in("olga")

    error = (await olga.get(f"{CALLS}?status=answered")).json()["error"]

    assert error["details"]["allowed"] == ["accepted", "completed", "incoming", "missed", "rejected"]
    assert error["details"]["found"] == "answered"
    assert "must be one of accepted, completed, incoming, missed, rejected, found 'answered'" in error["message"]


@pytest.mark.parametrize("number", ["x", "0", "-1", "1.5", "9223372036854775808", "%00", "1'", "1;drop table calls"])
async def test_a_number_in_the_path_is_checked_too(sign_in: People, number: str) -> None:
    olga = await sign_in("olga")

    answer = await olga.get(f"{CALLS}/{number}")

    assert (answer.status_code, answer.json()["error"]["details"]["field"]) == (400, "id")


async def test_a_call_that_is_not_there_has_a_code_of_its_own(sign_in: People) -> None:
    olga = await sign_in("olga")

    answer = await olga.get(f"{CALLS}/987654321")

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "CALL_NOT_FOUND")


@pytest.mark.parametrize("path", ["/api/calls", "/api/calls/active"])
async def test_the_source_documents_paths_are_the_same_handlers(sign_in: People, path: str) -> None:
    olga = await sign_in("olga")

    old, new = await olga.get(path), await olga.get(path.replace("/api/", "/api/v1/"))

    assert old.status_code == 200
    assert old.json() == new.json()


# --- who sees what --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("person", "seen"),
    [
        ("anna", ["live", "of anna"]),
        ("petr", ["of petr", "of anna"]),
        ("olga", ["live", "of petr", "of anna"]),
        ("robot", ["live", "of petr", "of anna"]),
        ("boris", ["of boris"]),
        ("root", ["of boris", "live", "of petr", "of anna"]),
    ],
)
async def test_everybody_sees_their_own(sign_in: People, office: Office, person: str, seen: list[str]) -> None:
    who = await sign_in(person)

    assert _names(office, await who.get(CALLS)) == seen
    for name, number in office.calls.items():
        answer = await who.get(f"{CALLS}/{number}")
        assert answer.status_code == (200 if name in seen else 404), name


async def test_the_deployments_administrator_can_look_at_one_enterprise(sign_in: People, office: Office) -> None:
    root = await sign_in("root")

    assert _names(office, await root.get(CALLS, params={"enterprise_number": "0400"})) == ["of boris"]


# --- deliveries -----------------------------------------------------------------------------------------------------


async def test_deliveries_are_listed_and_filtered(sign_in: People, office: Office) -> None:
    olga = await sign_in("olga")

    everything = (await olga.get("/api/v1/deliveries")).json()
    dead = (await olga.get("/api/v1/deliveries", params={"state": "dead", "integration_type": "retailcrm"})).json()

    assert [item["id"] for item in everything["data"]] == [office.deliveries["dead"], office.deliveries["delivered"]]
    assert dead["pagination"]["total"] == 1
    item = dead["data"][0]
    assert (item["state"], item["reason"], item["call"]) == ("dead", "the CRM refused it", office.calls["of petr"])
    assert item["client_number"] == "+79037654321"


async def test_a_dead_letter_is_sent_again_once(sign_in: People, office: Office, pool: Pool) -> None:
    olga = await sign_in("olga")
    path = f"/api/v1/deliveries/{office.deliveries['dead']}/resend"

    first, second = await olga.post(path), await olga.post(path)

    assert first.json() == {"success": True, "data": {"resent": 1}}
    assert (second.status_code, second.json()["error"]["code"]) == (409, "CONFLICT")
    assert second.json()["error"]["details"] == {"found": "pending", "allowed": ["dead"]}
    assert await pool.fetchval("select count(*) from deliveries where state = 'pending'") == 1


async def test_all_dead_letters_of_ones_own_are_sent_again(sign_in: People, office: Office, pool: Pool) -> None:
    olga = await sign_in("olga")

    answer = await olga.post("/api/v1/deliveries/resend", json={"all": True})

    assert answer.json()["data"] == {"resent": 1}
    states = dict(await pool.fetch("select id, state from deliveries"))
    assert states[office.deliveries["dead"]] == "pending"
    assert states[office.deliveries["dead of boris"]] == "dead"


async def test_chosen_dead_letters_are_sent_again(sign_in: People, office: Office) -> None:
    root = await sign_in("root")
    ids = [office.deliveries["dead"], office.deliveries["dead of boris"], office.deliveries["delivered"]]

    answer = await root.post("/api/v1/deliveries/resend", json={"ids": ids})

    assert answer.json()["data"] == {"resent": 2}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "ids"),
        ({"ids": [1], "all": True}, "ids"),
        ({"ids": ["1"]}, "ids[0]"),
        ({"ids": [0]}, "ids[0]"),
        ({"everything": True}, "everything"),
        ({"all": "yes"}, "all"),
    ],
)
async def test_a_wrong_wish_to_resend_is_refused(sign_in: People, body: dict[str, Any], field: str) -> None:
    olga = await sign_in("olga")

    answer = await olga.post("/api/v1/deliveries/resend", json=body)

    assert (answer.status_code, answer.json()["error"]["details"]["field"]) == (400, field)


@pytest.mark.parametrize("person", ["anna", "robot"])
async def test_only_administrators_send_again(sign_in: People, office: Office, person: str) -> None:
    who = await sign_in(person)

    answer = await who.post(f"/api/v1/deliveries/{office.deliveries['dead']}/resend")

    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "FORBIDDEN")
    assert answer.json()["error"]["details"] == {"allowed": ["administrator"]}


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        ("select count(*) from calls where result = 'active'", "calls_active"),
        ("select id from calls order by coalesce(started_at, created_at) desc, id desc limit 50", "calls_newest"),
        (
            "select id from calls where enterprise_number = '0367' "
            "order by coalesce(started_at, created_at) desc, id desc limit 50",
            "calls_recent",
        ),
    ],
)
async def test_what_every_page_reads_has_an_index(pool: Pool, statement: str, index: str) -> None:
    async with pool.acquire() as db, db.transaction():
        await db.execute(
            "set local enable_seqscan = off; set local enable_sort = off; set local enable_bitmapscan = off"
        )
        plan = "\n".join(row[0] for row in await db.fetch("explain " + statement))

    assert index in plan
