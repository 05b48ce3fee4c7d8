"""What Mango remembers (VPBX API, 3.4). Basic statistics are CSV, a row a leg; extended ones whole calls in JSON.

Their vocabularies differ from the webhooks': extended directions are 1, 2, 3 where a summary's are 1, 2, 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any

from lab.mango.entry import Entry, Leg
from lab.mango.product import Product

COLUMNS = (
    "records,start,finish,answer,from_extension,from_number,to_extension,to_number,disconnect_reason,"
    "line_number,location"
)
"""Without `fields`: no entry_id among them."""
KNOWN_COLUMNS = frozenset({*COLUMNS.split(","), "entry_id", "create"})
CONTEXT_TYPE = {"inbound": 1, "outbound": 2, "internal": 3}
PAGE_SIZES = frozenset({1, 5, 10, 20, 50, 100, 500, 1000, 2000, 5000})
LONGEST_PERIOD = 31 * 86400.0


def ended(product: Product, since: float, until: float, now: float) -> list[Entry]:
    """Calls that began in the period and are over, the oldest first."""
    found = [
        entry
        for entry in product.entries.values()
        if entry.ended is not None and entry.ended <= now and since <= entry.began <= until
    ]
    return sorted(found, key=lambda entry: entry.began)


# --- basic ------------------------------------------------------------------------------------------------------------


def csv(entries: Iterable[Entry], columns: Sequence[str]) -> str:
    """`;` between values, a line a leg, no header, no quoting."""
    rows = (_basic(entry, leg) for entry in entries for leg in entry.legs)
    return "\n".join(";".join(str(row[column]) for column in columns) for row in rows)


def _basic(entry: Entry, leg: Leg) -> dict[str, str | int]:
    return {
        "records": f"[{','.join(_kept(leg))}]",
        "start": int(leg.began),
        "finish": int(leg.ended or 0),
        "answer": int(leg.answered or 0),
        "from_extension": leg.from_.get("extension", ""),
        "from_number": leg.from_.get("number", ""),
        "to_extension": leg.to.get("extension", ""),
        "to_number": leg.to.get("number", ""),
        "disconnect_reason": leg.reason,
        "line_number": entry.line or "",
        "location": leg.location,
        "entry_id": entry.entry_id,
        "create": int(entry.began),
    }


def _kept(leg: Leg) -> list[str]:
    """What is too short, or went by mail alone, is no recording that anybody could fetch."""
    return [one for one in leg.recordings if one in leg.entry.product.files]


# --- extended ---------------------------------------------------------------------------------------------------------


def chunks(entries: Iterable[Entry], zone: tzinfo) -> list[dict[str, Any]]:
    """`data` of an answer: calls by day."""
    days: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        day = datetime.fromtimestamp(entry.began, zone).strftime("%Y-%m-%d")
        days.setdefault(day, []).append(call(entry))
    return [
        {
            "list": calls,
            "period": day,
            "total_talks_duration": sum(one["talk_duration"] for one in calls),
            "total_calls_duration": sum(one["duration"] for one in calls),
            "total_calls_count": len(calls),
        }
        for day, calls in days.items()
    ]


def call(entry: Entry) -> dict[str, Any]:
    """Employees are named by user_id; their extensions are nowhere in it."""
    assert entry.ended is not None
    talk = _talk(entry)
    caller = entry.caller
    inbound = entry.direction == "inbound"
    called = entry.line if inbound else entry.client or _other(entry)
    return {
        "entry_id": entry.entry_id,
        "context_type": CONTEXT_TYPE[entry.direction],
        "context_status": int(talk > 0),
        "caller_id": caller.user_id if caller else None,
        "caller_name": caller.name if caller else "",
        "caller_number": caller.address if caller else entry.client or "",
        "called_number": called or "",
        "context_start_time": int(entry.began),
        "duration": int(entry.ended) - int(entry.began),
        "talk_duration": talk,
        "context_init_type": entry.init_type,
        "recall_status": 2,
        "cost": 0,
        "context_calls": _legs(entry),
    }


def _talk(entry: Entry) -> int:
    """Seconds for which the client (inside the company: the caller) had somebody to talk with."""
    answered = [leg.answered for leg in entry.legs if leg.answered and leg.location == "abonent" and _real(entry, leg)]
    return int(entry.ended or 0) - int(min(answered)) if answered else 0


def _real(entry: Entry, leg: Leg) -> bool:
    """The first leg of a callback is no conversation: there is nobody yet to talk with."""
    return entry.direction != "outbound" or leg.to.get("number") == entry.client or leg.transfer != ""


def _other(entry: Entry) -> str:
    return str(entry.legs[0].to.get("extension", "")) if entry.legs else ""


def _legs(entry: Entry) -> list[dict[str, Any]]:
    """The voice menu and the queue are no legs. Those that a group made ring are nested in the group's."""
    found: list[dict[str, Any]] = []
    groups: dict[str, dict[str, Any]] = {}
    for leg in entry.legs:
        if leg.location != "abonent":
            continue
        if leg.group:
            if leg.group not in groups:
                groups[leg.group] = _group(entry, leg)
                found.append(groups[leg.group])
            groups[leg.group]["members"].append(_leg(entry, leg))
            continue
        found.append(_leg(entry, leg))
    return found


