"""Channels meet in bridges, through Local channels, on hold."""

from __future__ import annotations

from bridge.calls.events import BridgeDestroy, BridgeEnter, BridgeLeave, Hold, LocalBridge
from bridge.calls.state import Channel, Conversation
from bridge.calls.switchboard import Switchboard, handles


@handles(BridgeEnter)
def enters(board: Switchboard, event: BridgeEnter, at: float | None) -> None:
    channel = board.see(event.channel, at)
    if channel is None or channel.ended:
        return
    put_in_bridge(board, channel, event.bridge, at, conference=event.kind == "base", waits=_waits(event.technology))


def _waits(technology: str) -> bool:
    """In a holding bridge (parking, music) nobody hears anybody."""
    return technology == "holding_bridge"


def put_in_bridge(
    board: Switchboard, channel: Channel, bridge: str, at: float | None, *, conference: bool, waits: bool
) -> None:
    """Two parties in a bridge are one call; a conference is a room where calls end."""
    groups = board.groups
    conversation = groups.of(channel.uniqueid)
    board.speaks_fully(conversation)
    if waits:
        groups.leave(channel)
        board.reconnect(conversation, at)
        return
    channel.conference = conference
    groups.enter(channel, bridge)
    others = [uniqueid for uniqueid in sorted(groups.members(bridge)) if uniqueid != channel.uniqueid]
    if not conference:
        for uniqueid in others:
            other = groups.channel(uniqueid)
            if other is not None:
                groups.connect(other, channel)
    for uniqueid in (channel.uniqueid, *others):
        board.reconnect(groups.of(uniqueid), at)


@handles(BridgeLeave)
def leaves(board: Switchboard, event: BridgeLeave, at: float | None) -> None:
    channel = board.known(event.channel, at)
    # the leave of a bridge that was swapped for another may come after the entry into that
    if channel is None or channel.bridge != event.bridge:
        return
    others = board.groups.members(event.bridge) - {channel.uniqueid}
    board.groups.leave(channel)
    for uniqueid in (channel.uniqueid, *sorted(others)):
        board.reconnect(board.groups.of(uniqueid), at)


@handles(BridgeDestroy)
def destroyed(board: Switchboard, event: BridgeDestroy, at: float | None) -> None:
    for uniqueid in sorted(board.groups.members(event.bridge)):
        channel = board.groups.channel(uniqueid)
        if channel is not None:
            board.groups.leave(channel)
            board.reconnect(board.groups.of(uniqueid), at)


@handles(LocalBridge)
def halves(board: Switchboard, event: LocalBridge, at: float | None) -> None:
    one, two = board.see(event.one, at), board.see(event.two, at)
    if one is not None and two is not None and not one.ended and not two.ended:
        board.groups.pair(one, two)
        board.reconnect(board.groups.of(one.uniqueid), at)


@handles(Hold)
def holds(board: Switchboard, event: Hold, at: float | None) -> None:
    """A phone puts its other party on hold. An Unhold without a Hold precedes some transfers and means nothing."""
    channel = board.see(event.channel, at)
    conversation = board.groups.of(event.channel.uniqueid)
    if channel is None or channel.ended or conversation is None or channel.holding == event.on:
        return
    channel.holding = event.on
    if event.on:
        board.groups.holding.add(channel.uniqueid)
        if channel.side == "extension" and _talks(conversation, channel):
            conversation.holds += 1
    else:
        board.groups.holding.discard(channel.uniqueid)
    board.touch(conversation)


def _talks(conversation: Conversation, channel: Channel) -> bool:
    talking = [talk for talk in conversation.talks if talk.closed is None]
    if any(talk.uniqueid == channel.uniqueid for talk in talking):
        return True
    # in a call between extensions the one that called may hold, too
    return any(not talk.with_client for talk in talking) and channel is conversation.initiator()
