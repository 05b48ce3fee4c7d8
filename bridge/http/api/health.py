"""Whether the service works: for load balancers and monitoring, which read a status, and for people, who read why."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence
from importlib.metadata import version
from typing import Literal

import msgspec
from starlette.requests import Request

from bridge.db.scope import Scope
from bridge.errors import BridgeError, DatabaseProblem
from bridge.http.envelope import JSON, Failure, Problem, Stated
from bridge.http.errors import DATABASE_GONE
from bridge.http.operation import Visit
from bridge.http.services import PbxState, Trouble

DATABASE_SECONDS = 2.0
_FORWARDED = ("x-forwarded-for", "forwarded", "x-real-ip")


class PbxCount(msgspec.Struct, frozen=True):
    """PBXs there are, and those of them whose events arrive."""

    total: int
    up: int


class Health(Stated, frozen=True, kw_only=True):
    """`degraded`: something does not do its part; `reasons` say what, in plain words, and `pbxs` how each PBX stands.

    Only to callers on this machine and to those who are signed in, of what they may see. Others are told how many."""

    status: Literal["ok", "degraded"]
    reasons: list[str]
    pbx_count: PbxCount
    pbxs: list[PbxState]
    version: str


async def health(visit: Visit) -> Health | JSON:
    """Whether the service works: 200 while its database does; a PBX that is down makes it degraded, not dead."""
    services = visit.desk.services
    try:
        async with asyncio.timeout(DATABASE_SECONDS):
            async with services.pool.acquire() as connection:
                await connection.fetchval("select 1")
            pbxs = list(await services.pbxs.states())
            scope = await _sees(visit)
    except (TimeoutError, *DATABASE_GONE) as error:
        return _dead(DatabaseProblem("The database does not answer", reason=type(error).__name__))
    down = [pbx for pbx in pbxs if pbx.state != "up"]
    troubles = services.troubles()
    return Health(
        status="degraded" if down or troubles else "ok",
        reasons=_counted(pbxs, down, troubles) if scope is None else _named(down, troubles, scope),
        pbx_count=PbxCount(len(pbxs), len(pbxs) - len(down)),
        pbxs=[] if scope is None else [pbx for pbx in pbxs if _in(scope, pbx.enterprise_number)],
        version=version("asterisk-bridge"),
    )


def _dead(problem: DatabaseProblem) -> JSON:
    failure = Failure(False, Problem(problem.code, problem.message, problem.details))
    return JSON({**msgspec.to_builtins(failure), "status": "down"}, problem.status)


async def _sees(visit: Visit) -> Scope | None:
    """What the caller may read of; None: nothing but numbers. Monitoring whose token has lapsed is still answered."""
    try:
        principal = await visit.desk.doors.principal(visit.request)
    except BridgeError:
        principal = None
    if principal is not None:
        return principal.scope()
    return Scope(None) if on_this_machine(visit.request) else None


def on_this_machine(request: Request) -> bool:
    """Whether the request began here. One that a proxy passed on did not, wherever the proxy is."""
    if any(name in request.headers for name in _FORWARDED):
        return False
    try:
        return request.client is not None and ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def _in(scope: Scope, enterprise_number: str | None) -> bool:
    return scope.enterprise_number in (None, enterprise_number)


def _named(down: Sequence[PbxState], troubles: Sequence[Trouble], scope: Scope) -> list[str]:
    return [
        *(
            f"PBX {pbx.name} of enterprise {pbx.enterprise_number}: {pbx.problem or pbx.state}"
            for pbx in down
            if _in(scope, pbx.enterprise_number)
        ),
        *(trouble.text for trouble in troubles if _in(scope, trouble.enterprise_number)),
    ]


def _counted(pbxs: Sequence[PbxState], down: Sequence[PbxState], troubles: Sequence[Trouble]) -> list[str]:
    reasons = [f"{len(down)} of {len(pbxs)} PBXs: not up"] if down else []
    return [*reasons, *([f"{len(troubles)} other problems"] if troubles else [])]
