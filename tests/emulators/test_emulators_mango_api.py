"""The Mango Office emulator: its API is as strict as the service it stands for."""

from __future__ import annotations

import csv
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from mango_outside import CLIENT, NOW, Caller, Clock, Receiver, patient, staffed

from lab.mango import Emulator, Faults, Product, scenarios
from lab.mango.limits import PENALTY_SECONDS
from lab.mango.signing import link_sign
from lab.mango.traffic import traffic

# --- the API: envelope, limits, penalties -----------------------------------------------------------------------------


async def test_unknown_product_wrong_sign_and_no_json(ask: Caller, product: Product, clock: Clock) -> None:
    patient(product, clock)
    assert (await ask("account/balance", vpbx_api_key="nobody")).json()["code"] == 3105
    answer = await ask("account/balance", sign="0" * 64)
    assert (answer.status_code, answer.json()["code"]) == (420, 3102)
    clock.now += PENALTY_SECONDS
    answer = await ask.client.post(f"{product.url}/vpbx/account/balance", data={"vpbx_api_key": product.key})
    assert answer.json()["code"] == 3103
    clock.now += PENALTY_SECONDS
    assert (await ask("account/balance", '{"a": 1')).json()["code"] == 3104
    assert (await ask("account/balance", '{ "spaces" :  "\\u043f" }')).status_code == 200


async def test_one_invalid_request_in_two_minutes_and_the_door_is_shut_for_everything(
    ask: Caller, product: Product, clock: Clock
) -> None:
    patient(product, clock)
    assert (await ask("account/balance", sign="wrong")).json()["code"] == 3102
    clock.now += 30
    assert (await ask("account/balance")).status_code == 200
    clock.now += 30
    assert (await ask("queries/recording/post", {"action": "download"})).status_code == 401
    clock.now += 59
    assert (await ask("account/balance")).status_code == 401
    assert (await ask("config/users/request")).status_code == 401
    clock.now += 2
    assert (await ask("account/balance")).json()["result"] == 1000


async def test_two_products_do_not_share_a_penalty(mango: Emulator, ask: Caller) -> None:
    july = Caller(mango.add(staffed("july")), ask.client)
    for _ in range(2):
        await july("account/balance", sign="wrong")
    assert (await july("account/balance")).status_code == 401
    assert (await ask("account/balance")).status_code == 200


TRANSFER = {"command_id": "1", "call_id": "x", "method": "blind", "to_number": "171", "initiator": "170"}


@pytest.mark.parametrize(
    ("method", "fields", "allowed", "seconds"),
    [
        ("account/balance", {}, 2, 1.0),
        ("config/users/request", {}, 1, 2.0),
        ("commands/transfer", TRANSFER, 1, 2.0),
        ("commands/route", {"command_id": "1", "call_id": "x", "to_number": "171"}, 1, 2.0),
        ("commands/call/hangup", {"command_id": "1", "call_id": "x"}, 4, 1.0),
        ("stats/request", {"date_from": "1790000000", "date_to": "1790000060"}, 1, 2.0),
        ("groups", {}, 10, 1.0),
    ],
)  # fmt: skip
async def test_rates(
    ask: Caller, product: Product, clock: Clock, method: str, fields: Any, allowed: int, seconds: float
) -> None:
    patient(product, clock)
    statuses = [(await ask(method, fields)).status_code for _ in range(allowed + 1)]
    assert statuses == [200] * allowed + [429]
    assert (await ask(method, fields)).json() == {
        "name": "Service Unavailable",
        "message": "Rate limit exceeded.",
        "code": 0,
        "status": 429,
    }
    clock.now += seconds
    assert (await ask(method, fields)).status_code == 200


async def test_methods_without_a_limit_of_their_own_share_one(ask: Caller, product: Product, clock: Clock) -> None:
    patient(product, clock)
    statuses = [(await ask(("groups", "sips")[number % 2])).status_code for number in range(11)]
    assert statuses == [200] * 10 + [429]


