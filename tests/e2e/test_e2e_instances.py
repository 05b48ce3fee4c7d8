"""Two instances on one database: both know everything at once, one owns the PBX, and either can be lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx
import pytest
from conftest import RING_SECONDS
from e2e_verbs import ended, eventually, get, health, is_up, record, told, visitor

from lab.phones import Incoming, answers
from lab.retailcrm.account import Faults
from lab.service import Service
from lab.stage import CLIENT_ID, Stage, stage
from lab.truth import TOLERANCE

SETTINGS = {"BRIDGE_SECRET_KEY": "a-key-that-both-instances-have-0123456789", "BRIDGE_CRM_HOSTS": "127.0.0.1"}
"""What instances of one deployment share, beside the database."""


@dataclass
class Pair:
    """`at` is the stage of the first instance."""

    at: Stage
    second: Service
    database: asyncpg.Connection
    token: dict[str, str] = field(default_factory=dict)

    @property
    def both(self) -> tuple[Service, Service]:
        return self.at.service, self.second

    async def owners(self) -> list[str]:
        return [row["owner"] for row in await self.database.fetch("select owner from pbx_leases where owner <> ''")]

    async def owner(self) -> Service:
        """The instance that watches the PBX."""
        (owner,) = await eventually(self.owners)
        (found,) = [service for service in self.both if service.process and f":{service.process.pid}:" in owner]
        return found

    async def other(self) -> Service:
        (found,) = {*self.both} - {await self.owner()}
        return found


@pytest.fixture(scope="module")
async def the_pair(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    folder: Path = tmp_path_factory.mktemp("instances")
    server: asyncpg.Connection = await asyncpg.connect(postgres_url)
    await server.execute("create database instances")
    url = urlunsplit(urlsplit(postgres_url)._replace(path="/instances"))
    settings = {**SETTINGS, "BRIDGE_DATABASE_URL": url}
    try:
        async with (
            stage(folder, ring_seconds=RING_SECONDS, settings=settings) as at,
            Service(folder / "second", settings) as second,
        ):
            database: asyncpg.Connection = await asyncpg.connect(url)
            yield Pair(at, second, database)
            await database.close()
    finally:
        await server.execute("drop database instances with (force)")
        await server.close()


@pytest.fixture
async def pair(the_pair: Pair) -> AsyncIterator[Pair]:
    yield the_pair
    the_pair.at.account.faults = Faults()
    await the_pair.at.company.tidy_up()
    for service in the_pair.both:
        if service.process is None or service.process.returncode is not None:
            await service.start()


async def matrices(services: Sequence[Service]) -> list[bool]:
    """Whether each has June's RetailCRM enabled."""
    return [(await get(service, "/stats"))["matrix"]["0367"]["retailcrm"] for service in services]


async def test_an_update_by_psql_is_in_both_matrices_within_a_second(pair: Pair) -> None:
    assert await matrices(pair.both) == [True, True]
    assert await seconds_until_both_know(pair, enabled=False) < 1.0
    assert await seconds_until_both_know(pair, enabled=True) < 1.0


async def seconds_until_both_know(pair: Pair, *, enabled: bool) -> float:
    await pair.database.execute(
        "update enterprises set integrations_config = jsonb_set(integrations_config, '{retailcrm,enabled}', $1)"
        " where number = '0367'",
        "true" if enabled else "false",
    )
    updated = time.monotonic()

    async def both_know() -> bool:
        return await matrices(pair.both) == [enabled, enabled]

    await eventually(both_know, 5)
    return time.monotonic() - updated


async def test_exactly_one_instance_owns_the_pbx_and_both_know_how_it_stands(pair: Pair) -> None:
    assert len(await pair.owners()) == 1
    for service in pair.both:
        assert [(pbx["name"], pbx["state"]) for pbx in (await health(service))["pbxs"]] == [("office", "up")]
    # and a call is heard and told once, whoever looks
    truth = await pair.at.company.inbound_answered("79162000001", talk=1)
    call = await told(pair.at, "79162000001")
    assert (call.result, call.code) == ("answered", truth.answered_by)
    await ended(pair.at.service, "79162000001")
    first, second = [await record(service, "79162000001") for service in pair.both]
    assert (first["id"], first["timeline"]) == (second["id"], second["timeline"])
    assert [entry["change"] for entry in first["timeline"]].count("answered") == 1


