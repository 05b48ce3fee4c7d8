"""What `apply` declares is live within a second, in a service that goes on all the while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from conftest import RING_SECONDS
from e2e_verbs import apply, calls_of, ended, eventually, get, health, is_up, nothing_owed, told

from lab.asterisk import provision
from lab.company import Company
from lab.stage import Stage, company_file

LIVE_WITHIN = 1.0

JULY = """
[[enterprise]]
number = "0500"
name = "July"

  [[enterprise.pbx]]
  name = "annex"
  ami = {{ host = "{host}", port = 5038, username = "bridge", secret = "{secret}" }}
  extensions = '^1\\d\\d$'
  trunks = ["PJSIP/trunk"]
"""


@pytest.fixture(scope="module")
async def annex() -> AsyncIterator[Company]:
    """Another company's PBX, of another version."""
    installation = await asyncio.to_thread(provision, 16)
    async with Company(installation, name="annex", ring_seconds=RING_SECONDS) as company:
        yield company


async def test_a_pbx_is_added_changed_and_removed_while_the_service_goes_on(at: Stage, annex: Company) -> None:
    own = company_file(at.company, at.account)
    process = at.service.process
    going_on = await at.company.inbound("79164000001", by="150")

    # added
    await apply(at, own + july(annex))
    assert await seconds_until(at, annex="up") < LIVE_WITHIN
    truth = await annex.inbound_answered("79164000002", talk=0.5)
    call = await ended(at.service, "79164000002")
    assert (call["enterprise_number"], call["pbx_name"], call["answered_by"]) == ("0500", "annex", truth.answered_by)

    # changed: it is heard of at once, and a link that was refused is tried again at once
    await apply(at, own + july(annex, "not its secret"))
    assert await seconds_until(at, annex="auth_failed") < LIVE_WITHIN + 1.0  # Asterisk refuses after a second
    await apply(at, own + july(annex))
    assert await seconds_until(at, annex="up") < LIVE_WITHIN

    # removed
    await apply(at, own, "--prune")
    assert await seconds_until(at, annex=None) < LIVE_WITHIN
    await eventually(lambda: has_left(at, annex))

    # and nobody noticed: the other company's call went on, its CRM was told of nothing else
    assert at.service.process is process
    assert await is_up(at.service)
    truth = await going_on.end()
    assert (await told(at, "79164000001")).code == truth.answered_by
    assert calls_of(at.account, "79164000002") == []


def july(annex: Company, secret: str | None = None) -> str:
    return JULY.format(host=annex.pbx.host, secret=secret or annex.pbx.bridge_secret)


async def seconds_until(at: Stage, *, annex: str | None) -> float:
    """How long until /health says so of the PBX `annex` (None: says nothing of it)."""
    began = time.monotonic()

    async def so() -> bool:
        return {pbx["name"]: pbx["state"] for pbx in (await health(at.service))["pbxs"]}.get("annex") == annex

    await eventually(so, 10)
    return time.monotonic() - began


async def has_left(at: Stage, annex: Company) -> bool:
    return annex.pbx.bridge_user not in (await annex.pbx.cli("manager show connected")).split()


async def test_nothing_is_sent_to_a_crm_that_is_switched_off(at: Stage) -> None:
    own = company_file(at.company, at.account)
    assert own.count("enabled = true") == 1
    await apply(at, own.replace("enabled = true", "enabled = false"))
    await eventually(lambda: is_enabled(at, False), LIVE_WITHIN)
    asked = len(at.account.requests)

    await at.company.inbound_answered("79164000003", talk=0.5)
    call = await ended(at.service, "79164000003")
    assert call["result"] == "answered"
    assert (await get(at.service, f"/api/v1/calls/{call['id']}"))["deliveries"] == []
    await nothing_owed(at.service)
    assert len(at.account.requests) == asked

    # switched on again, it is told of what is new
    await apply(at, own)
    await eventually(lambda: is_enabled(at, True), LIVE_WITHIN)
    await at.company.inbound_answered("79164000004", talk=0.5)
    await told(at, "79164000004")
    assert calls_of(at.account, "79164000003") == []


async def is_enabled(at: Stage, enabled: bool) -> bool:
    matrix = (await get(at.service, "/stats"))["matrix"]
    return bool(matrix["0367"]["retailcrm"] is enabled)


async def test_the_next_caller_is_sent_to_the_new_fallback(at: Stage) -> None:
    own = company_file(at.company, at.account)
    assert (await at.company.inbound_routed("79164000005", talk=0.2)).answered_by == "150"

    await apply(at, own.replace('fallback = "150"', 'fallback = "151"'))
    try:
        # nothing shows a fallback but a caller who gets it: `apply` has ended, and a second has not passed
        await asyncio.sleep(LIVE_WITHIN)
        assert (await at.company.inbound_routed("79164000006", talk=0.2)).answered_by == "151"
    finally:
        await apply(at, own)
