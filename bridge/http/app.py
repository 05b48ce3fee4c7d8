"""The HTTP application: paths and services in, a Starlette application out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from bridge.http import openapi
from bridge.http.auth.doors import Doors
from bridge.http.auth.tokens import Tokens
from bridge.http.desk import Desk
from bridge.http.edge import Edge
from bridge.http.endpoint import Endpoint
from bridge.http.envelope import JSON
from bridge.http.errors import HANDLERS
from bridge.http.live import Hub
from bridge.http.metrics import HttpMetrics
from bridge.http.operation import ANYONE, Operation, Path, Visit
from bridge.http.routes import ALIASES, API, PAGES, specific_first
from bridge.http.services import Services


def create_app(
    services: Services,
    routes: Sequence[BaseRoute] = (),
    described: Sequence[Mapping[str, Any]] = (),
    *,
    busy: Sequence[BaseRoute] = (),
) -> Starlette:
    """The application. `routes` are those that other parts of the house bring (a CRM's callbacks); ours win. `busy`
    are such too, but tried before all others: a router goes through its routes one by one. `described` is what
    /openapi.json says of them.

    Its lifespan runs the live page's hub. `app.state.desk.hub.close()` ends the streams: `bridge.http.server` does so
    before it waits for connections. Raises SettingsError for secret keys that are too short."""
    settings = services.settings
    metrics = HttpMetrics(services.registry)
    doors = Doors(
        services.pool,
        Tokens(settings.secret_keys, settings.token_seconds),
        metrics,
        settings.public_url,
        services.login_limits,
    )
    desk = Desk(services, doors, metrics, Hub(services, metrics))
    paths = (*API, _description(API, settings.public_url, described), *PAGES)
    by_template = {path.template: path for path in paths}
    by_template |= {alias: by_template[canonical] for alias, canonical in ALIASES.items()}

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        running = asyncio.create_task(desk.hub.run())
        try:
            yield
        finally:
            desk.hub.close()
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    middleware = [Middleware(Edge, metrics=metrics, https=settings.public_url.startswith("https://"))]
    if settings.cors_origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=settings.cors_origins,
                allow_methods=["GET", "POST", "PUT", "DELETE"],
                allow_headers=["Authorization", "Content-Type"],
            )
        )
    app = Starlette(
        routes=[
            *busy,
            *(Route(template, Endpoint(by_template[template], desk)) for template in specific_first(by_template)),
            *routes,
        ],
        middleware=middleware,
        exception_handlers=HANDLERS,
        lifespan=lifespan,
    )
    app.state.services = services
    app.state.desk = desk
    return app


def _description(paths: Sequence[Path], server: str, others: Sequence[Mapping[str, Any]]) -> Path:
    """`/openapi.json` of these paths; made once."""
    document = openapi.document(paths, server, others)

    async def describe(visit: Visit) -> Response:
        """This description."""
        return JSON(document)

    return Path("/openapi.json", GET=Operation(describe, ANYONE))
