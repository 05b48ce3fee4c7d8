"""Configurations are read once, kept for a while, dropped when told, and survive a database that is away."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bridge.crm.configurations import Configurations
from bridge.crm.retailcrm.config import RetailcrmConfig, decode
from bridge.errors import BadInput

JUNE = RetailcrmConfig(domain="https://june.retailcrm.ru", api_key="k")


class Source:
    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], Any] = {("0367", "retailcrm"): JUNE}
        self.reads = 0
        self.problem: Exception | None = None
        self.hold: asyncio.Event | None = None

    async def asked(self, times: int) -> None:
        async with asyncio.timeout(5):
            while self.reads < times:  # noqa: ASYNC110 - one turn of the loop is what is waited for
                await asyncio.sleep(0)

    async def __call__(self, enterprise_number: str, integration_type: str) -> Any:
        self.reads += 1
        answer = self.answers.get((enterprise_number, integration_type))
        if self.hold is not None:
            await self.hold.wait()
        if self.problem is not None:
            raise self.problem
        return answer


@contextlib.asynccontextmanager
async def caching(source: Source, lives: float = 60.0, capacity: int = 100) -> AsyncIterator[Configurations]:
    cache = Configurations(source, lives=lambda: lives, capacity=capacity)
    try:
        yield cache
    finally:
        await cache.close()


def notify(number: str, kind: str) -> str:
    return json.dumps({"enterprise_number": number, "integration_type": kind, "version": 2})


async def test_a_configuration_is_read_once() -> None:
    source = Source()
    async with caching(source) as cache:
        assert await cache.get("0367", "retailcrm") is JUNE
        assert await cache.get("0367", "retailcrm") is JUNE

        assert source.reads == 1
        assert (cache.counted.hits, cache.counted.misses) == (1, 1)


async def test_there_being_none_is_remembered_too() -> None:
    source = Source()
    async with caching(source) as cache:
        assert [await cache.get("0400", "retailcrm") for _ in range(3)] == [None, None, None]

        assert source.reads == 1


@pytest.mark.parametrize("problem", [None, BadInput("wrong")])
async def test_a_hundred_questions_are_one_read_even_if_it_fails(problem: Exception | None) -> None:
    source = Source()
    source.hold, source.problem = asyncio.Event(), problem
    async with caching(source) as cache:
        questions = [asyncio.create_task(cache.get("0367", "retailcrm")) for _ in range(100)]
        await source.asked(1)
        source.hold.set()
        answers = await asyncio.gather(*questions, return_exceptions=True)

    assert source.reads == 1
    assert all(answer is (problem or JUNE) for answer in answers)


async def test_one_who_stops_waiting_takes_the_answer_from_nobody() -> None:
    source = Source()
    source.hold = asyncio.Event()
    async with caching(source) as cache:
        impatient = asyncio.create_task(cache.get("0367", "retailcrm"))
        patient = asyncio.create_task(cache.get("0367", "retailcrm"))
        await source.asked(1)
        impatient.cancel()
        source.hold.set()

        assert await patient is JUNE
        with pytest.raises(asyncio.CancelledError):
            await impatient


@pytest.mark.parametrize("kind", ["retailcrm", "*"])
async def test_a_notify_drops_what_it_names_and_nothing_else(kind: str) -> None:
    source = Source()
    source.answers["0400", "retailcrm"] = "another"
    async with caching(source) as cache:
        await cache.get("0367", "retailcrm")
        await cache.get("0400", "retailcrm")
        source.answers["0367", "retailcrm"] = "changed"
        cache.changed(notify("0367", kind))

        assert await cache.get("0367", "retailcrm") == "changed"
        assert await cache.get("0400", "retailcrm") == "another"
        assert source.reads == 3
        assert dict(cache.counted.invalidations) == {"retailcrm": 1}


async def test_an_enterprises_own_settings_are_part_of_its_configurations() -> None:
    source = Source()
    async with caching(source) as cache:
        await cache.get("0367", "retailcrm")
        cache.config_changed('{"table": "pbxs", "enterprise_number": "0367"}')
        await cache.get("0367", "retailcrm")
        assert source.reads == 1
        cache.config_changed('{"table": "enterprises", "enterprise_number": "0367"}')
        await cache.get("0367", "retailcrm")
        assert source.reads == 2
        cache.config_changed("nonsense")
        await cache.get("0367", "retailcrm")
        assert source.reads == 3


async def test_what_was_read_before_a_change_is_not_kept() -> None:
    source = Source()
    source.hold = asyncio.Event()
    async with caching(source) as cache:
        early = asyncio.create_task(cache.get("0367", "retailcrm"))
        await source.asked(1)
        source.answers["0367", "retailcrm"] = "changed"
        cache.changed(notify("0367", "retailcrm"))
        late = asyncio.create_task(cache.get("0367", "retailcrm"))
        await source.asked(2)
        source.hold.set()

        assert await early is JUNE
        assert await late == "changed"
        assert await cache.get("0367", "retailcrm") == "changed"


async def test_an_entry_lapses_by_itself() -> None:
    source = Source()
    async with caching(source, lives=0.02) as cache:
        await cache.get("0367", "retailcrm")
        source.answers["0367", "retailcrm"] = "changed"
        async with asyncio.timeout(5):
            while await cache.get("0367", "retailcrm") != "changed":  # noqa: ASYNC110 - a time to live raises no event
                await asyncio.sleep(0.005)


async def test_after_a_reconnect_nothing_is_believed_unread_but_a_dead_source_costs_nothing() -> None:
    source = Source()
    async with caching(source) as cache:
        await cache.get("0367", "retailcrm")
        cache.catch_up()
        source.problem = ConnectionError("the database is away")
        assert await cache.get("0367", "retailcrm") is JUNE
        assert source.reads == 2
        with pytest.raises(ConnectionError):
            await cache.get("0400", "retailcrm")
        source.problem, source.answers["0367", "retailcrm"] = None, "changed"
        assert await cache.get("0367", "retailcrm") == "changed"


async def test_the_last_word_of_the_source_is_believed_over_what_was() -> None:
    source = Source()
    async with caching(source) as cache:
        await cache.get("0367", "retailcrm")
        cache.catch_up()
        source.problem = BadInput("retailcrm.domain is absent")
        for _ in range(2):
            with pytest.raises(BadInput):
                await cache.get("0367", "retailcrm")
        source.problem = ConnectionError("the database is away")
        with pytest.raises(ConnectionError):
            await cache.get("0367", "retailcrm")


async def test_made_up_enterprises_do_not_fill_the_memory() -> None:
    source = Source()
    async with caching(source, capacity=10) as cache:
        for number in range(1000):
            await cache.get(str(number), "retailcrm")

        assert cache.counted.size == 10
        assert len(cache._cache._cache) == 10


async def test_two_caches_of_one_process_share_nothing() -> None:
    one, other = Source(), Source()
    other.answers["0367", "retailcrm"] = "other"
    async with caching(one) as first, caching(other) as second:
        assert await first.get("0367", "retailcrm") is JUNE
        assert await second.get("0367", "retailcrm") == "other"


def test_retailcrm_is_decoded_tolerantly() -> None:
    config = decode(
        {
            "enabled": True, "domain": "https://june.retailcrm.ru", "api_key": "k", "client_id": None, "last_sync": "x",
            "user_extensions": {"19": 150, "18": "151", "22": None, "23": ""},
        },
        timezone="Asia/Almaty", region="KZ",
    )  # fmt: skip

    assert dict(config.user_extensions) == {"19": "150", "18": "151", "22": None, "23": None}
    assert (config.client_id, config.timezone, config.region) == ("", "Asia/Almaty", "KZ")
    assert (
        decode({"domain": "d", "api_key": "k", "timezone": "Europe/Minsk"}, timezone="Asia/Almaty").timezone
        == "Europe/Minsk"
    )
    assert not decode({"domain": "d", "api_key": "k"}).enabled


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"api_key": ["the secret"]}, "api_key"),
        ({"user_extensions": {"19": ["150"]}}, "user_extensions"),
        ({"domain": ""}, "domain"),
        ({"enabled": "yes"}, "enabled"),
    ],
)
def test_a_wrong_shape_names_the_key_and_no_secret(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(BadInput, match=named) as raised:
        decode({"enabled": True, "domain": "https://june.retailcrm.ru", "api_key": "the secret"} | wrong)

    assert "the secret" not in str(raised.value)
