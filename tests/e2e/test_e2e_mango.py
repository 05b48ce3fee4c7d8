"""A company in the cloud, from end to end: Mango's webhooks in, rows in the API and calls in the CRM out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from e2e_verbs import calls_of, eventually, get, nothing_owed, whole

from lab.cloud import GROUP, KNOWN_CLIENT, KNOWN_CLIENTS_MANAGER, ROUTED_LINE, Cloud, cloud, crm_account
from lab.mango import Habits, Knobs, Played, Product, scenarios
from lab.mango.traffic import traffic
from lab.retailcrm.account import Account, ReceivedCall
from lab.service import Service
from lab.truth import TOLERANCE, Truth

pytestmark = pytest.mark.xdist_group("e2e_mango")

UNTIDY = Knobs(shuffle="across", doubled=0.5, as_text=0.5, spaced=0.5, escaped=0.5, cyrillic=True, parallel=4)

RESULTS = {
    "answered": "answered",
    "missed": "no answer",
    "busy": "busy",
    "no_answer": "no answer",
    "cancelled": "no answer",
}
"""RetailCRM's word for each of ours."""


@pytest.fixture(scope="module")
async def the_cloud(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cloud]:
    async with cloud(tmp_path_factory.mktemp("cloud")) as at:
        yield at


@pytest.fixture
async def at(the_cloud: Cloud) -> AsyncIterator[Cloud]:
    """A module's cloud; what a test made different is as it was for the next one."""
    yield the_cloud
    the_cloud.product.habits = Habits()
    the_cloud.product.commands.clear()
    the_cloud.mango.delivery(the_cloud.product).sent.clear()