async def test_the_whole_api_has_limits_too(mango: Emulator, ask: Caller, clock: Clock) -> None:
    callers = [Caller(mango.add(staffed(f"p{number}", clock=clock)), ask.client) for number in range(11)]
    fields = {"command_id": "1", "call_id": "x", "to_number": "171"}
    assert [(await call("commands/route", fields)).status_code for call in callers] == [200] * 10 + [429]


async def test_faults(ask: Caller, product: Product) -> None:
    product.faults = Faults(subscribed=False)
    answer = await ask("account/balance")
    assert (answer.status_code, answer.json()["code"]) == (503, 5008)
    product.faults = Faults(status=502)
    assert (await ask("account/balance")).status_code == 502
    product.faults = Faults(slow=0.1)
    began = time.monotonic()
    assert (await ask("groups")).status_code == 200
    assert time.monotonic() - began >= 0.1
    product.faults = Faults(hang=True)
    ask.client.timeout = httpx.Timeout(0.1)
    with pytest.raises(httpx.ReadTimeout):
        await ask("groups")


async def test_the_api_goes_away_and_comes_back(mango: Emulator, ask: Caller) -> None:
    await mango.down()
    with pytest.raises(httpx.ConnectError):
        await ask("groups")
    await mango.up()
    assert (await ask("groups")).status_code == 200


# --- the API: recordings ----------------------------------------------------------------------------------------------


async def test_recording_is_a_redirect_to_a_link_that_is_good_once(ask: Caller, product: Product) -> None:
    scenarios.inbound_answered(product, at=time.time() - 60, by="170", recipient="Cloud")
    (recording_id,) = product.files
    answer = await ask("queries/recording/post", {"recording_id": recording_id, "action": "download"})
    assert answer.status_code == 302
    first = await ask.client.get(answer.headers["location"])
    assert (first.status_code, first.headers["content-type"]) == (200, "audio/mpeg")
    assert first.content == product.files[recording_id].content
    assert recording_id.encode() in first.content
    assert (await ask.client.get(answer.headers["location"])).status_code == 404


async def test_recording_that_is_not_there_yet_deleted_or_unknown(ask: Caller, product: Product, clock: Clock) -> None:
    patient(product, clock)
    played = scenarios.inbound_answered(product, at=NOW, by="170", recipient="Cloud")
    (recording_id,) = product.files
    asked = {"recording_id": recording_id, "action": "play"}
    early = await ask("queries/recording/post", asked)
    assert (early.status_code, early.json()["code"]) == (404, 0)
    clock.now = max(webhook.at for webhook in played.webhooks)
    assert (await ask("queries/recording/post", asked)).status_code == 302
    product.files[recording_id].deleted = True
    assert (await ask("queries/recording/post", asked)).json()["code"] == 3320
    clock.now += PENALTY_SECONDS
    assert (await ask("queries/recording/post", {**asked, "recording_id": "?"})).json()["code"] == 3320


async def test_links_without_authorisation_are_off_unless_switched_on(ask: Caller, product: Product) -> None:
    scenarios.inbound_answered(product, at=time.time() - 60, by="170", recipient="Cloud")
    (recording_id,) = product.files
    until = str(int(time.time()) + 60)
    signed = link_sign(product.key, until, recording_id, product.salt)
    quoted = quote(recording_id, safe="")
    address = f"{product.url}/vpbx/queries/recording/link/{quoted}/play/{product.key}/{until}/{signed}"
    assert (await ask.client.get(address)).status_code == 403
    product.links = True
    assert (await ask.client.get(address)).status_code == 302
    assert (await ask.client.get(address[:-1] + "x")).status_code == 403


# --- the API: statistics ----------------------------------------------------------------------------------------------


