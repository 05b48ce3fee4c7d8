"""The signed client over real HTTP and a real Postgres: what it sends, what it makes of answers, its manners."""

from __future__ import annotations

import asyncio
import ssl
import traceback
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from mango_office import PRODUCT, Behaviour, MangoOffice, refusal
from starlette.responses import Response

from bridge.db.pool import Pool
from bridge.errors import (
    BadInput,
    BridgeError,
    DatabaseProblem,
    MangoPaused,
    MangoRefused,
    MangoTimeout,
    MangoUnavailable,
)
from bridge.hosts import Hosts
from bridge.mango.client import Api, tls
from bridge.mango.config import Product
from bridge.mango.limits import Paces
from bridge.mango.users import Users


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def office() -> AsyncIterator[MangoOffice]:
    async with MangoOffice(PRODUCT) as office:
        yield office


@pytest.fixture
async def instance(office: MangoOffice) -> AsyncIterator[Callable[..., Api]]:
    """Makes an instance of the service: `instance(pool, clock)`."""
    hosts, opened = Hosts(["127.0.0.1"]), []

    def make(pool: Pool, clock: Clock | None = None) -> Api:
        opened.append(Api(hosts, office.url, Paces(pool, clock)))
        return opened[-1]

    yield make
    for api in opened:
        await api.close()
    hosts.close()


async def ask(api: Api, question: dict[str, Any] | None = None, **options: Any) -> Any:
    return await api.ask(PRODUCT, "hangup", "commands/call/hangup", question or {"call_id": "leg"}, **options)


async def test_a_question_is_signed_over_exactly_what_is_sent(
    pool: Pool, office: MangoOffice, instance: Callable[..., Api]
) -> None:
    # given values that a form or JSON could change on their way
    hostile = {
        "call_id": "MTpiYXNlNjQ=+/ &sign=1&json={}\r\n\0\u2028 юникод \U0001f600",
        "nested": {"a": ['"', "\\u0041"]},
    }
    await ask(instance(pool), hostile)

    [asked] = office.asked
    assert asked.path == "commands/call/hangup"
    assert asked.signed
    assert asked.question == hostile


@pytest.mark.parametrize("code", [1000, "1000"])
async def test_what_worked(pool: Pool, office: MangoOffice, instance: Callable[..., Api], code: int | str) -> None:
    office.behave = lambda asked: {"result": code, "balance": 1500.5}
    reply = await ask(instance(pool))
    assert reply.document == {"result": code, "balance": 1500.5}


@pytest.mark.parametrize(
    ("answer", "problem", "result"),
    [
        (refusal(4101, 200, "Call is over"), MangoRefused, 4101),
        ({"result": 2210}, MangoRefused, 2210),
        (Response('{"code": "4001"}', 400), MangoRefused, 4001),
        (404, MangoRefused, None),
        ({"result": 5003}, MangoUnavailable, 5003),
        ({"result": 5008}, MangoUnavailable, 5008),
        (refusal(0, 429, "Rate limit exceeded."), MangoUnavailable, None),
        (503, MangoUnavailable, None),
        (500, MangoUnavailable, None),
        (Response(status_code=302, headers={"location": "https://evil.test/"}), MangoUnavailable, None),
        (Response(b"x" * 300_000), MangoUnavailable, None),
        (Response(b"\x1f\x8b", headers={"content-encoding": "gzip"}), MangoUnavailable, None),
    ],
)
async def test_the_code_in_the_body_counts_whatever_the_status(
    pool: Pool, office: MangoOffice, instance: Callable[..., Api], answer: Any, problem: type[BridgeError], result: Any
) -> None:
    office.behave = lambda asked: answer
    with pytest.raises(problem) as raised:
        await ask(instance(pool))
    assert not isinstance(raised.value, MangoPaused)
    assert getattr(raised.value, "result", raised.value.details.get("result")) == result
    # nothing of this is an invalid request
    assert await pool.fetchval("select refusal from mango_paces") is None


@pytest.mark.parametrize(
    "answer",
    [
        refusal(3104, 420), refusal(3104, 200), {"result": 3100}, {"result": "3102"}, {"code": 3300},
        Response(status_code=401), Response("nonsense", 400), refusal(0, 420),
    ],
)  # fmt: skip
async def test_after_the_first_refusal_nothing_is_asked_for_two_minutes(
    pool: Pool, office: MangoOffice, instance: Callable[..., Api], answer: Any
) -> None:
    clock = Clock()
    api = instance(pool, clock)
    office.behave = lambda asked: answer
    with pytest.raises(MangoRefused):
        await ask(api)
    for later in (1, 60, 120):
        clock.now = 1_000_000.0 + later
        with pytest.raises(MangoPaused) as paused:
            await ask(api)
        assert paused.value.retry_after == pytest.approx(125 - later)
    assert len(office.asked) == 1

    # then one may try; it opens the product for all
    clock.now += 10
    office.behave = lambda asked: {"result": 1000}
    await ask(api)
    await api.ask(PRODUCT, "balance", "account/balance", {})
    assert len(office.asked) == 3


