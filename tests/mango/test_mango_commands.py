"""Commands over real HTTP and a real Postgres: clicks, routes, transfers, and what Mango says of them later."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from mango_company import NUMBER, OTHER, USERS, Company, NoPbx, found, instance
from mango_office import PRODUCT, Asked, MangoOffice, refusal
from mango_stories import CLIENT, ENTRY, LINE, STORIES, Webhook, decoded, in_menu, leg
from prometheus_client import CollectorRegistry

from bridge.calls.click import ClickAnswer
from bridge.db.pool import Pool
from bridge.errors import (
    ActionFailed,
    ActionTimeout,
    BadInput,
    BridgeError,
    CallNotFound,
    CallOver,
    Conflict,
    PbxUnavailable,
)
from bridge.mango.callers import Callers
from bridge.mango.config import Product
from bridge.redirect import Redirects, RoutingMetrics
from bridge.routing import Answer

SECOND = Product(api_key="second-key", api_salt="second-salt")


def answers(**by_path: Any) -> Any:
    """Employees are known; a command is taken, or answered as `by_path` says (its last word)."""

    def behave(asked: Asked) -> Any:
        if asked.path == "config/users/request":
            return USERS
        return by_path.get(asked.path.rpartition("/")[2], {"result": 1000})

    return behave


def sent(office: MangoOffice) -> list[dict[str, Any]]:
    return [asked.question for asked in office.asked if asked.path.startswith("commands/")]


@pytest.fixture
async def office() -> AsyncIterator[MangoOffice]:
    async with MangoOffice(behave=answers()) as office:
        yield office


@pytest.fixture
async def company(pool: Pool, office: MangoOffice) -> AsyncIterator[Company]:
    await found(pool)
    async with instance(pool, office) as company:
        yield company


async def click(company: Company, extension: str = "150", phone: str = "+79161234567", **more: Any) -> ClickAnswer:
    return await company.clicks.start(NUMBER, extension=extension, phone=phone, source="retailcrm", **more)


# --- click-to-call ----------------------------------------------------------------------------------------------------


async def test_a_click_rings_the_employee_through_mango(company: Company, office: MangoOffice) -> None:
    answer = await click(company)

    assert (answer.status, answer.pbx, answer.extension, answer.phone) == ("queued", "mango", "150", "79161234567")
    [question] = sent(office)
    row = await company.command()
    assert question == {"command_id": row["command_id"], "from": {"extension": "150"}, "to_number": "79161234567"}
    assert (row["state"], row["kind"], row["enterprise_number"]) == ("accepted", "callback", NUMBER)
    assert await company.pool.fetchval("select channel_id from originate_requests") == row["command_id"]


async def test_ids_of_commands_cannot_be_guessed(company: Company, office: MangoOffice) -> None:
    await click(company)
    await click(company, phone="+79161234568")
    first, second = (question["command_id"].removeprefix("bridge-") for question in sent(office))
    assert len(first) >= 20
    assert sum(a != b for a, b in zip(first, second, strict=True)) > len(first) / 2


async def test_an_impatient_click_makes_one_call(company: Company, office: MangoOffice) -> None:
    assert not (await click(company)).repeated
    assert (await click(company, phone="8 916 123-45-67")).repeated
    assert len(sent(office)) == 1


async def test_two_instances_make_one_call(company: Company, office: MangoOffice, pool: Pool) -> None:
    async with instance(pool, office) as other:
        clicked = await asyncio.gather(*(click(each) for each in (company, other) * 4))
    assert sorted(answer.repeated for answer in clicked) == [False] + [True] * 7
    assert len(sent(office)) == 1


async def test_somebody_known_to_the_crm_alone_can_click_too(company: Company) -> None:
    assert (await click(company, extension="152")).pbx == "mango"


@pytest.mark.parametrize(("line", "sent_line"), [("8 495 100-00-02", "74951000002"), ("+74959999999", None)])
async def test_the_client_sees_the_line_that_was_asked_for_where_it_is_ours(
    company: Company, office: MangoOffice, line: str, sent_line: str | None
) -> None:
    await click(company, external_phone=line)
    assert sent(office)[0].get("line_number") == sent_line


@pytest.mark.parametrize(
    ("extension", "phone"),
    [("999", "+79161234567"), ("153", "+79161234567"), ("150", "150"), ("150", "1\r\n2"), ('1","x":"', "+79161234567")],
    ids=["nobody's", "unknown to Mango", "to itself", "no number", "hostile"],
)
async def test_what_is_wrong_is_never_sent(company: Company, office: MangoOffice, extension: str, phone: str) -> None:
    with pytest.raises(BadInput):
        await click(company, extension, phone)
    assert sent(office) == []


async def test_a_pbx_that_has_the_extension_wins(company: Company, office: MangoOffice, pool: Pool) -> None:
    await pool.execute(
        "insert into pbxs (enterprise_number, name, ami_host, ami_username, extensions, click_to_call_contexts)"
        " values ($1, 'office', '127.0.0.1', 'bridge', '^150$', '{phones}')",
        NUMBER,
    )
    await company.directory.refresh()
    with pytest.raises(AssertionError, match="no PBX is asked"):
        await click(company)
    assert (await click(company, extension="151")).pbx == "mango"


async def test_a_mango_that_is_switched_off_is_not_used(company: Company, office: MangoOffice, pool: Pool) -> None:
    await pool.execute(
        "update enterprises set integrations_config = jsonb_set(integrations_config, '{mango,enabled}', 'false')"
    )
    await company.products.refresh()
    with pytest.raises(BadInput, match="not an extension of this enterprise"):
        await click(company)
    assert office.asked == []


async def test_of_several_products_that_one_is_asked_which_has_the_extension(pool: Pool, office: MangoOffice) -> None:
    await found(pool, products=[SECOND, PRODUCT])

    def behave(asked: Asked) -> Any:
        if asked.path == "config/users/request":
            return USERS if asked.signed else {"users": [{"telephony": {"extension": "700"}}]}
        return {"result": 1000}

    office.behave = behave
    async with instance(pool, office) as company:
        await click(company)
        with pytest.raises(BadInput):
            await click(company, extension="153")
    assert [asked.signed for asked in office.asked if asked.path.startswith("commands/")] == [True]


@pytest.mark.parametrize(
    ("answer", "problem", "outcome"),
    [
        (refusal(2210, 200, "No money"), ActionFailed, "refused"),
        (refusal(3104), ActionFailed, "refused"),
        (500, PbxUnavailable, "unavailable"),
    ],
)
async def test_a_click_that_mango_refuses_is_refused_as_a_pbx_refuses(
    company: Company, office: MangoOffice, answer: Any, problem: type[BridgeError], outcome: str
) -> None:
    office.behave = answers(callback=answer)
    with pytest.raises(problem):
        await click(company)
    request = await company.pool.fetchrow("select outcome, detail from originate_requests")
    assert request is not None
    assert request["outcome"] == outcome
    assert (await company.command())["state"] == "refused"
    assert not await company.pool.fetchval("select count(*) from originate_guards")


async def test_during_the_penalty_a_click_is_refused_at_once(company: Company, office: MangoOffice) -> None:
    office.behave = answers(callback=refusal(3104))
    with pytest.raises(ActionFailed):
        await click(company)
    with pytest.raises(PbxUnavailable, match="left alone") as paused:
        await click(company, phone="+79161234568")
    assert len(sent(office)) == 1
    assert 100 < paused.value.details["retry_after"] <= 125


async def settled(company: Company) -> dict[str, Any]:
    await company.clicks.settle()
    return dict(await company.pool.fetchrow("select outcome, detail from originate_requests") or {})


CALL = """
insert into calls (enterprise_number, pbx_name, call_id, direction, result) values ($1, 'mango', $2, 'outbound', $3)
"""


async def test_the_outcome_of_a_click_is_that_of_the_call_it_made(company: Company) -> None:
    await click(company)
    command_id = (await company.command())["command_id"]
    await company.pool.execute(CALL, NUMBER, ENTRY, "active")
    async with company.pool.acquire() as connection:
        await company.commands.made(connection, NUMBER, ["another", command_id], ENTRY)
    assert (await settled(company))["outcome"] is None

    await company.pool.execute("update calls set result = 'busy'")
    assert (await settled(company))["outcome"] == "busy"


async def test_a_result_that_says_no_ends_the_request(company: Company) -> None:
    await click(company)
    command_id = (await company.command())["command_id"]
    async with company.pool.acquire() as connection:
        await company.commands.result(connection, OTHER, command_id, 4001)  # somebody else's
        assert (await company.command())["state"] == "accepted"
        for _ in range(2):
            await company.commands.result(connection, NUMBER, command_id, 4001)
    row = await company.command()
    assert (row["state"], row["result"]) == ("refused", 4001)
    assert await settled(company) == {"outcome": "refused", "detail": "code 4001"}


async def test_a_result_before_the_answer_counts(company: Company, office: MangoOffice) -> None:
    async def early(command_id: str) -> None:
        async with company.pool.acquire() as connection:
            await company.commands.result(connection, NUMBER, command_id, 1000)

    told: list[asyncio.Task[None]] = []

    def behave(asked: Asked) -> Any:
        if asked.path == "config/users/request":
            return USERS
        told.append(asyncio.create_task(early(asked.question["command_id"])))
        return {"result": 1000}

    office.behave = behave
    await click(company)
    await told[0]
    row = await company.command()
    assert (row["state"], row["result"]) == ("done", 1000)


async def test_a_result_that_calls_the_request_wrong_leaves_mango_alone(company: Company) -> None:
    await click(company)
    command_id = (await company.command())["command_id"]
    async with company.pool.acquire() as connection:
        await company.commands.result(connection, NUMBER, command_id, 3100)
    assert await company.paces.closed(PRODUCT.name) > 100


async def test_a_click_nothing_was_heard_of_is_not_called_unreachable(company: Company) -> None:
    await click(company)
    await company.pool.execute("update originate_requests set created_at = created_at - interval '1 minute'")
    assert (await settled(company))["outcome"] == "unknown"


# --- calls that are there ---------------------------------------------------------------------------------------------

WAITING = in_menu(9)[:1]
RINGING = STORIES["inbound_answered"]()[:3]
TALKING = STORIES["inbound_answered"]()[:4]
OVER = STORIES["inbound_answered"]()


async def test_a_waiting_caller_is_routed(company: Company, office: MangoOffice) -> None:
    await company.hears(WAITING)
    assert await company.commands.route(NUMBER, ENTRY, "151", name='Иван "Грозный"\r\n<sip:x@y>')
    [question] = sent(office)
    row = await company.command()
    assert question == {
        "command_id": row["command_id"],
        "call_id": "menu",
        "to_number": "151",
        "sip_headers": {"From/display-name": "Иван Грозный sip x y"},
    }
    assert (row["entry_id"], row["leg"], row["state"]) == (ENTRY, "menu", "accepted")


@pytest.mark.parametrize(
    ("webhooks", "problem"),
    [
        ([], CallNotFound),
        (TALKING, Conflict),
        (OVER, CallOver),
        (in_menu(2), Conflict),
        (RINGING, None),
    ],
    ids=["unknown", "talks", "over", "between", "rings elsewhere"],
)
async def test_only_who_waits_can_be_routed(
    company: Company, office: MangoOffice, webhooks: list[Webhook], problem: type[BridgeError] | None
) -> None:
    await company.hears(webhooks)
    if problem is None:
        assert await company.commands.route(NUMBER, ENTRY, "151")
        with pytest.raises(Conflict, match="rings at 150 already"):
            await company.commands.route(NUMBER, ENTRY, "150")
        assert len(sent(office)) == 1
        return
    with pytest.raises(problem):
        await company.commands.route(NUMBER, ENTRY, "151")
    assert sent(office) == []


async def test_a_call_is_nobody_elses_to_steer(company: Company, office: MangoOffice, pool: Pool) -> None:
    await found(pool, OTHER, [SECOND])
    await company.products.refresh()
    await company.hears(WAITING)
    for steer in (
        company.commands.route(OTHER, ENTRY, "151"),
        company.commands.hangup(OTHER, ENTRY),
        company.commands.transfer(OTHER, ENTRY, "151"),
    ):
        with pytest.raises(CallNotFound):
            await steer
    assert not await company.commands.knows(OTHER, ENTRY)
    assert await company.commands.knows(NUMBER, ENTRY)
    assert sent(office) == []


@pytest.mark.parametrize("target", ["153", "", "1;2", "15\r\n0", "sip:150@evil.test", "1" * 21])
async def test_a_target_that_cannot_be_is_never_sent(company: Company, office: MangoOffice, target: str) -> None:
    await company.hears(TALKING)
    with pytest.raises(BadInput):
        await company.commands.transfer(NUMBER, ENTRY, target)
    assert sent(office) == []


@pytest.mark.parametrize(("consult", "method"), [(False, "blind"), (True, "hold")])
async def test_who_talks_can_be_transferred(company: Company, office: MangoOffice, consult: bool, method: str) -> None:
    await company.hears(TALKING)
    await company.commands.transfer(NUMBER, ENTRY, "151", consult=consult)
    [question] = sent(office)
    assert (question["call_id"], question["method"], question["to_number"], question["initiator"]) == (
        "a",
        method,
        "151",
        "150",
    )


async def test_only_who_talks_can_transfer(company: Company, office: MangoOffice) -> None:
    await company.hears(WAITING)
    with pytest.raises(Conflict, match="Nobody talks"):
        await company.commands.transfer(NUMBER, ENTRY, "151")
    await company.hears(TALKING)
    with pytest.raises(BadInput, match="does not talk in this call"):
        await company.commands.transfer(NUMBER, ENTRY, "151", by="152")
    assert sent(office) == []


async def test_a_call_is_hung_up(company: Company, office: MangoOffice) -> None:
    await company.hears(TALKING)
    await company.commands.hangup(NUMBER, ENTRY)
    assert office.paths == ["commands/call/hangup"]
    assert sent(office)[0]["call_id"] == "a"


async def test_a_call_that_is_over_for_mango_is_over(company: Company, office: MangoOffice) -> None:
    await company.hears(TALKING)
    office.behave = answers(hangup=refusal(4101, 200))
    with pytest.raises(CallOver) as over:
        await company.commands.hangup(NUMBER, ENTRY)
    assert over.value.status == 409
    assert (await company.command())["result"] == 4101
    assert await company.paces.closed(PRODUCT.name) == 0


async def test_a_command_without_an_answer_is_not_repeated(company: Company, office: MangoOffice) -> None:
    await company.hears(TALKING)
    await office.listener.down()
    with pytest.raises(PbxUnavailable) as away:
        await company.commands.hangup(NUMBER, ENTRY)
    assert not isinstance(away.value, ActionTimeout)
    assert (await company.command())["state"] == "refused"


# --- smart redirect ---------------------------------------------------------------------------------------------------


class Decided:
    """A router that has made up its mind."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[tuple[str | None, ...]] = []
        self.kept: list[tuple[str, ...]] = []

    async def who(
        self, enterprise_number: str, phone: str | None, *, line: str | None = None, pbx: str | None = None
    ) -> Answer:
        self.asked.append((enterprise_number, phone, line, pbx))
        return self.answer

    def keep(self, enterprise_number: str, pbx: str, call_id: str, answer: Answer) -> None:
        self.kept.append((enterprise_number, pbx, call_id, answer.reason))


