"""Webhooks as they are really written: numbers as texts, fields left out, misspelt, misplaced, and worse."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mango_stories import CLIENT, ENTRY, LINE, STORIES, T, basic_row, flat, leg, phone, summary, whole_row

from bridge.errors import BadInput
from bridge.mango.decode import decode, subject
from bridge.mango.events import (
    CallEvent,
    Dtmf,
    FlatEvent,
    Party,
    RecordAdded,
    Recording,
    Result,
    Sms,
    StatisticsRow,
    Summary,
    Unknown,
)

# The vendor's own example of /events/call (3.1.2)
OFFICIAL = """{ "entry_id":"1MN0Q1MDOQ==", "call_id":"MIxEyNTzTo6NDxkzNMMOzNQ==", "timestamp":1558422128, "seq":2,
"call_state":"Disconnected", "location":"abonent", "from": { "number":"79001234567",
"taken_from_call_id":"oMNTMyzTzNTo6NxNkDIxOxM3EMNTj" }, "to": { "extension":"29",
"number":"sip:user00000@tech.mangosip.ru", "line_number":"sip:line00000@tech.mangosip.ru", "acd_group":"303" },
"disconnect_reason":1131, "dct": { "number":"74001234567", "type":1 } }"""


@pytest.mark.parametrize(
    ("path", "about"),
    [
        ("/api/v1/webhook/mango/events/call", "events/call"),
        ("/api/v1/webhook/mango/events/call/", "events/call"),
        ("events/summary", "events/summary"),
        ("/mango/events/record/added", "events/record/added"),
        ("/mango/events/record/tagged/", "events/record/tagged"),
        ("/mango/result/callback", "result/callback"),
        ("/mango/vpbx/result/callback/", "result/callback"),
        ("/mango/Events/Call", "events/call"),
        ("/events/md/onAppealClose", "events/md/onappealclose"),
        ("/api/v1/webhook/mango/recording", "events/recording"),
        ("/api/v1/webhook/mango", ""),
        ("/api/v1/webhook/mango/", ""),
        ("/", ""),
        ("", ""),
        ("flat", "flat"),
        ("statistics", "statistics"),
        ("/revents/call", ""),
    ],
)
def test_a_webhook_is_about_what_its_path_ends_with(path: str, about: str) -> None:
    assert subject(path) == about
    assert subject(about) == about


def test_the_vendors_example() -> None:
    event = decode("/events/call", OFFICIAL, received_at=5.0)

    assert event == CallEvent(
        received_at=5.0,
        entry_id="1MN0Q1MDOQ==",
        call_id="MIxEyNTzTo6NDxkzNMMOzNQ==",
        timestamp=1558422128.0,
        seq=2,
        state="Disconnected",
        location="abonent",
        from_=Party(number="79001234567", taken_from_call_id="oMNTMyzTzNTo6NxNkDIxOxM3EMNTj"),
        to=Party(
            extension="29",
            number="sip:user00000@tech.mangosip.ru",
            line_number="sip:line00000@tech.mangosip.ru",
            acd_group="303",
        ),
        disconnect_reason=1131,
    )


def twin(value: Any) -> Any:
    """The same, with each integer as a text."""
    if isinstance(value, dict):
        return {name: twin(each) for name, each in value.items()}
    if isinstance(value, list):
        return [twin(each) for each in value]
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


@pytest.mark.parametrize("name", STORIES)
def test_a_number_written_as_a_text_is_the_same_number(name: str) -> None:
    for path, document in STORIES[name]():
        assert decode(path, twin(document)) == decode(path, document)


@pytest.mark.parametrize("name", STORIES)
def test_spaces_escapes_and_the_order_of_keys_change_nothing(name: str) -> None:
    for path, document in STORIES[name]():
        plain = decode(path, json.dumps(document, ensure_ascii=False, separators=(",", ":")))

        assert decode(path, json.dumps(document, ensure_ascii=True, indent=3)) == plain
        assert decode(path, json.dumps(dict(reversed(document.items()))).encode()) == plain


@pytest.mark.parametrize("name", STORIES)
def test_where_the_path_is_lost_the_fields_tell(name: str) -> None:
    for path, document in STORIES[name]():
        if path == "statistics" or "dtmf" in document or "result" in path:
            continue
        assert decode("", document) == decode(path, document)


def test_a_summary_posted_as_a_call_is_a_summary() -> None:
    _, document = summary(1, 5, 20)

    assert decode("/events/call", document) == decode("/events/summary", document)


@pytest.mark.parametrize(("code", "direction"), [(0, "internal"), (1, "inbound"), ("2", "outbound"), (3, None)])
def test_the_directions_of_a_summary(code: object, direction: str | None) -> None:
    event = decode("events/summary", summary(1, 5, 20, call_direction=code)[1])

    assert isinstance(event, Summary)
    assert event.direction == direction


@pytest.mark.parametrize(("code", "direction"), [(1, "inbound"), ("2", "outbound"), (3, "internal"), (0, None)])
def test_the_directions_of_statistics_are_others(code: object, direction: str | None) -> None:
    event = decode("statistics", whole_row(context_type=code)[1])

    assert isinstance(event, StatisticsRow)
    assert event.direction == direction


def test_times_of_zero_never_happened() -> None:
    event = decode("events/summary", summary(1, None, 20)[1])

    assert isinstance(event, Summary)
    assert (event.talk_time, event.create_time, event.end_time) == (None, float(T), float(T + 20))


@pytest.mark.parametrize(
    ("written", "read"),
    [(T, T), (str(T), T), (T * 1000 + 250, T + 0.25), (0, None), ("0", None), (-5, None), ("x", None)],
)
def test_times_are_seconds_and_milliseconds_are_told_apart(written: object, read: float | None) -> None:
    event = decode("events/call", leg("a", 1, "Appeared", 0, {}, {}, timestamp=written)[1])

    assert event.timestamp == read


def test_an_extension_keeps_its_zeros_and_may_be_a_number() -> None:
    texts = decode("events/call", leg("a", 1, "Appeared", 0, {}, {"extension": "0511"})[1])
    numbers = decode("events/call", leg("a", 1, "Appeared", 0, {}, {"extension": 29, "acd_group": 303})[1])

    assert isinstance(texts, CallEvent)
    assert isinstance(numbers, CallEvent)
    assert texts.to.extension == "0511"
    assert (numbers.to.extension, numbers.to.acd_group) == ("29", "303")


@pytest.mark.parametrize("absent", [None, "", "  ", [], {}, False, 1.5])
def test_what_makes_no_sense_is_as_good_as_absent(absent: Any) -> None:
    event = decode(
        "events/call",
        leg("a", 1, "Connected", 0, {"extension": absent, "number": absent}, absent, disconnect_reason=absent)[1],
    )

    assert isinstance(event, CallEvent)
    assert (event.from_, event.to, event.disconnect_reason) == (Party(), Party(), None)


def test_the_misspelt_location_of_the_vendors_scenarios() -> None:
    _, document = leg("a", 1, "Appeared", 0, {}, {})
    document["locaton"] = document.pop("location")
    event = decode("events/call", document)

    assert isinstance(event, CallEvent)
    assert event.location == "abonent"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("MissGroup\u0421allCallback", "MissGroupCallCallback"),
        ("MissGroupCallCallback", "MissGroupCallCallback"),
        ("\u0421\u0421", "CC"),
        ("C\u0421", "CC"),
        ("api", "API"),
        ("WEB", "WEB"),
        ("Something New", "Something New"),
        ("", None),
        (None, None),
    ],
)
def test_a_callbacks_initiator_in_either_alphabet(written: str | None, read: str | None) -> None:
    event = decode("events/call", leg("a", 1, "Appeared", 0, {}, {}, callback_initiator=written)[1])

    assert isinstance(event, CallEvent)
    assert event.callback_initiator == read


def test_a_recording_and_its_being_added() -> None:
    started = decode(
        "/events/recording",
        '{"recording_id":"r100:777:500:256","recording_state":"Started","seq":1,"call_id":"100:500:256",'
        '"entry_id":"232wc3e3w3s222","extension":"1234","timestamp":"1399906976","command_id":"cmd.12"}',
    )
    assert started == Recording(
        entry_id="232wc3e3w3s222",
        recording_id="r100:777:500:256",
        state="Started",
        seq=1,
        call_id="100:500:256",
        extension="1234",
        timestamp=1399906976.0,
        command_id="cmd.12",
    )
    document = {"entry_id": "e", "product_id": "400001", "user_id": "-1", "timestamp": 1399906976, "recording_id": "r="}
    added = RecordAdded(entry_id="e", recording_id="r=", timestamp=1399906976.0, user_id=-1, product_id=400001)
    assert decode("/events/record/added", document) == added
    assert decode("/events/record/tagged", document) == added


def test_digits_messages_and_results() -> None:
    digits = {"seq": 1, "dtmf": "1*2", "timestamp": 7, "call_id": "c", "entry_id": "e", "location": "ivr.2"}
    assert decode("/events/dtmf", digits) == Dtmf(
        entry_id="e", call_id="c", timestamp=7.0, dtmf="1*2", seq=1, location="ivr.2"
    )
    assert decode("/events/sms", {"command_id": "s", "timestamp": 7, "reason": "1000"}) == Sms(
        timestamp=7.0, command_id="s", reason=1000
    )
    assert decode("/vpbx/result/route", {"command_id": "c111", "result": "1000"}) == Result(
        command="route", command_id="c111", result=1000
    )
    assert decode("/result/stats", {"key": "B+DvIt8h==", "request_id": "9"}) == Result(
        command="stats", key="B+DvIt8h==", request_id="9"
    )


def test_the_flat_dialect_keeps_no_keys() -> None:
    event = decode("flat", flat("end", 126, duration="120", record_url="https://files.example/1.mp3")[1])

    assert event == FlatEvent(
        entry_id=ENTRY,
        call_id="flat-1",
        status="end",
        timestamp=float(T + 126),
        direction="inbound",
        from_number="+" + CLIENT,
        to_number="+" + LINE,
        line_number="+" + LINE,
        duration=120,
        record_url="https://files.example/1.mp3",
    )


def test_a_flat_call_without_an_entry_is_its_own() -> None:
    event = decode("flat", flat("call/start", 0, entry_id=None)[1])

    assert isinstance(event, FlatEvent)
    assert (event.entry_id, event.status) == ("flat-1", "start")


def test_a_row_of_basic_statistics() -> None:
    event = decode("statistics", basic_row(records="[a+/=,b==]", answer="0", from_extension="0511")[1])

    assert isinstance(event, StatisticsRow)
    assert not event.whole
    assert event.recordings == ("a+/=", "b==")
    assert event.answered_at is None
    assert event.from_ == Party(extension="0511", number=CLIENT)
    assert event.to == Party(extension="150", number="sip:anna@june.mangosip.ru")


@pytest.mark.parametrize("written", ["[]", "", None, [], "[,]", 5])
def test_a_row_without_recordings(written: Any) -> None:
    event = decode("statistics", basic_row(records=written)[1])

    assert isinstance(event, StatisticsRow)
    assert event.recordings == ()


def test_a_call_of_extended_statistics_with_a_groups_members() -> None:
    event = decode("statistics", whole_row()[1])

    assert isinstance(event, StatisticsRow)
    assert event.whole
    assert (event.line_number, event.from_.number, event.to) == (LINE, CLIENT, Party())
    assert [member.call_id for member in event.legs[0].members] == ["a", "b"]
    assert event.recordings == ("MToxMDA+/w==",)
    assert (event.created_at, event.ended_at, event.talk_seconds) == (T, T + 66, 60)


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("/events/call", leg("a", 1, "Ringing", 0, {}, {})[1]),
        ("/events/call", {"call_state": "Appeared", "call_id": "a"}),
        ("/events/call", {"call_state": "Appeared", "entry_id": "e"}),
        ("/events/summary", {"call_direction": 1}),
        ("/events/recording", {"recording_state": "Started", "entry_id": "e"}),
        ("/events/record/added", {"entry_id": "e"}),
        ("/events/recognized/offline", {"product_id": 1, "result": 1000}),
        ("/events/md/onAppealClose", {"entry_id": "e"}),
        ("/events/ab/", {}),
        ("flat", {"call_id": "a", "status": "ringing"}),
        ("flat", {"status": "start"}),
        ("statistics", {"context_type": 1}),
        ("", {}),
        ("/events/call", leg("a" * 129, 1, "Appeared", 0, {}, {})[1]),
        ("/events/call", leg("a", 1, "Appeared", 0, {}, {}, entry_id="я" * 65)[1]),
    ],
)
def test_what_lacks_what_makes_it_one_is_unknown_and_no_error(path: str, document: dict[str, Any]) -> None:
    event = decode(path, document, received_at=3.0)

    assert isinstance(event, Unknown)
    assert (event.subject, event.received_at) == (subject(path), 3.0)


def test_ids_are_opaque_and_as_long_as_they_may_be() -> None:
    longest = "я" * 64
    event = decode("/events/call", leg(longest, 1, "Appeared", 0, {}, {})[1])

    assert isinstance(event, CallEvent)
    assert event.call_id == longest


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "5", '"text"', '{"a":}', b"\xff\xfe", "{'a':1}", '{"a":"\udcff"}', "[" * 20000],
)
def test_what_is_no_json_object_is_bad_input(text: str | bytes) -> None:
    with pytest.raises(BadInput) as caught:
        decode("/events/call", text)

    assert caught.value.details["field"] == "json"


def test_nul_never_gets_through() -> None:
    document = leg("a\0b", 1, "Appeared", 0, phone("1\x0050"), {"number": "\0"})[1]
    event = decode("/events/call", json.dumps(document))

    assert isinstance(event, CallEvent)
    assert (event.call_id, event.from_.extension, event.to.number) == ("ab", "150", None)


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = sorted({name for make in STORIES.values() for _, document in make() for name in document})
PATHS = sorted({path for make in STORIES.values() for path, _ in make()} | {"", "/events/record/tagged", "/events/sms"})


@given(st.sampled_from(PATHS), st.dictionaries(st.sampled_from(FIELDS), ODD))
def test_no_document_whatever_is_in_it_is_more_than_unknown(path: str, document: dict[str, Any]) -> None:
    event = decode(path, document)

    for name in ("entry_id", "call_id", "recording_id"):
        found = getattr(event, name, None)
        assert found is None or (0 < len(found.encode("utf-8", "surrogatepass")) <= 128 and "\0" not in found)
