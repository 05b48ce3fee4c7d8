"""What real links do to a stream: it is cut, repeated, interrupted, thinned out and mixed with others.

The calls must come out the same, or say that they are not whole; never wrong.
"""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Iterable
from typing import Any

import call_streams as streams
import pytest

from bridge.ami.framing import parse
from bridge.ami.translate import translate
from bridge.calls.events import ChannelSeen, Event
from bridge.calls.machine import Exchange
from bridge.calls.model import Absorbed, Call
from bridge.replay import frames, replay

# What a call comes to, beside its times and legs
OUTCOME = (
    "direction", "client_number", "line", "status", "extensions", "answered_by", "answered_first", "ended_by",
    "transfers", "holds", "queue",
)  # fmt: skip


def outcome(call: Call) -> dict[str, Any]:
    return {name: getattr(call, name) for name in OUTCOME}


class Listener:
    """An exchange and what it has told of each call."""

    def __init__(self, exchange: Exchange | None = None, calls: dict[str, Call] | None = None) -> None:
        self.exchange = exchange or Exchange(streams.RULES)
        self.calls = calls or {}
        self.ended: list[Call] = []

    def hear(self, events: Iterable[Event]) -> Listener:
        for event in events:
            self.take(self.exchange.feed(event))
        return self

    def take(self, changes: Iterable[Any]) -> None:
        for change in changes:
            if isinstance(change, Absorbed):
                self.calls.pop(change.call.call_id)
            else:
                self.calls[change.call.call_id] = change.call
                if change.call.status != "active":
                    self.ended.append(change.call)

    def outcomes(self) -> dict[str, dict[str, Any]]:
        return {call_id: outcome(call) for call_id, call in self.calls.items()}


class Office:
    """The channels there are, as a PBX would list them: kept from the frames, not by the machine under test."""

    def __init__(self) -> None:
        self.channels: dict[str, dict[str, str]] = {}

    def hear(self, frame: bytes) -> None:
        message = parse(frame)
        uniqueid = message.get("Uniqueid")
        name = message.get("Event")
        if name == "Newchannel":
            self.channels[uniqueid] = {"Application": ""}
        for prefix in ("", "Dest"):
            channel = self.channels.get(message.get(prefix + "Uniqueid"))
            if channel is not None and message.get(prefix + "Channel"):
                for header in ("Channel", "ChannelStateDesc", "CallerIDNum", "Context", "Exten", "Linkedid"):
                    channel[header] = message.get(prefix + header)
        if uniqueid not in self.channels:
            return
        if name == "Newexten":
            self.channels[uniqueid]["Application"] = message.get("Application")
        elif name == "BridgeEnter":
            self.channels[uniqueid]["Bridge"] = message.get("BridgeUniqueid")
        elif name == "BridgeLeave" and self.channels[uniqueid].get("Bridge") == message.get("BridgeUniqueid"):
            self.channels[uniqueid]["Bridge"] = ""
        elif name == "Hangup":
            del self.channels[uniqueid]

    def listed(self) -> list[ChannelSeen]:
        return [
            ChannelSeen(
                name=channel["Channel"],
                uniqueid=uniqueid,
                linkedid=channel["Linkedid"],
                state=channel["ChannelStateDesc"],
                number=channel["CallerIDNum"].replace("<unknown>", ""),
                context=channel["Context"],
                exten=channel["Exten"],
                application=channel["Application"],
                bridge=channel.get("Bridge", ""),
            )
            for uniqueid, channel in self.channels.items()
        ]


def events(data: bytes) -> list[Event]:
    return [event for frame in frames(data) if (event := translate(frame)) is not None]


def whole(data: bytes) -> dict[str, dict[str, Any]]:
    return Listener().hear(events(data)).outcomes()


@pytest.mark.parametrize("name", streams.names())
def test_a_stream_cut_anywhere_tells_no_wrong_end(name: str) -> None:
    listener = Listener().hear(events(streams.stream(name)))

    final = listener.outcomes()

    # every end that was told, at whatever event, was the final one
    assert [outcome(call) for call in listener.ended] == [final[call.call_id] for call in listener.ended]


