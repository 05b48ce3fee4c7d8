"""Legacy PBX scripts: their posts are taken as they are, and make the calls that people had."""

from __future__ import annotations

import random
from typing import Any

import httpx
import pytest
from http_office import SECRET, Ingested, Office
from hypothesis import given
from hypothesis import strategies as st

from bridge.calls.model import Answered, Change, Ended, Ringing, Rules, Started, Transferred
from bridge.calls.script_events import KINDS, ScriptKind, read
from bridge.calls.scripts import SILENT, ScriptExchange
from bridge.errors import BadInput
from bridge.http.services import Services

MAIN = "1795224447.0"
CLIENT = "79161234567"
BEGAN = 1795224447.0

Post = tuple[float, ScriptKind, dict[str, Any]]


def play(posts: list[Post], exchange: ScriptExchange | None = None) -> list[Change]:
    """Posts at so many seconds after the beginning."""
    exchange = exchange or ScriptExchange(Rules())
    return [change for after, kind, body in posts for change in exchange.feed(read(kind, body), BEGAN + after)]


def start(**more: Any) -> dict[str, Any]:
    return {"UniqueId": MAIN, "Phone": CLIENT, "CallType": 0, "Trunk": "74951000001", **more}


def dial(*extensions: str, **more: Any) -> dict[str, Any]:
    return start(**{"Extensions": list(extensions), "ExtTrunk": "", "ExtPhone": CLIENT, **more})


def hangup(*extensions: str, status: str, seconds: int = 25, **more: Any) -> dict[str, Any]:
    return start(
        Extensions=list(extensions),
        CallStatus=status,
        DateReceived="2026-11-21 02:07:27",
        StartTime="2026-11-21 02:07:29",
        EndTime=f"2026-11-21 02:07:{27 + seconds:02}",
        **more,
    )


def bridge(uniqueid: str = MAIN, *, channel: str = "PJSIP/trunk-00000001", **more: Any) -> dict[str, Any]:
    return {"UniqueId": uniqueid, "BridgeUniqueid": "b-1", "Channel": channel, **more}


def phone(extension: str, uniqueid: str, **more: Any) -> dict[str, Any]:
    channel = f"SIP/{extension}-00000002"
    return bridge(uniqueid, channel=channel, CallerIDNum=extension, ConnectedLineNum=CLIENT, **more)


ANSWERED: list[Post] = [
    (0, "start", start()),
    (0, "new_callerid", {"UniqueId": MAIN, "Channel": "PJSIP/trunk-1", "CallerIDNum": CLIENT, "CallerIDName": "Иван"}),
    (2, "dial", dial("150", "151")),
    (9, "bridge_create", {"UniqueId": "", "BridgeUniqueid": "b-1", "BridgeNumChannels": "0"}),
    (9, "bridge", phone("151", "1795224449.1")),
    (9, "bridge", bridge(CallerIDNum=CLIENT, ConnectedLineNum="151")),
    (25, "bridge_leave", bridge(BridgeNumChannels="1")),
    (25, "bridge_leave", phone("151", "1795224449.1", BridgeNumChannels="0")),
    (25, "bridge_destroy", {"UniqueId": "", "BridgeUniqueid": "b-1", "BridgeNumChannels": "0"}),
    (25, "hangup", hangup("151", status="2")),
]


def test_an_answered_call() -> None:
    changes = play(ANSWERED)

    assert [type(change) for change in changes] == [Started, Ringing, Answered, Ended]
    call = changes[-1].call
    assert (call.call_id, call.direction, call.status) == (MAIN, "inbound", "answered")
    assert (call.client_number, call.client_name, call.line) == ("+79161234567", "Иван", "74951000001")
    assert (call.extensions, call.answered_by, call.answered_first) == (["150", "151"], "151", "151")
    assert (call.wait_seconds, call.talk_seconds) == (9, 16)
    assert (call.started_at, call.answered_at, call.ended_at) == (BEGAN, BEGAN + 9, BEGAN + 25)


