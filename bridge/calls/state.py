"""What is known of a conversation while it lasts: facts, as the events told them. What they mean is in outcome.py.

Everything here encodes with msgspec, so that a live call survives a restart of the service.
"""

from __future__ import annotations

import msgspec

from bridge.calls.model import Call, Transfer
from bridge.calls.parties import Side


class Channel(msgspec.Struct, kw_only=True):
    """One channel. The first group is as it was when first seen, the rest as it is now."""

    uniqueid: str
    first_name: str
    first_linkedid: str
    number: str = ""
    caller_name: str = ""
    context: str = ""
    exten: str = ""
    created_at: float | None = None

    name: str
    linkedid: str
    side: Side
    extension: str | None = None
    up: bool = False
    up_at: float | None = None
    # early: it was up before anybody it calls had answered (a queue, a menu, the manager of a click-to-call)
    early: bool = False
    ended: bool = False
    ended_at: float | None = None
    cause: int | None = None

    # dialled: somebody calls this channel. Without a caller it is Asterisk itself (Originate).
    dialled: bool = False
    dialled_by: str | None = None
    dial_string: str = ""
    dial_status: str | None = None
    presented: str = ""

    bridge: str | None = None
    conference: bool = False
    parked: bool = False
    twin: str | None = None
    holding: bool = False

    # placed: the conversation it belongs to is certain, not only guessed by its Linkedid
    placed: bool = False
    # consulting: it came with a consultation that this conversation absorbed
    consulting: bool = False
    # late: it had begun when it was first seen; adopted: it was even up
    late: bool = False
    adopted: bool = False

    @property
    def originated(self) -> bool:
        return self.dialled and self.dialled_by is None

    @property
    def real(self) -> bool:
        """A phone or a line, not half of a Local channel."""
        return self.side != "local"


class Talk(msgspec.Struct, kw_only=True):
    """An extension connected with the client (in a call without one: with the caller), `subject`.

    `extension` is None for an outside party that answers in its place: a mobile phone, the target of a transfer.
    `enters` are the keys under which CEL tells when each of the two entered a bridge.
    """

    uniqueid: str
    extension: str | None
    subject: str
    with_client: bool
    at: float | None = None
    enters: list[str] = []
    # when it ended, in the order of the conversation's events; None while it lasts
    closed: int | None = None


class Record(msgspec.Struct, kw_only=True):
    """A CDR, in the PBX's local time: seconds as if it were UTC."""

    uniqueid: str
    dest_channel: str
    start: float | None = None
    answer: float | None = None
    end: float | None = None


class Conversation(msgspec.Struct, kw_only=True):
    """All channels that make one call, and what was seen of them. `key` orders conversations by their beginning."""

    key: int
    channels: dict[str, Channel] = {}
    rang: dict[str, int] = {}
    talks: list[Talk] = []
    # the phones and lines that were connected with the client last
    partners: list[str] = []
    # phones that gave the client away by a blind transfer: what they do later ends nothing
    gave_away: list[str] = []
    sequence: int = 0
    transfers: list[Transfer] = []
    transfer_keys: list[str] = []
    holds: int = 0
    asked: list[str] = []
    queue: str | None = None
    # by agent's channel, how long a queue says that it talked
    agent_seconds: dict[str, int] = {}
    recording: str | None = None
    recording_rank: int = 99
    target: str = ""
    # full: the stream carries more than begins and ends, so that what it does not say did not happen
    full: bool = False
    # local times told by CEL: "enter:<bridge> <uniqueid>", "start:<uniqueid>", "up:…", "end:…"
    times: dict[str, float] = {}
    records: list[Record] = []
    # unseen: it ended while nobody listened
    unseen: bool = False
    absorbed: list[Call] = []
    told: Call | None = None

    @property
    def gone(self) -> bool:
        """No channel of it is left."""
        return all(channel.ended for channel in self.channels.values())

    @property
    def over(self) -> bool:
        """It has ended for its client; channels may outlive that: a phone that transferred, colleagues who talk on."""
        inbound = self.inbound()
        if inbound is not None:
            return inbound.ended
        client = self.client()
        reached = client is not None and client.ended and any(talk.with_client for talk in self.talks)
        return reached or self.gone

    def main(self) -> list[Channel]:
        """Phones and lines of the call itself, without those of a consultation, in the order they appeared."""
        return [channel for channel in self.channels.values() if channel.real and not channel.consulting]

    def initiator(self) -> Channel | None:
        """Whose call it is: the first phone or line that called and was not called; else the first at all."""
        main = self.main()
        return next((channel for channel in main if not channel.dialled), main[0] if main else None)

    def inbound(self) -> Channel | None:
        """The line on which a client called in."""
        return next((channel for channel in self.main() if channel.side == "trunk" and not channel.dialled), None)

    def client(self) -> Channel | None:
        """The client's line: the one that came in, else the one that was reached, else the last that was tried."""
        inbound = self.inbound()
        if inbound is not None:
            return inbound
        lines = [channel for channel in self.main() if channel.side == "trunk"]
        return next((line for line in lines if line.up), lines[-1] if lines else None)
