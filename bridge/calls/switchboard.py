"""What the handlers of events work on: the conversations of one PBX, and how a channel comes into them.

A handler is a function registered for one type of event: `@handles(Newchannel)`. It takes the switchboard, the event
and its time, changes facts, and names the conversations it touched; it returns nothing and tells nobody.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from bridge.calls.events import Cel, ChannelSeen
from bridge.calls.grouping import Groups
from bridge.calls.model import Rules
from bridge.calls.parties import Parties
from bridge.calls.state import Channel, Conversation, Talk
from bridge.calls.timeline import epoch, local_seconds, zone_of

# CEL's CHAN_START overtakes Newchannel: how many channels' worth is kept for a channel that is still to come
EARLY = 256


class Switchboard:
    """The state of one PBX, shared by the handlers."""

    def __init__(self, rules: Rules) -> None:
        self.parties = Parties(rules)
        self.groups = Groups()
        self.zone: int | None = None
        self.stopping = False
        self.full = False
        self.touched: dict[int, Conversation] = {}
        self._early: OrderedDict[str, list[Cel]] = OrderedDict()

    def touch(self, conversation: Conversation | None) -> None:
        """Its call may have changed."""
        if conversation is not None:
            self.touched[conversation.key] = conversation

    def touch_channel(self, uniqueid: str) -> None:
        self.touch(self.groups.of(uniqueid))

    def speaks_fully(self, conversation: Conversation | None) -> None:
        """The stream carries more than begins and ends: this event proves it."""
        self.full = True
        if conversation is not None:
            conversation.full = True

    # --- channels ---------------------------------------------------------------------------------------------------

    def see(self, seen: ChannelSeen, at: float | None, *, born: bool = False) -> Channel | None:
        """The channel as an event shows it; taken in if it is new. None for Asterisk's own tools.

        `born`: it begins with this event; otherwise only its Uniqueid tells when it did.
        """
        channel = self.groups.channel(seen.uniqueid)
        if channel is None:
            return self._take_in(seen, at if born else None)
        if not channel.ended:
            self.update(channel, seen, at)
        return channel

    def known(self, seen: ChannelSeen, at: float | None) -> Channel | None:
        """The channel if it is known and alive; an event of its end takes in nothing."""
        channel = self.groups.channel(seen.uniqueid)
        if channel is None or channel.ended:
            return None
        self.update(channel, seen, at)
        return channel

    def update(self, channel: Channel, seen: ChannelSeen, at: float | None) -> None:
        self.groups.relink(channel, seen.linkedid)
        if seen.number and seen.number != channel.number:
            channel.presented = seen.number
        if seen.state == "Up" and not channel.up:
            self._went_up(channel, at)

    def _take_in(self, seen: ChannelSeen, born_at: float | None) -> Channel | None:
        side, extension = self.parties.side(seen.name, seen.number)
        if side == "tool" or not seen.uniqueid:
            return None
        channel = Channel(
            uniqueid=seen.uniqueid,
            first_name=seen.name,
            first_linkedid=seen.linkedid,
            number=seen.number,
            caller_name=seen.caller_name,
            context=seen.context,
            exten=seen.dialled or seen.exten,
            created_at=born_at if born_at is not None else epoch(seen.uniqueid),
            name=seen.name,
            linkedid=seen.linkedid,
            side=side,
            extension=extension,
            # a channel that calls in begins in state Ring; one that Asterisk makes to call somebody, in Down
            dialled=seen.state in ("Down", "Ringing"),
            up=seen.state == "Up",
            late=born_at is None,
            adopted=seen.state == "Up",
        )
        conversation = self.groups.add(channel)
        conversation.full = conversation.full or self.full
        self.touch(conversation)
        if side == "local":
            self._pair_by_name(channel)
        for cel in self._early.pop(seen.uniqueid, ()):
            self.note_time(cel)
        return channel

    def _pair_by_name(self, channel: Channel) -> None:
        base, _, half = channel.name.rpartition(";")
        conversation = self.groups.of(channel.uniqueid)
        if conversation is None or half not in ("1", "2"):
            return
        other = f"{base};{'2' if half == '1' else '1'}"
        twin = next((c for c in conversation.channels.values() if c.name == other and not c.ended), None)
        if twin is not None:
            self.groups.pair(twin, channel)

    def _went_up(self, channel: Channel, at: float | None) -> None:
        channel.up = True
        channel.up_at = at
        conversation = self.groups.of(channel.uniqueid)
        if conversation is None:
            return
        others = (c for c in conversation.channels.values() if c is not channel and c.real)
        channel.early = not any(other.dialled and other.up for other in others)
        if channel.dialled:
            self.ring(channel)
        self.touch(conversation)

    def ring(self, channel: Channel) -> None:
        """A dialled phone rings, or answers without ringing."""
        conversation = self.groups.of(channel.uniqueid)
        if conversation is None or channel.side != "extension" or channel.extension is None or conversation.over:
            return
        if channel.extension not in conversation.rang:
            conversation.rang[channel.extension] = list(conversation.channels).index(channel.uniqueid)
            self.touch(conversation)

    # --- who hears whom ---------------------------------------------------------------------------------------------

    def reconnect(self, conversation: Conversation | None, at: float | None) -> None:
        """Compare who is connected with the client (without one: with the caller) with who was."""
        if conversation is None or conversation.key not in self.groups.live:
            return
        self.touch(conversation)
        client = conversation.client()
        subject = client or conversation.initiator()
        if subject is None:
            return
        reached = [] if subject.ended else self.groups.reach(subject)
        if client is None and subject.conference:
            reached = []  # who meets in a conference has not answered a call
        phones = {c.uniqueid: c for c in reached if c.side == "extension" or (c.dialled and c is not client)}
        if reached:
            conversation.partners = [channel.uniqueid for channel in reached]
        conversation.sequence += 1
        for talk in conversation.talks:
            if talk.closed is None and talk.uniqueid not in phones:
                talk.closed = conversation.sequence
        for phone in phones.values():
            self._talk(conversation, subject, phone, at, with_client=client is not None)

    def _talk(
        self, conversation: Conversation, subject: Channel, phone: Channel, at: float | None, *, with_client: bool
    ) -> None:
        if any(talk.uniqueid == phone.uniqueid and talk.closed is None for talk in conversation.talks):
            return
        if phone.adopted:
            self.ring(phone)  # it was up when first seen: that it rang was missed
        last = conversation.talks[-1] if conversation.talks else None
        if last is not None and last.uniqueid == phone.uniqueid and last.with_client == with_client:
            last.closed = None  # a Local channel between them was optimised away
            return
        enters = [f"{channel.bridge} {channel.uniqueid}" for channel in (subject, phone) if channel.bridge]
        conversation.talks.append(
            Talk(
                uniqueid=phone.uniqueid,
                extension=phone.extension,
                subject=subject.uniqueid,
                with_client=with_client,
                at=at,
                enters=enters,
            )
        )

    def presume_talk(self, conversation: Conversation, answered: Channel, at: float | None) -> None:
        """A dial was answered in a stream that has no bridges: caller and called are taken to talk."""
        caller, client = conversation.initiator(), conversation.client()
        phone = caller if answered is client else answered
        # the phone that a click-to-call rings first has nobody to talk to yet
        if caller is None or phone is None or not phone.real or phone is client or answered is caller:
            return
        self._talk(conversation, client or caller, phone, at, with_client=client is not None)

    # --- times told by CEL ------------------------------------------------------------------------------------------

    def note_time(self, cel: Cel) -> None:
        """When one of a channel's events happened, in local time; kept for a channel that is still to come."""
        local = local_seconds(cel.time)
        what = _TOLD_BY.get(cel.name)
        if local is None or what is None:
            return
        conversation = self.groups.of(cel.uniqueid)
        if conversation is None:
            self._early.setdefault(cel.uniqueid, []).append(cel)
            while len(self._early) > EARLY:
                self._early.popitem(last=False)
            return
        if what == "start":
            self.learn_zone(local, cel.uniqueid)
        key = f"enter:{cel.bridge} {cel.uniqueid}" if what == "enter" else f"{what}:{cel.uniqueid}"
        if key not in conversation.times:
            conversation.times[key] = local
            self.touch(conversation)

    def learn_zone(self, local: float | None, uniqueid: str) -> None:
        """A channel's start in local time, and its epoch, tell the PBX's zone."""
        zone = zone_of(local, epoch(uniqueid))
        if zone is not None:
            self.zone = zone


# CEL's names; HANGUP and CHAN_END come together, the first of them counts
_TOLD_BY = {"CHAN_START": "start", "ANSWER": "up", "BRIDGE_ENTER": "enter", "HANGUP": "end", "CHAN_END": "end"}

Handler = Callable[[Switchboard, Any, float | None], None]

HANDLERS: dict[type, Handler] = {}


def handles(*kinds: type) -> Callable[[Handler], Handler]:
    """Register a handler. A second one for the same type of event is an error at import."""

    def register(handler: Handler) -> Handler:
        for kind in kinds:
            if kind in HANDLERS:
                raise TypeError(f"{kind.__name__} is handled by {HANDLERS[kind].__name__} already")
            HANDLERS[kind] = handler
        return handler

    return register
