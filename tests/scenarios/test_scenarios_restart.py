"""What the bridge knows of real calls after it was away: whole what outlived it, `incomplete` what ended unseen."""

from __future__ import annotations

from bridge.ami.framing import Framer, frame_name, parse
from bridge.ami.translate import channel_seen, translate
from bridge.calls.machine import Exchange
from bridge.calls.model import Absorbed, Call, Change, Rules
from lab.asterisk import Tap
from lab.company import Company

RULES = Rules(region="RU", extensions=r"^[12]\d\d$", trunks=("PJSIP/trunk",))


def fed(exchange: Exchange, tap: Tap) -> dict[str | None, Call]:
    """The calls of all that was heard, by their client's number."""
    changes: list[Change] = []
    seen = []
    for frame in Framer().feed(bytes(tap.captured)):
        if frame_name(frame) == (b"Event", b"CoreShowChannel"):
            seen.append(channel_seen(parse(frame)))
        elif frame_name(frame) == (b"Event", b"CoreShowChannelsComplete"):
            changes += exchange.snapshot(seen)
        elif (event := translate(frame)) is not None:
            changes += exchange.feed(event)
    return {change.call.client_number: change.call for change in changes if not isinstance(change, Absorbed)}


async def test_calls_that_outlive_the_bridge_are_whole_and_those_that_ended_meanwhile_are_incomplete(
    company: Company,
) -> None:
    pbx = company.pbx
    # given three calls, one over, one that will end unseen, one that will outlive the bridge
    async with pbx.tap(pbx.bridge_user, pbx.bridge_secret) as before:
        over = await company.inbound_answered("79164440001", by="152", talk=0.2)
        unseen = await company.inbound("79164440002", by="150")
        outliving = await company.inbound("79164440003", by="151")
        await outliving.talk(0.2)
        await before.send({"Action": "CoreShowChannels"})
        await before.event("CoreShowChannelsComplete")
        exchange = Exchange(RULES)
        known = fed(exchange, before)
        states = [state for call in exchange.live() if (state := exchange.dump(call.call_id)) is not None]
    # when the bridge is away
    async with pbx.tap() as witness:
        await unseen.end()
        await witness.event("Hangup", CallerIDNum="79164440002")
        await witness.event("Hangup", CallerIDNum="150")
    # and is back, with what it had stored and a look at what there is
    async with pbx.tap(pbx.bridge_user, pbx.bridge_secret) as after:
        await after.send({"Action": "CoreShowChannels"})
        await after.event("CoreShowChannelsComplete")
        whole = await outliving.end("extension")
        await pbx.quiet()
        await after.send({"Action": "Ping"})
        again = Exchange(RULES)
        again.restore(states)
        calls = {**known, **fed(again, after)}

    assert len(states) == 2
    assert calls["+79164440001"].status == over.status == "answered"
    assert calls["+79164440002"].status == "incomplete"
    assert calls["+79164440002"].answered_by == "150"
    assert calls["+79164440002"].ended_by is None
    ended = calls["+79164440003"]
    assert (ended.status, ended.answered_by, ended.ended_by) == ("answered", "151", whole.ended_by)
    assert again.live() == []


async def test_a_call_that_began_while_the_bridge_was_away_is_taken_in_as_it_is(company: Company) -> None:
    pbx = company.pbx
    conversation = await company.inbound("79164440004", by="151")
    await conversation.talk(0.2)

    async with pbx.tap(pbx.bridge_user, pbx.bridge_secret) as tap:
        await tap.send({"Action": "CoreShowChannels"})
        await tap.event("CoreShowChannelsComplete")
        await conversation.end("client")
        await pbx.quiet()
        await tap.send({"Action": "Ping"})
        (call,) = fed(Exchange(RULES), tap).values()

    assert (call.direction, call.client_number, call.answered_by) == ("inbound", "+79164440004", "151")
    assert call.ended_at is not None
    assert call.ended_by == "client"


async def test_a_restart_of_asterisk_ends_its_calls(company: Company) -> None:
    pbx = company.pbx
    conversation = await company.inbound("79164440005", by="150")
    exchange = Exchange(RULES)
    async with pbx.tap(pbx.bridge_user, pbx.bridge_secret) as before:
        await before.send({"Action": "CoreShowChannels"})
        await before.event("CoreShowChannelsComplete")
        await pbx.restart()
        await before.until(lambda message: message.get("Event") == "Shutdown")
        seen = fed(exchange, before)
    await conversation.outside.ended()
    async with pbx.tap(pbx.bridge_user, pbx.bridge_secret) as after:
        await after.send({"Action": "CoreShowChannels"})
        await after.event("CoreShowChannelsComplete")
        calls = {**seen, **fed(exchange, after)}

    assert (calls["+79164440005"].status, calls["+79164440005"].ended_by) == ("answered", "system")
    assert exchange.live() == []
    await company.register()
