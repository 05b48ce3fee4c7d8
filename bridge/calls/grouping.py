"""Which channels make one conversation.

Linkedid is where a channel begins, not where it belongs: Asterisk moves channels to another Linkedid when they are
bridged (an attended transfer, a fetched parked call), tells nobody, and gives all channels of a conference or of the
car park the same one. So a conversation is a set of channels joined by what connects them: dialling, the halves of a
Local channel, a bridge of two parties, a transfer, a pick-up. Only the first Linkedid of a new channel is used, as a
guess that the first such fact overrules.

Two clients who called in stay two calls, even when a transfer bridges them to each other.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from bridge.calls.state import Channel, Conversation

# Finished conversations that may still be refined by a Cdr, a CEL or an OriginateResponse that comes late
KEPT = 256


class Groups:
    """The conversations of one PBX and the channels in them."""

    def __init__(self) -> None:
        self.live: dict[int, Conversation] = {}
        self._of: dict[str, int] = {}
        self._finished: OrderedDict[int, Conversation] = OrderedDict()
        self._bridges: dict[str, set[str]] = {}
        self._linked: dict[str, set[str]] = {}
        self._names: dict[str, str] = {}
        # channels that have their other party on hold
        self.holding: set[str] = set()
        self._next = 1

    # --- looking up -------------------------------------------------------------------------------------------------

    def of(self, uniqueid: str) -> Conversation | None:
        """The conversation of a channel, live or just finished."""
        key = self._of.get(uniqueid)
        if key is None:
            return None
        return self.live.get(key) or self._finished.get(key)

    def channel(self, uniqueid: str) -> Channel | None:
        conversation = self.of(uniqueid)
        return conversation.channels.get(uniqueid) if conversation else None

    def channels(self) -> Iterator[Channel]:
        """All channels that are up or coming up."""
        for conversation in self.live.values():
            for channel in conversation.channels.values():
                if not channel.ended:
                    yield channel

    def named(self, name: str) -> Conversation | None:
        """The conversation of the channel that had this name last: names begin anew when Asterisk does."""
        return self.of(self._names.get(name, ""))

    def members(self, bridge: str) -> set[str]:
        return self._bridges.get(bridge, set())

    # --- making -----------------------------------------------------------------------------------------------------

    def open(self) -> Conversation:
        conversation = Conversation(key=self._next)
        self._next += 1
        self.live[conversation.key] = conversation
        return conversation

    def add(self, channel: Channel) -> Conversation:
        """Put a new channel where its Linkedid says, or into a conversation of its own."""
        conversation = None
        if channel.linkedid != channel.uniqueid:
            same = self._linked.get(channel.linkedid, set())
            # the channel that gave the Linkedid its name is the likelier parent
            parent = channel.linkedid if channel.linkedid in same else min(same, default="")
            conversation = self.of(parent)
            channel.placed = len({self._of[uniqueid] for uniqueid in same}) == 1
        if conversation is None:
            conversation = self.open()
            channel.placed = channel.linkedid == channel.uniqueid
        self._put(channel, conversation)
        return conversation

    def adopt(self, conversation: Conversation) -> None:
        """Take in a conversation restored from its stored state."""
        conversation.key = self._next
        self._next += 1
        self.live[conversation.key] = conversation
        for channel in conversation.channels.values():
            self._put(channel, conversation)
            if channel.bridge and not channel.ended:
                self._bridges.setdefault(channel.bridge, set()).add(channel.uniqueid)
            if channel.holding:
                self.holding.add(channel.uniqueid)

    def _put(self, channel: Channel, conversation: Conversation) -> None:
        conversation.channels[channel.uniqueid] = channel
        self._of[channel.uniqueid] = conversation.key
        self._names[channel.first_name] = channel.uniqueid
        if not channel.ended:
            self._linked.setdefault(channel.linkedid, set()).add(channel.uniqueid)

    def relink(self, channel: Channel, linkedid: str) -> None:
        """Asterisk moved the channel to another Linkedid."""
        if linkedid and linkedid != channel.linkedid:
            self._unlink(channel)
            channel.linkedid = linkedid
            self._linked.setdefault(linkedid, set()).add(channel.uniqueid)

    def end(self, channel: Channel) -> None:
        """The channel is gone: it is in no bridge and is nobody's parent any more."""
        channel.ended = True
        channel.holding = False
        self.holding.discard(channel.uniqueid)
        self.leave(channel)
        self._unlink(channel)

    def _unlink(self, channel: Channel) -> None:
        linked = self._linked.get(channel.linkedid)
        if linked is not None:
            linked.discard(channel.uniqueid)
            if not linked:
                del self._linked[channel.linkedid]

    # --- connecting -------------------------------------------------------------------------------------------------

    def pair(self, one: Channel, two: Channel) -> None:
        """The halves of one Local channel."""
        one.twin, two.twin = two.uniqueid, one.uniqueid
        self.connect(one, two)

    def connect(self, parent: Channel, child: Channel) -> None:
        """Two channels belong to one conversation. A child whose place was only guessed moves to its parent."""
        ours, theirs = self.of(parent.uniqueid), self.of(child.uniqueid)
        if ours is None or theirs is None:
            return
        if ours is theirs:
            child.placed = True
            return
        if not child.placed:
            self._move(child, theirs, ours)
        else:
            self.join(ours, theirs)

    def _move(self, channel: Channel, source: Conversation, target: Conversation) -> None:
        for uniqueid in (channel.uniqueid, channel.twin):
            moving = source.channels.pop(uniqueid, None) if uniqueid else None
            if moving is not None:
                moving.placed = True
                self._put(moving, target)
        if not source.channels:
            self.live.pop(source.key, None)

    def join(self, a: Conversation, b: Conversation) -> Conversation:
        """Make one conversation of two; returns the one that stays. What had been told of the other is `absorbed`."""
        if a is b or a.key not in self.live or b.key not in self.live:
            return a
        stays, goes = sorted((a, b), key=_weight)
        # a call that its client began is nobody's consultation
        if stays.client() and goes.inbound():
            return a
        for extension, place in goes.rang.items():
            stays.rang.setdefault(extension, len(stays.channels) + place)
        for channel in list(goes.channels.values()):
            channel.consulting = True
            self._put(channel, stays)
        stays.asked += goes.asked
        stays.times |= goes.times
        stays.records += goes.records
        stays.full = stays.full or goes.full
        if stays.recording is None:
            stays.recording, stays.recording_rank = goes.recording, goes.recording_rank
        stays.absorbed += goes.absorbed
        if goes.told is not None:
            stays.absorbed.append(goes.told)
        del self.live[goes.key]
        return stays

    # --- bridges ----------------------------------------------------------------------------------------------------

    def enter(self, channel: Channel, bridge: str) -> None:
        self.leave(channel)
        channel.bridge = bridge
        self._bridges.setdefault(bridge, set()).add(channel.uniqueid)

    def leave(self, channel: Channel) -> None:
        if channel.bridge is None:
            return
        members = self._bridges.get(channel.bridge)
        if members is not None:
            members.discard(channel.uniqueid)
            if not members:
                del self._bridges[channel.bridge]
        channel.bridge = None

    def reach(self, start: Channel) -> list[Channel]:
        """The phones and lines that hear a channel: over its bridge, and through Local channels over others."""
        found: dict[str, Channel] = {}
        seen = {start.uniqueid}
        ahead = [start]
        while ahead:
            channel = ahead.pop()
            steps = set(self.members(channel.bridge)) if channel.bridge else set()
            # what is said to one half of a Local channel comes out of the other
            if channel.side == "local" and channel.twin:
                steps.add(channel.twin)
            for uniqueid in sorted(steps - seen):
                seen.add(uniqueid)
                other = self.channel(uniqueid)
                if other is None or other.ended:
                    continue
                if other.real:
                    found[uniqueid] = other
                else:
                    ahead.append(other)
        return list(found.values())

    # --- ending -----------------------------------------------------------------------------------------------------

    def finish(self, conversation: Conversation) -> Conversation | None:
        """A conversation is over. It is kept a while for what comes late; returns the one forgotten for it, if any."""
        del self.live[conversation.key]
        self._finished[conversation.key] = conversation
        if len(self._finished) <= KEPT:
            return None
        _, old = self._finished.popitem(last=False)
        for uniqueid, channel in old.channels.items():
            del self._of[uniqueid]
            if self._names.get(channel.first_name) == uniqueid:
                del self._names[channel.first_name]
        return old


def _weight(conversation: Conversation) -> tuple[bool, bool, int]:
    """The less, the better the claim to be the call itself: it has a client; it has been told of; it is older."""
    return conversation.client() is None, conversation.told is None, conversation.key
