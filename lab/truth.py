"""What the people did in a call: what any honest record of it must say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lab.phones import Incoming, Outgoing

TOLERANCE = 1.25
"""Seconds by which a record may differ from what the phones measured: its times are whole seconds of another clock."""

Hop = tuple[str, str, str]
"""A transfer: its kind, who gave the client away, to whom."""


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The vocabulary is that of `asterisk-bridge replay`. None in a field that says so: people cannot know, do not ask.

    `extensions` are all that rang; `wait_seconds` and `talk_seconds` are the client's, as the phones measured them.
    """

    scenario: str
    direction: str
    client_number: str | None
    status: str
    extensions: tuple[str, ...]
    line: str | None = None
    """None: not asked (calls out and inside)"""
    tried: tuple[str, ...] = ()
    """Extensions that took part but did not ring (refused at once, fetched a parked client): may be listed."""
    answered_by: str | None = None
    answered_first: str | None = None
    ended_by: str | None = None
    """None: not asked, because nobody's hand ended it"""
    transfers: tuple[Hop, ...] | None = ()
    """None: not asked"""
    holds: int | None = 0
    """None: not asked"""
    queue: str | None = None
    recorded: bool = False
    wait_seconds: float | None = None
    """None: not asked"""
    talk_seconds: float = 0.0
    began_at: float = 0.0

    def differences(self, record: Mapping[str, Any]) -> list[str]:
        """Where `record`, with the field names of `replay`, says otherwise; empty when it is right."""
        expected: dict[str, tuple[Any, Any]] = {
            name: (getattr(self, name), record.get(name))
            for name in ("direction", "client_number", "status", "answered_by", "answered_first", "queue")
        }
        listed = [extension for extension in record.get("extensions") or () if extension not in self.tried]
        expected["extensions"] = sorted(self.extensions), sorted(listed)
        expected["recorded"] = self.recorded, record.get("recording") is not None
        if self.holds is not None:
            expected["holds"] = self.holds, record.get("holds")
        if self.line is not None:
            expected["line"] = self.line, record.get("line")
        if self.ended_by is not None:
            expected["ended_by"] = self.ended_by, record.get("ended_by")
        if self.transfers is not None:
            expected["transfers"] = list(self.transfers), _hops(record.get("transfers") or ())
        wrong = [f"{name}: {said!r}, in truth {true!r}" for name, (true, said) in expected.items() if said != true]
        for name in ("wait_seconds", "talk_seconds"):
            true, said = getattr(self, name), record.get(name)
            if true is not None and abs((said or 0) - true) > TOLERANCE:
                wrong.append(f"{name}: {said!r}, in truth {true:.1f}")
        return wrong

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def _hops(transfers: Sequence[Mapping[str, Any]]) -> list[Hop]:
    return [(hop["kind"], hop["from"], hop["to"]) for hop in transfers]


# --- how the verbs of a company begin one ---------------------------------------------------------------------------


def as_sent(client: str | None) -> str:
    """A client's number as the provider sends it."""
    return client or "anonymous"


def inbound_truth(
    scenario: str, client: str | None, line: str, rang: tuple[str, ...], outside: Outgoing, inside: Incoming
) -> Truth:
    """The client called, and `inside` picked up."""
    by = inside.phone.user
    return Truth(
        scenario=scenario,
        direction="inbound",
        client_number=_e164(client),
        status="answered",
        extensions=rang,
        line=line,
        answered_by=by,
        answered_first=by,
        recorded=not line.startswith("749510002"),  # the crowd's lines are not
        wait_seconds=(inside.answered_at or 0) - outside.began_at,
        began_at=outside.began_at,
    )


def lost_truth(
    scenario: str,
    client: str | None,
    line: str,
    rang: tuple[str, ...],
    outside: Outgoing,
    *,
    status: str = "missed",
    ended_by: str | None = None,
    tried: tuple[str, ...] = (),
) -> Truth:
    """The client called, and nobody talked with them."""
    return Truth(
        scenario=scenario,
        direction="inbound",
        client_number=_e164(client),
        status=status,
        extensions=rang,
        tried=tried,
        line=line,
        ended_by=ended_by,
        wait_seconds=(outside.ended_at or 0) - outside.began_at,
        began_at=outside.began_at,
    )


def outbound_truth(
    scenario: str, client: str, by: str, inside: Outgoing | Incoming, status: str, *, ended_by: str | None = None
) -> Truth:
    """`by` called the client."""
    answered = by if status == "answered" else None
    return Truth(
        scenario=scenario,
        direction="outbound",
        client_number=_e164(client),
        status=status,
        extensions=(by,),
        answered_by=answered,
        answered_first=answered,
        ended_by=ended_by,
        recorded=status == "answered",
        began_at=inside.began_at,
    )


def _e164(client: str | None) -> str | None:
    return f"+{client}" if client else None
