"""Calls that go on now and can be steered: what commands act on. People behave as `product.habits` says.

A call is a coroutine that makes events as time passes; between two of them it listens for commands. `call_id`s of legs
that are up are known to the switchboard; a command for any other finds the call over (4101).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from lab.mango.delivery import Delivery
from lab.mango.entry import Entry, Leg, Webhook
from lab.mango.played import (
    BUSY,
    CALLED_HUNG_UP,
    CALLER_HUNG_UP,
    DO_NOT_DISTURB,
    DONE,
    MENU_ENDED,
    NO_ANSWER,
    NORMAL,
    PICKED_UP_ELSEWHERE,
)
from lab.mango.product import Product
from lab.truth import Truth

BY_COMMAND = 1181
OK, IMPOSSIBLE, OVER, RECORDED_ALREADY, WRONG_PARAMETERS = 1000, 4100, 4101, 4102, 3100


@dataclass(frozen=True)
class Command:
    """`method` is its path without `commands/`."""

    method: str
    command_id: str
    fields: dict[str, Any]


class _HungUpByCommand(Exception):
    pass


@dataclass
class LiveCall:
    """One call, its leg that is up, and what is true of it so far."""

    entry: Entry
    post: Callable[[Webhook], Awaitable[object]]
    leg: Leg | None = None
    commands: asyncio.Queue[Command] = field(default_factory=asyncio.Queue)
    rang: list[str] = field(default_factory=list)
    talked: float | None = None
    answered: list[str] = field(default_factory=list)
    transfers: list[tuple[str, str, str]] = field(default_factory=list)
    holds: int = 0
    ended_by: str | None = None
    status: str = "missed"
    _told: int = 0
    _posts: set[asyncio.Task[object]] = field(default_factory=set)

    @property
    def now(self) -> float:
        return self.entry.product.clock()

    def tell(self) -> None:
        """What happened since the last time is posted; nobody waits for the answers."""
        for webhook in self.entry.webhooks[self._told :]:
            post = asyncio.ensure_future(self.post(webhook))
            self._posts.add(post)
            post.add_done_callback(self._posts.discard)
        self._told = len(self.entry.webhooks)

    async def told(self) -> None:
        self.tell()
        await asyncio.gather(*self._posts)

    async def pause(self, seconds: float) -> Command | None:
        """What happened is told; then the next command within so many seconds, if one comes."""
        self.tell()
        try:
            command = await asyncio.wait_for(self.commands.get(), seconds)
        except TimeoutError:
            return None
        if command.method == "call/hangup":
            raise _HungUpByCommand
        return command

    def rings(self, leg: Leg) -> Leg:
        self.leg = leg
        if leg.employee is not None and leg.employee.extension not in self.rang:
            self.rang.append(leg.employee.extension)
        return leg

    def talks(self, leg: Leg) -> None:
        self.talked = self.talked or self.now
        self.status = "answered"
        assert leg.employee is not None
        self.answered.append(leg.employee.extension)

    def truth(self, scenario: str) -> Truth:
        entry = self.entry
        assert entry.ended is not None
        outbound = entry.direction == "outbound"
        return Truth(
            scenario=scenario,
            direction=entry.direction,
            client_number=f"+{entry.client}" if entry.client else None,
            status=self.status,
            extensions=tuple(self.rang),
            line=None if outbound else entry.line,
            answered_by=self.answered[-1] if self.answered else None,
            answered_first=self.answered[0] if self.answered else None,
            ended_by=self.ended_by,
            transfers=tuple(self.transfers),
            holds=self.holds,
            wait_seconds=None if outbound else (self.talked or entry.ended) - entry.began,
            talk_seconds=entry.ended - self.talked if self.talked else 0.0,
            began_at=entry.began,
        )


class Switchboard:
    """The calls of one product that are up now."""

    def __init__(self, product: Product, delivery: Delivery) -> None:
        self.product = product
        self.delivery = delivery
        self.calls: list[LiveCall] = []
        self.done: dict[str, Truth] = {}
        """By the command_id of a callback."""
        self._tasks: set[asyncio.Task[Any]] = set()

    # --- commands -----------------------------------------------------------------------------------------------------

    def command(self, command: Command) -> int:
        """Begins to do it: the code of its result."""
        if command.method == "callback":
            return self._callback(command)
        call_id = str(command.fields["call_id"])
        call = next((call for call in self.calls if call.leg is not None and call.leg.call_id == call_id), None)
        if call is None or call.leg is None or call.leg.state == "Disconnected":
            return OVER
        code = _possible(command, call, self.product)
        if code == OK:
            call.commands.put_nowait(command)
        return code

    def _callback(self, command: Command) -> int:
        employee = self.product.employee(str(command.fields["from"]["extension"]))
        if employee is None:
            return WRONG_PARAMETERS
        line = str(command.fields.get("line_number") or self.product.line)
        client = "".join(sign for sign in str(command.fields["to_number"]) if sign.isdecimal())
        entry = Entry(self.product, "outbound", client, line, self.product.clock(), caller=employee, init_type=4)
        call = LiveCall(entry, self.delivery.post)

        async def make() -> None:
            self.done[command.command_id] = await self._run(call, _called_back(call, command.command_id), "callback")
            self.product.changed()

        self.spawn(make())
        return OK

    # --- calls of clients ---------------------------------------------------------------------------------------------

    async def menu(self, client: str | None, *, line: str | None = None, then: str | None = None) -> Truth:
        """A client hears the voice menu for as long as their patience lasts, or until a command sends them on.

        `then`: whose phone rings when no command came. None: the client gives up."""
        entry = Entry(self.product, "inbound", client, line or self.product.line, self.product.clock())
        call = LiveCall(entry, self.delivery.post)
        return await self._run(call, _menu(call, then), "menu")

    async def direct(self, client: str | None, *, to: str, line: str | None = None) -> Truth:
        """A client reaches the phone of `to` at once."""
        entry = Entry(self.product, "inbound", client, line or self.product.line, self.product.clock())
        call = LiveCall(entry, self.delivery.post)

        async def script() -> None:
            await _reaches(call, to, None)

        return await self._run(call, script(), "direct")

    async def _run(self, call: LiveCall, script: Coroutine[Any, Any, None], scenario: str) -> Truth:
        self.calls.append(call)
        try:
            await script
        except _HungUpByCommand:
            _all_end(call, BY_COMMAND)
        finally:
            self.calls.remove(call)
        await call.told()
        return call.truth(scenario)

    # --- ends ---------------------------------------------------------------------------------------------------------

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _possible(command: Command, call: LiveCall, product: Product) -> int:
    """Routing goes before the answer, transfers and recordings after it."""
    assert call.leg is not None
    connected = call.leg.location == "abonent" and call.leg.state in ("Connected", "OnHold")
    match command.method:
        case "route":
            known = product.employee(str(command.fields["to_number"])) is not None
            return IMPOSSIBLE if connected else OK if known else WRONG_PARAMETERS
        case "transfer":
            known = product.employee(str(command.fields["to_number"])) is not None
            return (OK if known else WRONG_PARAMETERS) if connected else IMPOSSIBLE
        case "recording/start":
            return IMPOSSIBLE if not connected else RECORDED_ALREADY if call.leg.recordings else OK
        case "call/hold/on":
            return OK if call.leg.state == "Connected" and connected else IMPOSSIBLE
        case _:
            return OK


# --- the scripts ------------------------------------------------------------------------------------------------------


async def _menu(call: LiveCall, then: str | None) -> None:
    entry = call.entry
    menu = call.leg = entry.menu(call.now)
    command = await call.pause(entry.product.habits.patience)
    if command is None and then is None:
        menu.ends(call.now, MENU_ENDED)
        entry.end(call.now, MENU_ENDED, from_=menu.from_, to=menu.to, result=1)
        return
    menu.ends(call.now, NORMAL)
    if command is not None:
        await _reaches(call, str(command.fields["to_number"]), menu, command.command_id)
    else:
        await _reaches(call, then or "", menu)


async def _reaches(call: LiveCall, extension: str, after: Leg | None, command_id: str = "") -> None:
    """The phone rings, and is answered or not. A route meanwhile makes another one ring."""
    entry, habits = call.entry, call.entry.product.habits
    extra = {"command_id": command_id} if command_id else {}
    leg = call.rings(entry.ring(extension, call.now, after=after, **extra))
    forwarded = call.now
    while (command := await call.pause(habits.ring)) is not None:
        leg.ends(call.now, PICKED_UP_ELSEWHERE)
        to, extra = str(command.fields["to_number"]), {"command_id": command.command_id}
        leg = call.rings(entry.ring(to, call.now, after=leg, **extra))
    if habits.employee != "answers":
        reason = BUSY if habits.employee == "busy" else CALLER_HUNG_UP
        call.status, call.ended_by = ("busy", None) if reason == BUSY else ("missed", "client")
        leg.ends(call.now, reason)
        entry.end(call.now, reason, from_=leg.from_, to=leg.to)
        return
    leg.connects(call.now)
    call.talks(leg)
    leg = await _talk(call, leg)
    call.ended_by = "client"
    leg.ends(call.now, CALLER_HUNG_UP)
    entry.end(
        call.now, CALLER_HUNG_UP, from_=entry.of_client(), to=leg.to, forwarded=forwarded, talked=call.talked
    )  # fmt: skip


async def _talk(call: LiveCall, leg: Leg) -> Leg:
    """Until the talk is over: the leg on which it ended."""
    entry = call.entry
    until = call.now + entry.product.habits.talk
    while (left := until - call.now) > 0:
        command = await call.pause(left)
        if command is None:
            break
        match command.method:
            case "transfer":
                leg = await _passed_on(call, leg, command)
                until = call.now + entry.product.habits.talk
            case "recording/start":
                entry.records(leg, call.now, command_id=command.command_id)
            case "call/hold/on":
                leg.on_hold(call.now, by="to" if leg.from_.get("number") == entry.client else "from")
                call.holds += 1
                await call.pause(left / 2)
                leg.connects(call.now)
    for recording_id in leg.recordings:
        entry.recorded(recording_id, leg, call.now)
    return leg


async def _passed_on(call: LiveCall, first: Leg, command: Command) -> Leg:
    """To another employee, without asking (blind) or after (hold)."""
    entry, product, to = call.entry, call.entry.product, str(command.fields["to_number"])
    assert first.employee is not None
    by, extra = first.employee, {"command_id": command.command_id}
    first.on_hold(call.now)
    asking = entry.of_employee(by, called=False)
    blind = command.fields["method"] == "blind"
    second = entry.leg(asking, entry.of_employee(product.at(to), called=True), employee=product.at(to), extra=extra)
    second.transfer = "blind" if blind else "consultative"
    call.rings(second.appears(call.now))
    if not blind:
        await call.pause(product.habits.ring)
        second.connects(call.now)
        await call.pause(product.habits.ring)
    first.ends(call.now, CALLED_HUNG_UP, **{"from": {"was_transferred": True}})
    second.from_ = entry.of_client(first)
    second.extra = extra | {"transfer": second.transfer}
    if blind:
        second.appears(call.now)
        await call.pause(product.habits.ring)
    second.connects(call.now)
    call.talks(second)
    call.transfers.append(("blind" if blind else "attended", by.extension, to))
    return second


async def _called_back(call: LiveCall, command_id: str) -> None:
    """Two legs: to the employee, who sees the client's number; then from the employee to the client."""
    entry, habits, employee = call.entry, call.entry.product.habits, call.entry.caller
    assert employee is not None
    extra = {"command_id": command_id, "callback_initiator": "API"}
    first = entry.leg(entry.of_client(), entry.of_employee(employee, called=False), employee=employee, extra=extra)
    call.rings(first.appears(call.now))
    call.status = "cancelled"
    await call.pause(habits.ring)
    if habits.employee != "answers":
        first.ends(call.now, NO_ANSWER)
        entry.end(call.now, NO_ANSWER, from_=first.to, to={"number": entry.client})
        return
    first.connects(call.now)
    first.ends(call.now, DONE)
    second = call.leg = entry.dial(employee.extension, call.now, after=first, **extra)
    await call.pause(habits.ring)
    if habits.client != "answers":
        outcomes = {"no_answer": (NO_ANSWER, "no_answer"), "busy": (BUSY, "busy"), "rejects": (DO_NOT_DISTURB, "busy")}
        reason, call.status = outcomes[habits.client]
        second.ends(call.now, reason)
        entry.end(call.now, reason, from_=second.from_, to=second.to)
        return
    second.connects(call.now)
    call.talks(second)
    second = await _talk(call, second)
    call.ended_by = "client"
    second.ends(call.now, CALLED_HUNG_UP)
    entry.end(call.now, CALLED_HUNG_UP, from_=second.from_, to=second.to, talked=call.talked)


def _all_end(call: LiveCall, reason: int) -> None:
    entry = call.entry
    for leg in entry.legs:
        if leg.state != "Disconnected":
            leg.ends(call.now, reason)
    last = entry.legs[-1]
    if entry.caller is None:
        entry.end(call.now, reason, from_=last.from_, to=last.to, forwarded=last.began, talked=call.talked)
        return
    from_ = entry.of_employee(entry.caller, called=False)
    entry.end(call.now, reason, from_=from_, to={"number": entry.client}, talked=call.talked)