@pytest.mark.parametrize("name", streams.names())
def test_a_stream_that_says_everything_twice_gives_the_same_calls(name: str) -> None:
    data = streams.stream(name)
    doubled = b"\r\n\r\n".join(frame for frame in frames(data) for _ in range(2)) + b"\r\n\r\n"

    assert without_deliveries(replay(doubled, streams.RULES)) == without_deliveries(replay(data, streams.RULES))


def without_deliveries(calls: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in call.items() if key != "deliveries"} for call in calls]


@pytest.mark.parametrize("name", streams.names())
def test_a_connection_lost_and_regained_after_any_event_changes_nothing(name: str) -> None:
    data = streams.stream(name)
    wanted = whole(data)
    listener, office = Listener(), Office()
    stream = [(frame, translate(frame)) for frame in frames(data)]
    ahead = [event for _, event in stream if event is not None]

    for frame, event in stream:
        office.hear(frame)
        if event is None:
            continue
        ahead = ahead[1:]
        listener.hear([event])
        regained = Listener(copy.deepcopy(listener.exchange), dict(listener.calls))
        regained.take(regained.exchange.snapshot(office.listed()))
        assert regained.hear(ahead).outcomes() == wanted, event


@pytest.mark.parametrize("name", streams.names())
def test_a_restart_of_the_service_after_any_event_loses_no_known_call(name: str) -> None:
    data = streams.stream(name)
    wanted = whole(data)
    listener, office = Listener(), Office()
    stream = [(frame, translate(frame)) for frame in frames(data)]
    ahead = [event for _, event in stream if event is not None]

    for frame, event in stream:
        office.hear(frame)
        if event is None:
            continue
        ahead = ahead[1:]
        listener.hear([event])
        states = [state for call_id in listener.calls if (state := listener.exchange.dump(call_id)) is not None]
        restarted = Listener(calls=dict(listener.calls))
        restarted.exchange.restore(states)
        restarted.take(restarted.exchange.snapshot(office.listed()))
        found = restarted.hear(ahead).outcomes()
        for call_id in listener.calls:
            if call_id in wanted:
                assert found[call_id] == wanted[call_id], event


@pytest.mark.parametrize("name", streams.names())
def test_what_ended_unseen_is_incomplete_and_nothing_of_its_end_is_invented(name: str) -> None:
    listener = Listener()

    for event in events(streams.stream(name)):
        listener.hear([event])
        lost = Listener(copy.deepcopy(listener.exchange), dict(listener.calls))
        going = [call.call_id for call in lost.exchange.live()]
        lost.take(lost.exchange.snapshot([], at=1.0))
        for call_id in going:
            call = lost.calls[call_id]
            assert call.status == "incomplete"
            assert (call.ended_at, call.ended_by, call.talk_seconds) == (None, None, None)
            assert call.answered_by == listener.calls[call_id].answered_by
        assert lost.exchange.live() == []


PRODUCTION = frozenset({b"system", b"call", b"agent", b"user", b"cdr"})
CLASS = re.compile(rb"\r\nPrivilege: ([a-z]+),")


def thinned(data: bytes, *, cel: bool) -> bytes:
    kept = []
    for frame in frames(data):
        found = CLASS.search(frame)
        if found is None or (found[1] in PRODUCTION and (cel or not frame.startswith(b"Event: CEL"))):
            kept.append(frame)
    return b"\r\n\r\n".join(kept) + b"\r\n\r\n"