async def rows(service: Service) -> dict[str, Any]:
    """All calls of the API by Mango's entry_id. Each is there once."""
    found: list[Any] = []
    while True:
        page = await whole(service, "/api/v1/calls", limit=100, page=len(found) // 100 + 1)
        found += page["data"]
        if len(found) >= page["pagination"]["total"]:
            break
    by_entry = {call["call_id"]: call for call in found}
    assert len(by_entry) == len(found), "a call is there twice"
    return by_entry


async def record(service: Service, entry_id: str) -> dict[str, Any] | None:
    """The call, whole, with the field names of `replay`, once it is over."""
    listed = (await rows(service)).get(entry_id)
    if listed is None or listed["result"] == "active":
        return None
    call = await get(service, f"/api/v1/calls/{listed['id']}")
    return {**call, "status": call["result"], "recording": call["recording_url"]}


def wrong_in_crm(truth: Truth, calls: list[ReceivedCall]) -> list[str]:
    """What is wrong with what the CRM was told; empty when it is right."""
    if truth.direction == "internal" or truth.client_number is None:
        return [f"told {len(calls)} times"] if calls else []
    if len(calls) != 1:
        return [f"told {len(calls)} times"]
    (call,) = calls
    found = []
    if call.type != ("out" if truth.direction == "outbound" else "in"):
        found.append(f"direction {call.type}")
    if call.result != RESULTS[truth.status]:
        found.append(f"result {call.result!r}, in truth {truth.status}")
    if truth.answered_by and call.code != truth.answered_by:
        found.append(f"credited to {call.code}, in truth {truth.answered_by}")
    if abs((call.duration or 0) - truth.talk_seconds) > TOLERANCE:
        found.append(f"talk {call.duration} s, in truth {truth.talk_seconds:.1f} s")
    return found


# --- every kind of call -----------------------------------------------------------------------------------------------

CALLS: dict[str, Callable[[Product, str, float], Played]] = {
    "answered": lambda p, who, at: scenarios.inbound_answered(p, who, at=at, by="170", hangs_up="extension"),
    "through the menu": lambda p, who, at: scenarios.inbound_answered(p, who, at=at, by="0511", menu=6),
    "recorded": lambda p, who, at: scenarios.inbound_answered(p, who, at=at, by="170", recipient="CloudAndMail"),
    "too short to be kept": lambda p, who, at: scenarios.inbound_answered(p, who, at=at, by="170", short=True, talk=2),
    "missed": lambda p, who, at: scenarios.inbound_missed(p, who, at=at, by="171"),
    "nobody came": lambda p, who, at: scenarios.inbound_missed(p, who, at=at, by="171", gives_up=False),
    "busy": lambda p, who, at: scenarios.inbound_busy(p, who, at=at, by="170"),
    "group answered": lambda p, who, at: scenarios.group_answered(p, who, at=at, group=GROUP, by="172"),
    "group missed": lambda p, who, at: scenarios.group_missed(p, who, at=at, group=GROUP),
    "queue timed out": lambda p, who, at: scenarios.group_missed(p, who, at=at, group=GROUP, gives_up=False),
    "left the menu": lambda p, who, at: scenarios.menu_abandoned(p, who, at=at),
    "off hours": lambda p, who, at: scenarios.off_hours(p, who, at=at, by="170"),
    "anonymous": lambda p, who, at: scenarios.anonymous(p, at=at, by="170"),
    "a line that is no number": lambda p, who, at: scenarios.sip_line(p, who, at=at, by="170"),
    "held": lambda p, who, at: scenarios.hold(p, who, at=at, by="170"),
    "passed on": lambda p, who, at: scenarios.blind_transfer(p, who, at=at, by="170", to="171"),
    "passed on in vain": lambda p, who, at: scenarios.blind_transfer(
        p, who, at=at, by="170", to="171", outcome="missed"
    ),
    "passed on and back": lambda p, who, at: scenarios.blind_transfer(
        p, who, at=at, by="170", to="171", outcome="returned"
    ),
    "asked first, then passed on": lambda p, who, at: scenarios.consultative_transfer(
        p, who, at=at, by="170", to="172", recipient="Cloud"
    ),
    "called out": lambda p, who, at: scenarios.outbound(p, who, at=at, by="171"),
    "called out, busy": lambda p, who, at: scenarios.outbound(p, who, at=at, by="171", outcome="busy"),
    "called out, no answer": lambda p, who, at: scenarios.outbound(p, who, at=at, by="171", outcome="no_answer"),
    "called out, gave up": lambda p, who, at: scenarios.outbound(p, who, at=at, by="171", outcome="cancelled"),
    "called back": lambda p, who, at: scenarios.callback(p, who, at=at, by="172", initiator="MissGroupCallCallback"),
    "called back, refused": lambda p, who, at: scenarios.callback(p, who, at=at, by="172", outcome="rejected"),
    "called back, nobody there": lambda p, who, at: scenarios.callback(p, who, at=at, by="172", outcome="unanswered"),
    "inside": lambda p, who, at: scenarios.internal(p, at=at, by="170", to="171"),
}


@pytest.mark.parametrize("knobs", [Knobs(), UNTIDY], ids=["tidy", "untidy"])
@pytest.mark.parametrize("kind", CALLS)
async def test_each_call_is_told_once_and_right(at: Cloud, kind: str, knobs: Knobs) -> None:
    client = f"7916{list(CALLS).index(kind):03}{int(knobs is UNTIDY)}000"
    played = CALLS[kind](at.product, client, time.time() - 300)

    await at.mango.storm(at.product, played.webhooks, knobs)

    kept = await eventually(lambda: record(at.service, played.entry_id))
    assert not played.truth.differences(kept), kept
    assert kept["pbx_name"] == "mango"
    await nothing_owed(at.service)
    assert not wrong_in_crm(played.truth, calls_of(at.account, client)), at.account.calls[-3:]
    assert all(sent.status == 200 for sent in at.mango.delivery(at.product).sent)


# --- a thousand calls -------------------------------------------------------------------------------------------------

BADLY = Knobs(shuffle="across", doubled=1.0, dropped=0.01, as_text=0.3, spaced=0.2, escaped=0.2, parallel=16)
PERIOD = 3000.0


def busy_account() -> Account:
    """One whose limits are far: what is measured here is not how fast RetailCRM lets itself be told."""
    account = crm_account()
    account.requests_per_second = account.telephony_requests_per_second = 10_000
    return account


def day(at: Cloud, count: int) -> list[Played]:
    now = time.time()
    return traffic(at.product, [f"7926{number:07}" for number in range(count)], since=now - PERIOD, until=now - 1)


async def all_told(at: Cloud, played: list[Played]) -> None:
    """Once the service was asked to reconcile: each call is in the database and in the CRM, once and right."""
    await reconcile(at)
    await eventually(lambda: settled(at, len(played)), 60)
    await nothing_owed(at.service, 90)
    known = await rows(at.service)
    assert known.keys() == {one.entry_id for one in played}
    assert len(at.account.calls) == len(played)
    by_client: dict[str, list[ReceivedCall]] = {}
    for call in at.account.calls:
        by_client.setdefault(call.phone, []).append(call)
    wrong = {}
    for one in played:
        faults = wrong_in_row(one.truth, known[one.entry_id])
        faults += wrong_in_crm(one.truth, by_client.get(one.entry.client or "", []))
        if faults:
            wrong[one.entry_id] = [one.truth.scenario, *faults]
    assert not wrong


async def settled(at: Cloud, count: int) -> bool:
    known = await rows(at.service)
    return len(known) == count and not [call for call in known.values() if call["result"] == "active"]


def wrong_in_row(truth: Truth, row: dict[str, Any]) -> list[str]:
    said = {name: row[name] for name in ("direction", "client_number", "answered_by")} | {"status": row["result"]}
    found = [f"{name}: {value!r}, in truth {getattr(truth, name)!r}" for name, value in said.items()
             if value != getattr(truth, name)]  # fmt: skip
    if abs((row["talk_seconds"] or 0) - truth.talk_seconds) > TOLERANCE:
        found.append(f"talk {row['talk_seconds']} s, in truth {truth.talk_seconds:.1f} s")
    return found


@pytest.mark.timeout(240)
async def test_a_thousand_calls_shuffled_doubled_and_thinned_are_a_thousand_calls(tmp_path: Path) -> None:
    async with cloud(tmp_path, account=busy_account()) as at:
        played = day(at, 1000)

        await at.mango.storm(at.product, [webhook for one in played for webhook in one.webhooks], BADLY)

        await all_told(at, played)


@pytest.mark.timeout(240)
async def test_sigkill_in_the_middle_of_the_storm_comes_to_the_same(tmp_path: Path) -> None:
    async with cloud(tmp_path, account=busy_account()) as at:
        played = day(at, 300)
        webhooks = [webhook for one in played for webhook in one.webhooks]
        middle = asyncio.Event()
        storm = asyncio.create_task(at.mango.storm(at.product, webhooks, BADLY, middle, len(webhooks) // 2))

        await middle.wait()
        await at.service.kill()
        await at.service.start()
        await storm

        lost = [sent for sent in at.mango.delivery(at.product).sent if sent.status != 200]
        assert lost, "nothing was posted while the service was down"
        await all_told(at, played)


# --- commands ---------------------------------------------------------------------------------------------------------


async def test_click_in_the_crm_makes_mango_call_the_employee_and_then_the_client(at: Cloud) -> None:
    client = "79031110001"

    answer = await at.click(client, code="170")

    assert answer.status_code == 200, answer.text
    (command,) = [one for one in at.product.commands if one["method"] == "callback"]
    assert (command["from"]["extension"], command["result"]) == ("170", 1000)
    board = at.mango.switchboard(at.product)
    await at.product.until(lambda _: command["command_id"] in board.done)
    truth = board.done[command["command_id"]]
    (call,) = (entry for entry in at.product.entries.values() if entry.client == client)
    kept = await eventually(lambda: record(at.service, call.entry_id))
    assert not truth.differences(kept), kept
    await nothing_owed(at.service)
    assert not wrong_in_crm(truth, calls_of(at.account, client))


async def test_click_for_somebody_who_does_not_pick_up_is_a_call_that_was_cancelled(at: Cloud) -> None:
    client = "79031110002"
    at.product.habits = Habits(employee="no_answer")

    assert (await at.click(client, code="171")).status_code == 200

    await at.product.until(
        lambda product: any(entry.client == client and entry.ended for entry in product.entries.values())
    )
    (call,) = (entry for entry in at.product.entries.values() if entry.client == client)
    kept = await eventually(lambda: record(at.service, call.entry_id))
    assert (kept["direction"], kept["status"], kept["extensions"]) == ("outbound", "cancelled", ["171"])


async def test_known_caller_in_the_menu_is_put_through_to_their_own_manager(at: Cloud) -> None:
    truth = await at.mango.switchboard(at.product).menu(KNOWN_CLIENT, line=ROUTED_LINE)

    assert (truth.status, truth.answered_by) == ("answered", KNOWN_CLIENTS_MANAGER)
    (command,) = [one for one in at.product.commands if one["method"] == "route"]
    assert (command["to_number"], command["result"]) == (KNOWN_CLIENTS_MANAGER, 1000)
    (call,) = (entry for entry in at.product.entries.values() if entry.client == KNOWN_CLIENT)
    kept = await eventually(lambda: record(at.service, call.entry_id))
    assert not truth.differences(kept), kept
    await nothing_owed(at.service)
    assert not wrong_in_crm(truth, calls_of(at.account, KNOWN_CLIENT))