async def test_all_instances_leave_the_product_alone_and_no_other(
    pool: Pool, office: MangoOffice, instance: Callable[..., Api]
) -> None:
    first, second = instance(pool), instance(pool)
    office.behave = lambda asked: refusal(3102, message="Signature is wrong")
    with pytest.raises(MangoRefused):
        await ask(first)
    with pytest.raises(MangoPaused, match="Signature is wrong"):
        await ask(second)
    assert len(office.asked) == 1

    office.behave = lambda asked: {"result": 1000}
    await second.ask(Product(api_key="another", api_salt="salt"), "hangup", "commands/call/hangup", {})
    assert len(office.asked) == 2


async def test_who_waits_for_a_turn_does_not_go_when_the_product_was_closed_meanwhile(
    pool: Pool, office: MangoOffice, instance: Callable[..., Api]
) -> None:
    api = instance(pool)

    async def route() -> Any:
        return await api.ask(PRODUCT, "route", "commands/route", {}, patience=5.0)

    await route()
    office.behave = lambda asked: refusal(3104)
    waiting = asyncio.create_task(route())
    await asyncio.sleep(0.1)
    with pytest.raises(MangoRefused):
        await ask(api)
    with pytest.raises(MangoPaused):
        await waiting
    assert office.paths == ["commands/route", "commands/call/hangup"]


async def test_two_instances_together_keep_to_a_rate(
    pool: Pool, office: MangoOffice, instance: Callable[..., Api]
) -> None:
    instances = [instance(pool), instance(pool)]
    await asyncio.gather(*(ask(instances[number % 2], patience=30) for number in range(8)))
    times = sorted(asked.at for asked in office.asked)
    assert len(times) == 8
    for first, last in zip(times, times[4:], strict=False):
        assert last - first >= 0.99  # 4 in a second are allowed


async def test_an_excess_is_followed_by_a_pause(pool: Pool, office: MangoOffice, instance: Callable[..., Api]) -> None:
    clock = Clock()
    api = instance(pool, clock)
    office.behave = lambda asked: refusal(0, 429, "Rate limit exceeded.")
    for pause in (2.0, 4.0):
        with pytest.raises(MangoUnavailable, match=r"Rate limit exceeded\."):
            await ask(api)
        with pytest.raises(MangoUnavailable) as busy:
            await ask(api, patience=0.0)
        assert busy.value.retry_after == pytest.approx(pause)
        clock.now += pause
    assert len(office.asked) == 2


async def test_an_answer_that_does_not_come_is_not_waited_for(
    pool: Pool, office: MangoOffice, instance: Callable[..., Api]
) -> None:
    class Silence(Response):
        async def __call__(self, *args: Any) -> None:
            await asyncio.sleep(30)

    office.behave = lambda asked: Silence()
    with pytest.raises(MangoTimeout):
        await ask(instance(pool), timeout=0.2)
    assert len(office.asked) == 1


async def test_nobody_listens(pool: Pool, office: MangoOffice, instance: Callable[..., Api]) -> None:
    await office.listener.down()
    with pytest.raises(MangoUnavailable, match="cannot be reached: ConnectError"):
        await ask(instance(pool))


async def test_without_a_database_nothing_is_asked(
    pool: Pool, office: MangoOffice, instance: Callable[..., Api]
) -> None:
    api = instance(pool)
    await pool.close()
    with pytest.raises(DatabaseProblem):
        await ask(api)
    assert office.asked == []


@pytest.mark.parametrize(
    "behave",
    [
        lambda asked: refusal(3104, message="product-salt of product-key is wrong\r\nSet-Cookie: product-key"),
        lambda asked: Response('{"code": 5000, "message": "product-salt"}', 500),
        lambda asked: Response("product-salt", 503),
    ],
)
async def test_no_secret_is_in_what_is_said_of_a_failure(
    pool: Pool,
    office: MangoOffice,
    instance: Callable[..., Api],
    behave: Behaviour,
    capsys: pytest.CaptureFixture[str],
) -> None:
    office.behave = behave
    with pytest.raises(BridgeError) as raised:
        await ask(instance(pool))
    shown = "".join(traceback.format_exception(raised.value)) + capsys.readouterr().out
    stored = str(await pool.fetch("select * from mango_paces"))
    for text in (shown, stored, str(raised.value.details)):
        assert "product-salt" not in text
        assert "product-key" not in text
    assert "\r" not in raised.value.message
    assert "\n" not in raised.value.message