def test_older_scripts_know_no_bridge_ids() -> None:
    posts: list[Post] = [
        (0, "start", start(CallType="0")),
        (2, "dial", start(Extensions="150&151", CallType="0")),
        (9, "bridge", {"UniqueId": "1795224449.1", "Channel": "SIP/151-1", "ConnectedLineNum": CLIENT}),
        (9, "bridge", {"UniqueId": MAIN, "Channel": "SIP/trunk-1", "CallerIDNum": CLIENT, "ConnectedLineNum": "151"}),
        (25, "hangup", hangup("151", status="2")),
    ]

    call = play(posts)[-1].call

    assert (call.status, call.answered_by, call.extensions, call.talk_seconds) == (
        "answered",
        "151",
        ["150", "151"],
        16,
    )


def test_a_missed_call() -> None:
    changes = play([(0, "start", start()), (2, "dial", dial("150")), (25, "hangup", hangup("", status="0"))])

    call = changes[-1].call
    assert (call.status, call.extensions, call.answered_by) == ("missed", ["150"], None)
    assert (call.wait_seconds, call.talk_seconds, call.answered_at) == (25, 0, None)


def test_answered_without_a_bridge_has_no_invented_talk() -> None:
    call = play([(0, "start", start()), (2, "dial", dial("150")), (25, "hangup", hangup("150", status="2"))])[-1].call

    assert (call.status, call.answered_by) == ("answered", "150")
    assert (call.answered_at, call.wait_seconds, call.talk_seconds) == (None, None, None)


@pytest.mark.parametrize(("status", "result"), [("2", "answered"), ("0", "no_answer"), ("1", "failed"), ("", "failed")])
def test_an_outbound_call(status: str, result: str) -> None:
    out = {"CallType": 1, "ExtPhone": ""}
    posts: list[Post] = [(0, "dial", dial("150", **out)), (3, "dial", dial("150", **{**out, "Trunk": "spare"}))]
    posts += [(9, "bridge", bridge(channel="SIP/150-1"))] if status == "2" else []
    posts.append((25, "hangup", hangup("150", status=status, **out)))

    changes = play(posts)

    call = changes[-1].call
    assert sum(isinstance(change, Ringing) for change in changes) == 1, "another line is the same call"
    assert (call.direction, call.status, call.extensions) == ("outbound", result, ["150"])
    assert call.answered_by == ("150" if result == "answered" else None)
    assert call.talk_seconds == (16 if result == "answered" else 0)


def test_a_click_to_call_remembers_its_manager() -> None:
    posts: list[Post] = [
        (0, "bridge_create", {"UniqueId": "", "BridgeUniqueid": "b-0"}),
        (0, "bridge", {**phone("150", "1795224440.9"), "BridgeUniqueid": "b-0"}),
        (1, "dial", start(CallType=1, Extensions=[""], ExternalInitiated=True)),
        (9, "bridge", bridge()),
        (25, "hangup", hangup("", status="2", CallType=1, ExternalInitiated=True)),
    ]

    call = play(posts)[-1].call

    assert (call.direction, call.status, call.extensions, call.answered_by) == ("outbound", "answered", ["150"], "150")


def test_an_internal_call_never_has_a_client() -> None:
    inside = {"Phone": "151", "CallType": 2, "Trunk": ""}
    posts: list[Post] = [
        (0, "dial", dial("150", **inside)),
        (9, "bridge", bridge(channel="SIP/150-1")),
        (25, "hangup", hangup("150", status="2", **inside)),
    ]

    call = play(posts)[-1].call

    assert (call.direction, call.client_number, call.extensions, call.answered_by) == ("internal", None, ["151"], "151")


def test_a_consultation_is_part_of_the_clients_call_and_ends_in_an_attended_transfer() -> None:
    consultation = {"UniqueId": "1795224460.5", "Phone": "152", "CallType": 2, "Trunk": ""}
    posts = [
        *ANSWERED[:6],
        (12, "dial", {**dial("151"), **consultation}),
        (15, "hangup", {**hangup("152", status="2"), **consultation}),
        (16, "bridge", phone("152", "1795224461.6")),
        (40, "hangup", hangup("152", status="2", seconds=32)),
    ]

    changes = play(posts)

    assert {change.call.call_id for change in changes} == {MAIN}
    (transfer,) = (change.transfer for change in changes if isinstance(change, Transferred))
    assert (transfer.kind, transfer.from_, transfer.to) == ("attended", "151", "152")
    call = changes[-1].call
    assert (call.answered_first, call.answered_by) == ("151", "152")
    assert isinstance(changes[-1], Ended)


