"""Passwords of people: argon2id hashes, and a check that costs the same whether or not the person exists.

Hashing takes 64 MiB and some 90 ms by design, so an event loop runs these in a thread (`asyncio.to_thread`).
"""

from __future__ import annotations

from functools import cache

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

from bridge.errors import BadInput

SHORTEST, WEAK, LONGEST = 1, 8, 1024
"""Characters. One below WEAK is taken, and whoever set it is warned: refusing it would keep a deployment from starting
for its own good. The upper bound keeps a hostile login from hashing megabytes."""

_hasher = argon2.PasswordHasher()


def hash_password(plain: str) -> str:
    """The argon2id hash to store. Raises BadInput for a password that is empty or too long."""
    if not SHORTEST <= len(plain) <= LONGEST:
        raise BadInput(
            f"password: {len(plain)} characters found, {SHORTEST} to {LONGEST} are allowed",
            field="password",
            allowed=f"{SHORTEST} to {LONGEST} characters",
        )
    return _hasher.hash(plain)


def password_matches(stored: str | None, plain: str) -> bool:
    """Whether `plain` is the password behind `stored`. None (nobody, no password set) costs as much as a miss."""
    if len(plain) > LONGEST:
        return False
    try:
        return _hasher.verify(stored or _nobody(), plain) and stored is not None
    except (VerificationError, InvalidHashError):
        return False


@cache
def _nobody() -> str:
    return _hasher.hash("nobody has this password")
