"""When things happened.

The clock of an event is, in this order: the PBX's own (`Timestamp`), the time at which it was received, and where a
stream has neither, what else in it tells the time: the epoch in a channel's Uniqueid, CEL and Cdr. These two write the
PBX's *local* time, to the second and without a zone; the zone is learnt from a security event, or by comparing a
channel's start, as they write it, with the epoch in its Uniqueid. What nothing tells stays None.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from bridge.calls.events import Cdr
from bridge.calls.state import Channel, Conversation, Record, Talk

# `1795226894.0`, or with the system's name before it: `office-1795226894.0`
_EPOCH = re.compile(r"(?:^|-)(\d{9,11})\.\d+$")
_QUARTER = 900
_SLACK = 60


def epoch(uniqueid: str) -> float | None:
    """When Asterisk made the channel, from its Uniqueid; None where the id was chosen by somebody else."""
    found = _EPOCH.search(uniqueid)
    return float(found[1]) if found else None


def local_seconds(text: str) -> float | None:
    """`2026-11-21 02:08:14` of an unknown zone, as seconds since the epoch as if it were UTC."""
    try:
        return datetime.strptime(text[:19], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def zone_of(local: float | None, started: float | None) -> int | None:
    """How many seconds the PBX's local time is ahead of UTC, given one moment in both; None if they are not one."""
    if local is None or started is None:
        return None
    ahead = round((local - started) / _QUARTER) * _QUARTER
    return ahead if abs(local - started - ahead) <= _SLACK and abs(ahead) <= 15 * 3600 else None


class Clock:
    """The times of one conversation, as well as they are known so far: in UTC, `local` in the PBX's own time only."""

    def __init__(self, conversation: Conversation, zone: int | None, *, local: bool = False) -> None:
        self._conversation = conversation
        self._zone = 0 if local else zone
        self._local = local

    def started(self, channel: Channel) -> float | None:
        """When a channel began."""
        if channel.created_at is not None and not self._local:
            return channel.created_at
        return self._told("start", channel.uniqueid) or self._recorded(channel, "start")

    def up(self, channel: Channel) -> float | None:
        """When a channel was answered."""
        if channel.up_at is not None and not self._local:
            return channel.up_at
        return self._told("up", channel.uniqueid)

    def ended(self, channel: Channel) -> float | None:
        """When a channel was hung up."""
        if channel.ended_at is not None and not self._local:
            return channel.ended_at
        return self._told("end", channel.uniqueid) or self._recorded(channel, "end")

    def connected(self, talk: Talk) -> float | None:
        """When an extension and the client first heard each other: when the later of them entered the bridge."""
        if talk.at is not None and not self._local:
            return talk.at
        enters = [time for key in talk.enters if (time := self._told("enter", key)) is not None]
        if enters:
            return max(enters)
        return self._answered(talk)

    def _answered(self, talk: Talk) -> float | None:
        """Without CEL: by the Cdr of just these two, where its answer is this one and no menu's, and by the queue."""
        channels = self._conversation.channels
        caller, phone = self._conversation.initiator(), channels.get(talk.uniqueid)
        other = channels.get(talk.subject)
        if caller is None or phone is None or other is None:
            return None
        if not caller.early:
            answers = [r.answer for r in self._conversation.records if r.answer and _between(r, phone, other)]
            return self._utc(min(answers, default=None))
        # an agent's seconds last until the client's end only where nobody transferred anybody
        seconds = list(self._conversation.agent_seconds.values())
        ended = self.ended(caller)
        whole = len(seconds) == 1 and not self._conversation.transfers
        return ended - seconds[0] if whole and ended is not None else None

    def _told(self, what: str, key: str) -> float | None:
        return self._utc(self._conversation.times.get(f"{what}:{key}"))

    def _recorded(self, channel: Channel, edge: str) -> float | None:
        """The outermost start or end that Cdrs have of a channel."""
        names = (channel.first_name, channel.name)
        times = [
            time
            for record in self._conversation.records
            if (record.uniqueid == channel.uniqueid or (edge == "end" and record.dest_channel in names))
            and (time := getattr(record, edge)) is not None
        ]
        if not times:
            return None
        return self._utc(min(times) if edge == "start" else max(times))

    def _utc(self, local: float | None) -> float | None:
        return None if local is None or self._zone is None else local - self._zone


def _between(record: Record, one: Channel, other: Channel) -> bool:
    return any(
        record.uniqueid == first.uniqueid and record.dest_channel in (second.first_name, second.name)
        for first, second in ((one, other), (other, one))
    )


def record_of(cdr: Cdr) -> Record:
    return Record(
        uniqueid=cdr.uniqueid,
        dest_channel=cdr.dest_channel,
        start=local_seconds(cdr.start),
        answer=local_seconds(cdr.answer),
        end=local_seconds(cdr.end),
    )