def test_a_mobile_in_the_ring_group_is_no_call_of_its_own() -> None:
    mobile = "79031112233"
    leg = {"UniqueId": "1795224450.3", "Phone": mobile, "CallType": 1}
    posts: list[Post] = [
        (0, "start", start()),
        (2, "dial", dial("150", mobile)),
        (3, "dial", {**dial("150"), **leg}),
        (9, "bridge", bridge(ConnectedLineNum=mobile)),
        (24, "hangup", {**hangup(mobile, status="2"), **leg}),
        (25, "hangup", hangup(mobile, status="2")),
    ]

    changes = play(posts)

    call = changes[-1].call
    assert {change.call.call_id for change in changes} == {MAIN}
    assert (call.status, call.extensions, call.answered_by) == ("answered", ["150"], None)


def test_a_busy_manager_does_not_make_a_second_client_a_consultation() -> None:
    other = {"UniqueId": "1795224470.7", "Phone": "79037654321"}
    changes = play([*ANSWERED[:6], (12, "start", {**start(), **other}), (13, "dial", {**dial("151"), **other})])

    assert {change.call.client_number for change in changes} == {"+79161234567", "+79037654321"}


def test_hangup_alone_is_a_whole_call_as_far_as_it_tells() -> None:
    changes = play([(4000, "hangup", hangup("150", status="2"))])

    assert [type(change) for change in changes] == [Started, Ringing, Ended]
    call = changes[-1].call
    assert (call.status, call.answered_by, call.talk_seconds) == ("answered", "150", None)
    assert (call.started_at, call.ended_at) == (BEGAN, BEGAN + 25)


def test_lost_first_posts_do_not_shorten_the_call() -> None:
    call = play([(20, "dial", dial("150")), (25, "hangup", hangup("", status="0"))])[-1].call

    assert (call.started_at, call.wait_seconds) == (BEGAN, 25)


def test_a_call_whose_end_never_came_is_incomplete() -> None:
    exchange = ScriptExchange(Rules())
    play(ANSWERED[:6], exchange)

    changes = play([(SILENT + 10, "start", {**start(), "UniqueId": "1795238900.1"})], exchange)

    ended = changes[0]
    assert isinstance(ended, Ended)
    assert (ended.call.call_id, ended.call.status, ended.call.ended_at) == (MAIN, "incomplete", None)
    assert [call.call_id for call in exchange.live()] == ["1795238900.1"]


def test_a_repeated_post_changes_nothing() -> None:
    doubled = [post for post in ANSWERED for _ in range(2)]

    assert play(doubled) == play(ANSWERED)
    assert play([*ANSWERED, *ANSWERED]) == play(ANSWERED)


@pytest.mark.parametrize("seed", range(20))
def test_disorder_is_harmless(seed: int) -> None:
    shuffled = ANSWERED[:-1]
    random.Random(seed).shuffle(shuffled)
    times = sorted(after for after, _, _ in shuffled)
    disordered = [(after, kind, body) for after, (_, kind, body) in zip(times, shuffled, strict=True)]

    changes = play([*disordered, ANSWERED[-1]])

    assert sum(isinstance(change, Started) for change in changes) == 1
    assert sum(isinstance(change, Ended) for change in changes) == 1
    call = changes[-1].call
    assert (call.status, call.extensions, call.answered_by) == ("answered", ["150", "151"], "151")


def test_a_live_call_survives_a_restart() -> None:
    whole = play(ANSWERED)
    for cut in range(1, len(ANSWERED)):
        before, after = ScriptExchange(Rules()), ScriptExchange(Rules())
        first = play(ANSWERED[:cut], before)
        states = [state for call in before.live() if (state := before.dump(call.call_id))]
        after.restore(states)

        second = play(ANSWERED[cut:], after)

        assert [type(change) for change in (*first, *second)] == [type(change) for change in whole], cut
        assert second[-1].call.talk_seconds == 16
        assert after.dump(MAIN) is None


