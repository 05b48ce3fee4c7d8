"""Reconciliation over real HTTP and a real Postgres: what the history knows is kept once, whoever asks."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
from mango_company import NUMBER, OTHER, USERS, Company, found, instance
from mango_office import PRODUCT, Asked, MangoOffice, refusal
from mango_stories import ENTRY
from starlette.responses import Response
from test_mango_statistics import call, row

from bridge.db.pool import Pool
from bridge.errors import Conflict, NotFound
from bridge.mango import limits, statistics
from bridge.mango.events import StatisticsRow
from bridge.mango.intake import event_of
from bridge.mango.reconcile import OVERLAP, Reconciler
from bridge.pacing import Rate


class History:
    """What Mango remembers. `polls`: how often an answer is not ready; `stale`: keys that were forgotten."""

    def __init__(self, calls: list[dict[str, Any]] | None = None) -> None:
        self.calls = calls or []
        self.csv = ""
        self.polls = 0
        self.stale = 0
        self.extended: Any = None
        self.status: str | None = None
        self.asked: dict[str, dict[str, Any]] = {}
        self.left: dict[str, int] = {}

    def __call__(self, asked: Asked) -> Any:
        match asked.path:
            case "config/users/request":
                return USERS
            case "stats/calls/request/" | "stats/request":
                if asked.path == "stats/calls/request/" and self.extended is not None:
                    return self.extended
                key = f"key+/{len(self.asked)}=="
                self.asked[key], self.left[key] = asked.question, self.polls
                return {"key": key}
            case "stats/calls/result/" | "stats/result":
                return self.result(asked.path, asked.question["key"])
            case _:
                return 404

    def result(self, path: str, key: str) -> Any:
        if self.stale:
            self.stale -= 1
            return {"result": 1000, "status": "not-found"} if path == "stats/calls/result/" else 404
        if self.left[key]:
            self.left[key] -= 1
            return {"result": 1000, "status": "work"} if path == "stats/calls/result/" else 204
        if path == "stats/result":
            return Response(self.csv, media_type="text/csv")
        if self.status is not None:
            return {"result": 1000, "status": self.status}
        question = self.asked[key]
        page = self.calls[question["offset"] : question["offset"] + question["limit"]]
        return {"result": 1000, "status": "complete", "data": [{"list": page}]}

    @property
    def questions(self) -> list[dict[str, Any]]:
        return list(self.asked.values())


@pytest.fixture
async def office() -> AsyncIterator[MangoOffice]:
    async with MangoOffice() as office:
        yield office


@pytest.fixture
async def company(pool: Pool, office: MangoOffice) -> AsyncIterator[Company]:
    await found(pool)
    async with instance(pool, office) as company:
        yield company


@pytest.fixture
def history(office: MangoOffice) -> History:
    office.behave = history = History()
    return history


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mango's two seconds between questions, in the tests' time; the rates have tests of their own."""
    quick = Rate(per_second=200, burst=50)
    monkeypatch.setattr(limits, "RATES", dict.fromkeys(limits.RATES, quick))
    monkeypatch.setattr(limits, "WHOLE", quick)


def reconciler(company: Company) -> Reconciler:
    return Reconciler(company.api, company.products, company.users, company.pool, not_ready=0.02)


NOW = time.time()


def calls(count: int, first: float = NOW - 3000) -> list[dict[str, Any]]:
    return [call(f"entry-{number}", int(first) + number) for number in range(count)]


async def kept(pool: Pool) -> list[StatisticsRow]:
    rows = await pool.fetch("select * from mango_webhooks order by id")
    events = [event_of(row["dialect"], row["path"], row["body"]) for row in rows]
    return [event for event in events if isinstance(event, StatisticsRow)]


async def test_calls_of_the_history_are_kept_for_the_worker(company: Company, history: History) -> None:
    history.calls = calls(3)
    [compared] = await reconciler(company).reconcile(NUMBER)

    assert (compared.calls, compared.told, compared.problem) == (3, 3, None)
    rows = await company.pool.fetch("select * from mango_webhooks order by id")
    assert [(row["state"], row["entry_id"], row["enterprise_number"]) for row in rows] == [
        ("new", f"entry-{number}", NUMBER) for number in range(3)
    ]
    assert {row["product"] for row in rows} == {PRODUCT.name}


async def test_what_was_kept_is_not_kept_again(company: Company, history: History) -> None:
    history.calls = calls(3)
    await reconciler(company).reconcile(NUMBER)
    history.calls = [*calls(4), *calls(2)]
    [compared] = await reconciler(company).reconcile(NUMBER)
    assert (compared.calls, compared.told) == (4, 1)
    assert len(await kept(company.pool)) == 4


