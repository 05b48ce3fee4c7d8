"""Clicks and callers in the cloud: what the service makes Mango Office do."""

from __future__ import annotations

import pytest
from cloud_verbs import record, wrong_in_crm
from e2e_verbs import calls_of, eventually, nothing_owed

from lab.cloud import KNOWN_CLIENT, KNOWN_CLIENTS_MANAGER, ROUTED_LINE, Cloud
from lab.mango import Habits

pytestmark = pytest.mark.xdist_group("e2e_mango_commands")


async def test_click_in_the_crm_makes_mango_call_the_employee_and_then_the_client(cloud_at: Cloud) -> None:
    at = cloud_at
    client = "79031110001"

    answer = await at.click(client, code="170")

    assert answer.status_code == 200, answer.text
    await at.product.until(lambda product: any(one["method"] == "callback" for one in product.commands))
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


async def test_click_for_somebody_who_does_not_pick_up_is_a_call_that_was_cancelled(cloud_at: Cloud) -> None:
    at = cloud_at
    client = "79031110002"
    at.product.habits = Habits(employee="no_answer")

    assert (await at.click(client, code="171")).status_code == 200

    await at.product.until(
        lambda product: any(entry.client == client and entry.ended for entry in product.entries.values())
    )
    (call,) = (entry for entry in at.product.entries.values() if entry.client == client)
    kept = await eventually(lambda: record(at.service, call.entry_id))
    assert (kept["direction"], kept["status"], kept["extensions"]) == ("outbound", "cancelled", ["171"])


async def test_known_caller_in_the_menu_is_put_through_to_their_own_manager(cloud_at: Cloud) -> None:
    at = cloud_at
    truth = await at.mango.switchboard(at.product).menu(KNOWN_CLIENT, line=ROUTED_LINE)

    assert (truth.status, truth.answered_by) == ("answered", KNOWN_CLIENTS_MANAGER)
    (command,) = [one for one in at.product.commands if one["method"] == "route"]
    assert (command["to_number"], command["result"]) == (KNOWN_CLIENTS_MANAGER, 1000)
    (call,) = (entry for entry in at.product.entries.values() if entry.client == KNOWN_CLIENT)
    kept = await eventually(lambda: record(at.service, call.entry_id))
    assert not truth.differences(kept), kept
    await nothing_owed(at.service)
    assert not wrong_in_crm(truth, calls_of(at.account, KNOWN_CLIENT))
