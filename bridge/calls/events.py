"""What a PBX says that matters to calls, as small immutable structs. `Event` names them all.

They carry facts only, in Asterisk's own terms; what they mean for a call is the machine's business. `timestamp` is the
PBX's own clock at the event, in seconds since the epoch, where the stream has it (`timestampevents=yes`), else None.
"""

from __future__ import annotations

import msgspec


class ChannelSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A channel as an event, or a snapshot of all channels, shows it.

    `state` is Asterisk's word: Down, Ring (it calls), Ringing (it is called), Up. Texts that Asterisk shows as
    `<unknown>` are "". `exten` is where it is in the dialplan. The last five are only in a snapshot: `dialled` is the
    number that its caller dialled (Status has it, CoreShowChannels does not).
    """

    name: str
    uniqueid: str
    linkedid: str
    state: str = ""
    number: str = ""
    caller_name: str = ""
    context: str = ""
    exten: str = ""
    dialled: str = ""
    application: str = ""
    data: str = ""
    bridge: str = ""
    seconds: int | None = None


class _Event(msgspec.Struct, frozen=True, kw_only=True):
    timestamp: float | None = None


class Newchannel(_Event, frozen=True, kw_only=True):
    channel: ChannelSeen


class ChannelChanged(_Event, frozen=True, kw_only=True):
    """Newstate or NewCallerid: the channel as it is now."""

    channel: ChannelSeen


class Renamed(_Event, frozen=True, kw_only=True):
    """A masquerade gave the channel another device (pick-up, redirect of the called side)."""

    uniqueid: str
    name: str


class HangupRequested(_Event, frozen=True, kw_only=True):
    """`by_peer`: its phone or provider asked (BYE, CANCEL, a refusal); otherwise Asterisk itself did."""

    channel: ChannelSeen
    by_peer: bool


class Hangup(_Event, frozen=True, kw_only=True):
    channel: ChannelSeen
    cause: int | None = None


class DialBegin(_Event, frozen=True, kw_only=True):
    """`channel` is None where Asterisk itself dials (Originate)."""

    channel: ChannelSeen | None
    dest: ChannelSeen
    dial_string: str = ""


class DialState(_Event, frozen=True, kw_only=True):
    """`status`: RINGING, PROGRESS, PROCEEDING."""

    channel: ChannelSeen | None
    dest: ChannelSeen
    status: str


class DialEnd(_Event, frozen=True, kw_only=True):
    """`status`: ANSWER, BUSY, NOANSWER, CANCEL, CONGESTION, CHANUNAVAIL, ABORT, CONTINUE, GOTO."""

    channel: ChannelSeen | None
    dest: ChannelSeen
    status: str


class BridgeEnter(_Event, frozen=True, kw_only=True):
    """`kind`: basic (two parties and what grows out of them), base (conference, parking), stasis (ARI's).
    `technology`: simple_bridge, native_rtp, softmix, holding_bridge."""

    channel: ChannelSeen
    bridge: str
    kind: str
    technology: str


class BridgeLeave(_Event, frozen=True, kw_only=True):
    channel: ChannelSeen
    bridge: str


class BridgeDestroy(_Event, frozen=True, kw_only=True):
    bridge: str


class LocalBridge(_Event, frozen=True, kw_only=True):
    """The two halves of one Local channel: what goes into one comes out of the other."""

    one: ChannelSeen
    two: ChannelSeen


class BlindTransfer(_Event, frozen=True, kw_only=True):
    success: bool
    transferer: ChannelSeen
    transferee: ChannelSeen | None
    exten: str


class AttendedTransfer(_Event, frozen=True, kw_only=True):
    """`first` is the transferor's leg to the transferee, `second` the one to the target."""

    success: bool
    first: ChannelSeen
    second: ChannelSeen
    transferee: ChannelSeen | None
    target: ChannelSeen | None


class Hold(_Event, frozen=True, kw_only=True):
    channel: ChannelSeen
    on: bool


class Pickup(_Event, frozen=True, kw_only=True):
    """`channel` takes the call that rings at `target`."""

    channel: ChannelSeen
    target: ChannelSeen


class Parked(_Event, frozen=True, kw_only=True):
    parkee: ChannelSeen


class Unparked(_Event, frozen=True, kw_only=True):
    """`retriever` is None where nobody fetched the parked channel: it timed out or gave up."""

    parkee: ChannelSeen
    retriever: ChannelSeen | None


class QueueJoin(_Event, frozen=True, kw_only=True):
    channel: ChannelSeen
    queue: str


class AgentComplete(_Event, frozen=True, kw_only=True):
    """Whole seconds the caller waited in the queue and talked to the agent."""

    channel: ChannelSeen
    dest: ChannelSeen
    wait: int | None
    talk: int | None


class VariableSet(_Event, frozen=True, kw_only=True):
    """A variable that names a recording's file."""

    uniqueid: str
    variable: str
    value: str


class OriginateResponse(_Event, frozen=True, kw_only=True):
    """How an Originate went. `uniqueid` is "" when there was never a channel; `target` is what it was to reach."""

    success: bool
    uniqueid: str
    channel: str
    context: str
    target: str


class Cel(_Event, frozen=True, kw_only=True):
    """Channel Event Logging. `time` is the PBX's local time, whole seconds, without a zone: see timeline.py."""

    name: str
    uniqueid: str
    time: str
    bridge: str = ""


class Cdr(_Event, frozen=True, kw_only=True):
    """Call Detail Record of two channels' part in a call. Times as in Cel, "" where there is none."""

    uniqueid: str
    channel: str
    dest_channel: str
    application: str
    start: str
    answer: str
    end: str


class ZoneSeen(_Event, frozen=True, kw_only=True):
    """A security event's time has its zone, which CEL and Cdr leave out: seconds ahead of UTC."""

    ahead: int


class Booted(_Event, frozen=True, kw_only=True):
    """FullyBooted, sent after each login. `uptime` in seconds: near 0, nothing of before is alive."""

    uptime: int | None


class Shutdown(_Event, frozen=True, kw_only=True):
    """Asterisk stops: no channel outlives it."""


Event = (
    Newchannel
    | ChannelChanged
    | Renamed
    | HangupRequested
    | Hangup
    | DialBegin
    | DialState
    | DialEnd
    | BridgeEnter
    | BridgeLeave
    | BridgeDestroy
    | LocalBridge
    | BlindTransfer
    | AttendedTransfer
    | Hold
    | Pickup
    | Parked
    | Unparked
    | QueueJoin
    | AgentComplete
    | VariableSet
    | OriginateResponse
    | Cel
    | Cdr
    | ZoneSeen
    | Booted
    | Shutdown
)
