"""What every CRM must be told of a call's changes, before any CRM's own words. Internal calls owe nothing."""

from __future__ import annotations

from collections.abc import Iterable

from bridge.calls.model import Absorbed, Call, Change, Ended, Notice, Ringing


def notices(changes: Iterable[Change]) -> list[Notice]:
    """In order, for the changes of one call. `sequence` numbers the ringing notices by the phones that rang before."""
    owed: list[Notice] = []
    for change in changes:
        if change.call.direction == "internal":
            continue
        match change:
            case Ringing():
                owed += _ringing(change)
            case Ended():
                owed += _closed(change.call)
                owed.append(Notice(kind="record"))
            case Absorbed():
                # it goes on as part of another call: its pop-ups close, and it has no history of its own
                owed += _closed(change.call)
    return owed


def _ringing(change: Ringing) -> list[Notice]:
    call, extensions = change.call, change.extensions
    owed: list[Notice] = []
    if call.direction == "outbound" and extensions[0] == call.extensions[0]:
        owed.append(Notice(kind="dialing", extensions=extensions[:1]))
        extensions = extensions[1:]
    if extensions:
        sequence = len(call.extensions) - len(extensions) + 1
        owed.append(Notice(kind="ringing", extensions=extensions, sequence=sequence))
    return owed


def _closed(call: Call) -> list[Notice]:
    return [Notice(kind="hangup", extensions=tuple(call.extensions))] if call.extensions else []