async def test_basic_statistics_are_not_ready_then_csv_then_stale(
    ask: Caller, product: Product, clock: Clock, receiver: Receiver
) -> None:
    patient(product, clock)
    answered = scenarios.inbound_answered(product, CLIENT, at=NOW - 600, by="170", recipient="Cloud")
    scenarios.inbound_missed(product, CLIENT, at=NOW - 300, by="0511")
    period = {"date_from": int(NOW) - 3600, "date_to": int(NOW)}
    columns = "entry_id,records,start,answer,finish,to_extension,disconnect_reason,line_number"
    key = (await ask("stats/request", {**period, "fields": columns, "request_id": "r1"})).json()["key"]
    await receiver.until(lambda: receiver.told("result/stats"))
    assert receiver.told("result/stats") == [{"key": key, "request_id": "r1"}]
    assert (await ask("stats/result", {"key": key})).status_code == 204
    answer = await ask("stats/result", {"key": key})
    rows = list(csv.reader(answer.text.splitlines(), delimiter=";"))
    (recording_id,) = product.files
    began = int(NOW) - 600
    assert rows[0] == [
        answered.entry_id, f"[{recording_id}]",
        str(began), str(began + 4), str(began + 34), "170", "1110", product.line,
    ]  # fmt: skip
    assert rows[1][1:] == ["[]", str(began + 300), "0", str(began + 320), "0511", "1110", product.line]
    clock.now += 61
    assert (await ask("stats/result", {"key": key})).status_code == 404
    assert (await ask("stats/result", {"key": "?"})).status_code == 404


async def test_basic_statistics_have_no_entry_id_unless_asked_for(ask: Caller, product: Product) -> None:
    played = scenarios.inbound_answered(product, at=time.time() - 600, by="170")
    product.faults = Faults(polls=0)
    period = {"date_from": str(int(time.time()) - 3600), "date_to": str(int(time.time()))}
    key = (await ask("stats/request", period)).json()["key"]
    assert played.entry_id not in (await ask("stats/result", {"key": key})).text


@pytest.mark.parametrize(
    "fields",
    [
        {"date_from": "1790000000"},
        {"date_from": "1790000000", "date_to": "1800000000"},
        {"date_from": "yesterday", "date_to": "today"},
        {"date_from": "1790000000", "date_to": "1790000060", "fields": "records,nothing"},
        {"date_from": "1790000000", "date_to": "1790000060", "from": {}, "call_party": {}},
    ],
)
async def test_wrong_request_for_basic_statistics(ask: Caller, fields: dict[str, Any]) -> None:
    assert (await ask("stats/request", fields)).json()["code"] in (3103, 3104)


def moscow(at: float) -> str:
    return (datetime.fromtimestamp(at, UTC) + timedelta(hours=3)).strftime("%d.%m.%Y %H:%M:%S")


async def extended(ask: Caller, clock: Clock, **more: Any) -> dict[str, Any]:
    clock.now += 2
    fields = {"start_date": moscow(NOW - 3600), "end_date": moscow(NOW), "limit": "100", "offset": "0", **more}
    asked = await ask("stats/calls/request/", fields)
    assert asked.status_code == 200, asked.json()
    key = {"key": asked.json()["key"]}
    assert (await ask("stats/calls/result/", key)).json()["status"] == "work"
    answer: dict[str, Any] = (await ask("stats/calls/result/", key)).json()
    return answer


async def test_extended_statistics_work_then_complete_with_directions_of_their_own(
    ask: Caller, product: Product, clock: Clock
) -> None:
    patient(product, clock)
    inbound = scenarios.inbound_answered(product, CLIENT, at=NOW - 600, by="170", recipient="Cloud", talk=30)
    scenarios.callback(product, "79031112233", at=NOW - 500, by="171", talk=20)
    scenarios.internal(product, at=NOW - 400, by="170", to="172")
    scenarios.group_answered(product, CLIENT, at=NOW - 300, group="999", by="172", talk=10)
    scenarios.inbound_answered(product, CLIENT, at=NOW - 5, by="170", talk=30)  # still talking

    answer = await extended(ask, clock)

    assert (answer["result"], answer["status"]) == (1000, "complete")
    calls = [call for day in answer["data"] for call in day["list"]]
    assert [call["context_type"] for call in calls] == [1, 2, 3, 1]
    first, callback, _, group = calls
    assert (first["entry_id"], first["caller_number"], first["called_number"]) == (
        inbound.entry_id,
        CLIENT,
        product.line,
    )
    assert (first["duration"], first["talk_duration"], first["context_status"]) == (34, 30, 1)
    (leg,) = first["context_calls"]
    assert leg["external_call_id"] == inbound.entry.legs[0].call_id
    assert leg["recording_id"] == list(product.files)
    assert (leg["call_abonent_id"], "extension" in leg) == (product.at("170").user_id, False)
    assert (callback["caller_id"], callback["called_number"], callback["talk_duration"]) == (
        product.at("171").user_id,
        "79031112233",
        20,
    )
    (ringing,) = group["context_calls"]
    assert (ringing["call_type"], [leg["talk_duration"] for leg in ringing["members"]]) == ("group", [0, 0, 10])


