"""Questions for Mango's history, and rows of its answers: both kinds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from mango_stories import ENTRY, T

from bridge.mango import statistics
from bridge.mango.decode import decode
from bridge.mango.events import StatisticsRow
from bridge.mango.users import Roster, User

SINCE = datetime(2026, 11, 20, 22, 30, tzinfo=UTC).timestamp()
ROSTER = Roster(users=(User(user_id=301, extension="150"), User(user_id=302, extension="0511")))


def test_a_period_is_asked_for_that_holds_it_in_either_zone() -> None:
    assert statistics.question(SINCE, SINCE + 3600, 500) == {
        "start_date": "20.11.2026 22:30:00",
        "end_date": "21.11.2026 02:30:00",
        "limit": 500,
        "offset": 500,
    }


def test_only_page_sizes_that_are_allowed() -> None:
    assert statistics.PAGE in {1, 5, 10, 20, 50, 100, 500, 1000, 2000, 5000}


def test_the_basic_kind_is_asked_for_the_call_each_leg_is_of() -> None:
    question = statistics.basic_question(SINCE, SINCE + 3600.9)
    assert (question["date_from"], question["date_to"]) == (int(SINCE), int(SINCE) + 3600)
    assert question["fields"].split(",")[-1] == "entry_id"


def row(**more: Any) -> str:
    leg = dict.fromkeys(statistics.COLUMNS, "") | {
        "records": "[MToxMDA=,Mjox]", "start": str(T), "finish": str(T + 30), "answer": str(T + 5),
        "from_number": "79161234567", "to_extension": "0511", "disconnect_reason": "1110",
        "line_number": "74951000001", "location": "abonent", "create": str(T), "entry_id": ENTRY,
    }  # fmt: skip
    return ";".join((leg | more).values())


def test_rows_of_the_basic_kind_become_events_of_their_calls() -> None:
    [found] = statistics.rows(row().encode())
    event = decode("statistics", msgspec.json.encode(found))
    assert isinstance(event, StatisticsRow)
    assert (event.whole, event.entry_id, event.to.extension, event.recordings) == (
        False,
        ENTRY,
        "0511",
        ("MToxMDA=", "Mjox"),
    )
    assert (event.started_at, event.answered_at, event.ended_at, event.reason) == (T, T + 5, T + 30, 1110)


@pytest.mark.parametrize(
    "csv",
    [
        b"", b"\n\n", b"records;start;finish", b"\xff\xfe" * 50, b";" * 12, row(entry_id="").encode(),
        row(entry_id="x" * 129).encode(), row(start="yesterday").encode(), (row() + ";more").encode(),
        row(from_number="a;b").encode(),
    ],
)  # fmt: skip
def test_what_is_no_row_is_none(csv: bytes) -> None:
    assert statistics.rows(csv) == []


def test_lines_end_as_they_please() -> None:
    csv = f"\ufeff{row()}\r\nnonsense\n{row(entry_id='second')}\n"
    assert [statistics.entry_of(each) for each in statistics.rows(csv.encode())] == [ENTRY, "second"]


def call(entry_id: str = ENTRY, at: float = T, **more: Any) -> dict[str, Any]:
    leg = {
        "call_type": "user", "call_abonent_id": "302", "external_call_id": "leg", "call_start_time": at,
        "call_answer_time": at + 5, "call_end_time": at + 30, "call_end_reason": 1110, "recording_id": ["r1"],
    }  # fmt: skip
    return {
        "entry_id": entry_id, "context_type": 1, "caller_id": None, "caller_number": "79161234567",
        "called_number": "74951000001", "context_start_time": at, "duration": 30, "talk_duration": 25,
        "context_calls": [{"call_type": "group", "call_abonent_id": 302, "members": [leg]}, leg],
    } | more  # fmt: skip


@pytest.mark.parametrize(
    "data",
    [
        [{"list": [call("a")]}, {"list": [call("b"), call("c")]}],
        {"list": [call("a"), call("b"), call("c")]},
        [{"list": [call("a"), "nonsense", {}, call("b")]}, "x", {"list": None}, {"list": [call("c")]}],
    ],
)
def test_calls_come_in_days(data: Any) -> None:
    found = statistics.calls({"result": 1000, "status": "complete", "data": data})
    assert [statistics.entry_of(each) for each in found] == ["a", "b", "c"]


@pytest.mark.parametrize("document", [{}, {"data": None}, {"data": "x"}, {"data": [[]]}, {"data": [{"list": {}}]}])
def test_nothing_is_no_calls(document: dict[str, Any]) -> None:
    assert statistics.calls(document) == []


def test_employees_get_their_extensions_and_groups_none() -> None:
    found = statistics.named(call(caller_id=301), ROSTER)
    event = decode("statistics", msgspec.json.encode(found))
    assert isinstance(event, StatisticsRow)
    assert event.from_.extension == "150"
    group, leg = event.legs
    assert (group.extension, group.members[0].extension, leg.extension) == (None, "0511", "0511")


@pytest.mark.parametrize("legs", [None, "x", {}, ["x"], [{"members": "x"}], [{"call_abonent_id": "x"}]])
def test_hostile_legs_name_nobody(legs: Any) -> None:
    found = statistics.named(call(caller_id={"a": 1}, context_calls=legs), ROSTER)
    assert "caller_extension" not in found
    assert isinstance(decode("statistics", msgspec.json.encode(found)), StatisticsRow)


def test_without_a_roster_a_call_stays_as_it_is() -> None:
    assert statistics.named(call(), None) == call()
    assert statistics.named(call(), Roster()) == call()


def test_only_what_began_in_the_period() -> None:
    rows = [call("before", T - 1), call("first", T), call("last", T + 60), call("after", T + 61), call("x", 0)]
    assert [statistics.entry_of(each) for each in statistics.within(rows, T, T + 60)] == ["first", "last"]
