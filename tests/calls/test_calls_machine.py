"""The machine on streams that no lab makes at will: unknown beginnings, snapshots, crowds, other phones' names."""

from __future__ import annotations

import pytest
from msgspec import structs

from bridge.calls.events import (
    Booted,
    BridgeEnter,
    ChannelSeen,
    DialBegin,
    DialState,
    Event,
    Hangup,
    HangupRequested,
    Newchannel,
    OriginateResponse,
    Shutdown,
)
from bridge.calls.grouping import KEPT
from bridge.calls.machine import Exchange
from bridge.calls.model import Answered, Ended, Ringing, Rules, Started
from bridge.calls.switchboard import handles

RULES = Rules(region="RU", extensions=r"^1\d\d$", trunks=("PJSIP/trunk",), click_to_call_contexts=("inoffice",))


def line(number: int, state: str = "Ring", **more: str) -> ChannelSeen:
    return ChannelSeen(
        name=f"PJSIP/trunk-{number:08x}",
        uniqueid=f"1795226894.{number}",
        linkedid=f"1795226894.{number}",
        state=state,
        number="79161234567",
        exten="74951000001",
        **more,
    )


def phone(number: int, parent: int, extension: str = "150", state: str = "Down", **more: str) -> ChannelSeen:
    return ChannelSeen(
        name=f"PJSIP/{extension}-{number:08x}",
        uniqueid=f"1795226894.{number}",
        linkedid=f"1795226894.{parent}",
        state=state,
        number=extension,
        **more,
    )


def ringing(first: int) -> list[Event]:
    """A client's line `first` rings at 150, whose channel is the next."""
    client, called = line(first), phone(first + 1, first)
    return [
        Newchannel(channel=client),
        Newchannel(channel=called),
        DialBegin(channel=client, dest=called, dial_string="150"),
        DialState(channel=client, dest=called, status="RINGING"),
    ]


def talking(first: int) -> list[Event]:
    up = [line(first, "Up"), phone(first + 1, first, state="Up")]
    return ringing(first) + [
        BridgeEnter(channel=channel, bridge=f"bridge-{first}", kind="basic", technology="simple_bridge")
        for channel in up
    ]


def hung_up(first: int) -> list[Event]:
    return [
        HangupRequested(channel=line(first, "Up"), by_peer=True),
        Hangup(channel=line(first, "Up"), cause=16),
        Hangup(channel=phone(first + 1, first, state="Up"), cause=16),
    ]


def test_the_changes_of_a_call_come_as_they_happen_and_at_their_time() -> None:
    exchange = Exchange(RULES)
    stream = talking(0) + hung_up(0)

    changes = [change for second, event in enumerate(stream) for change in exchange.feed(event, 100.0 + second)]

    told = (Started, Ringing, Answered, Ended)
    assert [(type(change), change.at) for change in changes if isinstance(change, told)] == [
        (Started, 100.0),
        (Ringing, 103.0),
        (Answered, 105.0),
        (Ended, 107.0),
    ]
    ended = next(change.call for change in changes if isinstance(change, Ended))
    assert (ended.wait_seconds, ended.talk_seconds, ended.ended_by) == (5, 2, "client")


def test_the_pbx_own_clock_wins_over_the_time_of_receipt() -> None:
    exchange = Exchange(RULES)

    (change,) = exchange.feed(Newchannel(channel=line(0), timestamp=1795226894.5), 5.0)

    assert change.call.started_at == 1795226894.5


def test_a_snapshot_takes_in_the_calls_it_finds() -> None:
    exchange = Exchange(RULES)

    changes = exchange.snapshot(
        [
            phone(1, 0, state="Up", application="AppDial", bridge="b"),
            line(0, "Up", application="Dial", bridge="b"),
            line(2, "Ring", application="Dial"),
            phone(3, 2, "151", state="Ringing", application="AppDial"),
        ],
        at=1795226900.0,
    )

    first, second = exchange.live()
    assert (first.direction, first.answered_by, first.answered_at) == ("inbound", "150", None)
    assert (second.extensions, second.answered_by) == (["151"], None)
    assert sum(isinstance(change, Started) for change in changes) == 2


def test_an_answer_that_nobody_saw_has_no_time() -> None:
    exchange = Exchange(RULES)
    for second, event in enumerate(ringing(0)):
        exchange.feed(event, 100.0 + second)

    exchange.snapshot(
        [
            line(0, "Up", application="Dial", bridge="b"),
            phone(1, 0, state="Up", application="AppDial", bridge="b"),
        ],
        at=150.0,
    )

    (call,) = exchange.live()
    assert (call.answered_by, call.answered_at, call.wait_seconds) == ("150", None, None)
    assert [leg.answered_at for leg in call.legs] == [None, None]


def test_what_a_client_dialled_is_the_line_wherever_the_dialplan_has_taken_them() -> None:
    exchange = Exchange(RULES)
    client = line(0, application="Dial", dialled="74951000001")

    now = structs.replace(client, context="ring", exten="150")

    # also when an event between the login and the list has shown it there
    exchange.feed(DialBegin(channel=structs.replace(now, dialled=""), dest=phone(1, 0), dial_string="150"))
    exchange.snapshot([now])

    (call,) = exchange.live()
    assert call.line == "74951000001"


