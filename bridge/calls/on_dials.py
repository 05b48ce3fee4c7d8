"""Somebody, or Asterisk itself, calls somebody."""

from __future__ import annotations

from bridge.calls.events import ChannelSeen, DialBegin, DialEnd, DialState, OriginateResponse
from bridge.calls.state import Conversation
from bridge.calls.switchboard import Switchboard, handles

# What a called phone does before it answers, that its owner notices
_RINGS = frozenset({"RINGING", "PROGRESS"})
# How the dial of a phone ends that had rung
_RANG = frozenset({"ANSWER", "CANCEL", "NOANSWER"})


@handles(DialBegin)
def dial_begins(board: Switchboard, event: DialBegin, at: float | None) -> None:
    dest = board.see(event.dest, at)
    caller = board.see(event.channel, at) if event.channel is not None else None
    if dest is None or dest.ended:
        return
    dest.dialled = True
    dest.dial_string = event.dial_string
    if caller is not None:
        dest.dialled_by = caller.uniqueid
        board.groups.connect(caller, dest)
    board.touch_channel(dest.uniqueid)


@handles(DialState)
def dial_goes_on(board: Switchboard, event: DialState, at: float | None) -> None:
    dest = board.see(event.dest, at)
    if dest is None or dest.ended:
        return
    board.speaks_fully(board.groups.of(dest.uniqueid))
    if event.status in _RINGS:
        dest.dialled = True
        board.ring(dest)


@handles(DialEnd)
def dial_ends(board: Switchboard, event: DialEnd, at: float | None) -> None:
    dest = board.known(event.dest, at)
    if dest is None:
        return
    # a queue says CANCEL again of who was cancelled before; an answer is never taken back
    if dest.dial_status != "ANSWER":
        dest.dial_status = event.status
    conversation = board.groups.of(dest.uniqueid)
    if event.status == "ANSWER":
        board.ring(dest)
    if conversation is not None and not conversation.full:
        # an event filter left only begins and ends: whoever was not refused rang, whoever answered talked
        if event.status in _RANG:
            board.ring(dest)
        if event.status == "ANSWER":
            board.presume_talk(conversation, dest, at)
    board.touch(conversation)


@handles(OriginateResponse)
def originate_answered(board: Switchboard, event: OriginateResponse, at: float | None) -> None:
    """Whom the phone that was rung is to reach: the only place that tells it of a phone that never answered.

    A failed one names its channel only by what was dialled, unless the id was chosen by who asked for it; and where no
    channel could be made (an unregistered phone), this is all there ever is.
    """
    conversation = board.groups.of(event.uniqueid) or _nameless(board, event.channel)
    if conversation is None and event.uniqueid and not event.success:
        seen = ChannelSeen(name=event.channel, uniqueid=event.uniqueid, linkedid=event.uniqueid, state="Down")
        phone = board.see(seen, at, born=True)
        if phone is not None:
            board.groups.end(phone)
        conversation = board.groups.of(event.uniqueid)
        board.speaks_fully(conversation)
    if conversation is not None:
        conversation.target = conversation.target or event.target
        board.touch(conversation)


def _nameless(board: Switchboard, dialled: str) -> Conversation | None:
    """The oldest conversation that Asterisk began by dialling `Local/150@inoffice` and nobody knows the target of."""
    for _, conversation in sorted(board.groups.live.items()):
        first = next(iter(conversation.channels.values()))
        if first.originated and not conversation.target and first.name.startswith(f"{dialled}-"):
            return conversation
    return None
