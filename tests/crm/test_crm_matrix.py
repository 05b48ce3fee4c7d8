"""The map of enabled integrations: judged, read, patched and timed, without a database."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from bridge.crm.cache_figures import publish
from bridge.crm.matrix import Matrix, entries, judged, life, patched, refresh_delay, whole
from bridge.crm.retailcrm.config import decode

CHECKS = {"retailcrm": decode}
GOOD = {"enabled": True, "domain": "https://june.retailcrm.ru", "api_key": "sealed:x"}


class Row(NamedTuple):
    number: str
    config: Any
    version: int = 1
    active: bool = True


class Table:
    """A source that can be slow, and away."""

    def __init__(self, *rows: Row) -> None:
        self.rows = {row.number: row for row in rows}
        self.reads: list[Sequence[str] | str] = []
        self.away = False
        self.hold: asyncio.Event | None = None

    async def all(self) -> Sequence[Row]:
        return await self._read("all", list(self.rows.values()))

    async def some(self, numbers: Sequence[str]) -> Sequence[Row]:
        return await self._read(list(numbers), [self.rows[number] for number in numbers if number in self.rows])

    async def _read(self, what: Sequence[str] | str, rows: list[Row]) -> list[Row]:
        self.reads.append(what)
        if self.away:
            raise ConnectionError("the database is away")
        if self.hold is not None:
            await self.hold.wait()
        return rows


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextlib.asynccontextmanager
async def running(table: Table, clock: Clock) -> AsyncIterator[Matrix]:
    matrix = Matrix(table, CHECKS, clock=clock, rng=random.Random(7), tick=0.01)
    await matrix.refresh()
    task = asyncio.create_task(matrix.run())
    try:
        yield matrix
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the matrix raises no event when it has read
            await asyncio.sleep(0.002)


def notify(number: str, version: int, kind: str = "retailcrm") -> str:
    return json.dumps({"enterprise_number": number, "integration_type": kind, "version": version})


@pytest.mark.parametrize(
    ("config", "enabled", "reason"),
    [
        ({"retailcrm": GOOD}, {"retailcrm": True}, None),
        ({"retailcrm": GOOD | {"enabled": False}}, {"retailcrm": False}, None),
        ({"retailcrm": {}}, {"retailcrm": False}, None),
        ({"retailcrm": {"enabled": False, "domain": 7}}, {"retailcrm": False}, None),
        ({"retailcrm": GOOD | {"unknown": [1]}}, {"retailcrm": True}, None),
        ({"retailcrm": GOOD | {"user_extensions": {"19": 150, "22": None}}}, {"retailcrm": True}, None),
        ({"retailcrm": GOOD | {"user_extensions": ["150"]}}, {"retailcrm": False}, "user_extensions"),
        ({"retailcrm": {"enabled": True, "api_key": "k"}}, {"retailcrm": False}, "domain is absent"),
        ({"retailcrm": GOOD | {"enabled": "yes"}}, {"retailcrm": False}, "enabled is a text; it must be true or false"),
        ({"retailcrm": "on"}, {"retailcrm": False}, "is a text; it must be an object"),
        ({"retailcrm": None}, {"retailcrm": False}, "is null"),
        ({"smart": {"enabled": True}, "retailcrm": GOOD}, {"retailcrm": True, "smart": True}, None),
        ({"retailcrm": [], "smart": {"enabled": True}}, {"retailcrm": False, "smart": True}, "is a list"),
        ([], {}, "integrations_config is a list"),
    ],
)
def test_an_integration_is_on_when_it_says_so_and_can_work(
    config: Any, enabled: dict[str, bool], reason: str | None
) -> None:
    found, broken = judged(Row("0367", config), CHECKS)

    assert found == enabled
    assert list(found) == list(enabled), "those that are checked come first, in their order"
    assert (reason is None) == (not broken)
    assert reason is None or reason in next(iter(broken.values()))


def test_nothing_of_an_enterprise_that_is_switched_off_is_on() -> None:
    assert judged(Row("0367", {"retailcrm": GOOD}, active=False), CHECKS) == ({"retailcrm": False}, {})


def test_a_reason_never_holds_a_secret() -> None:
    _, broken = judged(Row("0367", {"retailcrm": GOOD | {"api_key": ["the secret"]}}), CHECKS)

    assert broken
    assert "the secret" not in repr(broken)


def read_at(begun: float, *rows: Row) -> dict[str, Any]:
    return entries(rows, CHECKS, begun=begun, lives=lambda: 60.0)


def test_a_full_read_does_not_undo_a_later_one() -> None:
    now = patched({}, ["1"], read_at(20, Row("1", {}, version=3)), 20)
    now = whole(now, read_at(10, Row("1", {}, version=2), Row("2", {})), 10)

    assert {number: entry.version for number, entry in now.items()} == {"1": 3, "2": 1}


def test_a_full_read_forgets_who_is_gone() -> None:
    assert set(whole(read_at(10, Row("1", {})), read_at(20, Row("2", {})), 20)) == {"2"}


def test_an_enterprise_that_was_made_anew_with_a_lower_version_is_believed() -> None:
    before = read_at(10, Row("1", {"retailcrm": GOOD}, version=9))
    now = patched(before, ["1"], read_at(20, Row("1", {}, version=1)), 20)

    assert dict(now["1"].enabled) == {}


def test_a_read_that_was_overtaken_removes_nothing() -> None:
    before = read_at(20, Row("1", {}))

    assert patched(before, ["1"], {}, 10) == before
    assert patched(before, ["1"], {}, 30) == {}


@given(seed=st.integers())
def test_the_times_keep_to_what_is_promised(seed: int) -> None:
    rng = random.Random(seed)

    assert 180 <= refresh_delay(rng) <= 300
    assert not 240 * 0.9 < refresh_delay(rng) < 240 * 1.1, "ten per cent of jitter at least"
    assert 60 <= life(rng) <= 115, "with the tick and the read it is within 120 s"


async def test_a_question_is_answered_from_memory_and_counted() -> None:
    async with running(Table(Row("0367", {"retailcrm": GOOD})), Clock()) as matrix:
        assert dict(matrix.enabled("0367")) == {"retailcrm": True}
        assert dict(matrix.enabled("0000")) == {}
        assert matrix.active("retailcrm") == ["0367"]
        assert (matrix.counted.hits, matrix.counted.misses) == (1, 1)
        with pytest.raises(TypeError):
            matrix.enabled("0367")["retailcrm"] = False  # type: ignore[index]


async def test_a_notify_has_one_enterprise_read_and_a_stale_one_nothing() -> None:
    table = Table(Row("0367", {}, version=4), Row("0400", {}))
    async with running(table, Clock()) as matrix:
        matrix.changed(notify("0367", 4))
        assert matrix.counted.ignored == 1
        table.rows["0367"] = Row("0367", {"retailcrm": GOOD}, version=5)
        matrix.changed(notify("0367", 5))
        await until(lambda: matrix.enabled("0367"))

        assert table.reads == ["all", ["0367"]]
        assert dict(matrix.counted.invalidations) == {"retailcrm": 1}


async def test_an_enterprise_that_is_deleted_is_gone() -> None:
    table = Table(Row("0367", {"retailcrm": GOOD}))
    async with running(table, Clock()) as matrix:
        del table.rows["0367"]
        matrix.changed(notify("0367", 2, "*"))
        await until(lambda: not matrix.enabled("0367"))


async def test_many_questions_about_an_unknown_enterprise_are_one_read() -> None:
    table, clock = Table(), Clock()
    async with running(table, clock) as matrix:
        table.hold = asyncio.Event()
        for _ in range(100):
            assert not matrix.enabled("0367")
        await until(lambda: len(table.reads) == 2)
        for _ in range(100):
            matrix.enabled("0367")
        table.hold.set()
        await until(lambda: matrix.counted.loads["entries"] == 2)
        for _ in range(100):
            matrix.enabled("0367")
        matrix.catch_up()
        await until(lambda: table.reads.count("all") == 2)

    # The second hundred asked while the first read was under way; the third knows that there is nobody.
    assert table.reads == ["all", ["0367"], ["0367"], "all"]


async def test_an_entry_that_is_too_old_is_read_again_by_itself() -> None:
    table, clock = Table(Row("0367", {}), Row("0400", {})), Clock()
    async with running(table, clock) as matrix:
        table.rows["0367"] = Row("0367", {"retailcrm": GOOD}, version=2)
        clock.now += 115
        await until(lambda: matrix.enabled("0367"))

        assert "all" not in table.reads[1:]


async def test_everything_is_read_again_from_time_to_time_and_after_a_reconnect() -> None:
    table, clock = Table(Row("0367", {})), Clock()
    async with running(table, clock) as matrix:
        clock.now += 300
        await until(lambda: table.reads.count("all") == 2)
        matrix.catch_up()
        await until(lambda: table.reads.count("all") == 3)
        matrix.changed("not json")
        await until(lambda: table.reads.count("all") == 4)


async def test_a_source_that_is_away_leaves_the_map_and_is_asked_again() -> None:
    table, clock = Table(Row("0367", {"retailcrm": GOOD})), Clock()
    async with running(table, clock) as matrix:
        table.away = True
        matrix.catch_up()
        await until(lambda: matrix.counted.failures >= 1)
        assert dict(matrix.enabled("0367")) == {"retailcrm": True}
        table.away = False
        table.rows["0367"] = Row("0367", {"retailcrm": GOOD | {"enabled": False}}, version=2)
        await until(lambda: not matrix.enabled("0367")["retailcrm"])


async def test_a_broken_integration_is_told_and_costs_the_others_nothing() -> None:
    table = Table(Row("0367", {"retailcrm": {"enabled": True}}), Row("0400", {"retailcrm": GOOD}))
    async with running(table, Clock()) as matrix:
        assert "absent" in matrix.figures()["broken"]["0367"]["retailcrm"]
        assert dict(matrix.enabled("0400")) == {"retailcrm": True}


async def test_the_figures_are_published() -> None:
    registry = CollectorRegistry()
    async with running(Table(Row("0367", {})), Clock()) as matrix:
        publish(registry, matrix.counted)
        matrix.enabled("0367")
        text = generate_latest(registry).decode()

    assert 'bridge_cache_lookups_total{cache="matrix",result="hit"} 1.0' in text
    assert 'bridge_cache_load_seconds_count{cache="matrix",what="full"} 1.0' in text
    assert 'bridge_cache_size{cache="matrix"} 1.0' in text
