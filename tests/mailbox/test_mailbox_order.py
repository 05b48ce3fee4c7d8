"""What a machine says reaches the ledger in order and whole, whenever the database has time for it."""

from __future__ import annotations

import asyncio

import pytest
from mailbox_office import (
    ScriptedLedger,
    ScriptedMachine,
    a_call,
    answered,
    began,
    ended,
    writing,
    written,
)

from bridge.calls.model import Absorbed, Held, Recorded
from bridge.mailbox import Fenced, Mailbox, Work, merged


class Exchange:
    """A PBX: what its machine says goes to its mailbox at once."""

    def __init__(self, limit: int = 1000) -> None:
        self.machine = ScriptedMachine()
        self.ledger = ScriptedLedger()
        self.mailbox = Mailbox("office", self.machine, self.ledger, limit)

    def tell(self, *changes: object) -> None:
        self.mailbox.changed(self.machine.say(changes))  # type: ignore[arg-type]


@pytest.fixture
async def exchange() -> Exchange:
    return Exchange()


async def test_what_gathered_is_one_transaction_in_the_order_it_was_told(exchange: Exchange) -> None:
    exchange.tell(*began("1.1"))
    exchange.tell(*began("1.2"))
    exchange.tell(*answered("1.1"))

    async with writing(exchange.mailbox):
        await written(exchange.mailbox)

    (works,) = exchange.ledger.transactions
    assert [work.call.call_id for work in works] == ["1.1", "1.2"]
    assert exchange.ledger.changes_of("1.1") == ["started", "ringing", "answered"]
    assert works[0].call.answered_by == "150"


async def test_the_machines_memory_is_written_until_the_call_is_over(exchange: Exchange) -> None:
    async with writing(exchange.mailbox):
        exchange.tell(*began())
        await written(exchange.mailbox)
        live = exchange.ledger.last("1.1")
        exchange.tell(*ended())
        await written(exchange.mailbox)

    assert live.state is not None
    assert exchange.ledger.last("1.1").state is None


async def test_a_state_that_nobody_is_told_of_is_written_too(exchange: Exchange) -> None:
    call = a_call(holds=3)
    exchange.machine.touch(call)

    async with writing(exchange.mailbox):
        exchange.mailbox.changed([])
        await written(exchange.mailbox)

    work = exchange.ledger.last("1.1")
    assert (work.call, work.changes) == (call, [])
    assert work.state is not None


async def test_what_was_live_is_put_back_before_the_first_event(exchange: Exchange) -> None:
    exchange.ledger.known = [b"one call", b"another"]

    await exchange.mailbox.restore()

    assert exchange.machine.restored == [b"one call", b"another"]


# --- the database is away -------------------------------------------------------------------------------------------


async def test_while_the_database_is_away_a_call_is_one_work_with_all_its_changes(exchange: Exchange) -> None:
    exchange.ledger.there = False
    async with writing(exchange.mailbox):
        exchange.tell(*began())
        await exchange.ledger.attempted()
        exchange.tell(*answered())
        await exchange.ledger.attempted(2)
        exchange.tell(*ended())
        await exchange.ledger.attempted()
        # when it is back
        exchange.ledger.there = True
        await written(exchange.mailbox)

    (works,) = exchange.ledger.transactions
    (work,) = works
    assert exchange.ledger.changes_of("1.1") == ["started", "ringing", "answered", "ended"]
    assert (work.call.status, work.call.talk_seconds, work.state) == ("answered", 7, None)


async def test_what_keeps_it_from_writing_is_known_until_it_writes_again(exchange: Exchange) -> None:
    exchange.ledger.there = False
    async with writing(exchange.mailbox):
        exchange.tell(*began())
        await exchange.ledger.attempted(2)

        assert exchange.mailbox.problem == "The database is away."

        exchange.ledger.there = True
        await written(exchange.mailbox)

    assert exchange.mailbox.problem == ""


async def test_memory_is_bounded_and_what_a_crm_is_owed_is_kept(exchange: Exchange) -> None:
    exchange = Exchange(limit=10)
    exchange.ledger.there = False
    call = a_call(extensions=["150"])
    async with writing(exchange.mailbox):
        exchange.tell(*began())
        await exchange.ledger.attempted(2)  # the second one knows how much is held
        for number in range(50):
            exchange.tell(Held(call=call, on=number % 2 == 0))
        exchange.tell(Recorded(call=call, file="a.wav"))
        for number in range(100):
            exchange.tell(*began(f"2.{number}"))
            exchange.tell(*ended(f"2.{number}"))
        exchange.tell(*ended())
        exchange.ledger.there = True
        await written(exchange.mailbox)

    # then what decorates a timeline was left out and counted, and every call is whole
    kept = exchange.ledger.changes_of("1.1")
    assert kept.count("held") == 8
    assert exchange.mailbox.refused == 42
    assert [change for change in kept if change != "held"] == ["started", "ringing", "recorded", "ended"]
    for number in range(100):
        assert exchange.ledger.changes_of(f"2.{number}") == ["started", "ringing", "ended"]
    # and it has room again
    async with writing(exchange.mailbox):
        exchange.tell(*began("3.1"))
        exchange.tell(*answered("3.1"))
        await written(exchange.mailbox)
    assert exchange.mailbox.refused == 42


async def test_drained_does_not_wait_for_what_is_told_later(exchange: Exchange) -> None:
    # given a transaction that takes its time
    exchange.ledger.hold = first = asyncio.Event()
    async with writing(exchange.mailbox):
        exchange.tell(*began("1.1"))
        await exchange.ledger.attempted()
        waiting = asyncio.create_task(written(exchange.mailbox))
        await asyncio.sleep(0)
        # when more is told meanwhile, and that one never ends
        exchange.tell(*began("1.2"))
        exchange.ledger.hold = asyncio.Event()
        first.set()

        await waiting

    assert exchange.ledger.changes_of("1.1") == ["started", "ringing"]
    assert exchange.ledger.changes_of("1.2") == []


