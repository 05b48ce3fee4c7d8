"""The shape of every JSON answer: {"success": true, "data": …, "pagination": …} or {"success": false, "error": {…}}."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, Literal, TypeVar

import msgspec
from starlette.responses import Response

T = TypeVar("T")

_encoder = msgspec.json.Encoder(decimal_format="number")


class Pagination(msgspec.Struct, frozen=True):
    """`pages` is 0 when there is nothing."""

    page: int
    limit: int
    total: int
    pages: int


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of a list: what a paginated handler returns."""

    data: list[T]
    pagination: Pagination

    @staticmethod
    def of(data: list[T], *, page: int, limit: int, total: int) -> Page[T]:
        return Page(data, Pagination(page, limit, total, -(-total // limit)))


class Stated(msgspec.Struct, frozen=True, kw_only=True):
    """Data whose `status` stands beside it in the envelope too, where monitoring systems look for it."""

    status: str


class Problem(msgspec.Struct, frozen=True):
    """`code` is stable and for machines, `message` is for people, `details` may name field, found and allowed."""

    code: str
    message: str
    details: dict[str, Any] = {}


class Failure(msgspec.Struct, frozen=True):
    """Every answer that is not a success."""

    success: Literal[False]
    error: Problem


class JSON(Response):
    """An answer encoded by msgspec; times are ISO 8601 with their zone."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return _encoder.encode(content)


def success(data: Any, status: int = 200) -> JSON:
    if isinstance(data, Page):
        return JSON({"success": True, "data": data.data, "pagination": data.pagination}, status)
    if isinstance(data, Stated):
        return JSON({"success": True, "status": data.status, "data": data}, status)
    return JSON({"success": True, "data": data}, status)


def failure(
    status: int,
    code: str,
    message: str,
    details: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSON:
    problem = Problem(code, message, dict(details or {}))
    return JSON(Failure(False, problem), status, headers=dict(headers or {}))
