"""A call becomes a row, and stays one row whatever is written again."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.calls.model import Answered, Call, Ended, Leg, Ringing, Started, Transfer
from bridge.db import calls
from bridge.db.calls import CallWrite
from bridge.db.pool import Connection, Pool, connect

NOON = 1_795_000_000.0


@pytest.fixture
async def connection(pool: Pool) -> AsyncIterator[Connection]:
    """With two enterprises, each with a person on extension 150."""
    async with pool.acquire() as connection:
        await connection.execute("insert into enterprises (number) values ('0367'), ('0400')")
        await connection.execute(
            """
            with people as (
                insert into users (enterprise_number, email, first_name)
                values ('0367', 'anna@june.example', 'Anna'), ('0367', 'boris@june.example', 'Boris'),
                       ('0400', 'zoe@july.example', 'Zoe')
                returning id, enterprise_number, first_name
            )
            insert into user_internal_phones (user_id, enterprise_number, phone_number)
            select id, enterprise_number, case first_name when 'Boris' then '151' else '150' end from people
            """
        )
        yield connection


def inbound(call_id: str = "1795000000.1", **more: Any) -> Call:
    return Call(
        **{
            "call_id": call_id,
            "direction": "inbound",
            "client_number": "+79161234567",
            "line": "74951000001",
            "extensions": ["150"],
            "started_at": NOON,
            "legs": [Leg(uniqueid=call_id, channel="PJSIP/trunk-0001", role="client", started_at=NOON)],
        }
        | more
    )


async def stored(connection: Connection, call_id: str = "1795000000.1") -> Any:
    return await connection.fetchrow("select * from calls where call_id = $1", call_id)


async def name_of(connection: Connection, user_id: int | None) -> str | None:
    name: str | None = await connection.fetchval("select first_name from users where id = $1", user_id)
    return name


async def test_a_ringing_call_becomes_one_row_that_grows(connection: Connection) -> None:
    ringing = inbound()
    first = await calls.save(connection, "0367", "office", [CallWrite(call=ringing, state=b"\x00memory")])
    row = await stored(connection)
    assert (row["status"], row["result"], row["state"]) == ("incoming", "active", b"\x00memory")
    assert (row["caller_number"], row["receiver_number"]) == ("+79161234567", "74951000001")
    assert row["channel_id"] == "PJSIP/trunk-0001"
    assert await name_of(connection, row["assigned_user_id"]) == "Anna"

    answered = inbound(
        status="answered", answered_by="150", answered_first="150", answered_at=NOON + 2, ended_at=NOON + 7.5,
        wait_seconds=2, talk_seconds=5, ended_by="client", transfers=[Transfer(kind="blind", from_="150", to="151")],
    )  # fmt: skip
    second = await calls.save(connection, "0367", "office", [CallWrite(call=answered)])

    row = await stored(connection)
    assert first == second == {"1795000000.1": row["id"]}
    assert (row["status"], row["state"], row["duration"], row["transfer_count"]) == ("completed", None, 5, 1)
    assert row["started_at"] == datetime.fromtimestamp(NOON, UTC)
    assert row["accepted_at"] == row["answered_at"] == datetime.fromtimestamp(NOON + 2, UTC)
    assert row["ended_at"] == datetime.fromtimestamp(NOON + 7.5, UTC)
    assert row["transfers"] == [{"kind": "blind", "from": "150", "to": "151", "at": None}]
    assert row["legs"][0]["uniqueid"] == "1795000000.1"


async def test_a_person_is_found_within_the_enterprise_only(connection: Connection) -> None:
    await calls.save(connection, "0400", "office", [CallWrite(call=inbound(answered_by="150"))])
    await calls.save(connection, "0367", "office", [CallWrite(call=inbound(answered_by="150"))])
    rows = await connection.fetch("select enterprise_number, answered_by_user_id from calls order by 1")

    assert [await name_of(connection, row["answered_by_user_id"]) for row in rows] == ["Anna", "Zoe"]


async def test_who_talked_is_assigned_and_a_ring_group_assigns_nobody(connection: Connection) -> None:
    group = inbound(extensions=["150", "151"])
    await calls.save(connection, "0367", "office", [CallWrite(call=group)])
    assert (await stored(connection))["assigned_user_id"] is None

    await calls.save(
        connection, "0367", "office", [CallWrite(call=inbound(extensions=["150", "151"], answered_by="151"))]
    )
    row = await stored(connection)
    assert await name_of(connection, row["assigned_user_id"]) == "Boris"
    assert row["answered_by_user_id"] == row["assigned_user_id"]


async def test_many_calls_are_written_at_once_with_their_timelines(connection: Connection) -> None:
    batch = [inbound(f"1795000000.{n}") for n in range(300)]
    writes = [
        CallWrite(
            call=call,
            state=b"{}",
            changes=[
                Started(call=call, at=NOON),
                Ringing(call=call, at=NOON + 1, extensions=("150",)),
                Ended(call=call),
            ],
        )
        for call in batch
    ]
    ids = await calls.save(connection, "0367", "office", writes)

    assert len(set(ids.values())) == 300
    entries = await connection.fetch(
        "select at, change, details from call_timeline where call_pk = $1 order by id", ids["1795000000.7"]
    )
    assert [entry["change"] for entry in entries] == ["started", "ringing", "ended"]
    assert entries[1]["details"] == {"extensions": ["150"]}
    assert entries[1]["at"] == datetime.fromtimestamp(NOON + 1, UTC)
    assert entries[2]["at"] is None


async def test_a_call_that_comes_twice_in_a_batch_is_one_row_with_both_its_changes(connection: Connection) -> None:
    early, late = inbound(), inbound(answered_by="150", answered_at=NOON + 2)
    ids = await calls.save(
        connection,
        "0367",
        "office",
        [
            CallWrite(call=early, changes=[Started(call=early)]),
            CallWrite(call=late, changes=[Answered(call=late, extension="150", first=True)]),
        ],
    )

    assert (await stored(connection))["status"] == "accepted"
    told = await connection.fetch(
        "select change from call_timeline where call_pk = $1 order by id", ids["1795000000.1"]
    )
    assert [entry["change"] for entry in told] == ["started", "answered"]


async def test_an_absorbed_call_leaves_its_timeline_and_what_people_typed(connection: Connection) -> None:
    one, other = inbound("1.1"), inbound("2.1")
    ids = await calls.save(
        connection,
        "0367",
        "office",
        [CallWrite(call=one), CallWrite(call=other, changes=[Started(call=other, at=NOON)])],
    )
    await connection.execute("update calls set notes = 'call back', tags = '{new}' where id = $1", ids["2.1"])

    gone = await calls.absorb(connection, "0367", "office", "2.1", into="1.1")

    assert gone == ids["2.1"]
    assert await stored(connection, "2.1") is None
    kept = await stored(connection, "1.1")
    assert (kept["notes"], kept["tags"]) == ("call back", ["new"])
    assert await connection.fetchval("select count(*) from call_timeline where call_pk = $1", ids["1.1"]) == 1


async def test_absorbing_what_was_never_written_is_nothing(connection: Connection) -> None:
    assert await calls.absorb(connection, "0367", "office", "2.1", into="1.1") is None


async def test_one_enterprise_never_absorbs_anothers_call(connection: Connection) -> None:
    await calls.save(connection, "0400", "office", [CallWrite(call=inbound("2.1"))])

    assert await calls.absorb(connection, "0367", "office", "2.1", into="1.1") is None
    assert await stored(connection, "2.1") is not None


async def test_the_memory_of_live_calls_comes_back_by_pbx(connection: Connection) -> None:
    await calls.save(
        connection,
        "0367",
        "office",
        [
            CallWrite(call=inbound("1.1"), state=b"one"),
            CallWrite(call=inbound("2.1")),
            CallWrite(call=inbound("3.1"), state=b"three"),
        ],
    )
    await calls.save(connection, "0367", "shop", [CallWrite(call=inbound("1.1"), state=b"elsewhere")])

    assert await calls.live_states(connection, "0367", "office") == [b"one", b"three"]
    assert await calls.live_states(connection, "0400", "office") == []


async def test_changed_calls_are_announced_in_portions_that_postgres_takes(
    connection: Connection, database_url: str
) -> None:
    heard: list[str] = []
    listener = await connect(database_url)
    await listener.add_listener("bridge_live", lambda *told: heard.append(told[-1]))

    await calls.announce(connection, "0367", [*range(10**17, 10**17 + 700), 10**17])
    await calls.announce(connection, "0367", [])
    await listener.execute("select 1")

    told = [calls.msgspec.json.decode(payload) for payload in heard]
    await listener.close()
    assert {payload["enterprise_number"] for payload in told} == {"0367"}
    assert sorted(number for payload in told for number in payload["calls"]) == list(range(10**17, 10**17 + 700))


@pytest.mark.parametrize(
    ("direction", "result", "talked", "status"),
    [
        ("inbound", "active", False, "incoming"),
        ("inbound", "active", True, "accepted"),
        ("inbound", "answered", True, "completed"),
        ("inbound", "missed", False, "missed"),
        ("inbound", "busy", False, "rejected"),
        ("inbound", "incomplete", True, "completed"),
        ("inbound", "incomplete", False, "missed"),
        ("inbound", "failed", False, "missed"),
        ("outbound", "active", False, "incoming"),
        ("outbound", "answered", True, "completed"),
        ("outbound", "busy", False, "rejected"),
        ("outbound", "no_answer", False, "rejected"),
        ("outbound", "cancelled", False, "rejected"),
        ("outbound", "failed", False, "rejected"),
        ("outbound", "incomplete", False, "rejected"),
        ("outbound", "incomplete", True, "completed"),
        ("internal", "missed", False, "missed"),
    ],
)
def test_the_status_of_the_source_documents(direction: Any, result: Any, talked: bool, status: str) -> None:
    call = Call(call_id="1.1", direction=direction, status=result, answered_by="150" if talked else None)

    assert calls.status(call) == status


@pytest.mark.parametrize(
    ("call", "parties"),
    [
        (inbound(), ("+79161234567", "74951000001")),
        (
            Call(call_id="1", direction="outbound", client_number="+7916", extensions=["150"], line="7495"),
            ("150", "+7916"),
        ),
        (Call(call_id="1", direction="outbound", client_number="+7916", line="7495"), ("7495", "+7916")),
        (
            Call(
                call_id="1",
                direction="internal",
                extensions=["151", "152"],
                answered_by="152",
                legs=[Leg(uniqueid="1", channel="PJSIP/150-1", role="extension", extension="150")],
            ),
            ("150", "152"),
        ),
        (Call(call_id="1", direction="internal", extensions=["151"]), (None, "151")),
    ],
)
def test_who_called_and_who_was_called(call: Call, parties: tuple[str | None, str | None]) -> None:
    assert calls.parties(call) == parties


@pytest.mark.parametrize(
    ("line", "region", "shown"),
    [
        ("74951000001", "RU", "+74951000001"),
        ("84951000001", "RU", "+74951000001"),
        ("4951000001", "RU", "+74951000001"),
        ("80291234567", "BY", "+375291234567"),
        ("+74951000001", "BY", "+74951000001"),
        ("0001001", "RU", "0001001"),
        ("s", "RU", "s"),
        (None, "RU", None),
        ("74951000001", None, "74951000001"),
    ],
)
def test_a_line_that_was_called_is_shown_as_a_number_where_it_is_one(
    line: str | None, region: str | None, shown: str | None
) -> None:
    called = inbound(line=line)
    dialled = Call(call_id="1", direction="outbound", client_number="+79161234567", line=line)

    assert calls.parties(called, region) == ("+79161234567", shown)
    assert calls.parties(dialled, region) == (shown, "+79161234567")
    assert calls.row(CallWrite(call=called), region)["line"] == line, "as the stream has it"


async def test_two_ids_that_are_stored_alike_are_one_row(connection: Connection) -> None:
    ids = await calls.save(
        connection, "0367", "office", [CallWrite(call=inbound("1\0")), CallWrite(call=inbound("1\ud800"))]
    )

    assert len(ids) == 2
    assert len(set(ids.values())) == 1


wild = st.text(st.characters() | st.just("\0") | st.characters(categories=["Cs"]), max_size=20)
moments = st.none() | st.floats() | st.just(math.inf)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    call_id=wild,
    number=st.none() | wild,
    extensions=st.lists(wild, max_size=3),
    at=moments,
    seconds=st.none() | st.integers(-(10**12), 10**12),
    state=st.binary(max_size=20),
)
async def test_nothing_that_a_pbx_sends_breaks_the_write(
    connection: Connection,
    call_id: str,
    number: str | None,
    extensions: list[str],
    at: float | None,
    seconds: int | None,
    state: bytes,
) -> None:
    call = inbound(
        call_id, client_number=number, client_name=number, extensions=extensions, answered_by=number, started_at=at,
        answered_at=at, wait_seconds=seconds, queue=number, recording=number,
        legs=[Leg(uniqueid=call_id, channel=call_id, role="client", number=number, started_at=at)],
    )  # fmt: skip
    write = CallWrite(call=call, state=state, changes=[Ringing(call=call, at=at, extensions=tuple(extensions))])

    ids = await calls.save(connection, "0367", "office", [write])

    assert ids.keys() == {call_id}
    assert await connection.fetchval("select state from calls where id = $1", ids[call_id]) == state