async def test_drained_waits_for_what_was_told_before(exchange: Exchange) -> None:
    exchange.ledger.there = False
    async with writing(exchange.mailbox):
        exchange.tell(*began("1.1"))
        await exchange.ledger.attempted()
        exchange.tell(*began("1.2"))
        waiting = asyncio.create_task(written(exchange.mailbox))
        await exchange.ledger.attempted(2)
        assert not waiting.done()

        exchange.ledger.there = True
        await waiting

    assert exchange.ledger.changes_of("1.2") == ["started", "ringing"]


# --- what cannot be written -----------------------------------------------------------------------------------------


async def test_a_call_that_cannot_be_written_holds_up_nobody(exchange: Exchange) -> None:
    exchange.ledger.poison = {"1.2"}
    for number in range(5):
        exchange.tell(*began(f"1.{number}"))

    async with writing(exchange.mailbox):
        await written(exchange.mailbox)
        exchange.tell(*ended("1.3"))
        await written(exchange.mailbox)

    assert exchange.mailbox.unwritable == 1
    assert [work.call.call_id for works in exchange.ledger.transactions for work in works] == [
        "1.0",
        "1.1",
        "1.3",
        "1.4",
        "1.3",
    ]


async def test_a_defect_of_the_ledger_holds_up_nobody_either(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = exchange.ledger.write

    async def defective(works: list[Work]) -> None:
        if any(work.call.call_id == "1.0" for work in works):
            raise KeyError("a defect")
        await write(works)

    monkeypatch.setattr(exchange.ledger, "write", defective)
    exchange.tell(*began("1.0"))
    exchange.tell(*began("1.1"))

    async with writing(exchange.mailbox):
        await written(exchange.mailbox)

    assert exchange.mailbox.unwritable == 1
    assert exchange.ledger.changes_of("1.1") == ["started", "ringing"]


async def test_what_a_breaking_connection_raises_costs_no_call(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = exchange.ledger.write
    raised = iter([RuntimeError("the transport is closed"), AttributeError("NoneType"), RuntimeError("once more")])

    async def breaking(works: list[Work]) -> None:
        for problem in raised:
            raise problem
        await write(works)

    monkeypatch.setattr(exchange.ledger, "write", breaking)
    exchange.tell(*began("1.0"))
    exchange.tell(*began("1.1"))

    async with writing(exchange.mailbox):
        await written(exchange.mailbox)

    assert exchange.mailbox.unwritable == 0
    assert [exchange.ledger.changes_of(call_id) for call_id in ("1.0", "1.1")] == [["started", "ringing"]] * 2


async def test_an_outage_while_calls_are_written_one_by_one_keeps_their_order(exchange: Exchange) -> None:
    # given a call that cannot be written, so that its companions are written alone
    exchange.ledger.poison = {"1.0"}
    exchange.tell(*began("1.0"))
    exchange.tell(*began("1.1"))
    exchange.ledger.hold = asyncio.Event()
    async with writing(exchange.mailbox):
        await exchange.ledger.attempted()
        # when the database goes away just then, and 1.1 ends meanwhile
        exchange.ledger.there = False
        exchange.ledger.hold.set()
        await exchange.ledger.attempted()
        exchange.tell(*ended("1.1"))
        await exchange.ledger.attempted(2)
        exchange.ledger.there = True
        await written(exchange.mailbox)

    # then what was known first does not overwrite what was known last
    assert exchange.ledger.changes_of("1.1") == ["started", "ringing", "ended"]
    assert (exchange.ledger.last("1.1").call.status, exchange.ledger.last("1.1").state) == ("answered", None)


async def test_whoever_is_fenced_stops_and_writes_nothing_more(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fenced(works: list[Work]) -> None:
        raise Fenced

    monkeypatch.setattr(exchange.ledger, "write", fenced)
    exchange.tell(*began("1.0"))
    exchange.tell(*began("1.1"))

    with pytest.raises(Fenced):
        async with asyncio.timeout(10):
            await exchange.mailbox.run()

    assert exchange.ledger.transactions == []


# --- works ----------------------------------------------------------------------------------------------------------


def test_merging_keeps_the_newest_form_and_all_changes_and_who_took_the_call_in() -> None:
    older = [
        Work(call=a_call("1.1"), changes=began("1.1"), state=b"old"),
        Work(call=a_call("1.2"), changes=began("1.2"), state=b"old", into="1.1"),
    ]
    newer = [
        Work(call=a_call("1.2", holds=1), changes=answered("1.2")),
        Work(call=a_call("1.1", holds=1), changes=answered("1.1"), state=b"new"),
        Work(call=a_call("1.3"), changes=began("1.3"), state=b"new"),
    ]

    works = merged(older, newer)

    assert [(work.call.call_id, work.call.holds, work.state, work.into) for work in works] == [
        ("1.1", 1, b"new", None),
        ("1.2", 1, None, "1.1"),
        ("1.3", 0, b"new", None),
    ]
    assert [len(work.changes) for work in works] == [3, 3, 2]


async def test_an_absorbed_call_is_a_work_without_memory(exchange: Exchange) -> None:
    exchange.tell(*began("1.1"))
    exchange.tell(*began("1.2"))
    exchange.tell(Absorbed(call=a_call("1.2"), into="1.1"))

    async with writing(exchange.mailbox):
        await written(exchange.mailbox)

    assert exchange.ledger.last("1.2").into == "1.1"
    assert exchange.ledger.last("1.2").state is None
