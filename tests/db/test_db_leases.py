"""Leases against a real Postgres: one owner, fair shares, and nobody left unwatched."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from bridge.db import instance as instances
from bridge.db import pbx_states
from bridge.db.leases import Leases
from bridge.db.pool import Pool

Start = Callable[..., Awaitable[Leases]]


async def until(condition: Callable[[], Any], deadline: float = 10.0) -> None:
    async with asyncio.timeout(deadline):
        while not condition():  # noqa: ASYNC110 - the condition is the product's own state: it has no event to wait for
            await asyncio.sleep(0.005)


@pytest.fixture
async def pbxs(pool: Pool) -> list[int]:
    """Twelve PBXs of one enterprise."""
    await pool.execute("insert into enterprises (number) values ('0367')")
    rows = await pool.fetch(
        "insert into pbxs (enterprise_number, name, ami_host, ami_username)"
        " select '0367', 'pbx' || n, '127.0.0.1', 'bridge' from generate_series(1, 12) n returning id"
    )
    return [row["id"] for row in rows]


@pytest.fixture
async def start(database_url: str) -> AsyncIterator[Start]:
    """`start(name, ttl=…, tick=…)` runs the leases of an instance; they end with the test."""
    running: list[asyncio.Task[None]] = []

    async def run(name: str, *, url: str = "", ttl: float = 1.2, tick: float = 0.1) -> Leases:
        leases = Leases(url or database_url, instance=name, ttl=ttl, tick=tick)
        leases.task = asyncio.create_task(leases.run())  # type: ignore[attr-defined]
        running.append(leases.task)  # type: ignore[attr-defined]
        return leases

    yield run
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


def kill(leases: Leases) -> None:
    """It ends without a word to the database."""
    assert leases._connection is not None
    leases._connection.terminate()
    leases._url = "postgresql://nobody@127.0.0.1:1/none"


async def until_true(connection: Any, query: str) -> None:
    async with asyncio.timeout(5):
        while not await connection.fetchval(query):  # noqa: ASYNC110 - the database tells nobody of this
            await asyncio.sleep(0.01)


EXPIRED = "select bool_and(expires_at <= now()) from pbx_leases"
SOMEBODY_WAITS = "select bool_or(wait_event_type = 'Lock') from pg_stat_activity where datname = current_database()"


class Wire:
    """A way to the database that can be cut and mended."""

    def __init__(self, database_url: str) -> None:
        self.parts = urlsplit(database_url)
        self.ways: set[asyncio.StreamWriter] = set()
        self.whole = True

    async def __aenter__(self) -> Wire:
        self.server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        port = self.server.sockets[0].getsockname()[1]
        user, _, _ = self.parts.netloc.rpartition("@")
        self.url = f"postgresql://{user}@127.0.0.1:{port}{self.parts.path}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        self.cut()
        await self.server.wait_closed()

    def cut(self) -> None:
        self.whole = False
        for way in self.ways:
            way.transport.abort()

    def mend(self) -> None:
        self.whole = True

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.whole:
            writer.transport.abort()
            return
        host = parse_qs(self.parts.query).get("host")
        if host:
            there = await asyncio.open_unix_connection(f"{host[0]}/.s.PGSQL.{self.parts.port or 5432}")
        else:
            there = await asyncio.open_connection(self.parts.hostname, self.parts.port)
        self.ways |= {writer, there[1]}
        await asyncio.gather(pump(reader, there[1]), pump(there[0], writer), return_exceptions=True)
        self.ways -= {writer, there[1]}


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.transport.abort()


@pytest.fixture
async def wire(database_url: str) -> AsyncIterator[Wire]:
    async with Wire(database_url) as made:
        yield made


async def stop(leases: Leases) -> None:
    leases.task.cancel()  # type: ignore[attr-defined]
    await asyncio.gather(leases.task, return_exceptions=True)  # type: ignore[attr-defined]


async def test_one_instance_takes_all_at_once(pool: Pool, pbxs: list[int], start: Start) -> None:
    one = await start("one")
    await until(lambda: sorted(one.held) == pbxs)
    assert {lease.epoch for lease in one.held.values()} == {1}
    assert {lease.watched_until for lease in one.held.values()} == {None}


async def test_four_instances_share_evenly_and_no_pbx_has_two(pool: Pool, pbxs: list[int], start: Start) -> None:
    first = await start("i1")
    await until(lambda: len(first.held) == 12)
    all_four = [first, *[await start(f"i{n}") for n in (2, 3, 4)]]
    worst = 0

    def even() -> bool:
        nonlocal worst
        worst = max([worst, *Counter(pbx for leases in all_four for pbx in leases.held).values()])
        return [len(leases.held) for leases in all_four] == [3, 3, 3, 3]

    await until(even)
    assert worst == 1


async def test_starting_together_they_share_without_a_quarrel(pool: Pool, pbxs: list[int], start: Start) -> None:
    several = [await start(f"i{n}") for n in range(5)]
    await until(
        lambda: (
            sorted(pbx for leases in several for pbx in leases.held) == pbxs
            and max(len(leases.held) for leases in several) == 3
        )
    )


async def test_a_surplus_pbx_passes_on_only_when_it_was_left(pool: Pool, pbxs: list[int], start: Start) -> None:
    one = await start("one", ttl=30, tick=0.1)
    written = asyncio.Event()
    asked: list[int] = []

    async def left(leaving: Collection[int]) -> None:
        asked.extend(leaving)
        await written.wait()

    one.left = left
    await until(lambda: len(one.held) == 12)
    two = await start("two", ttl=30, tick=0.1)
    await until(lambda: len(one.held) == 6 and len(asked) == 6)
    assert two.held == {}
    async with pool.acquire() as connection:
        assert await one.owns(connection, asked[0], 1)  # what was heard can still be written
    written.set()
    await until(lambda: sorted(two.held) == sorted(asked))
    assert sorted([*one.held, *two.held]) == pbxs


async def test_stopping_releases_at_once_and_the_epoch_rises(pool: Pool, pbxs: list[int], start: Start) -> None:
    one = await start("one", ttl=60, tick=1)
    one.watched = lambda: [pbxs[0]]
    await until(lambda: len(one.held) == 12)
    await stop(one)
    assert one.held == {}
    two = await start("two")
    await until(lambda: len(two.held) == 12)
    assert {lease.epoch for lease in two.held.values()} == {2}
    watched = two.held[pbxs[0]].watched_until
    assert watched is not None
    assert abs(watched - time.time()) < 10
    assert two.held[pbxs[1]].watched_until is None


async def test_while_the_database_is_away_for_all_everybody_keeps_what_they_have(
    pool: Pool, pbxs: list[int], start: Start, wire: Wire
) -> None:
    one, two = [await start(name, url=wire.url, ttl=0.6) for name in ("one", "two")]
    await until(lambda: len(one.held) == len(two.held) == 6)
    had = (dict(one.held), dict(two.held))
    some = min(one.held)
    wire.cut()
    async with pool.acquire() as connection:
        await until_true(connection, EXPIRED)  # all leases are over, by the database's word
        async with connection.transaction():
            assert await one.owns(connection, some, one.held[some].epoch)  # and nobody has taken them
    assert (dict(one.held), dict(two.held)) == had
    wire.mend()
    await until(lambda: one._in_touch_since is not None and two._in_touch_since is not None)
    await until(lambda: time.monotonic() - min(one._in_touch_since or 0, two._in_touch_since or 0) > 0.8)
    assert (dict(one.held), dict(two.held)) == had


async def test_whoever_alone_is_cut_off_is_followed_and_can_write_nothing_more(
    pool: Pool, pbxs: list[int], start: Start, wire: Wire
) -> None:
    one, two = await start("one", url=wire.url, ttl=0.6), await start("two", ttl=0.6)
    await until(lambda: len(one.held) == len(two.held) == 6)
    lost = min(one.held)
    epoch = one.held[lost].epoch
    wire.cut()
    await until(lambda: len(two.held) == 12)
    assert lost in one.held  # it cannot know
    async with pool.acquire() as connection:
        assert not await one.owns(connection, lost, epoch)
        assert await two.owns(connection, lost, epoch + 1)
    wire.mend()
    await until(lambda: lost not in one.held or one.held[lost].epoch > epoch)
    await until(lambda: len(one.held) == len(two.held) == 6)


async def test_the_lease_does_not_pass_on_while_its_owner_writes(pool: Pool, pbxs: list[int], start: Start) -> None:
    one = await start("one", ttl=0.3)
    await until(lambda: len(one.held) == 12)
    async with pool.acquire() as connection, connection.transaction():
        assert await one.owns(connection, pbxs[0], 1)
        kill(one)
        two = await start("two", ttl=0.3)
        async with pool.acquire() as other:
            await until_true(other, EXPIRED)
            await until(lambda: two._in_touch_since is not None)
            await until_true(other, SOMEBODY_WAITS)
        assert two.held == {}
    await until(lambda: len(two.held) == 12)


async def test_a_write_of_a_former_owner_is_known_for_one(pool: Pool, pbxs: list[int], start: Start) -> None:
    one = await start("one")
    await until(lambda: len(one.held) == 12)
    async with pool.acquire() as connection:
        assert await one.owns(connection, pbxs[0], 1)
    await stop(one)
    two = await start("two")
    await until(lambda: len(two.held) == 12)
    async with pool.acquire() as connection:
        assert not await one.owns(connection, pbxs[0], 1)
        assert not await two.owns(connection, pbxs[0], 1)
        assert await two.owns(connection, pbxs[0], 2)


async def test_a_new_pbx_is_claimed_at_a_poke_and_a_removed_one_is_let_go(
    pool: Pool, pbxs: list[int], start: Start
) -> None:
    one = await start("one", ttl=120, tick=30)
    await until(lambda: len(one.held) == 12)
    changes: list[int] = []
    one.on_change(lambda: changes.append(len(one.held)))
    await pool.execute("delete from pbxs where id = $1", pbxs[0])
    new = await pool.fetchval(
        "insert into pbxs (enterprise_number, name, ami_host, ami_username) values ('0367', 'new', '', '') returning id"
    )
    one.poke()
    await until(lambda: new in one.held and pbxs[0] not in one.held)
    assert changes == [12]


async def test_while_the_database_is_away_nothing_is_claimed_and_the_loop_lives(pbxs: list[int]) -> None:
    leases = Leases("postgresql://nobody@127.0.0.1:1/none", instance="one", ttl=0.5, tick=0.05)
    task = asyncio.create_task(leases.run())
    await asyncio.sleep(0.2)
    assert not task.done()
    assert leases.held == {}
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


KEEPER = """
import asyncio, sys
from bridge.db.leases import Leases

