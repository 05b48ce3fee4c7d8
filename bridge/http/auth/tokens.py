"""API tokens: JWTs signed with HS256 by a key derived from the service's secret; the newest signs, all of them open."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Sequence

import jwt

from bridge.db.accounts import Account
from bridge.errors import SettingsError, Unauthorized
from bridge.http.auth.principal import password_mark

ISSUER = "asterisk-bridge"
AUDIENCE = "asterisk-bridge-api"
SHORTEST_KEY = 32
"""Characters of a secret key (RFC 7518 §3.2: a key at least as long as the hash it feeds)."""

_ALGORITHM = "HS256"
_REQUIRED = ["exp", "iat", "sub", "iss", "aud"]
_LEEWAY = 5.0


class Tokens:
    """`keys` newest first. Each is used through a key derived for this purpose: the same secrets also seal data."""

    def __init__(self, keys: Sequence[str], lifetime: float) -> None:
        if not keys or any(len(key) < SHORTEST_KEY for key in keys):
            raise SettingsError(
                f"BRIDGE_SECRET_KEY: every key must have at least {SHORTEST_KEY} characters",
                field="BRIDGE_SECRET_KEY",
                allowed=f"{SHORTEST_KEY} characters or more",
            )
        self._keys = [hmac.digest(key.encode(), b"asterisk-bridge api token", hashlib.sha256) for key in keys]
        self._lifetime = lifetime

    def issue(self, account: Account, now: float | None = None) -> tuple[str, int]:
        """A token and when it lapses (seconds since the epoch)."""
        issued = int(time.time() if now is None else now)
        expires = issued + int(self._lifetime)
        claims = {
            "sub": str(account.id),
            "iat": issued,
            "exp": expires,
            "iss": ISSUER,
            "aud": AUDIENCE,
            "mark": password_mark(account).hex(),
        }
        return jwt.encode(claims, self._keys[0], _ALGORITHM), expires

    def open(self, token: str) -> tuple[int, bytes]:
        """The user's id and the password's mark in it. Raises Unauthorized, saying no more than lapsed or not valid."""
        for key in self._keys:
            try:
                claims = jwt.decode(
                    token,
                    key,
                    algorithms=[_ALGORITHM],
                    issuer=ISSUER,
                    audience=AUDIENCE,
                    leeway=_LEEWAY,
                    options={"require": _REQUIRED, "enforce_minimum_key_length": True},
                )
                return int(claims["sub"]), bytes.fromhex(claims["mark"])
            except jwt.InvalidSignatureError:
                continue
            except jwt.ExpiredSignatureError:
                raise Unauthorized("The token has expired: sign in again") from None
            except (jwt.InvalidTokenError, ValueError, KeyError, TypeError):
                break
        raise Unauthorized("The token is not valid")
