"""The doors of PBXs that still run the legacy scripts: their event is read, handed on, and answered "OK" at once."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request

from bridge.calls.script_events import KINDS, ScriptKind, read
from bridge.db import credentials
from bridge.errors import BadInput, Unauthorized
from bridge.http.envelope import JSON
from bridge.http.operation import ANYONE, Operation, Path, Visit


def _door(kind: ScriptKind) -> Path:
    async def take_event(visit: Visit) -> JSON:
        body = await _body(visit.request)
        token = visit.request.headers.get("token") or body.get("Token") or body.get("token") or ""
        if not isinstance(token, str) or not token:
            raise Unauthorized("Token: missing")
        services = visit.desk.services
        async with services.pool.acquire() as connection:
            found = await credentials.find(connection, "enterprise", token)
        if found is None:
            raise Unauthorized("Token: not known")
        await services.scripts.ingest(found[0], read(kind, body))
        visit.desk.metrics.script_events.labels(kind).inc()
        return JSON("OK")

    take_event.__doc__ = f"Legacy script event `{kind}`, with the enterprise's secret as `Token`"
    return Path(f"/{kind}", POST=Operation(take_event, ANYONE))


async def _body(request: Request) -> dict[str, Any]:
    """JSON, or a form from the oldest macros. Fields that nobody knows are let be: the scripts are what they are."""
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        async with request.form() as form:
            return {name: value for name, value in form.items() if isinstance(value, str)}
    try:
        body = msgspec.json.decode(await request.body())
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadInput("The body is not valid JSON", field="body") from None
    if not isinstance(body, dict):
        raise BadInput("The body must be a JSON object", field="body", allowed="object")
    return body


PATHS = [_door(kind) for kind in KINDS]
