"""What RetailCRM is told of each kind of call, as tables: the two vocabularies, phones, dates, codes, durations."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bridge.calls.model import Call, Notice
from bridge.crm.port import Delivery, Request
from bridge.crm.retailcrm.config import RetailcrmConfig
from bridge.crm.retailcrm.mapping import map_delivery
from bridge.errors import BadInput
from lab.retailcrm.formats import CallEvent, UploadedCall

CONFIG = RetailcrmConfig(domain="https://june.retailcrm.ru", api_key="secret", timezone="Europe/Moscow")
CLIENT = "+79161234567"
STARTED = 1758798777.0  # 2025-09-25 11:12:57 UTC, 14:12:57 in Moscow

ANSWERED = Call(
    call_id="1758798777.27",
    direction="inbound",
    client_number=CLIENT,
    line="74951000001",
    status="answered",
    extensions=["150", "151", "152"],
    answered_by="151",
    answered_first="150",
    started_at=STARTED,
    answered_at=STARTED + 10,
    ended_at=STARTED + 21,
    wait_seconds=10,
    talk_seconds=11,
    ended_by="client",
)


def call(**changes: Any) -> Call:
    return msgspec.structs.replace(ANSWERED, **changes)


def told(the_call: Call, kind: Any, *extensions: str, config: RetailcrmConfig = CONFIG, **delivery: Any) -> Request:
    request = mapped(the_call, kind, *extensions, config=config, **delivery)
    assert request is not None
    # Whatever the mapping says, the account's own shapes must take it.
    shape = UploadedCall if kind == "record" else CallEvent
    msgspec.convert(dict(request.body), shape)
    return request


def mapped(
    the_call: Call, kind: Any, *extensions: str, config: RetailcrmConfig = CONFIG, **delivery: Any
) -> Request | None:
    notice = Notice(kind=kind, extensions=extensions)
    return map_delivery(Delivery(notice=notice, call=the_call, external_id="office:1758798777.27", **delivery), config)


def test_a_ringing_group_pops_up_at_every_phone_that_rings() -> None:
    request = told(call(status="active"), "ringing", "150", "151", "152")
    assert request.event_type == "call_event:in"
    assert request.body == {
        "phone": CLIENT,
        "type": "in",
        "codes": ["150", "151", "152"],
        "externalPhone": "+74951000001",
        "callExternalId": "office:1758798777.27",
    }


def test_a_manager_who_dials_sees_the_client() -> None:
    request = told(call(direction="outbound", status="active", line=None), "dialing", "151")
    assert request.event_type == "call_event:out"
    assert request.body == {
        "phone": CLIENT,
        "type": "out",
        "codes": ["151"],
        "callExternalId": "office:1758798777.27",
    }


def test_a_hangup_closes_the_popups_of_all_that_rang() -> None:
    request = told(call(), "hangup", "150", "151", "152", "150")
    assert request.event_type == "call_event:hangup"
    assert request.body["codes"] == ["150", "151", "152"]
    assert request.body["hangupStatus"] == "answered"


def test_a_finished_call_is_uploaded_with_talk_time_and_the_manager_who_talked_last() -> None:
    request = told(call(), "record")
    assert request.event_type == "calls_upload"
    assert request.body == {
        "date": "2025-09-25 14:12:57",
        "type": "in",
        "phone": "79161234567",
        "result": "answered",
        "code": "151",
        "duration": 11,
        "durationWaiting": 10,
        "externalId": "office:1758798777.27",
        "externalPhone": "+74951000001",
    }


UNANSWERED = {"answered_by": None, "answered_first": None, "answered_at": None, "talk_seconds": 0}
OUT = {"direction": "outbound", "extensions": ["150"]}


@pytest.mark.parametrize(
    ("changes", "hangup", "result", "code", "duration"),
    [
        pytest.param({}, "answered", "answered", "151", 11, id="inbound answered"),
        pytest.param(
            {"status": "missed", "ended_by": "client", **UNANSWERED}, "cancel", "no answer", None, 0,
            id="client gave up",
        ),
        pytest.param(
            {"status": "missed", "ended_by": "system", **UNANSWERED},
            "no answered", "no answer", None, 0, id="nobody picked up",
        ),
        pytest.param(
            {"status": "missed", "extensions": ["150"], **UNANSWERED, "ended_by": None},
            "no answered", "no answer", None, 0, id="one phone did not pick up: it is not blamed",
        ),
        pytest.param(
            {"status": "busy", "extensions": ["150"], **UNANSWERED}, "busy", "busy", "150", 0,
            id="the one phone was busy",
        ),
        pytest.param({"status": "busy", **UNANSWERED}, "busy", "busy", None, 0, id="the whole group was busy"),
        pytest.param({"status": "failed", **UNANSWERED}, "failed", "failed", None, 0, id="inbound failed"),
        pytest.param({**OUT, "answered_by": "150"}, "answered", "answered", "150", 11, id="outbound answered"),
        pytest.param(
            {**OUT, "status": "no_answer", **UNANSWERED}, "no answered", "no answer", "150", 0,
            id="client did not answer",
        ),
        pytest.param({**OUT, "status": "busy", **UNANSWERED}, "busy", "busy", "150", 0, id="client busy"),
        pytest.param(
            {**OUT, "status": "cancelled", **UNANSWERED}, "cancel", "no answer", "150", 0, id="manager gave up"
        ),
        pytest.param({**OUT, "status": "failed", **UNANSWERED}, "failed", "failed", "150", 0, id="no way out"),
        pytest.param(
            {"status": "incomplete", **UNANSWERED, "talk_seconds": None, "wait_seconds": None},
            "failed", "unknown", None, None, id="end unseen, no answer seen",
        ),
        pytest.param(
            {"status": "incomplete", "talk_seconds": None}, "answered", "answered", "151", None,
            id="end unseen, answered",
        ),
    ],
)  # fmt: skip
def test_every_outcome_has_its_word_in_both_vocabularies(
    changes: dict[str, Any], hangup: str, result: str, code: str | None, duration: int | None
) -> None:
    the_call = call(**changes)
    event = told(the_call, "hangup", *(the_call.extensions))
    upload = told(the_call, "record")
    assert event.body["hangupStatus"] == hangup
    assert upload.body["result"] == result
    assert upload.body.get("code") == code
    assert upload.body.get("duration") == duration
    assert upload.body["externalId"] == event.body["callExternalId"]


def test_the_date_is_in_the_crms_time_zone() -> None:
    request = told(call(), "record", config=msgspec.structs.replace(CONFIG, timezone="Asia/Yekaterinburg"))
    assert request.body["date"] == "2025-09-25 16:12:57"


def test_a_time_zone_that_does_not_exist_is_named() -> None:
    with pytest.raises(BadInput, match="timezone: 'Mars/Olympus'"):
        mapped(call(), "record", config=msgspec.structs.replace(CONFIG, timezone="Mars/Olympus"))


def test_a_recording_is_linked_only_when_its_address_is_known() -> None:
    address = "https://tel.example.test/rec/5f0c"
    assert "recordUrl" not in told(call(recording="call-27.wav"), "record").body
    assert told(call(), "record", recording_url=address).body["recordUrl"] == address


@pytest.mark.parametrize(
    ("line", "region", "sent"),
    [
        ("84951000001", "RU", "+74951000001"),
        ("80291234567", "BY", "+375291234567"),
        ("0001001", "RU", "0001001"),
        ("trunk-main", "RU", "trunk-main"),
    ],
)
def test_a_line_is_sent_as_the_crm_knows_it(line: str, region: str, sent: str) -> None:
    config = msgspec.structs.replace(CONFIG, region=region)
    assert told(call(line=line), "record", config=config).body["externalPhone"] == sent


def test_a_configured_site_goes_with_everything() -> None:
    config = msgspec.structs.replace(CONFIG, site="main")
    assert told(call(), "record", config=config).body["site"] == "main"
    assert told(call(), "hangup", "150", config=config).body["site"] == "main"


@pytest.mark.parametrize("kind", ["ringing", "dialing", "hangup", "record"])
def test_internal_calls_never_leave(kind: str) -> None:
    assert mapped(call(direction="internal"), kind, "150") is None


@pytest.mark.parametrize("kind", ["ringing", "dialing", "hangup", "record"])
def test_a_hidden_number_cannot_be_filed(kind: str) -> None:
    assert mapped(call(client_number=None), kind, "150") is None


def test_a_popup_for_nobody_is_none() -> None:
    assert mapped(call(), "hangup") is None
    assert mapped(call(), "ringing", "") is None


def test_no_time_is_invented() -> None:
    assert mapped(call(started_at=None, answered_at=None, ended_at=None), "record") is None
    assert told(call(started_at=None), "record").body["date"] == "2025-09-25 14:13:07"


def test_a_configuration_does_not_show_its_key() -> None:
    assert "secret" not in repr(CONFIG)
    assert "secret" not in str(CONFIG)
    assert "secret" not in repr(list(CONFIG.__rich_repr__()))