@pytest.mark.parametrize(
    "product",
    [Product(api_key="k", api_salt=""), Product(api_key="", api_salt="s"), Product(api_key="k", api_salt="\ud800")],
)
async def test_a_product_without_its_secret_asks_nothing(
    pool: Pool, office: MangoOffice, instance: Callable[..., Api], product: Product
) -> None:
    with pytest.raises(BadInput):
        await instance(pool).ask(product, "balance", "account/balance", {})
    assert office.asked == []


@pytest.mark.parametrize(
    "url",
    ["http://app.mango-office.ru/vpbx", "https://10.0.0.1/vpbx", "https://evil.test/vpbx", "https://mango-office.ru.evil.test/",
     "https://user@app.mango-office.ru/vpbx", "https://app.mango-office.ru:8443/vpbx"],
)  # fmt: skip
async def test_an_api_elsewhere_is_not_called(pool: Pool, url: str) -> None:
    hosts = Hosts(["127.0.0.1"])
    with pytest.raises(BadInput) as raised:
        Api(hosts, url, Paces(pool))
    hosts.close()
    assert raised.value.details["field"] == "MANGO_API_URL"


def test_mango_is_spoken_to_by_tls_1_2_alone() -> None:
    context = tls()
    assert (context.minimum_version, context.maximum_version) == (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


USERS = {
    "users": [
        {
            "general": {"user_id": 300, "name": "Анна", "sips": ["sip:anna@vpbx1.mangosip.ru", {"number": "sip:a2@x"}]},
            "telephony": {"extension": "0511", "numbers": [{"number": "79161112233", "protocol": "tel"}]},
        },
        {"general": {"user_id": "301", "name": "Boris"}, "telephony": {"extension": 102}},
        {"general": {}, "telephony": None},
        "nonsense",
    ]
}


async def test_who_is_who_is_asked_once_and_kept(pool: Pool, office: MangoOffice, instance: Callable[..., Api]) -> None:
    clock = Clock()
    users = Users(instance(pool), clock)
    office.behave = lambda asked: USERS
    found = await asyncio.gather(*(users.of(PRODUCT) for _ in range(5)))
    await users.of(PRODUCT)

    assert office.paths == ["config/users/request"]
    assert "general.sips" in office.asked[0].question["ext_fields"]
    roster = found[0]
    assert roster is not None
    assert roster.extensions == {"0511", "102"}
    assert roster.by_id() == {300: "0511", 301: "102"}
    assert roster.users[0].addresses == ("sip:anna@vpbx1.mangosip.ru", "sip:a2@x", "79161112233")


async def test_while_mango_is_away_what_was_known_last_is_given(
    pool: Pool, office: MangoOffice, instance: Callable[..., Api]
) -> None:
    clock = Clock()
    users = Users(instance(pool, Clock()), clock)
    office.behave = lambda asked: 500
    assert await users.of(PRODUCT) is None

    clock.now += 61
    await pool.execute("delete from mango_paces")
    office.behave = lambda asked: USERS
    known = await users.of(PRODUCT)
    clock.now += 601
    await pool.execute("delete from mango_paces")
    office.behave = lambda asked: 500
    assert await users.of(PRODUCT) == known
    await users.close()


async def test_who_is_who_is_known_before_anybody_asks_and_stays_known(
    pool: Pool, office: MangoOffice, instance: Callable[..., Api]
) -> None:
    clock = Clock()
    users = Users(instance(pool, Clock()), clock)
    office.behave = lambda asked: USERS
    first = await users.of(PRODUCT)
    clock.now += 599.99
    await pool.execute("delete from mango_paces")
    running = asyncio.create_task(users.run(lambda: [PRODUCT], every=0.02))
    async with asyncio.timeout(10):
        await office.until(lambda: len(office.asked) == 2)
    assert await users.of(PRODUCT) is first  # nobody waits meanwhile
    running.cancel()
    await asyncio.wait({running})
    await users.close()


async def test_somebody_who_was_hired_is_known_a_minute_later(
    pool: Pool, office: MangoOffice, instance: Callable[..., Api]
) -> None:
    clock = Clock()
    users = Users(instance(pool), clock)
    office.behave = lambda asked: {"users": USERS["users"][:1]}
    assert (await users.fresh(PRODUCT)).extensions == {"0511"}
    office.behave = lambda asked: USERS
    assert (await users.fresh(PRODUCT)).extensions == {"0511"}
    clock.now += 61
    await pool.execute("delete from mango_paces")
    assert (await users.fresh(PRODUCT)).extensions == {"0511", "102"}