async def main():
    leases = Leases(sys.argv[1], ttl=float(sys.argv[2]), tick=float(sys.argv[3]))
    leases.on_change(lambda: print(leases.instance, len(leases.held), flush=True))
    await leases.run()

asyncio.run(main())
"""


async def keeper(url: str, ttl: float, tick: float) -> tuple[asyncio.subprocess.Process, str]:
    """Another process with leases of its own; its name once it holds all twelve."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KEEPER, url, str(ttl), str(tick), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        while not (line := (await process.stdout.readline()).decode()).endswith(" 12\n"):
            assert line
    return process, line.split()[0]


async def test_after_a_kill_the_pbxs_pass_on_within_ttl_and_a_tick(
    pbxs: list[int], start: Start, database_url: str
) -> None:
    process, _ = await keeper(database_url, 1.0, 0.2)
    two = await start("elsewhere:boot:1:1:1", ttl=1.0, tick=0.2)
    await until(lambda: len(two.held) == 6)  # its fair share
    process.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    await until(lambda: len(two.held) == 12)
    assert time.monotonic() - killed < 2.5
    await process.wait()


async def test_a_restart_after_a_kill_on_the_same_machine_waits_for_no_lease(
    pool: Pool, pbxs: list[int], start: Start, database_url: str
) -> None:
    process, name = await keeper(database_url, 60.0, 1.0)
    assert not instances.is_dead(name)
    await pool.execute("update pbx_leases set state = 'up'")
    process.send_signal(signal.SIGKILL)
    await process.wait()
    assert instances.is_dead(name)
    again = await start(instances.name(), ttl=60, tick=1)
    await until(lambda: len(again.held) == 12, deadline=5)
    # and nobody takes the links of the dead for links that stand
    async with pool.acquire() as connection:
        assert {link.state for link in await pbx_states.read(connection)} == {"connecting"}


@pytest.mark.parametrize("name", ["", "x", "host:boot:1:2:3", "host:boot:ns:pid:start"])
def test_of_instances_elsewhere_nothing_is_claimed_to_be_known(name: str) -> None:
    assert not instances.is_dead(name)


def test_a_later_process_of_the_same_pid_is_another_instance() -> None:
    own = instances.name()
    assert not instances.is_dead(own)
    assert instances.is_dead(own.rpartition(":")[0] + ":1")