def test_a_call_found_up_whose_talk_is_over_before_anything_was_seen_is_incomplete() -> None:
    exchange = Exchange(RULES)
    exchange.snapshot([line(0, "Up", application="Playback")])

    changes = exchange.feed(Hangup(channel=line(0, "Up"), cause=16), 5.0)

    assert [change.call.status for change in changes if isinstance(change, Ended)] == ["incomplete"]


def test_a_call_first_heard_of_in_its_middle_is_known_by_who_talks() -> None:
    exchange = Exchange(RULES)

    for event in talking(0)[4:] + hung_up(0):
        changes = exchange.feed(event)
        ended = [change.call for change in changes if isinstance(change, Ended)]
        if ended:
            break

    assert (ended[0].direction, ended[0].status, ended[0].answered_by) == ("inbound", "answered", "150")


def test_a_channel_that_was_never_hung_up_is_cleared_by_the_next_snapshot() -> None:
    exchange = Exchange(RULES)
    for event in talking(0):
        exchange.feed(event)

    changes = exchange.snapshot([], at=9.0)

    (ended,) = [change.call for change in changes if isinstance(change, Ended)]
    assert (ended.status, ended.answered_by, ended.ended_at, ended.ended_by) == ("incomplete", "150", None, None)
    assert exchange.live() == []


def test_a_lost_phone_leaves_the_call_to_its_client() -> None:
    exchange = Exchange(RULES)
    for event in talking(0):
        exchange.feed(event)

    exchange.snapshot([line(0, "Up", application="Wait")])

    (call,) = exchange.live()
    assert (call.status, call.answered_by) == ("active", "150")
    (ended,) = [c.call for c in exchange.feed(Hangup(channel=line(0, "Up"), cause=16)) if isinstance(c, Ended)]
    assert ended.status == "answered"


@pytest.mark.parametrize("stop", [[Shutdown(), Booted(uptime=None)], [Booted(uptime=0)]], ids=["stopped", "crashed"])
def test_nothing_outlives_asterisk(stop: list[Event]) -> None:
    exchange = Exchange(RULES)
    for event in talking(0):
        exchange.feed(event)

    changes = [change for event in stop for change in exchange.feed(event)]

    assert [change.call.status for change in changes if isinstance(change, Ended)] == ["incomplete"]


def test_a_login_to_an_asterisk_that_has_long_been_up_ends_nothing() -> None:
    exchange = Exchange(RULES)
    for event in talking(0):
        exchange.feed(event)

    assert exchange.feed(Booted(uptime=5000)) == []
    assert len(exchange.live()) == 1


def test_finished_calls_are_forgotten() -> None:
    exchange = Exchange(RULES)

    for number in range(0, 2 * (KEPT + 50), 2):
        for event in talking(number) + hung_up(number):
            exchange.feed(event)
    exchange.touched()

    groups = exchange._board.groups
    assert exchange.live() == []
    assert len(exchange._keys) <= KEPT
    assert len(groups._of) <= 2 * KEPT
    assert len(groups._names) <= 2 * KEPT
    assert (groups._bridges, groups._linked, groups.holding, groups.live) == ({}, {}, set(), {})


def test_only_calls_whose_state_changed_are_stored_again() -> None:
    exchange = Exchange(RULES)
    for event in talking(0) + talking(2):
        exchange.feed(event)
    assert {call.call_id for call in exchange.touched()} == {"1795226894.0", "1795226894.2"}

    exchange.feed(HangupRequested(channel=line(2, "Up"), by_peer=True))
    exchange.feed(Hangup(channel=line(2, "Up"), cause=16))

    assert [call.call_id for call in exchange.touched()] == ["1795226894.2"]
    assert exchange.dump("1795226894.9") is None


def test_an_originate_that_failed_without_a_channel_is_a_call_nobody_made() -> None:
    exchange = Exchange(RULES)
    failed = OriginateResponse(
        success=False, uniqueid="click-1", channel="PJSIP/150", context="inoffice", target="79031112233"
    )

    changes = exchange.feed(failed, 100.0) + exchange.feed(failed, 101.0)

    (ended,) = [change.call for change in changes if isinstance(change, Ended)]
    assert (ended.call_id, ended.status, ended.extensions) == ("click-1", "cancelled", ["150"])
    assert ended.client_number == "+79031112233"


@pytest.mark.parametrize(
    ("name", "number", "extension"),
    [
        ("PJSIP/150-0000002a", "", "150"),
        ("SIP/0367_150-0000002a", "", "150"),
        ("PJSIP/150-mobile-0000002a", "", "150"),
        ("IAX2/anna-4711", "150", "150"),
        ("PJSIP/provider-0000002a", "79161234567", None),
    ],
)
def test_a_phone_is_told_by_its_name_or_by_its_own_number(name: str, number: str, extension: str | None) -> None:
    exchange = Exchange(RULES)
    called = ChannelSeen(name=name, uniqueid="1795226894.1", linkedid="1795226894.0", state="Down", number=number)
    for event in (
        Newchannel(channel=line(0)),
        Newchannel(channel=called),
        DialBegin(channel=line(0), dest=called),
        DialState(channel=line(0), dest=called, status="RINGING"),
    ):
        exchange.feed(event)

    assert exchange.live()[0].extensions == ([extension] if extension else [])


def test_a_second_handler_for_an_event_is_an_error_at_import() -> None:
    with pytest.raises(TypeError, match="Newchannel is handled by new_channel already"):
        handles(Newchannel)(lambda board, event, at: None)
