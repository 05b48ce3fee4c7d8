"""What happens in an office: the calls people make, each a verb that returns what they did.

    async with Company(provision(22)) as company:
        truth = await company.inbound_answered("79161234567", talk=2)

Client numbers are as the provider sends them, without "+". Calls of different clients may run side by side.
`ring` and `talk` are how long people wait and speak, in seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Literal

from lab.asterisk.config import CROWD
from lab.conversation import Conversation, Who
from lab.errors import CallProblem
from lab.office import GROUP_LINE, QUEUE_LINE, ROUTED_LINE, WAITING_LINE, Office
from lab.phones import Call, Incoming, Outgoing
from lab.truth import Truth, as_sent, inbound_truth, lost_truth, outbound_truth

CLIENT = "79161234567"
CALLED = "79031112233"


class Company(Office):
    """The verbs. Each returns once the people are done; Asterisk may need a moment more (`pbx.quiet`)."""

    # --- a client calls -----------------------------------------------------------------------------------------

    async def inbound(
        self, client: str | None = CLIENT, *, line: str = "", by: str = "150", ring: float = 0.2, name: str = ""
    ) -> Conversation:
        """A client's call that `by` picked up: it goes on until somebody ends it."""
        line = line or self.direct_line(by)
        outside, inside = await self._reach(client, line, by, name)
        await self._let_ring(inside, outside, ring)
        await inside.answer()
        await outside.until("up")
        truth = inbound_truth("inbound_answered", client, line, (by,), outside, inside)
        return _talking(truth, outside, inside)

    async def inbound_answered(
        self,
        client: str | None = CLIENT,
        *,
        line: str = "",
        by: str = "150",
        ring: float = 0.2,
        talk: float = 1.0,
        hangs_up: Who = "client",
        name: str = "",
    ) -> Truth:
        conversation = await self.inbound(client, line=line, by=by, ring=ring, name=name)
        await conversation.talk(talk)
        return await conversation.end(hangs_up)

    async def inbound_missed(self, client: str | None = CLIENT, *, by: str = "150") -> Truth:
        """Nobody comes to the phone, until the PBX gives up."""
        return await self._unanswered("inbound_missed", client, by)

    async def inbound_abandoned(self, client: str | None = CLIENT, *, by: str = "150", ring: float = 1.0) -> Truth:
        """The client gives up while the phone rings."""
        return await self._unanswered("inbound_abandoned", client, by, gives_up_after=ring)

    async def inbound_busy(self, client: str | None = CLIENT, *, by: str = "150") -> Truth:
        line = self.direct_line(by)
        outside, inside = await self._reach(client, line, by)
        inside.refuse(486)
        await outside.ended()
        return lost_truth("inbound_busy", client, line, (), outside, status="busy", tried=(by,))

    async def inbound_routed(
        self, client: str | None = CLIENT, *, line: str = ROUTED_LINE, ring: float = 0.2, talk: float = 1.0
    ) -> Truth:
        """The dialplan asks the bridge who should get the call: whoever's phone rings picks up."""
        expected = {extension: phone.expect(caller=as_sent(client)) for extension, phone in self.phones.items()}
        outside = await self.provider.call(line, caller=as_sent(client))
        waiting = {asyncio.create_task(one.within()): extension for extension, one in expected.items()}
        done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        rang = done.pop()
        by, inside = waiting[rang], rang.result()
        await self._let_ring(inside, outside, ring)
        await inside.answer()
        await outside.until("up")
        truth = inbound_truth("inbound_routed", client, line, (by,), outside, inside)
        conversation = _talking(truth, outside, inside)
        await conversation.talk(talk)
        return await conversation.end("client")

    async def redirected(
        self,
        redirect: Callable[[], Awaitable[object]],
        client: str | None = CLIENT,
        *,
        by: str = "152",
        ring: float = 0.2,
        talk: float = 1.0,
    ) -> Truth:
        """A client waits on a line that rings nobody; `redirect` makes the bridge send them to `by`."""
        expected = self.phones[by].expect(caller=as_sent(client))
        outside = await self.provider.call(WAITING_LINE, caller=as_sent(client))
        await outside.until("ringing")
        await redirect()
        inside = await expected.within()
        inside.ring()
        await asyncio.sleep(ring)
        await inside.answer()
        await outside.until("up")
        truth = inbound_truth("redirected", client, WAITING_LINE, (by,), outside, inside)
        conversation = _talking(replace(truth, recorded=False), outside, inside)
        await conversation.talk(talk)
        return await conversation.end("client")

    async def hold(
        self, client: str | None = CLIENT, *, by: str = "150", talk: float = 0.5, held: float = 1.0
    ) -> Truth:
        """The client waits with music for `held` seconds, then is back."""
        conversation = await self.inbound(client, by=by)
        await conversation.talk(talk)
        await conversation.inside.hold()
        await conversation.outside.hears()
        await asyncio.sleep(held)
        await conversation.inside.resume()
        await conversation.talk(talk)
        return replace(await conversation.end("client"), scenario="hold", holds=1)

    # --- a client is passed on ----------------------------------------------------------------------------------

    async def blind_transfer(
        self,
        client: str | None = CLIENT,
        *,
        by: str = "150",
        to: str = "152",
        talk: float = 0.5,
        outcome: Literal["answered", "busy", "missed"] = "answered",
    ) -> Truth:
        """`by` sends the client on to `to`, who picks up, refuses, or is not at the phone."""
        conversation = await self.inbound(client, by=by)
        await conversation.talk(talk)
        target = await self.phone(to)
        expected = target.expect(caller=as_sent(client))
        await conversation.inside.transfer(to)
        second = await expected.within()
        truth = replace(
            conversation.truth,
            scenario=f"blind_transfer_{outcome}",
            extensions=(by, to),
            transfers=(("blind", by, to),),
        )
        if outcome != "answered":
            second.ring()
            if outcome == "busy":
                second.refuse(486)
            await conversation.outside.ended(self.ring_seconds + 10)
            await conversation.inside.transferred()
            await conversation.inside.hang_up()  # phones do by themselves what was reported as done, people the rest
            return replace(truth, talk_seconds=(conversation.outside.ended_at or 0) - conversation.since)
        second.ring()
        await second.answer()
        await conversation.inside.ended()
        passed_on = conversation.passed_on(replace(truth, answered_by=to), second)
        await passed_on.talk(talk)
        return await passed_on.end("client")

    async def attended_transfer(
        self,
        client: str | None = CLIENT,
        *,
        by: str = "150",
        to: str = "152",
        talk: float = 0.5,
        hangs_up: Who = "client",
    ) -> Truth:
        """`by` puts the client on hold, asks `to` first, and connects the two."""
        conversation = await self.inbound(client, by=by)
        await conversation.talk(talk)
        await conversation.inside.hold()
        target = await self.phone(to)
        expected = target.expect(caller=by)
        asking = await (await self.phone(by)).call(to)
        second = await expected.within()
        second.ring()
        await second.answer()
        await asking.until("up")
        await asyncio.sleep(talk)
        await conversation.inside.transfer_to(asking)
        await asyncio.gather(conversation.inside.ended(), asking.ended())
        truth = replace(
            conversation.truth,
            scenario="attended_transfer",
            extensions=(by, to),
            answered_by=to,
            transfers=(("attended", by, to),),
            holds=1,
        )
        passed_on = conversation.passed_on(truth, second)
        await passed_on.talk(talk)
        return await passed_on.end(hangs_up)

    async def parked(
        self, client: str | None = CLIENT, *, by: str = "150", taken_by: str = "151", talk: float = 0.5
    ) -> Truth:
        """`by` parks the client, `taken_by` takes them from the place where they wait."""
        conversation = await self.inbound(client, by=by)
        await conversation.talk(talk)
        async with self.pbx.tap() as tap:
            await conversation.inside.transfer("700")
            parked = await tap.event("ParkedCall", ParkeeCallerIDNum=as_sent(client))
        await conversation.inside.ended()
        second = await (await self.phone(taken_by)).call(parked["ParkingSpace"])
        await second.until("up")
        truth = replace(conversation.truth, scenario="parked", tried=(taken_by,), answered_by=taken_by, transfers=None)
        taken = conversation.passed_on(truth, second)
        await taken.talk(talk)
        return await taken.end("client")

    # --- several phones ring ------------------------------------------------------------------------------------

    async def queue_answered(self, client: str | None = CLIENT, *, by: str = "151", talk: float = 1.0) -> Truth:
        """Both members of the queue ring, `by` picks up."""
        truth = await self._first_of("queue_answered", client, QUEUE_LINE, ("150", "151"), by, talk)
        return replace(truth, queue="sales")

    async def queue_abandoned(self, client: str | None = CLIENT, *, ring: float = 1.0) -> Truth:
        """The client leaves the queue while both members ring."""
        expected = [self.phones[extension].expect(caller=as_sent(client)) for extension in ("150", "151")]
        outside = await self.provider.call(QUEUE_LINE, caller=as_sent(client))
        ringing = await asyncio.gather(*(one.within() for one in expected))
        for call in ringing:
            call.ring()
        await outside.until("up")  # the queue answers: the client hears music
        await asyncio.sleep(ring)
        await outside.hang_up()
        await asyncio.gather(*(call.ended() for call in ringing))
        lost = lost_truth("queue_abandoned", client, QUEUE_LINE, ("150", "151"), outside, ended_by="client")
        return replace(lost, queue="sales")

    async def ring_group(self, client: str | None = CLIENT, *, by: str = "151", talk: float = 1.0) -> Truth:
        """150 and 151 ring together, `by` picks up."""
        return await self._first_of("ring_group", client, GROUP_LINE, ("150", "151"), by, talk)

    # --- the office calls ---------------------------------------------------------------------------------------

    async def outbound(
        self,
        client: str = CALLED,
        *,
        by: str = "150",
        ring: float = 0.2,
        talk: float = 1.0,
        hangs_up: Who = "extension",
    ) -> Truth:
        inside, outside = await self._dial_out(client, by)
        await self._let_ring(outside, inside, ring)
        await outside.answer()
        await inside.until("up")
        truth = outbound_truth("outbound", client, by, inside, "answered")
        conversation = _talking(truth, outside, inside)
        await conversation.talk(talk)
        return await conversation.end(hangs_up)

    async def outbound_busy(self, client: str = CALLED, *, by: str = "150") -> Truth:
        inside, outside = await self._dial_out(client, by)
        outside.refuse(486)
        await inside.ended()
        return outbound_truth("outbound_busy", client, by, inside, "busy")

    async def outbound_no_answer(self, client: str = CALLED, *, by: str = "150") -> Truth:
        """The client's phone rings until the PBX gives up."""
        inside, outside = await self._dial_out(client, by)
        outside.ring()
        await inside.ended(self.ring_seconds + 10)
        return outbound_truth("outbound_no_answer", client, by, inside, "no_answer")

    async def outbound_cancelled(self, client: str = CALLED, *, by: str = "150", ring: float = 1.0) -> Truth:
        """Our side gives up while the client's phone rings."""
        inside, outside = await self._dial_out(client, by)
        await self._let_ring(outside, inside, ring)
        await inside.hang_up()
        await outside.ended()
        return outbound_truth("outbound_cancelled", client, by, inside, "cancelled", ended_by="extension")

    async def clicked(
        self,
        click: Callable[[], Awaitable[object]],
        client: str = CALLED,
        *,
        by: str = "150",
        ring: float = 0.2,
        talk: float = 1.0,
        hangs_up: Who = "client",
    ) -> Truth:
        """`click` makes the bridge call: the manager's phone rings first, then the client's."""
        first, second = self.phones[by].expect(), self.provider.expect(called=client)
        await click()
        inside = await first.within()
        inside.ring()
        await asyncio.sleep(ring)
        await inside.answer()
        outside = await second.within()
        outside.ring()
        await asyncio.sleep(ring)
        await outside.answer()
        truth = outbound_truth("clicked", client, by, inside, "answered")
        conversation = _talking(truth, outside, inside)
        await conversation.talk(talk)
        return await conversation.end(hangs_up)

    async def internal(self, by: str = "150", to: str = "152", *, ring: float = 0.2, talk: float = 1.0) -> Truth:
        """A call inside the office: no CRM's business."""
        expected = (await self.phone(to)).expect(caller=by)
        calling = await (await self.phone(by)).call(to)
        called = await expected.within()
        await self._let_ring(called, calling, ring)
        await called.answer()
        await calling.until("up")
        await asyncio.sleep(talk)
        await called.hang_up()
        await calling.ended()
        return Truth(
            scenario="internal",
            direction="internal",
            client_number=None,
            status="answered",
            extensions=(to,),
            answered_by=to,
            answered_first=to,
            talk_seconds=called.talked,
            began_at=calling.began_at,
        )

    # --- many at once -------------------------------------------------------------------------------------------

    async def crowd(self, count: int = len(CROWD)) -> list[Conversation]:
        """`count` clients (79160000000 and on) talk at the same time, each with an extension from 200 on."""
        if not 0 < count <= len(CROWD):
            raise CallProblem(f"the crowd has {len(CROWD)} phones, {count} calls were asked for")
        return list(
            await asyncio.gather(
                *(self.inbound(f"7916{number:07}", by=by, ring=0) for number, by in enumerate(CROWD[:count]))
            )
        )

    # --- what they have in common -------------------------------------------------------------------------------

    async def _reach(self, client: str | None, line: str, by: str, name: str = "") -> tuple[Outgoing, Incoming]:
        phone = await self.phone(by)
        expected = phone.expect(caller=as_sent(client))
        outside = await self.provider.call(line, caller=as_sent(client), name=name, silent=phone.hertz is None)
        return outside, await expected.within()

    async def _dial_out(self, client: str, by: str) -> tuple[Outgoing, Incoming]:
        expected = self.provider.expect(called=client)
        inside = await self.phones[by].call(client)
        return inside, await expected.within()

    async def _let_ring(self, called: Incoming, calling: Outgoing, seconds: float) -> None:
        called.ring()
        await calling.until("ringing", "up")
        await asyncio.sleep(seconds)

    async def _unanswered(
        self, scenario: str, client: str | None, by: str, gives_up_after: float | None = None
    ) -> Truth:
        line = self.direct_line(by)
        outside, inside = await self._reach(client, line, by)
        inside.ring()
        if gives_up_after is None:
            await outside.ended(self.ring_seconds + 10)
        else:
            await asyncio.sleep(gives_up_after)
            await outside.hang_up()
        await inside.ended()
        ended_by = None if gives_up_after is None else "client"
        return lost_truth(scenario, client, line, (by,), outside, ended_by=ended_by)

    async def _first_of(
        self, scenario: str, client: str | None, line: str, ringing: Sequence[str], by: str, talk: float
    ) -> Truth:
        expected = {extension: self.phones[extension].expect(caller=as_sent(client)) for extension in ringing}
        outside = await self.provider.call(line, caller=as_sent(client))
        calls = {extension: await one.within() for extension, one in expected.items()}
        for call in calls.values():
            call.ring()
        await asyncio.sleep(0.2)
        inside = calls.pop(by)
        await inside.answer()
        await outside.until("up")
        await asyncio.gather(*(call.ended() for call in calls.values()))
        truth = inbound_truth(scenario, client, line, tuple(ringing), outside, inside)
        conversation = _talking(truth, outside, inside)
        await conversation.talk(talk)
        return await conversation.end("client")


def _talking(truth: Truth, outside: Call, inside: Call) -> Conversation:
    """From now on; a client whom we called begins to talk when they pick up, not when the manager did."""
    since = outside.answered_at if truth.direction == "outbound" else inside.answered_at
    return Conversation(truth, outside, inside, since or 0)
