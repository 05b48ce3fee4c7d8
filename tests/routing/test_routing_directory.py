"""The directory: what a process knows of everybody, swapped whole, and who a presented secret belongs to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from two_enterprises import furnish

from bridge.db.pool import Pool
from bridge.directory import Directory


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - a map that is swapped has no event to wait for
            await asyncio.sleep(0.01)


async def test_a_secret_opens_its_own_door_only(pool: Pool) -> None:
    directory = await furnish(pool)

    assert directory.credential("retailcrm", "june-client") == ("0367", "")
    assert directory.credential("enterprise", "june-client") is None
    assert directory.credential("retailcrm", "0367") is None
    assert directory.credential("retailcrm", "") is None
    assert directory.credential("retailcrm", "\ud800") is None


@pytest.mark.parametrize(
    ("pbx", "token", "enterprise"),
    [
        ("office", "office-token", "0367"),
        ("other", "other-token", "0999"),
        ("office", "other-token", None),
        ("", "office-token", None),
        ("office", "", None),
        ("оffice", "office-token", None),
    ],
)
async def test_a_pbx_is_believed_by_its_own_token_and_name(
    pool: Pool, pbx: str, token: str, enterprise: str | None
) -> None:
    assert (await furnish(pool)).pbx_credential(pbx, token) == enterprise


async def test_what_is_switched_off_is_not_there(pool: Pool) -> None:
    directory = await furnish(pool)
    await pool.execute("update enterprises set active = false where number = '0367'")
    await directory.refresh()

    assert directory.enterprise("0367") is None
    assert directory.credential("retailcrm", "june-client") is None
    assert directory.enterprise("0999") is not None


async def test_a_line_without_an_enterprise_belongs_to_the_only_one(pool: Pool) -> None:
    await pool.execute("insert into enterprises (number) values ('0367')")
    await pool.execute("insert into phones (number, smart_redirect) values ('+74951000007', 'route')")
    directory = Directory(pool)
    await directory.refresh()
    alone = directory.enterprise("0367")
    await pool.execute("insert into enterprises (number) values ('0999')")
    await directory.refresh()
    together = directory.enterprise("0367")

    assert alone is not None
    assert together is not None
    assert (alone.line("74951000007"), together.line("74951000007")) == ("route", "off")


async def test_a_change_is_seen_at_once_when_told_and_soon_when_not(pool: Pool) -> None:
    told = await furnish(pool)
    untold = Directory(pool, every=0.1)
    running = [asyncio.create_task(told.run()), asyncio.create_task(untold.run())]
    try:
        await pool.execute("update enterprises set fallback = '151' where number = '0367'")
        told.changed()
        for directory in (told, untold):
            await until(lambda d=directory: getattr(d.enterprise("0367"), "fallback", None) == "151")  # type: ignore[misc]
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def test_while_the_database_is_away_the_last_map_stays_in_force(pool: Pool) -> None:
    directory = await furnish(pool)
    await pool.close()
    running = asyncio.create_task(directory.run())
    directory.changed()
    await asyncio.sleep(0.05)
    try:
        assert not running.done()
        assert directory.enterprise("0367") is not None
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_changed_credential_is_notified(pool: Pool) -> None:
    """given that every instance listens on bridge_config, then a new secret is told there as any configuration is"""
    heard: asyncio.Queue[str] = asyncio.Queue()

    def hear(connection: object, pid: int, channel: str, payload: str) -> None:
        heard.put_nowait(payload)

    await furnish(pool)
    async with pool.acquire() as listener:
        await listener.add_listener("bridge_config", hear)
        await pool.execute("update credentials set digest = '\\x01' where kind = 'pbx' and subject = 'office'")
        said = await asyncio.wait_for(heard.get(), 5)
        await listener.remove_listener("bridge_config", hear)
    assert '"credentials"' in said