@pytest.mark.parametrize("cel", [True, False], ids=["with CEL", "without CEL"])
@pytest.mark.parametrize("name", streams.names())
def test_the_read_classes_of_a_production_user_give_the_same_calls(name: str, cel: bool) -> None:
    data = streams.stream(name)

    found = list(replay(thinned(data, cel=cel), streams.RULES))

    # the recording's name is in class dialplan; without CEL a time may be missing, but none is wrong
    unsaid = frozenset({"recording"} if cel else {"recording", *streams.SECONDS})
    assert streams.differences(found, streams.expected(name), without=unsaid) == []
    for call, want in zip(found, streams.expected(name), strict=True):
        for key in streams.SECONDS & set(want):
            assert call[key] is None or abs(call[key] - want[key]) <= 1, key


FILTERED = re.compile(
    rb"Event: (?:Newchannel|DialBegin|DialEnd|Hangup)\r|Event: VarSet\r.*\nVariable: MIXMONITOR_FILENAME\r", re.S
)


@pytest.mark.parametrize(
    "name",
    ["a_inbound_answered.v22", "a_inbound_answered.v16", "b_inbound_noanswer.v22", "c_inbound_busy.v22",
     "h_queue_answered.v16", "j_ringgroup.v22", "k_outbound_from_phone.v22", "k3_internal.v22",
     "d_click2call_pjsip.v22"],
)  # fmt: skip
def test_a_filter_that_leaves_only_begins_and_ends_gives_the_call_but_not_who_hung_up(name: str) -> None:
    data = b"\r\n\r\n".join(frame for frame in frames(streams.stream(name)) if FILTERED.match(frame)) + b"\r\n\r\n"

    found = list(replay(data, streams.RULES))

    unsaid = frozenset({"ended_by", "queue", "deliveries", *streams.SECONDS})
    assert streams.differences(found, streams.expected(name), without=unsaid) == []
    assert found[0]["ended_by"] is None


def elsewhere(data: bytes) -> bytes:
    """The same calls in another part of the office: other ids, and other phones."""
    data = re.sub(rb"\b(1795\d{6})\.(\d+)\b", rb"\1.9\2", data)
    data = re.sub(rb"(-|\.)0000([0-9a-f]{4})\b", rb"\g<1>1000\2", data)
    data = re.sub(rb"\b(lab|clk)-", rb"\1-9-", data)
    return re.sub(rb"\b15([012])\b", rb"16\1", data)


@pytest.mark.parametrize("name", streams.names())
def test_calls_elsewhere_in_the_office_at_the_same_time_change_nothing(name: str) -> None:
    ours = streams.stream(name)
    names = streams.names()
    theirs = elsewhere(streams.stream(names[(names.index(name) + 7) % len(names)]))
    # Asterisk's own start and stop belong to one stream, not to the mixture
    own = (b"Event: FullyBooted", b"Event: Shutdown")
    calm = [[frame for frame in frames(data) if not frame.startswith(own)] for data in (ours, theirs)]
    mixed = [frame for pair in itertools.zip_longest(*calm) for frame in pair if frame is not None]

    found = Listener().hear(event for frame in mixed if (event := translate(frame)) is not None).outcomes()

    alone = [Listener().hear(event for f in part if (event := translate(f)) is not None).outcomes() for part in calm]
    assert found == alone[0] | alone[1]


def three_hours_ahead(data: bytes) -> bytes:
    """The stream as a PBX in Moscow writes it: CEL and Cdr in local time."""

    def later(found: re.Match[bytes]) -> bytes:
        hour = int(found[2]) + 3
        assert hour < 24
        return found[1] + b"%02d" % hour + found[3]

    data = re.sub(rb"((?:EventTime|StartTime|AnswerTime|EndTime): 2026-11-21 )(\d\d)(:\d\d:\d\d)", later, data)
    return re.sub(rb"(EventTV: 2026-11-21T)(\d\d)(:\d\d:\d\d\.\d+\+0300)", later, data.replace(b"+0000\r", b"+0300\r"))


@pytest.mark.parametrize("name", streams.names())
def test_a_pbx_that_writes_its_local_time_gives_the_same_times(name: str) -> None:
    data = streams.stream(name)

    assert list(replay(three_hours_ahead(data), streams.RULES)) == list(replay(data, streams.RULES))