async def test_the_history_comes_by_pages(company: Company, history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "PAGE", 5)
    history.calls = calls(13)
    [compared] = await reconciler(company).reconcile(NUMBER)
    assert compared.told == 13
    assert [question["offset"] for question in history.questions] == [0, 5, 10]


async def test_an_answer_that_is_not_ready_is_asked_for_again(
    company: Company, office: MangoOffice, history: History
) -> None:
    history.calls, history.polls = calls(2), 3
    [compared] = await reconciler(company).reconcile(NUMBER)
    assert compared.told == 2
    assert office.paths.count("stats/calls/result/") == 4
    assert office.paths.count("stats/calls/request/") == 1


async def test_between_two_questions_for_an_answer_is_the_time_that_is_asked_for(
    company: Company, office: MangoOffice, history: History
) -> None:
    history.polls = 2
    slow = Reconciler(company.api, company.products, company.users, company.pool, not_ready=0.3)
    await slow.reconcile(NUMBER)
    times = [asked.at for asked in office.asked if asked.path == "stats/calls/result/"]
    assert len(times) == 3
    assert all(later - earlier >= 0.29 for earlier, later in itertools.pairwise(times))


async def test_a_question_that_is_lost_is_asked_again(company: Company, office: MangoOffice, history: History) -> None:
    history.calls = calls(2)
    faults = iter([500, None, 503, 500])

    def unsteady(asked: Asked) -> Any:
        return (next(faults, None) if asked.path.startswith("stats/") else None) or history(asked)

    office.behave = unsteady
    await company.pool.execute("delete from mango_paces")
    [compared] = await reconciler(company).reconcile(NUMBER)
    assert (compared.told, compared.problem) == (2, None)
    assert office.paths.count("stats/calls/result/") == 3


async def test_a_key_that_went_stale_is_replaced(company: Company, office: MangoOffice, history: History) -> None:
    history.calls, history.stale = calls(2), 1
    [compared] = await reconciler(company).reconcile(NUMBER)
    assert (compared.told, compared.problem) == (2, None)
    assert office.paths.count("stats/calls/request/") == 2


@pytest.mark.parametrize("extended", [{"result": 5008}, 404])
@pytest.mark.parametrize("stale", [0, 1])
async def test_without_extended_statistics_the_basic_ones_tell_of_legs(
    company: Company, office: MangoOffice, history: History, extended: Any, stale: int
) -> None:
    at = str(int(NOW - 600))
    history.extended, history.polls, history.stale = extended, 2, stale
    history.csv = "\n".join(
        [row(start=at, create=at), row(start=at, create=at, to_extension="151"), row(entry_id="b", start=at, create=at),
         row(entry_id="long ago", create="1000000000")]
    )  # fmt: skip
    [compared] = await reconciler(company).reconcile(NUMBER)
    assert (compared.calls, compared.told, compared.problem) == (2, 3, None)
    assert [(event.whole, event.entry_id) for event in await kept(company.pool)] == [
        (False, ENTRY),
        (False, ENTRY),
        (False, "b"),
    ]


async def test_employees_of_the_history_are_known_by_their_extensions(company: Company, history: History) -> None:
    history.calls = [call("a", int(NOW) - 60, context_calls=[{"call_type": "user", "call_abonent_id": 451}])]
    await reconciler(company).reconcile(NUMBER)
    [event] = await kept(company.pool)
    assert event.legs[0].extension == "151"


async def test_employees_are_asked_for_again_should_mango_not_answer(
    company: Company, office: MangoOffice, history: History
) -> None:
    history.calls = [call("a", int(NOW) - 60, context_calls=[{"call_type": "user", "call_abonent_id": 451}])]
    faults = iter([500])
    office.behave = lambda asked: (
        (next(faults, None) if asked.path == "config/users/request" else None) or history(asked)
    )
    await reconciler(company).reconcile(NUMBER)
    [event] = await kept(company.pool)
    assert event.legs[0].extension == "151"


async def test_the_next_period_begins_before_the_end_of_the_last_one(company: Company, history: History) -> None:
    ours = reconciler(company)
    history.calls = [call("a week ago", int(NOW) - 7 * 86400), call("today", int(NOW) - 60)]
    await ours.reconcile(NUMBER)
    reached = await company.pool.fetchval("select extract(epoch from reached) from mango_reconciliations")
    assert float(reached) == pytest.approx(time.time(), abs=30)
    assert [event.entry_id for event in await kept(company.pool)] == ["today"]

    await company.pool.execute("update mango_reconciliations set reached = reached - interval '2 hours'")
    before = int(NOW - 7200 - OVERLAP)
    history.calls = [call("too old", before - 900), call("a long one", before + 900)]
    await ours.reconcile(NUMBER)
    assert [event.entry_id for event in await kept(company.pool)] == ["today", "a long one"]


