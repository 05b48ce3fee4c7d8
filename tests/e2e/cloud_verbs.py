"""What the end-to-end tests of cloud calls ask of the service, and what is right of a call."""

from __future__ import annotations

from typing import Any

import httpx
from e2e_verbs import get, whole

from lab.cloud import ENTERPRISE, Cloud
from lab.retailcrm.account import ReceivedCall
from lab.service import Service
from lab.truth import TOLERANCE, Truth

RESULTS = {
    "answered": "answered",
    "missed": "no answer",
    "busy": "busy",
    "no_answer": "no answer",
    "cancelled": "no answer",
}
"""RetailCRM's word for each of ours."""


async def rows(service: Service) -> dict[str, Any]:
    """All calls of the API by Mango's entry_id. Each is there once."""
    found: list[Any] = []
    while True:
        page = await whole(service, "/api/v1/calls", limit=100, page=len(found) // 100 + 1)
        found += page["data"]
        if len(found) >= page["pagination"]["total"]:
            break
    # a call that comes in between two pages moves one from the first to the second
    calls = {call["id"]: call for call in found}.values()
    by_entry = {call["call_id"]: call for call in calls}
    assert len(by_entry) == len(calls), "a call is there twice"
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


async def reconcile(at: Cloud) -> dict[str, Any]:
    """An administrator has Mango's history compared with what was heard; what came of it."""
    headers = {"Authorization": f"Bearer {await at.service.login()}"}
    async with httpx.AsyncClient(base_url=at.service.url, headers=headers, timeout=60) as client:
        answer = await client.post("/api/v1/mango/reconcile", json={"enterprise_number": ENTERPRISE})
    assert answer.status_code == 200, answer.text
    done: dict[str, Any] = answer.json()["data"]
    assert done["done"], done
    assert not [product["problem"] for product in done["products"] if product["problem"]], done
    return done
