"""What Asterisk writes about a call beside its channels: queues, recordings, CEL and Cdr, its own start and stop."""

from __future__ import annotations

from bridge.calls.events import AgentComplete, Booted, Cdr, Cel, QueueJoin, Shutdown, VariableSet, ZoneSeen
from bridge.calls.state import Channel
from bridge.calls.switchboard import Switchboard, handles
from bridge.calls.timeline import record_of

# MixMonitor's own variable has the whole path; what dialplans call theirs, mostly only the name
_FILENAME = "MIXMONITOR_FILENAME"


@handles(QueueJoin)
def joins_queue(board: Switchboard, event: QueueJoin, at: float | None) -> None:
    """The queue that the client came through; one that was only consulted is none of the call's."""
    channel = board.see(event.channel, at)
    conversation = board.groups.of(event.channel.uniqueid)
    if channel is None or channel.consulting:
        return
    if conversation is not None and conversation.queue is None:
        conversation.queue = event.queue
        board.touch(conversation)


@handles(AgentComplete)
def agent_completes(board: Switchboard, event: AgentComplete, at: float | None) -> None:
    conversation = board.groups.of(event.channel.uniqueid)
    if conversation is not None and event.talk is not None:
        conversation.agent_seconds[event.dest.uniqueid] = event.talk
        board.touch(conversation)


@handles(VariableSet)
def variable_set(board: Switchboard, event: VariableSet, at: float | None) -> None:
    """A recording's name. The client's own recording is the call's, not that of a consultation about it."""
    conversation = board.groups.of(event.uniqueid)
    channel = board.groups.channel(event.uniqueid)
    if conversation is None or channel is None or "." not in event.value:
        return
    rank = (event.variable != _FILENAME) + 2 * channel.consulting
    if rank < conversation.recording_rank:
        conversation.recording, conversation.recording_rank = event.value, rank
        board.touch(conversation)


@handles(Cel)
def cel(board: Switchboard, event: Cel, at: float | None) -> None:
    board.speaks_fully(board.groups.of(event.uniqueid))
    board.note_time(event)


@handles(Cdr)
def cdr(board: Switchboard, event: Cdr, at: float | None) -> None:
    record = record_of(event)
    if board.zone is None:
        board.learn_zone(record.start, event.uniqueid)
    # after a transfer the two channels of a record may be of two calls
    for conversation in (board.groups.of(event.uniqueid), board.groups.named(event.dest_channel)):
        if conversation is not None and record not in conversation.records:
            conversation.records.append(record)
            board.touch(conversation)


@handles(ZoneSeen)
def zone_seen(board: Switchboard, event: ZoneSeen, at: float | None) -> None:
    board.zone = event.ahead


@handles(Shutdown)
def stops(board: Switchboard, event: Shutdown, at: float | None) -> None:
    board.stopping = True


@handles(Booted)
def boots(board: Switchboard, event: Booted, at: float | None) -> None:
    """Asterisk is up. If it had stopped, or has only just begun, nothing of before is alive."""
    if board.stopping or event.uptime == 0:
        board.stopping = False
        for channel in list(board.groups.channels()):
            lose(board, channel)


def lose(board: Switchboard, channel: Channel) -> None:
    """The channel ended while nobody listened."""
    conversation = board.groups.of(channel.uniqueid)
    went_on = conversation is not None and not conversation.over
    board.groups.end(channel)
    if conversation is not None:
        conversation.unseen = conversation.unseen or (went_on and conversation.over)
    board.reconnect(conversation, None)