async def test_somebody_may_ask_for_more(company: Company, history: History) -> None:
    history.calls = [call("a month ago", int(NOW) - 40 * 86400)]
    [compared] = await reconciler(company).reconcile(NUMBER, NOW - 41 * 86400)
    assert (compared.told, len(history.questions)) == (1, 2)  # a month at the most in a question


async def test_asking_for_less_does_not_make_older_calls_known(company: Company, history: History) -> None:
    await reconciler(company).reconcile(NUMBER, NOW - 60)
    assert await company.pool.fetchval("select reached from mango_reconciliations") is None


@pytest.mark.parametrize(
    ("break_it", "problem"),
    [
        (lambda history: setattr(history, "status", "error"), "could not make its statistics: error"),
        (lambda history: setattr(history, "stale", 99), "forgets its statistics"),
        (lambda history: setattr(history, "extended", refusal(3104)), "code 3104"),
        (lambda history: setattr(history, "extended", {"result": 1000}), "gives no key"),
        (lambda history: setattr(history, "extended", 500), "trouble of its own"),
    ],
)
async def test_what_fails_is_said_and_tried_again(
    company: Company, history: History, break_it: Callable[[History], None], problem: str
) -> None:
    break_it(history)
    [compared] = await reconciler(company).reconcile(NUMBER)
    assert compared.problem is not None
    assert problem in compared.problem
    [row] = await reconciler(company).last(NUMBER)
    assert (row["problem"], row["reached"], row["running"]) == (compared.problem, None, False)


async def test_a_penalty_is_not_prolonged(company: Company, office: MangoOffice, history: History) -> None:
    history.extended = refusal(3104)
    ours = reconciler(company)
    await ours.reconcile(NUMBER)
    asked = len(office.asked)
    [compared] = await ours.reconcile(NUMBER)
    assert "left alone" in (compared.problem or "")
    assert len(office.asked) == asked


async def test_one_instance_at_a_time(company: Company, office: MangoOffice, history: History, pool: Pool) -> None:
    history.calls, history.polls = calls(5), 20
    async with instance(pool, office) as other:
        first = asyncio.create_task(reconciler(company).reconcile(NUMBER))
        await office.until(lambda: "stats/calls/request/" in office.paths)
        with pytest.raises(Conflict):
            await reconciler(other).reconcile(NUMBER)
        await first
    assert len(await kept(pool)) == 5


async def test_one_that_died_holds_it_for_a_while_only(company: Company, history: History) -> None:
    await company.pool.execute(
        "insert into mango_reconciliations (enterprise_number, product, held_until)"
        " values ($1, $2, now() - interval '1 s')",
        NUMBER,
        PRODUCT.name,
    )
    [compared] = await reconciler(company).reconcile(NUMBER)
    assert compared.problem is None


async def test_once_in_an_hour_it_happens_by_itself(company: Company, office: MangoOffice, history: History) -> None:
    running = asyncio.create_task(reconciler(company).run(every=0.4))
    await office.until(lambda: office.paths.count("stats/calls/request/") == 2)
    running.cancel()
    await asyncio.wait({running})
    assert not await company.pool.fetchval("select held_until > now() from mango_reconciliations")


async def test_an_hour_has_not_passed(company: Company, history: History) -> None:
    await reconciler(company).reconcile(NUMBER)
    with pytest.raises(Conflict):
        await reconciler(company)._compare(NUMBER, PRODUCT, None, 3600.0)
    assert len(history.questions) == 1


async def test_an_enterprise_without_mango_has_no_history(company: Company, office: MangoOffice) -> None:
    with pytest.raises(NotFound):
        await reconciler(company).reconcile(OTHER)
    assert office.asked == []


async def test_hostile_calls_are_kept_as_they_are(company: Company, history: History) -> None:
    nasty = call("'; drop table calls; --", int(NOW) - 60, caller_name="\0\u2028<script>", caller_number="\0" * 9)
    history.calls = [nasty]
    [compared] = await reconciler(company).reconcile(NUMBER)
    assert compared.told == 1
    body = await company.pool.fetchval("select body from mango_webhooks")
    assert msgspec.json.decode(body)["caller_name"] == nasty["caller_name"]
