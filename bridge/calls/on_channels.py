"""Channels come, change and go; the world's phones ask to hang up."""

from __future__ import annotations

from bridge.calls.events import ChannelChanged, Hangup, HangupRequested, Newchannel, Renamed
from bridge.calls.state import Channel, Conversation
from bridge.calls.switchboard import Switchboard, handles


@handles(Newchannel)
def new_channel(board: Switchboard, event: Newchannel, at: float | None) -> None:
    if board.groups.channel(event.channel.uniqueid) is not None:
        return
    channel = board.see(event.channel, at, born=True)
    if channel is not None and channel.linkedid == channel.uniqueid and event.channel.state == "Ring":
        served = _consulted_for(board, channel)
        mine = board.groups.of(channel.uniqueid)
        if served is not None and mine is not None:
            board.touch(board.groups.join(served, mine))


def _consulted_for(board: Switchboard, channel: Channel) -> Conversation | None:
    """The call that a phone has on hold while it calls a colleague: the colleague is consulted about it."""
    if channel.side != "extension" or not board.parties.is_extension(channel.exten):
        return None
    for uniqueid in board.groups.holding:
        other = board.groups.channel(uniqueid)
        if other is not None and other.extension == channel.extension:
            return board.groups.of(uniqueid)
    return None


@handles(ChannelChanged)
def channel_changed(board: Switchboard, event: ChannelChanged, at: float | None) -> None:
    channel = board.see(event.channel, at)
    if channel is None or channel.ended:
        return
    conversation = board.groups.of(channel.uniqueid)
    board.speaks_fully(conversation)
    # only a phone that is called can be Ringing; one that calls is in state Ring
    if event.channel.state == "Ringing" and channel.dialled:
        board.ring(channel)
    board.touch(conversation)


@handles(Renamed)
def renamed(board: Switchboard, event: Renamed, at: float | None) -> None:
    """A masquerade put another device behind the channel: a pick-up, a redirect of the called side."""
    channel = board.groups.channel(event.uniqueid)
    if channel is None or channel.ended:
        return
    channel.name = event.name
    if "<" in event.name or event.name.startswith("AsyncGoto/"):
        return  # a name of passage: PJSIP/150-0000002a<MASQ>, …<ZOMBIE>
    side, extension = board.parties.side(event.name, "")
    if side != "tool":
        channel.side, channel.extension = side, extension
        board.reconnect(board.groups.of(channel.uniqueid), at)


@handles(HangupRequested)
def hangup_requested(board: Switchboard, event: HangupRequested, at: float | None) -> None:
    channel = board.known(event.channel, at)
    conversation = board.groups.of(event.channel.uniqueid)
    if channel is None or conversation is None:
        return
    board.speaks_fully(conversation)
    if event.by_peer and channel.uniqueid not in conversation.asked:
        conversation.asked.append(channel.uniqueid)


@handles(Hangup)
def hung_up(board: Switchboard, event: Hangup, at: float | None) -> None:
    channel = board.known(event.channel, at)
    if channel is None:
        return
    channel.cause = event.cause
    channel.ended_at = at
    board.groups.end(channel)
    board.reconnect(board.groups.of(channel.uniqueid), at)
