"""The Mango Office emulator: its webhooks are what Mango's are, and travel as badly."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import sys
import time
from typing import Any

import httpx
import pytest
from mango_outside import CLIENT, NOW, Receiver, staffed

from lab.mango import Emulator, Knobs, Played, Product, delivery, scenarios
from lab.mango.entry import Webhook
from lab.mango.traffic import traffic

# --- webhooks: the envelope -------------------------------------------------------------------------------------------


async def test_webhook_is_a_form_signed_over_the_json_as_it_travels(
    mango: Emulator, product: Product, receiver: Receiver
) -> None:
    played = scenarios.inbound_answered(product, CLIENT, at=time.time() - 60, by="170", recipient="Cloud")
    await mango.play(played)

    assert len(receiver.posts) == len(played.webhooks)
    for _, form in receiver.posts:
        expected = hashlib.sha256((product.key + form["json"] + product.salt).encode()).hexdigest()
        assert form["sign"] == expected
        assert set(form) == {"vpbx_api_key", "sign", "json"}
    # base64 has plus signs: a bare one would be a space after decoding
    assert all(b"+" not in body or b"%2B" in body for body in receiver.raw)
    (added,) = receiver.told("events/record/added")
    assert set("+/=") & set(added["recording_id"])
    assert receiver.told("events/summary")[0]["entry_id"] == played.entry_id


async def test_check_connection_has_no_json(mango: Emulator, product: Product, receiver: Receiver) -> None:
    assert await mango.delivery(product).check_connection() == 200
    ((path, form),) = receiver.posts
    assert (path, form) == ("/hook/", {})


async def test_only_the_status_is_read_and_nothing_is_sent_again(
    mango: Emulator, product: Product, receiver: Receiver
) -> None:
    receiver.status = 500
    played = scenarios.inbound_missed(product, at=time.time() - 60, by="170")
    await mango.play(played)
    assert [sent.status for sent in mango.delivery(product).sent] == [500] * len(played.webhooks)


# --- webhooks: what they say ------------------------------------------------------------------------------------------


def posts(played: Played, path: str = "events/call") -> list[dict[str, Any]]:
    return [webhook.body for webhook in played.webhooks if webhook.path == path]


def states(played: Played) -> list[tuple[int, str]]:
    """(leg, state), legs numbered as they appeared."""
    legs: dict[str, int] = {}
    return [(legs.setdefault(body["call_id"], len(legs)), body["call_state"]) for body in posts(played)]


def test_seq_counts_each_leg_and_the_last_is_disconnected() -> None:
    product = staffed()
    for played in traffic(product, [f"7916{number:07}" for number in range(48)], since=NOW - 3600, until=NOW):
        legs: dict[str, list[dict[str, Any]]] = {}
        for body in posts(played):
            legs.setdefault(body["call_id"], []).append(body)
        for events in legs.values():
            assert [body["seq"] for body in events] == list(range(1, len(events) + 1))
            assert events[-1]["call_state"] == "Disconnected"
            assert "disconnect_reason" in events[-1]
            assert all("disconnect_reason" not in body for body in events[:-1])
        assert len(posts(played, "events/summary")) == 1
        assert {webhook.body["entry_id"] for webhook in played.webhooks} == {played.entry_id}
        assert max(webhook.at for webhook in played.webhooks) <= NOW


def test_group_ringing_has_a_leg_for_each_phone_and_one_that_is_missed_has_no_number_it_went_to() -> None:
    product = staffed()
    answered = scenarios.group_answered(product, at=NOW, group="999", by="171")
    legs = [body for body in posts(answered) if body["location"] == "abonent" and body["seq"] == 1]
    assert [body["to"]["extension"] for body in legs] == ["170", "171", "172"]
    assert {body["to"]["acd_group"] for body in legs} == {"999"}
    missed = scenarios.group_missed(product, at=NOW, group="999")
    (summary,) = posts(missed, "events/summary")
    assert "number" not in summary["to"]
    assert (summary["talk_time"], summary["entry_result"]) == (0, 0)


def test_callback_rings_the_employee_first_with_the_client_as_caller() -> None:
    played = scenarios.callback(staffed(), CLIENT, at=NOW, by="170", command_id="c-1")
    first, second = (body for body in posts(played) if body["seq"] == 1)
    assert (first["from"]["number"], first["to"]["extension"]) == (CLIENT, "170")
    assert second["from"] == {
        "extension": "170",
        "number": "sip:user170@vpbx10086277.mangosip.ru",
        "taken_from_call_id": first["call_id"],
    }
    assert second["to"] == {"number": CLIENT}
    assert {body["command_id"] for body in posts(played)} == {"c-1"}
    assert [body["disconnect_reason"] for body in posts(played) if body["call_state"] == "Disconnected"] == [1000, 1120]
    assert posts(played, "events/summary")[0]["call_direction"] == 2


def test_consultative_transfer_connects_one_leg_twice() -> None:
    played = scenarios.consultative_transfer(staffed(), CLIENT, at=NOW, by="170", to="171")
    assert states(played) == [
        (0, "Appeared"),
        (0, "Connected"),
        (0, "OnHold"),
        (1, "Appeared"),
        (1, "Connected"),
        (0, "Disconnected"),
        (1, "Connected"),
        (1, "Disconnected"),
    ]
    before, after = (body for body in posts(played)[3:] if body["call_state"] == "Connected")
    assert (before["from"]["extension"], after["from"]["number"]) == ("170", CLIENT)


@pytest.mark.parametrize("outcome", ["answered", "missed", "returned"])
def test_blind_transfer_appears_twice_and_may_come_back(outcome: Any) -> None:
    played = scenarios.blind_transfer(staffed(), CLIENT, at=NOW, by="170", to="171", outcome=outcome)
    assert states(played)[3:6] == [(1, "Appeared"), (0, "Disconnected"), (1, "Appeared")]
    kinds = {body["transfer"] for body in posts(played) if "transfer" in body}
    assert kinds == {"blind", "return_blind"} if outcome == "returned" else {"blind"}


def test_quirks_of_summaries() -> None:
    product = staffed()
    (anonymous,) = posts(scenarios.anonymous(product, at=NOW, by="170"), "events/summary")
    assert "number" not in anonymous["from"]
    (menu,) = posts(scenarios.menu_abandoned(product, at=NOW), "events/summary")
    assert (menu["entry_result"], menu["talk_time"]) == (1, 0)
    (internal,) = posts(scenarios.internal(product, at=NOW, by="170", to="171"), "events/summary")
    assert (internal["call_direction"], "line_number" in internal) == (0, False)
    (sip,) = posts(scenarios.sip_line(product, at=NOW, by="170"), "events/summary")
    assert sip["line_number"].startswith("sip:")
    off_hours = scenarios.off_hours(product, at=NOW, by="170")
    assert [webhook.path for webhook in off_hours.webhooks] == ["events/summary"]


@pytest.mark.parametrize(
    ("options", "code", "recipient", "fetched"),
    [
        ({"recipient": "Cloud"}, 1000, "Cloud", True),
        ({"recipient": "CloudAndMail"}, 1000, "CloudAndMail", True),
        ({"recipient": "Mail"}, 1000, "Mail", False),
        ({"short": True}, 4002, None, False),
    ],
)
def test_recordings(options: dict[str, Any], code: int, recipient: str | None, fetched: bool) -> None:
    product = staffed()
    played = scenarios.inbound_answered(product, at=NOW, by="170", **options)
    started, completed = posts(played, "events/recording")
    assert (started["recording_state"], completed["recording_state"]) == ("Started", "Completed")
    assert (completed["completion_code"], completed.get("recipient")) == (code, recipient)
    assert bool(posts(played, "events/record/added")) == fetched
    assert (started["recording_id"] in product.files) == fetched


def test_recording_goes_on_in_another_leg() -> None:
    played = scenarios.consultative_transfer(staffed(), at=NOW, by="170", to="171", recipient="Cloud")
    started, continued, completed = posts(played, "events/recording")
    assert [body["recording_state"] for body in (started, continued, completed)] == [
        "Started",
        "Continued",
        "Completed",
    ]
    assert started["recording_id"] == continued["recording_id"]
    assert started["call_id"] != continued["call_id"] == completed["call_id"]


# --- webhooks: how they travel ----------------------------------------------------------------------------------------


def some(number: int = 200) -> list[Webhook]:
    clients = [f"7916{index:07}" for index in range(number)]
    return [one for played in traffic(staffed(), clients, since=NOW - 3600, until=NOW) for one in played.webhooks]


def test_dropped_doubled_and_shuffled_as_told_and_the_same_each_time() -> None:
    webhooks = some()
    knobs = Knobs(shuffle="across", doubled=1.0, dropped=0.01)
    first = delivery.arranged(webhooks, knobs, random.Random(7))
    assert first == delivery.arranged(webhooks, knobs, random.Random(7))
    kept = {id(webhook) for webhook in first}
    assert len(first) == 2 * len(kept)
    assert 0.97 < len(kept) / len(webhooks) < 1.0
    assert [webhook.at for webhook in first] != sorted(webhook.at for webhook in first)


def test_shuffled_within_a_call_only() -> None:
    webhooks = some(20)
    order = delivery.arranged(webhooks, Knobs(shuffle="within"), random.Random(1))
    entries = list(dict.fromkeys(webhook.entry_id for webhook in webhooks))
    assert list(dict.fromkeys(webhook.entry_id for webhook in order)) == entries
    assert order != webhooks
    assert {id(webhook) for webhook in order} == {id(webhook) for webhook in webhooks}


def test_spellings_say_the_same() -> None:
    body = posts(scenarios.group_answered(staffed(), at=NOW, group="999", by="170"))[2] | {"call_id": "привет="}
    dice = random.Random(1)
    assert json.loads(delivery.spelled(body, Knobs(spaced=1, escaped=1), dice)) == body
    assert " : " in delivery.spelled(body, Knobs(spaced=1), dice)
    assert "\\u043f" in delivery.spelled(body, Knobs(escaped=1), dice)
    assert "привет" in delivery.spelled(body, Knobs(), dice)
    texts = json.loads(delivery.spelled(body, Knobs(as_text=1), dice))
    assert (texts["seq"], texts["timestamp"]) == (str(body["seq"]), str(body["timestamp"]))
    assert (texts["to"]["extension"], texts["to"]["acd_group"]) == (170, 999)
    leading_zero = {"to": {"extension": "0511"}}
    assert json.loads(delivery.spelled(leading_zero, Knobs(as_text=1), dice)) == leading_zero
    (first, *_) = posts(scenarios.callback(staffed(), at=NOW, by="170", initiator="MissGroupCallCallback"))
    confused = json.loads(delivery.spelled(first, Knobs(cyrillic=True), dice))["callback_initiator"]
    assert confused != "MissGroupCallCallback"
    assert not confused.isascii()


async def test_play_keeps_to_the_clock_and_a_storm_does_not(
    mango: Emulator, product: Product, receiver: Receiver
) -> None:
    began = time.monotonic()
    await mango.play(scenarios.inbound_answered(product, at=product.clock(), by="170", ring=0.2, talk=0.3))
    assert time.monotonic() - began >= 0.5
    webhooks = some(40)
    await mango.storm(product, webhooks, Knobs(shuffle="across", parallel=8))
    assert len(receiver.posts) == 4 + len(webhooks)


# --- as a process -----------------------------------------------------------------------------------------------------


async def test_as_a_process_of_its_own(receiver: Receiver) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "lab.mango", "--product", "june", "--webhooks", receiver.url),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        name, api, key, salt = (await process.stdout.readline()).decode().split()
        assert (name, key, salt) == ("june", "key-of-june", "salt-of-june")
        async with httpx.AsyncClient(trust_env=False) as client:
            asked = {"scenario": "inbound_answered", "options": {"by": "170", "at": time.time() - 90}}
            truth = (await client.post(api.replace("/vpbx", "/_lab/play"), json=asked)).json()
            assert (truth["status"], truth["answered_by"]) == ("answered", "170")
            await receiver.until(lambda: receiver.told("events/summary"))
            (state,) = (await client.get(api.replace("/vpbx", "/_lab/state"))).json()
            assert len(state["calls"]) == 1
    finally:
        process.terminate()
        assert await process.wait() == 0
