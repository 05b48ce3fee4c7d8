"""Exceptions become answers here: our own, Starlette's 404, 405 and 413, and those of a database that is gone."""

from __future__ import annotations

from http import HTTPStatus

import asyncpg
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ExceptionHandler

from bridge.errors import (
    BadInput,
    BridgeError,
    DatabaseProblem,
    Forbidden,
    NotFound,
    TooLarge,
    TooManyRequests,
    Unauthorized,
)
from bridge.http.envelope import failure

log = structlog.get_logger(__name__)

_FRAMEWORK: dict[int, type[BridgeError]] = {
    kind.status: kind for kind in (BadInput, Unauthorized, Forbidden, NotFound, TooLarge, TooManyRequests)
}

DATABASE_GONE = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    OSError,
)
"""What asyncpg raises when the database, not the statement, is the trouble. Handlers do no other I/O of their own."""


async def answer_bridge_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, BridgeError):
        raise error
    headers: dict[str, str] = {}
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if "retry_after" in error.details:
        headers["Retry-After"] = str(error.details["retry_after"])
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("request_failed", path=request.url.path, code=error.code, message=error.message)
    return failure(error.status, error.code, error.message, error.details, headers)


async def answer_framework_error(request: Request, error: Exception) -> Response:
    """Starlette's own refusals: no such path, a method that is not there (with its Allow), a body that is too large."""
    if not isinstance(error, HTTPException):
        raise error
    status = error.status_code
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = sorted((error.headers or {}).get("Allow", "").split(", "))
        message = f"{request.method} is not possible here; possible: {', '.join(allowed)}"
        headers = {"Allow": ", ".join(allowed)}
        return failure(status, "METHOD_NOT_ALLOWED", message, {"allowed": allowed}, headers)
    kind = _FRAMEWORK.get(status)
    code = kind.code if kind else HTTPStatus(status).phrase.upper().replace(" ", "_")
    message = kind().message if kind else error.detail
    return failure(status, code, message, headers=error.headers)


async def answer_lost_database(request: Request, error: Exception) -> Response:
    log.warning("database_gone", path=request.url.path, error=repr(error))
    return failure(DatabaseProblem.status, DatabaseProblem.code, "The database does not answer: try again shortly")


HANDLERS: dict[type[Exception], ExceptionHandler] = {
    BridgeError: answer_bridge_error,
    HTTPException: answer_framework_error,
    **dict.fromkeys(DATABASE_GONE, answer_lost_database),
}
"""For every application that serves our routes. The rest is caught at the edge (`bridge.http.edge`)."""