def _group(entry: Entry, first: Leg) -> dict[str, Any]:
    group = entry.product.group(first.group)
    legs = [leg for leg in entry.legs if leg.group == first.group]
    taken = next((leg for leg in legs if leg.answered), None)
    whole = _leg(entry, taken or first)
    return whole | {
        "call_type": "group",
        "call_abonent_id": group.group_id if group else None,
        "call_abonent_info": group.name if group else "",
        "call_abonent_number": None,
        "recording_id": [],
        "external_call_id": next((leg.call_id for leg in entry.legs if leg.location == "queue"), None),
        "ModeGroup": True,
        "members": [],
    }


def _leg(entry: Entry, leg: Leg) -> dict[str, Any]:
    who = leg.employee
    dials = entry.direction == "outbound" and _real(entry, leg)
    finish, answer = int(leg.ended or 0), int(leg.answered or 0)
    return {
        "call_type": "number" if dials else "user",
        "call_abonent_id": who.user_id if who else None,
        "call_abonent_info": who.name if who else "",
        "call_abonent_number": None if dials else leg.to.get("number"),
        "call_start_time": int(leg.began),
        "call_answer_time": answer or None,
        "call_end_time": finish,
        "call_duration": finish - int(leg.began),
        "talk_duration": finish - answer if answer else 0,
        "dial_duration": (answer or finish) - int(leg.began),
        "hold_duration": int(leg.held) or None,
        "call_end_reason": leg.reason,
        "recording_id": _kept(leg),
        "external_call_id": leg.call_id,
        "DirectionInbound": entry.direction == "inbound",
        "DirectionOutbound": entry.direction == "outbound",
        "ModeConversation": answer > 0,
        "ModeListen": False,
        "ModePrompt": False,
        "ModeConference": False,
        "ModeGroup": bool(leg.group),
        "RecordInbound": bool(_kept(leg)) and entry.direction == "inbound",
        "RecordOutbound": bool(_kept(leg)) and entry.direction == "outbound",
        "BlindTransfer": leg.transfer == "blind",
        "ConsultTransfer": leg.transfer == "consultative",
        "OutboundDialing": False,
        "Intercepted": False,
        "IvrNotUsed": not entry.used_ivr,
        "members": [],
    }


# --- periods ----------------------------------------------------------------------------------------------------------

_FORMATS = ("%d.%m.%Y %H:%M:%S", "%d.%m.%Y", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%z")


def moment(text: str, zone: tzinfo) -> float:
    """A date as extended statistics take it, in the product's time zone unless it names one. Raises ValueError."""
    for known in _FORMATS:
        try:
            found = datetime.strptime(text, known)  # noqa: DTZ007 the zone is given beside it
        except ValueError:
            continue
        return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC).timestamp()
    raise ValueError(f"{text!r} is no date")
