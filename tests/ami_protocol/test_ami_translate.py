"""Frames into typed events: only what a call needs, with Asterisk's own words for "nothing" understood."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.ami.framing import parse
from bridge.ami.translate import WANTED, channel_seen, translate
from bridge.calls.events import (
    Booted,
    Cel,
    ChannelSeen,
    DialBegin,
    Newchannel,
    OriginateResponse,
    Unparked,
    VariableSet,
)


def frame(*lines: str) -> bytes:
    return "\r\n".join(lines).encode()


def test_a_new_channel_with_the_pbx_clock() -> None:
    event = translate(
        frame(
            "Event: Newchannel",
            "Privilege: call,all",
            "Timestamp: 1795226894.250000",
            "Channel: PJSIP/trunk-00000000",
            "ChannelStateDesc: Ring",
            "CallerIDNum: 79161234567",
            "CallerIDName: <unknown>",
            "Context: from-trunk",
            "Exten: 74951000001",
            "Uniqueid: 1795226894.0",
            "Linkedid: 1795226894.0",
        )
    )

    assert event == Newchannel(
        channel=ChannelSeen(
            name="PJSIP/trunk-00000000",
            uniqueid="1795226894.0",
            linkedid="1795226894.0",
            state="Ring",
            number="79161234567",
            context="from-trunk",
            exten="74951000001",
        ),
        timestamp=1795226894.25,
    )


def test_an_originated_dial_has_no_dialling_channel() -> None:
    event = translate(
        frame(
            "Event: DialBegin",
            "DestChannel: PJSIP/150-1",
            "DestUniqueid: lab-1",
            "DestLinkedid: lab-1",
            "DialString: 150",
        )
    )

    assert isinstance(event, DialBegin)
    assert event.channel is None
    assert event.dest.uniqueid == "lab-1"


@pytest.mark.parametrize("variable", ["MIXMONITOR_FILENAME", "RECFILE", "__RECFILE", "_RECFILE"])
def test_a_variable_that_names_a_recording_is_an_event(variable: str) -> None:
    event = translate(frame("Event: VarSet", "Uniqueid: 1.1", f"Variable: {variable}", "Value: a.wav"))

    assert event == VariableSet(uniqueid="1.1", variable=variable.lstrip("_"), value="a.wav")


@pytest.mark.parametrize(
    "lines",
    [
        ("Event: VarSet", "Uniqueid: 1.1", "Variable: DIALSTATUS", "Value: MIXMONITOR_FILENAME"),
        ("Event: Newexten", "Uniqueid: 1.1"),
        ("Event: CEL", "EventName: STREAM_BEGIN", "UniqueID: 1.1"),
        ("Response: Success", "Event: Hangup"),
        ("Event: UserEvent", "UserEvent: x", "Event: Hangup"),
        ("nothing of the kind",),
        ("",),
    ],
)
def test_what_says_nothing_of_a_call_is_no_event(lines: tuple[str, ...]) -> None:
    assert translate(frame(*lines)) is None


def test_an_originate_without_a_channel_has_no_id() -> None:
    event = translate(
        frame("Event: OriginateResponse", "Response: Failure", "Channel: PJSIP/150", "Exten: 7903", "Uniqueid: <null>")
    )

    assert isinstance(event, OriginateResponse)
    assert (event.success, event.uniqueid, event.target) == (False, "", "7903")


def test_cel_carries_its_bridge() -> None:
    event = translate(
        frame(
            "Event: CEL",
            "EventName: BRIDGE_ENTER",
            "EventTime: 2026-11-21 02:08:14",
            "UniqueID: 1.1",
            'Extra: {"bridge_id":"31df","bridge_technology":"simple_bridge"}',
        )
    )

    assert event == Cel(name="BRIDGE_ENTER", uniqueid="1.1", time="2026-11-21 02:08:14", bridge="31df")


def test_who_gave_up_in_the_car_park_was_fetched_by_nobody() -> None:
    event = translate(frame("Event: ParkedCallGiveUp", "ParkeeChannel: PJSIP/trunk-1", "ParkeeUniqueid: 1.1"))

    assert isinstance(event, Unparked)
    assert event.retriever is None


@pytest.mark.parametrize(
    ("text", "seconds"), [("00:01:07", 67), ("67", 67), ("100:00:00", 360000), ("", None), ("soon", None)]
)
def test_a_channel_of_a_snapshot(text: str, seconds: int | None) -> None:
    seen = channel_seen(
        parse(
            frame("Event: CoreShowChannel", "Channel: PJSIP/150-1", "Uniqueid: 1.1", f"Duration: {text}", "BridgeId: b")
        )
    )

    assert (seen.uniqueid, seen.linkedid, seen.bridge, seen.seconds) == ("1.1", "1.1", "b", seconds)


def test_asterisk_without_an_uptime_is_booted_all_the_same() -> None:
    assert translate(b"Event: FullyBooted\r\nStatus: Fully Booted") == Booted(uptime=None)


@given(
    st.sampled_from(sorted(WANTED)),
    st.lists(st.tuples(st.sampled_from(["Uniqueid", "Cause", "Timestamp", "Uptime", "Extra"]), st.text(max_size=9))),
)
def test_no_event_whatever_it_lacks_or_holds_is_a_crash(name: bytes, headers: list[tuple[str, str]]) -> None:
    translate(b"Event: " + name + "".join(f"\r\n{k}: {v}" for k, v in headers).encode("utf-8", "surrogatepass"))
