"""The call machine: a PBX's events in, changes of calls out. Pure: no I/O, no clock; time is an argument.

Theory of operation
===================
Asterisk tells of channels, bridges and dials; people make calls. The machine keeps, for every conversation, the *facts*
that the events tell (state.py), and after each event asks one pure function what they mean (outcome.py). What differs
from what was last told is the changes (changes.py). So no state of a call is ever stepped through: an event that comes
twice adds no fact, one that comes late adds the same, and a restored conversation goes on as if nothing had been.

    event ── handler ──> facts of the conversations it touches ── outcome ──> Call ── difference ──> changes

What the handlers must get right:

* **Which conversation** a channel is part of (grouping.py). Dialling, Local halves, bridges of two parties, transfers
  and pick-ups join; conferences, the car park and Linkedids do not. A phone that has a caller on hold and calls a
  colleague consults: its second call is part of the first from the beginning. One that does so without hold joins the
  first when they meet in a transfer; what had been told of it is then absorbed.
* **Who talks with the client**: whoever can be reached from the client's line over bridges and Local channels. After
  every change of a bridge this is computed anew and compared: a phone newly reached has answered.
* **Who rang**: phones that were dialled and rang, gave early media, or answered. One that refused at once did not.
* **Who hung up**: the phones and lines that asked to (HangupRequest), in order.
* **The end**: when the client's line is gone; without a client, or before one was reached, when the last channel is.
  Channels may outlive the call (a phone that transferred, colleagues who talk on), and a Cdr or CEL may follow them;
  conversations are kept until then and a while longer.

A channel that was never seen is taken in at its first event, as it is then. One that disappears while nobody listens is
closed by the next snapshot; if it was the client's, the call is `incomplete`, and nothing of its end is invented.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

# the handlers register themselves in the dispatch table
from bridge.calls import on_bridges, on_channels, on_dials, on_records, on_transfers, outcome  # noqa: F401
from bridge.calls.changes import changes_between
from bridge.calls.events import ChannelSeen, Event
from bridge.calls.model import Call, Change, Rules
from bridge.calls.on_bridges import put_in_bridge
from bridge.calls.on_records import lose
from bridge.calls.parties import Parties
from bridge.calls.state import Conversation
from bridge.calls.switchboard import HANDLERS, Switchboard
from bridge.calls.timeline import epoch

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Conversation)

# Applications that a dialled channel is in, as CoreShowChannels names them
_DIALLED = frozenset({"AppDial", "AppDial2", "AppQueue"})


class Exchange:
    """The calls of one PBX."""

    def __init__(self, rules: Rules, pbx: str = "") -> None:
        self.pbx = pbx
        self._touched: dict[str, Call] = {}
        self._board = Switchboard(rules)
        self._keys: dict[str, int] = {}

    def feed(self, event: Event, at: float | None = None) -> list[Change]:
        """Take one event in. `at` is when it was received, in seconds since the epoch; the PBX's own clock wins."""
        if event.timestamp is not None:
            at = event.timestamp
        HANDLERS[type(event)](self._board, event, at)
        return self._tell(at)

    def snapshot(self, channels: Sequence[ChannelSeen], at: float | None = None) -> list[Change]:
        """All channels there are, asked after a (re)connect: what is gone ended unseen, what is new is taken in."""
        board, groups = self._board, self._board.groups
        present = {seen.uniqueid for seen in channels}
        for channel in list(groups.channels()):
            if channel.uniqueid not in present:
                lose(board, channel)
        # parents first: those that gave a Linkedid its name
        for seen in sorted(channels, key=lambda seen: seen.linkedid != seen.uniqueid):
            known = groups.channel(seen.uniqueid) is not None
            channel = board.see(seen, None)  # type: ignore[assignment]  # what changed unseen has no time
            if channel is None or channel.ended:
                continue
            if channel.late and seen.dialled:  # an event since the login may have shown it where it is by now
                channel.exten = seen.dialled
            if not known:
                channel.created_at = epoch(seen.uniqueid) or (at - seen.seconds if at and seen.seconds else None)
                channel.dialled = seen.application in _DIALLED or seen.state == "Ringing"
                if seen.state == "Ringing":
                    board.ring(channel)
            if seen.bridge and seen.bridge != channel.bridge:
                conference = seen.application == "ConfBridge"
                put_in_bridge(board, channel, seen.bridge, None, conference=conference, waits=_waits(seen))
            elif not seen.bridge and channel.bridge:
                groups.leave(channel)
                board.reconnect(groups.of(channel.uniqueid), None)
        return self._tell(at)

    def live(self) -> list[Call]:
        """The calls that go on, in the order in which they began."""
        told = (conversation.told for _, conversation in sorted(self._board.groups.live.items()))
        return [call for call in told if call is not None and call.status == "active"]

    def use(self, rules: Rules) -> None:
        """Judge channels by other rules from now on; calls keep what was judged before."""
        self._board.parties = Parties(rules)

    def touched(self) -> list[Call]:
        """The calls whose state changed since this was last asked, as they are now, for whoever stores states."""
        touched, self._touched = self._touched, {}
        return list(touched.values())

    # --- state that survives a restart ------------------------------------------------------------------------------

    def dump(self, call_id: str) -> bytes | None:
        """The state of a call that still has channels; None when it has none, or never was."""
        conversation = self._board.groups.live.get(self._keys.get(call_id, 0))
        return None if conversation is None else _encoder.encode(conversation)

    def restore(self, states: Iterable[bytes]) -> None:
        """Go on with calls dumped before a restart; a snapshot must follow. Raises msgspec.DecodeError."""
        for conversation in sorted((_decoder.decode(state) for state in states), key=lambda c: c.key):
            self._board.groups.adopt(conversation)
            if conversation.told is not None:
                self._keys[conversation.told.call_id] = conversation.key

    # --- telling ----------------------------------------------------------------------------------------------------

    def _tell(self, at: float | None) -> list[Change]:
        board = self._board
        changes: list[Change] = []
        for key in sorted(board.touched):
            conversation = board.touched[key]
            live = key in board.groups.live
            call = outcome.call_of(conversation, board.parties, board.zone) if live or conversation.gone else None
            # an Originate's answer may come after the end, and be the first to say that this was a call
            untold = conversation.told is None and call is not None and call.call_id not in self._keys
            if call is not None and (live or untold or key == self._keys.get(call.call_id)):
                changes += changes_between(conversation.told, call, conversation.absorbed, at)
                for absorbed in conversation.absorbed:
                    self._keys.pop(absorbed.call_id, None)
                conversation.absorbed = []
                conversation.told = call
                self._keys[call.call_id] = key
                self._touched[call.call_id] = call
            if live and conversation.gone:
                forgotten = board.groups.finish(conversation)
                if forgotten is not None and forgotten.told is not None:
                    self._keys.pop(forgotten.told.call_id, None)
        board.touched = {}
        return changes


def _waits(seen: ChannelSeen) -> bool:
    return seen.application in ("Park", "Parked Call", "BridgeWait")