async def test_extended_statistics_page_and_filter(ask: Caller, product: Product, clock: Clock) -> None:
    patient(product, clock)
    traffic(product, [f"7916{number:07}" for number in range(32)], since=NOW - 3000, until=NOW)
    whole = await extended(ask, clock)
    entries = [call["entry_id"] for day in whole["data"] for call in day["list"]]
    assert len(entries) == 32
    pages = [await extended(ask, clock, limit=20, offset=offset) for offset in (0, 20)]
    assert [call["entry_id"] for page in pages for day in page["data"] for call in day["list"]] == entries
    outbound = await extended(ask, clock, context_type=[2])
    assert {call["context_type"] for day in outbound["data"] for call in day["list"]} == {2}


@pytest.mark.parametrize(
    "wrong",
    [
        {"limit": "30"},
        {"limit": None},
        {"end_date": moscow(NOW + 40 * 86400)},
        {"start_date": "x"},
        {"search_string": "7"},
    ],
)
async def test_wrong_request_for_extended_statistics(ask: Caller, wrong: dict[str, Any]) -> None:
    fields = {"start_date": moscow(NOW), "end_date": moscow(NOW), "limit": "100", "offset": "0"} | wrong
    assert (await ask("stats/calls/request/", fields)).json()["code"] in (3103, 3104)


async def test_extended_statistics_that_fail_or_are_not_found(ask: Caller, product: Product) -> None:
    assert (await ask("stats/calls/result/", {"key": "?"})).json()["status"] == "not-found"
    product.faults = Faults(polls=0, stats_error=True)
    fields = {"start_date": "2026-09-01", "end_date": "2026-09-02 10:00:00", "limit": 5, "offset": 0}
    key = (await ask("stats/calls/request", fields)).json()["key"]
    assert (await ask("stats/calls/result", {"key": key})).json()["status"] == "error"


# --- the API: who there is --------------------------------------------------------------------------------------------


async def test_users_have_ids_and_sip_accounts_only_when_asked_for(ask: Caller, product: Product, clock: Clock) -> None:
    patient(product, clock)
    plain = (await ask("config/users/request")).json()["users"]
    assert [user["telephony"]["extension"] for user in plain] == ["170", "171", "172", "0511"]
    assert "user_id" not in plain[0]["general"]
    clock.now += 2
    wanted = ["general.user_id", "general.sips", "groups", "telephony.line_id"]
    (user,) = (await ask("config/users/request", {"extension": "171", "ext_fields": wanted})).json()["users"]
    assert user["general"]["user_id"] == product.at("171").user_id
    assert user["general"]["sips"] == [{"number": "sip:user171@vpbx10086277.mangosip.ru"}]
    assert (user["groups"], user["telephony"]["line_id"]) == ([7001], product.lines[0].line_id)


async def test_groups_lines_and_balance(ask: Caller, product: Product) -> None:
    (group,) = (await ask("groups")).json()["groups"]
    assert (group["extension"], len(group["operators"])) == ("999", 3)
    assert (await ask("incominglines")).json()["lines"][0]["number"] == product.line
    assert (await ask("account/balance")).json()["balance"] == product.balance
