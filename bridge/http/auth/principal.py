"""Who is asking, and which rows that lets them see."""

from __future__ import annotations

import hashlib

import msgspec

from bridge.db.accounts import Account, Role
from bridge.db.scope import Scope
from bridge.errors import NotFound


class Principal(msgspec.Struct, frozen=True):
    """A person or machine that has proved who it is. `enterprise_number` None: it belongs to the deployment."""

    user_id: int
    email: str
    name: str
    role: Role
    enterprise_number: str | None

    @staticmethod
    def of(account: Account) -> Principal:
        name = f"{account.first_name} {account.last_name}".strip() or account.email
        return Principal(account.id, account.email, name, account.role, account.enterprise_number)

    def scope(self, enterprise_number: str | None = None) -> Scope:
        """What this principal sees; `enterprise_number` narrows it to one enterprise.

        An operator sees his own calls, everybody else their enterprise's, the deployment's staff every enterprise's.
        Raises NotFound for an enterprise that is not his: nobody learns which others exist."""
        if enterprise_number is not None and self.enterprise_number not in (None, enterprise_number):
            raise NotFound("There is no such enterprise", field="enterprise_number")
        own = self.user_id if self.role == "operator" else None
        return Scope(self.enterprise_number or enterprise_number, own)


def password_mark(account: Account) -> bytes:
    """A digest of the password's hash. Sessions and tokens carry it, so that a changed password ends them."""
    return hashlib.sha256(b"password mark\0" + (account.password_hash or "").encode()).digest()[:16]