MAPPED = Answer(extension="151", name="Мария", reason="mapped")


def in_queue(line: str = LINE) -> list[Webhook]:
    return [leg("q", 1, "Appeared", 0, {"number": CLIENT}, {"number": line, "line_number": line}, location="queue")]


async def test_who_waits_on_a_routed_line_goes_to_their_manager_once(
    company: Company, office: MangoOffice, pool: Pool
) -> None:
    router = Decided(MAPPED)
    await company.hears(WAITING)
    async with instance(pool, office) as other:
        instances = [Callers(company.directory, router, each.commands) for each in (company, other)]
        for _ in range(3):
            for callers in instances:
                callers.heard(NUMBER, ENTRY, decoded(WAITING, time.time()))
            for callers in instances:
                await callers.close()
    assert router.asked[0] == (NUMBER, CLIENT, LINE, "mango")
    assert [question["to_number"] for question in sent(office)] == ["151"]
    assert router.kept == [(NUMBER, "mango", ENTRY, "mapped")]
    assert (await company.command())["reason"] == "mapped"


@pytest.mark.parametrize(
    ("webhooks", "age", "asked"),
    [
        (in_queue(), 0, 1),
        (in_queue("74951000002"), 0, 0),
        (in_queue("74951000003"), 0, 0),
        (in_queue("74950000000"), 0, 0),
        (in_queue(), 30, 0),
        (TALKING, 0, 0),
        (OVER, 0, 0),
    ],
    ids=["routed line", "name only", "off", "unknown line", "heard late", "talks", "over"],
)
async def test_which_callers_are_asked_for(
    company: Company, office: MangoOffice, webhooks: list[Webhook], age: float, asked: int
) -> None:
    router = Decided(Answer(reason="unknown_caller"))
    callers = Callers(company.directory, router, company.commands)
    callers.heard(NUMBER, ENTRY, decoded(webhooks, time.time() - age))
    await callers.close()
    assert len(router.asked) == asked
    # nobody better is known: the call goes on by Mango's own scheme
    assert sent(office) == []
    assert router.kept == []


