"""A `Path` as an ASGI application: who asks, may they, what did they send; then the handler; then the envelope."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from bridge.errors import BadInput, Forbidden, Unauthorized
from bridge.http.decode import json_body, parameters
from bridge.http.desk import Desk
from bridge.http.envelope import success
from bridge.http.operation import Operation, Path, Visit


class Endpoint:
    def __init__(self, path: Path, desk: Desk) -> None:
        self.path = path
        self.desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        response = await self.answer(request)
        await response(scope, receive, send)

    async def answer(self, request: Request) -> Response:
        """Raises what `bridge.http.errors` turns into answers."""
        method = "GET" if request.method == "HEAD" else request.method
        operation = self.path.operations.get(method)
        if operation is None:
            if method == "OPTIONS":
                return Response(status_code=204, headers={"Allow": self.path.allowed})
            raise HTTPException(405, headers={"Allow": self.path.allowed})
        visit = Visit(request, self.desk, None)
        if operation.roles:
            visit.guest = await self.desk.doors.principal(request)
            if visit.guest is None:
                raise Unauthorized()
            if visit.guest.role not in operation.roles:
                raise Forbidden(allowed=sorted(operation.roles))
        result = await operation.handler(visit, **await _input(operation, request))
        return result if isinstance(result, Response) else success(result)


async def _input(operation: Operation, request: Request) -> dict[str, object]:
    arguments: dict[str, object] = {}
    query = request.query_params.multi_items()
    if operation.params is not None:
        arguments["params"] = parameters(operation.params, query, request.path_params)
    elif query:
        raise BadInput(f"{query[0][0]}: not known: nothing can be given here", field=query[0][0])
    if operation.body is not None:
        arguments["body"] = json_body(operation.body, await request.body())
    return arguments
