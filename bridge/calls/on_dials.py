"""Somebody, or Asterisk itself, calls somebody."""

from __future__ import annotations

from bridge.calls.events import DialBegin, DialEnd, DialState, OriginateResponse
from bridge.calls.switchboard import Switchboard, handles

# What a called phone does before it answers, that its owner notices
_RINGS = frozenset({"RINGING", "PROGRESS"})


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
    conversation = board.groups.of(dest.uniqueid)
    if conversation is not None:
        conversation.full = True
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
    if event.status == "ANSWER":
        board.ring(dest)
    board.touch_channel(dest.uniqueid)


@handles(OriginateResponse)
def originate_answered(board: Switchboard, event: OriginateResponse, at: float | None) -> None:
    """Whom the phone that was rung is to reach: the only place that tells it of a phone that never answered."""
    conversation = board.groups.of(event.uniqueid)
    if conversation is None:
        return
    if not conversation.target:
        conversation.target = event.target
    board.touch(conversation)