async def test_a_click_at_the_instance_that_does_not_own_the_pbx_rings_the_phone(pair: Pair) -> None:
    other = await pair.other()

    truth = await pair.at.company.clicked(lambda: click(other, "79162000002"), "79162000002")

    call = await told(pair.at, "79162000002")
    assert (call.type, call.result, call.code) == ("out", "answered", "150")
    assert abs((call.duration or 0) - truth.talk_seconds) <= TOLERANCE


async def test_a_click_repeated_at_both_instances_at_once_rings_once(pair: Pair) -> None:
    company = pair.at.company
    rung: list[Incoming] = []

    async def pick_up(call: Incoming) -> None:
        rung.append(call)
        await answers(after=0.2)(call)

    company.phones["150"].policy = pick_up
    company.let_clients(answers(after=0.2, talk=0.5))

    said = await asyncio.gather(*(click(service, "79162000003") for service in pair.both * 3))
    call = await told(pair.at, "79162000003")

    assert [answer.status_code for answer in said] == [200] * 6
    assert sorted(answer.json()["data"]["repeated"] for answer in said) == [False] + [True] * 5
    assert len(rung) == 1
    assert (call.type, call.result) == ("out", "answered")


async def click(service: Service, phone: str) -> httpx.Response:
    query = {"clientId": CLIENT_ID, "code": "150", "phone": phone}
    async with visitor(service) as client:
        return await client.get("/retailcrm/make-call", params=query)


async def test_when_the_owner_is_killed_the_other_has_the_pbx_within_ten_seconds(pair: Pair) -> None:
    # given calls that go on
    company = pair.at.company
    outliving = await company.inbound("79162000004", by="150")
    unseen = await company.inbound("79162000005", by="151")
    owner, other = await pair.owner(), await pair.other()
    await eventually(lambda: talks(other, "79162000004", "79162000005"))

    killed = time.monotonic()
    await owner.kill()
    lost = await unseen.end()
    await eventually(lambda: owned_by(pair, other), 15)
    await eventually(lambda: is_up(other), 15)
    took_over = time.monotonic() - killed
    truth = await outliving.end()
    await ended(other, "79162000004")

    assert took_over < 10.0
    call = await told(pair.at, "79162000004")
    assert (call.result, call.code) == ("answered", "150")
    assert abs((call.duration or 0) - truth.talk_seconds) <= TOLERANCE
    assert (await ended(other, "79162000005"))["result"] == "incomplete"
    assert (await told(pair.at, "79162000005")).code == lost.answered_by
    # and the time during which nobody watched is known
    gaps = await pair.database.fetch("select began_at, ended_at from pbx_gaps order by id desc limit 1")
    assert 0 < (gaps[0]["ended_at"] - gaps[0]["began_at"]).total_seconds() < 12


async def test_an_owner_that_is_told_to_stop_hands_its_calls_on_whole(pair: Pair) -> None:
    company = pair.at.company
    going_on = await company.inbound("79162000006", by="150")
    owner, other = await pair.owner(), await pair.other()
    await eventually(lambda: talks(other, "79162000006"))

    await owner.stop()
    await eventually(lambda: owned_by(pair, other))
    await eventually(lambda: is_up(other))
    truth = await going_on.end("extension")

    await ended(other, "79162000006")
    assert not truth.differences(await record(other, "79162000006"))
    call = await told(pair.at, "79162000006")
    assert abs((call.duration or 0) - truth.talk_seconds) <= TOLERANCE


async def talks(service: Service, *clients: str) -> bool:
    active = {call["client_number"]: call["status"] for call in await get(service, "/api/v1/calls/active")}
    return all(active.get(f"+{client}") == "accepted" for client in clients)


async def owned_by(pair: Pair, service: Service) -> bool:
    return service.process is not None and [f":{service.process.pid}:" in owner for owner in await pair.owners()] == [
        True
    ]
