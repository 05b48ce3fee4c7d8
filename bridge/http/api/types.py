"""What parameters of several operations are made of."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import asyncpg
import msgspec

Identifier = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
EnterpriseNumber = Annotated[str, msgspec.Meta(pattern="^[0-9A-Za-z_-]{1,32}$")]
PageNumber = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Limit = Annotated[int, msgspec.Meta(ge=1, le=500)]
Text = Annotated[str, msgspec.Meta(max_length=200)]

R = TypeVar("R")


class OneWanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The number of the row in the path."""

    id: Identifier


def read(row: asyncpg.Record, kind: type[R], **more: Any) -> R:
    """A row as the struct that the API shows."""
    return msgspec.convert({**row, **more}, kind)
