"""Mango Office's history: compare it with what was heard, and see what came of that."""

from __future__ import annotations

from datetime import datetime

import msgspec

from bridge.errors import BadInput, NotFound
from bridge.http.api.types import EnterpriseNumber
from bridge.http.operation import Visit
from bridge.http.services import Histories

_WAIT = 25.0  # seconds: a proxy before us gives up after 60


class ReconcileWanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Calls that began after `since`; absent: since the last time. The deployment's staff name the enterprise."""

    since: datetime | None = None
    enterprise_number: EnterpriseNumber | None = None


class ReconciliationsWanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    enterprise_number: EnterpriseNumber | None = None


class Reconciliation(msgspec.Struct, frozen=True, kw_only=True):
    """Of one product. `calls` in the history, `told` those of which it said something not heard before; `reached`: what
    began before is known; `problem`: why the last comparison failed."""

    product: str
    running: bool
    calls: int
    told: int
    problem: str | None
    reached: datetime | None
    began_at: datetime | None
    ended_at: datetime | None


class Reconciled(msgspec.Struct, frozen=True, kw_only=True):
    """`done` false: it goes on; ask for the reconciliations later."""

    done: bool
    products: list[Reconciliation]


async def reconcile(visit: Visit, body: ReconcileWanted) -> Reconciled:
    """Compares Mango Office's history of calls with what was heard, and adds what is missing."""
    histories, number = _whose(visit, body.enterprise_number)
    since = body.since
    if since is not None and since.tzinfo is None:
        raise BadInput("since: a time with its zone", field="since", allowed="2026-11-20T00:00:00+03:00")
    done = await histories.begin(number, since.timestamp() if since is not None else None, wait=_WAIT)
    return Reconciled(done=done, products=await _last(histories, number))


async def reconciliations(visit: Visit, params: ReconciliationsWanted) -> list[Reconciliation]:
    """What came of the last comparison with Mango Office's history."""
    histories, number = _whose(visit, params.enterprise_number)
    return await _last(histories, number)


def _whose(visit: Visit, enterprise_number: str | None) -> tuple[Histories, str]:
    number = visit.principal.scope(enterprise_number).enterprise_number
    if number is None:
        raise BadInput("enterprise_number: say whose", field="enterprise_number")
    histories = visit.desk.services.histories
    if histories is None:
        raise NotFound("This service has no cloud exchange")
    return histories, number


async def _last(histories: Histories, number: str) -> list[Reconciliation]:
    return [msgspec.convert(row, Reconciliation) for row in await histories.last(number)]
