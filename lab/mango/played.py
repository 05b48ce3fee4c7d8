"""What a scenario gives: a call that is over, and what is true of it. The codes by which calls end (VPBX API, list of
result codes)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lab.mango.entry import Entry, Leg, Webhook
from lab.mango.product import Product
from lab.truth import Truth

CLIENT = "79161234567"
Who = Literal["client", "extension"]

CALLER_HUNG_UP, CALLED_HUNG_UP = 1110, 1120
NO_ANSWER, BUSY, REJECTED, DO_NOT_DISTURB = 1111, 1121, 1122, 1124
QUEUE_TIMED_OUT, MENU_ENDED, PICKED_UP_ELSEWHERE, OFF_HOURS = 1163, 1170, 1182, 1192
NORMAL, DONE = 1100, 1000


@dataclass(frozen=True)
class Played:
    """One call, over: what Mango sends of it and what is true of it."""

    entry: Entry
    truth: Truth

    @property
    def webhooks(self) -> list[Webhook]:
        return self.entry.webhooks

    @property
    def entry_id(self) -> str:
        return self.entry.entry_id


# --- how a truth begins -----------------------------------------------------------------------------------------------


def inbound_entry(product: Product, client: str | None, at: float, line: str | None = None) -> Entry:
    return Entry(product, "inbound", client, line or product.line, at)


def outbound_entry(product: Product, client: str, at: float, by: str) -> Entry:
    return Entry(product, "outbound", client, product.line, at, caller=product.at(by))


def gives_away(leg: Leg, at: float, reason: int) -> None:
    leg.ends(at, reason, **{"from": {"was_transferred": True}})


def extensions_of(legs: Sequence[Leg]) -> tuple[str, ...]:
    return tuple(leg.employee.extension for leg in legs if leg.employee is not None)


def reason_of(hangs_up: Who) -> int:
    return CALLER_HUNG_UP if hangs_up == "client" else CALLED_HUNG_UP


def answered_truth(
    entry: Entry, scenario: str, rang: tuple[str, ...], by: str, talked: float, ended: float, hangs_up: Who
) -> Truth:
    return Truth(
        scenario=scenario,
        direction="inbound",
        client_number=e164(entry.client),
        status="answered",
        extensions=rang,
        line=entry.line,
        answered_by=by,
        answered_first=by,
        ended_by=hangs_up,
        wait_seconds=talked - entry.began,
        talk_seconds=ended - talked,
        began_at=entry.began,
    )


def lost_truth(
    entry: Entry, scenario: str, rang: tuple[str, ...], *, status: str = "missed", ended_by: str | None = None
) -> Truth:
    assert entry.ended is not None
    return Truth(
        scenario=scenario,
        direction="inbound",
        client_number=e164(entry.client),
        status=status,
        extensions=rang,
        line=entry.line,
        ended_by=ended_by,
        wait_seconds=entry.ended - entry.began,
        began_at=entry.began,
    )


def called_truth(
    entry: Entry, scenario: str, by: str, status: str, *, ended_by: Who | None, talk: float = 0.0
) -> Truth:
    answered = by if status == "answered" else None
    return Truth(
        scenario=scenario,
        direction="outbound",
        client_number=e164(entry.client),
        status=status,
        extensions=(by,),
        answered_by=answered,
        answered_first=answered,
        ended_by=ended_by,
        talk_seconds=talk,
        began_at=entry.began,
    )


def e164(client: str | None) -> str | None:
    return f"+{client}" if client else None