# --- what they send -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nobody", ["<unknown>", "Anonymous", "", None, "restricted"])
def test_placeholders_are_nobody(nobody: str | None) -> None:
    call = play([(0, "start", start(Phone=nobody))])[-1].call

    assert call.client_number is None


def test_sloppy_types_are_read() -> None:
    event = read(
        "hangup",
        {
            "uniqueid": 1795224447.5,
            "Phone": 79161234567,
            "Extensions": [150, " 151 ", "150", None, {"x": 1}],
            "CallType": "0",
            "CallStatus": 2,
            "EndTime": "2026-11-21T02:07:52.5",
            "ExternalInitiated": "true",
            "Channel": "SIP/x\r\nAction: Originate",
            "Unknown": ["field"],
        },
    )

    assert (event.unique_id, event.phone, event.extensions) == ("1795224447.5", "79161234567", ("150", "151"))
    assert (event.call_type, event.call_status, event.click_to_call) == (0, "2", True)
    assert event.channel == "SIP/xAction: Originate"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "UniqueId"),
        ({"UniqueId": ""}, "UniqueId"),
        ({"UniqueId": MAIN, "CallType": 3}, "CallType"),
        ({"UniqueId": MAIN, "CallType": "x"}, "CallType"),
        ({"UniqueId": MAIN, "EndTime": "yesterday"}, "EndTime"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_field(body: dict[str, Any], field: str) -> None:
    with pytest.raises(BadInput) as refused:
        read("hangup", body)

    assert refused.value.details["field"] == field


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
_NAMES = st.sampled_from(
    ["UniqueId", "Phone", "Extensions", "CallType", "CallStatus", "BridgeUniqueid", "Channel", "StartTime", "Token"]
)


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.dictionaries(_NAMES, _VALUES))))
def test_no_post_breaks_the_machine(posts: list[tuple[ScriptKind, dict[str, Any]]]) -> None:
    exchange = ScriptExchange(Rules())
    ended = 0
    started = 0
    for kind, body in posts:
        try:
            event = read(kind, body)
        except BadInput:
            continue
        changes = exchange.feed(event, BEGAN)
        started += sum(isinstance(change, Started) for change in changes)
        ended += sum(isinstance(change, Ended) for change in changes)
    assert started - ended == len(exchange.live())


# --- over HTTP ------------------------------------------------------------------------------------------------------


def _ingested(services: Services) -> Ingested:
    assert isinstance(services.scripts, Ingested)
    return services.scripts


@pytest.mark.parametrize("kind", KINDS)
async def test_every_event_is_taken_and_answered_ok(
    client: httpx.AsyncClient, services: Services, kind: ScriptKind
) -> None:
    body = {"Token": SECRET, "UniqueId": MAIN, "BridgeUniqueid": "b-1", "Phone": CLIENT, "SomethingNew": 1}

    answer = await client.post(f"/{kind}", json=body)

    assert (answer.status_code, answer.text) == (200, '"OK"')
    ((number, event),) = _ingested(services).events
    assert (number, event.kind, event.phone) == ("0367", kind, CLIENT)


async def test_the_token_may_be_in_the_header_and_the_body_a_form(
    client: httpx.AsyncClient, services: Services
) -> None:
    first = await client.post("/start", json=start(), headers={"Token": SECRET})
    second = await client.post("/dial", data={"Token": SECRET, "UniqueId": MAIN, "Extensions": "150&151"})

    assert (first.text, second.text) == ('"OK"', '"OK"')
    assert [event.extensions for _, event in _ingested(services).events] == [(), ("150", "151")]


async def test_posts_without_a_token_and_of_a_closed_enterprise_are_refused(
    client: httpx.AsyncClient, services: Services, office: Office
) -> None:
    assert (await client.post("/start", json=start())).status_code == 401
    assert (await client.post("/start", json=start(Token=["x"]))).status_code == 401
    assert (await client.post("/start", json=[1])).status_code == 400
    assert (await client.post("/start", content=b"\xff")).status_code == 400
    await services.pool.execute("update enterprises set active = false")
    assert (await client.post("/start", json=start(Token=SECRET))).status_code == 401
    assert _ingested(services).events == []
