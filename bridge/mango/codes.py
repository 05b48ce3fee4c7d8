"""How a call or one of its legs ended, by Mango's result codes ("Список кодов результатов" of the VPBX API).

Codes are grouped by their digits. One that is not known means what its subclass means, else its class: 2219 is 2210,
else 2200, else 2000; 1090 is 1000. A code says something of the outcome only where nobody talked: most answered calls
end with 1100, and so do many that were not answered.
"""

from __future__ import annotations

from typing import Literal

from bridge.calls.model import Direction, EndedBy, Result

Meaning = Literal[
    "normal",
    "caller",
    "callee",
    "timeout",
    "busy",
    "refused",
    "unreachable",
    "blocked",
    "group",
    "menu",
    "command",
    "moved",
    "off_hours",
    "machine",
    "billing",
    "technical",
    "unknown",
]
"""caller, callee: that side hung up. unreachable: a number that is wrong or cannot be reached. group: none of a group's
phones took it. menu: it ended where the forwarding scheme ends. moved: the leg went on elsewhere. machine: an answering
machine took it."""


def meaning(code: int | None) -> Meaning:
    """What a code says; "unknown" for none, and for one of no class that ends calls."""
    if code is None:
        return "unknown"
    for unit in (1, 10, 100, 1000):
        found = _MEANINGS.get(code // unit * unit)
        if found is not None:
            return found
    return "unknown"


def only_a_leg(code: int | None) -> bool:
    """Whether the code ends one leg of a call that goes on elsewhere: another agent, the second half of a callback, the
    way out of a menu."""
    return meaning(code) in ("normal", "moved")


def outcome(code: int | None, direction: Direction) -> Result:
    """The status of a call nobody answered; an inbound one is missed, unless the code says that it was not taken."""
    found = meaning(code)
    if direction == "inbound":
        return _INBOUND.get(found, "missed")
    return _OUTBOUND.get(found, "no_answer")


def ended_by(code: int | None, caller: EndedBy, callee: EndedBy) -> EndedBy | None:
    """Who ended it, given who called and who was called; None where the code does not say."""
    found = meaning(code)
    if found == "caller":
        return caller
    if found == "callee":
        return callee
    return None if found in ("normal", "unknown", "moved") else "system"


def of_word(word: str | None) -> int | None:
    """The code of the flat dialect's `disconnect_reason`: a word, or the code itself."""
    if word is None:
        return None
    bare = word.strip().lower().replace(" ", "_").replace("-", "_")
    return int(bare) if bare.isascii() and bare.isdigit() and len(bare) == 4 else _WORDS.get(bare)


_MEANINGS: dict[int, Meaning] = {
    1000: "normal",
    1100: "normal",
    1110: "caller",
    1111: "timeout",
    1120: "callee",
    1121: "busy",
    1122: "refused",
    1123: "refused",  # do not disturb
    1124: "refused",  # do not disturb, in the contact centre
    1125: "command",  # an operator stopped the campaign
    1130: "unreachable",
    1140: "blocked",
    1150: "blocked",
    1160: "group",
    1163: "timeout",  # too long in the queue
    1170: "menu",
    1180: "command",
    1182: "moved",  # another agent took it over
    1183: "moved",  # another agent was given it
    1190: "off_hours",
    1193: "busy",  # in a call, and declines others by setting
    1200: "technical",
    1300: "machine",
    2000: "billing",
    3200: "unreachable",
    4200: "unreachable",
    4500: "blocked",
    5000: "technical",
}

_INBOUND: dict[Meaning, Result] = {
    "busy": "busy",
    "refused": "busy",
    "blocked": "failed",
    "billing": "failed",
    "technical": "failed",
}

_OUTBOUND: dict[Meaning, Result] = {
    "caller": "cancelled",
    "command": "cancelled",
    "busy": "busy",
    "refused": "busy",
    "unreachable": "failed",
    "blocked": "failed",
    "billing": "failed",
    "technical": "failed",
}

_WORDS = {
    "busy": 1121,
    "no_answer": 1111,
    "noanswer": 1111,
    "timeout": 1111,
    "rejected": 1122,
    "declined": 1122,
    "cancel": 1110,
    "cancelled": 1110,
    "canceled": 1110,
    "unavailable": 1131,
    "failed": 5000,
    "error": 5000,
}
