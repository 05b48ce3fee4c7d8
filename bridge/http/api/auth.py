"""Signing in to the API."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec

from bridge.db.accounts import Role
from bridge.http.auth.principal import Principal
from bridge.http.envelope import JSON, success
from bridge.http.operation import Visit


class Credentials(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    email: Annotated[str, msgspec.Meta(min_length=1, max_length=254)]
    password: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]


class Me(msgspec.Struct, frozen=True):
    """Who is signed in. `enterprise_number` null: a person of the deployment, who sees every enterprise."""

    id: int
    email: str
    name: str
    role: Role
    enterprise_number: str | None


class SignedIn(msgspec.Struct, frozen=True):
    """`token` goes into `Authorization: Bearer …` until `expires_at`."""

    token: str
    expires_at: datetime
    user: Me


async def login(visit: Visit, body: Credentials) -> SignedIn:
    """A token for an email and a password."""
    doors = visit.desk.doors
    account = await doors.check_password(body.email, body.password, visit.address)
    token, expires = doors.token(account)
    return SignedIn(token, datetime.fromtimestamp(expires, UTC), _me(Principal.of(account)))


async def me(visit: Visit) -> Me:
    """Who the request comes from."""
    return _me(visit.principal)


async def logout(visit: Visit) -> JSON:
    """Ends the browser's session; a bearer token lapses by itself."""
    response = success(None)
    await visit.desk.doors.close_session(visit.request, response)
    return response


def _me(who: Principal) -> Me:
    return Me(who.user_id, who.email, who.name, who.role, who.enterprise_number)
