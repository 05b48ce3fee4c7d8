"""Event streams of Asterisk into calls, without a database or a network: `asterisk-bridge replay`.

A file holds the bytes that one AMI connection, or several one after another, brought. Each file is a PBX of its own. A
call that has not ended when the file does is `active`; after Asterisk's own shutdown nothing is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import msgspec

from bridge import rules as rules_file
from bridge.ami.framing import Framer, FramingError, frame_name
from bridge.ami.translate import translate
from bridge.calls.events import Newchannel, Shutdown
from bridge.calls.machine import Exchange
from bridge.calls.model import Absorbed, Call, Change, Leg, Notice, Rules, Transfer
from bridge.calls.notices import notices
from bridge.errors import BadInput


def run(files: Sequence[str], rules_path: str, out: TextIO, err: TextIO) -> int:
    """Replay files onto `out`, a JSON line for each call. Returns the exit code: 2 if any file or the rules are wrong.

    A wrong file does not keep the others from being replayed; of itself it prints nothing.
    """
    try:
        rules = rules_file.load(rules_path)
    except BadInput as error:
        print(error.message, file=err)
        return 2
    code = 0
    for file in files:
        try:
            lines = list(replay_file(file, rules))
        except BadInput as error:
            print(error.message, file=err)
            code = 2
            continue
        for line in lines:
            print(msgspec.json.encode(line).decode(), file=out)
    return code


def replay_file(path: str | Path, rules: Rules) -> Iterator[dict[str, Any]]:
    """The calls of one file, as the command prints them. Raises BadInput when it is not an event stream."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: it cannot be read: {error.strerror}") from None
    try:
        return replay(data, rules)
    except BadInput as error:
        raise BadInput(f"{path}: {error.message}") from None


def replay(data: bytes, rules: Rules) -> Iterator[dict[str, Any]]:
    """The calls of one stream, in the order of their start. Raises BadInput when it is no event stream."""
    exchange = Exchange(rules)
    calls: dict[str, Call] = {}
    owed: dict[str, list[Notice]] = {}

    def take(changes: list[Change]) -> None:
        for change in changes:
            call_id = change.call.call_id
            owed.setdefault(call_id, []).extend(notices([change]))
            if isinstance(change, Absorbed):
                calls.pop(call_id, None)
            else:
                calls[call_id] = change.call

    began: dict[str, int] = {}
    stopped = False
    for frame in frames(data):
        event = translate(frame)
        if event is not None:
            if isinstance(event, Newchannel):
                began.setdefault(event.channel.linkedid, len(began))
            stopped = isinstance(event, Shutdown)
            take(exchange.feed(event))
    if stopped:
        take(exchange.snapshot(()))
    for call in exchange.live():
        calls[call.call_id] = call
    ordered = sorted(calls.values(), key=lambda call: began.get(call.call_id, len(began)))
    return iter([printed(call, owed[call.call_id]) for call in ordered])


def frames(data: bytes) -> list[bytes]:
    """The frames of a stream. Raises BadInput when there are none, or most are no AMI."""
    if b"\r\n" not in data:
        # its line ends were changed on the way here
        data = data.replace(b"\n", b"\r\n")
    try:
        found = Framer().feed(data)
    except FramingError:
        found = []
    spoken = sum(frame_name(frame)[0] in (b"Event", b"Response") for frame in found)
    if not spoken or spoken * 2 < len(found):
        raise BadInput("it is not an event stream: no frames of Asterisk's Manager Interface are in it")
    return found


# --- what is printed ------------------------------------------------------------------------------------------------


def printed(call: Call, owed: Sequence[Notice]) -> dict[str, Any]:
    """A call as its line says it."""
    return {
        "call_id": call.call_id,
        "direction": call.direction,
        "client_number": call.client_number,
        "line": call.line,
        "status": call.status,
        "extensions": call.extensions,
        "answered_by": call.answered_by,
        "answered_first": call.answered_first,
        "started_at": _time(call.started_at),
        "wait_seconds": call.wait_seconds,
        "talk_seconds": call.talk_seconds,
        "ended_by": call.ended_by,
        "transfers": [_transfer(transfer) for transfer in call.transfers],
        "holds": call.holds,
        "queue": call.queue,
        "recording": call.recording,
        "legs": [_leg(leg) for leg in call.legs],
        "deliveries": [_delivery(notice) for notice in owed],
    }


def _time(seconds: float | None) -> str | None:
    """ISO 8601 in UTC; milliseconds only where there are any."""
    if seconds is None:
        return None
    moment = datetime.fromtimestamp(round(seconds, 3), UTC)
    exact = "seconds" if moment.microsecond == 0 else "milliseconds"
    return moment.replace(tzinfo=None).isoformat(timespec=exact) + "Z"


def _transfer(transfer: Transfer) -> dict[str, Any]:
    return {"kind": transfer.kind, "from": transfer.from_, "to": transfer.to}


def _leg(leg: Leg) -> dict[str, Any]:
    return {
        "uniqueid": leg.uniqueid,
        "channel": leg.channel,
        "role": leg.role,
        "extension": leg.extension,
        "number": leg.number,
        "started_at": _time(leg.started_at),
        "answered_at": _time(leg.answered_at),
        "ended_at": _time(leg.ended_at),
        "cause": leg.cause,
        "dial_status": leg.dial_status,
    }


def _delivery(notice: Notice) -> dict[str, Any]:
    if notice.kind == "record":
        return {"kind": notice.kind}
    return {"kind": notice.kind, "extensions": list(notice.extensions)}