async def test_a_caller_who_cannot_be_routed_stays_where_they_are(company: Company, office: MangoOffice) -> None:
    await company.hears(TALKING)
    router = Decided(MAPPED)
    callers = Callers(company.directory, router, company.commands)
    callers.heard(NUMBER, ENTRY, decoded(WAITING, time.time()))
    await callers.close()
    assert (sent(office), router.kept) == ([], [])


class NoLookups:
    def ask(self, enterprise_number: str, phone: str) -> list[Any]:
        return []


async def test_a_call_of_mangos_is_redirected_by_its_entry(company: Company, office: MangoOffice, pool: Pool) -> None:
    redirects = Redirects(
        company.directory,
        NoLookups(),  # type: ignore[arg-type]
        NoPbx(),
        pool,
        RoutingMetrics(CollectorRegistry()),
        cloud=company.commands,
    )
    await company.hears(WAITING)

    # the enterprise's fallback is somebody whose phone is at Mango
    answer = await redirects.who(NUMBER, CLIENT)
    assert (answer.extension, answer.fallback) == ("150", True)
    await redirects.live_redirect(NUMBER, ENTRY, "150", because=answer)
    assert [question["to_number"] for question in sent(office)] == ["150"]

    with pytest.raises(BadInput):
        await redirects.live_redirect(NUMBER, ENTRY, "999")
    with pytest.raises(CallNotFound):
        await redirects.live_redirect(NUMBER, "1795224447.0", "150")
    await redirects.close()
