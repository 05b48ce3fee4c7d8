"""One method on one path: its handler, who may use it, and the types it takes and gives, read from its annotations.

A handler is `async def handler(visit: Visit[, params: P][, body: B]) -> Answer`. `params` gathers the query string and
the path's own parameters, `body` is the JSON body; both are msgspec structs that refuse unknown fields. It returns data
for the envelope, a `Page` for a paginated list, or a Response of its own. The same annotations make `/openapi.json`.
"""

from __future__ import annotations

import types
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_type_hints

from starlette.requests import Request
from starlette.responses import Response

from bridge.db.accounts import Role
from bridge.errors import Unauthorized
from bridge.http.auth.principal import Principal

if TYPE_CHECKING:
    from bridge.http.desk import Desk

ANYONE: frozenset[Role] = frozenset()
USERS: frozenset[Role] = frozenset({"operator", "administrator", "service"})
STAFF: frozenset[Role] = frozenset({"administrator", "service"})
ADMINISTRATORS: frozenset[Role] = frozenset({"administrator"})


@dataclass(slots=True)
class Visit:
    """One request on its way through a handler."""

    request: Request
    desk: Desk
    guest: Principal | None

    @property
    def principal(self) -> Principal:
        """Who asks. Raises Unauthorized for a stranger."""
        if self.guest is None:
            raise Unauthorized()
        return self.guest

    @property
    def address(self) -> str:
        return self.request.client.host if self.request.client else ""


Handler = Callable[..., Awaitable[Any]]


@dataclass(slots=True)
class Operation:
    """`roles` empty: open to anyone."""

    handler: Handler
    roles: frozenset[Role]
    params: Any = field(init=False)
    body: Any = field(init=False)
    answer: Any = field(init=False)

    def __post_init__(self) -> None:
        hints = get_type_hints(self.handler)
        self.params = hints.get("params")
        self.body = hints.get("body")
        self.answer = _data(hints["return"])

    @property
    def summary(self) -> str:
        return (self.handler.__doc__ or "").strip().split("\n")[0].rstrip(".")


def _data(annotation: Any) -> Any:
    """What a handler gives for the envelope: of `Data | JSON`, which may also answer for itself, it is `Data`."""
    if not isinstance(annotation, types.UnionType):
        return annotation
    (data,) = (kind for kind in annotation.__args__ if not (isinstance(kind, type) and issubclass(kind, Response)))
    return data


@dataclass(slots=True, init=False)
class Path:
    """A path and everything that can be done with it: one Route each, so that a 405 names all of its methods."""

    template: str
    operations: dict[str, Operation]

    def __init__(self, template: str, **operations: Operation) -> None:
        self.template = template
        self.operations = operations

    @property
    def allowed(self) -> str:
        methods = [*self.operations, *(["HEAD"] if "GET" in self.operations else []), "OPTIONS"]
        return ", ".join(sorted(methods))
