"""How the service is: for people and for Prometheus."""

from __future__ import annotations

import asyncio
import inspect
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Literal

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from bridge.db import call_lists, deliveries, enterprises
from bridge.db.scope import Scope
from bridge.http.api.health import DATABASE_SECONDS
from bridge.http.errors import DATABASE_GONE
from bridge.http.operation import Visit
from bridge.http.services import PbxState, Services

_EVERYTHING = Scope(None)


class Waiting(msgspec.Struct, frozen=True):
    """Deliveries of one enterprise and CRM that are owed (`pending`, `sending`) or were given up (`dead`)."""

    enterprise_number: str
    integration_type: str
    state: Literal["pending", "sending", "dead"]
    count: int


class Stats(msgspec.Struct, frozen=True):
    """`matrix`: enterprise number -> integration -> enabled. `figures`: counters of the caches and the other parts, for
    the deployment's own staff: they tell of every enterprise."""

    version: str
    now: datetime
    active_calls: int
    matrix: dict[str, dict[str, bool]]
    pbxs: list[PbxState]
    deliveries: list[Waiting]
    figures: dict[str, dict[str, Any]]


async def stats(visit: Visit) -> Stats:
    """The matrix, the caches, the PBXs and what CRMs are owed."""
    services = visit.desk.services
    scope = visit.principal.scope()
    async with services.pool.acquire() as connection:
        known = await enterprises.names(connection, scope)
        active = await call_lists.count_active(connection, scope)
        waiting = await deliveries.waiting(connection, scope)
    return Stats(
        version=version("asterisk-bridge"),
        now=datetime.fromtimestamp(services.clock(), UTC),
        active_calls=active,
        matrix={number: dict(services.matrix.enabled(number)) for number in known},
        pbxs=await visible_pbxs(services, scope),
        deliveries=[msgspec.convert(dict(row), Waiting) for row in waiting],
        figures=await _all_figures(services) if scope.enterprise_number is None else {},
    )


async def metrics(visit: Visit) -> Response:
    """Metrics for Prometheus, without names of enterprises, people or numbers."""
    desk = visit.desk
    try:
        async with asyncio.timeout(DATABASE_SECONDS), desk.services.pool.acquire() as connection:
            desk.metrics.active_calls.set(await call_lists.count_active(connection, _EVERYTHING))
            desk.metrics.show_pbxs(pbx.state for pbx in await desk.services.pbxs.states())
            desk.metrics.database_up.set(1)
    except (TimeoutError, *DATABASE_GONE):
        desk.metrics.database_up.set(0)
    text = await asyncio.to_thread(generate_latest, desk.services.registry)
    return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def visible_pbxs(services: Services, scope: Scope) -> list[PbxState]:
    return [pbx for pbx in await services.pbxs.states() if scope.enterprise_number in (None, pbx.enterprise_number)]


async def _all_figures(services: Services) -> dict[str, dict[str, Any]]:
    return {name: dict(await _figures(source)) for name, source in services.figures.items()}


async def _figures(source: Any) -> Any:
    value = source()
    return await value if inspect.isawaitable(value) else value
