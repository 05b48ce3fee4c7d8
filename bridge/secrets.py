"""Secrets at rest: sealed in the database, open only in memory.

A sealed value is `sealed:` and a Fernet token over `[enterprise, field, secret]`: Fernet binds nothing to its place, so
the place is inside, and a sealed value that was copied to another enterprise or another field does not open there. A
value without the prefix is plain: somebody wrote it with psql, it works, and is soon sealed (`bridge.db.sealer`).

Which fields are secret is said here, once.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bridge.errors import SecretProblem

SEALED: Final = "sealed:"

ENTERPRISE_SECRET: Final = "enterprises.secret"  # noqa: S105 - the name of a field
PBX_COLUMNS: Final = ("ami_secret", "ari_password", "token")

INTEGRATIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "retailcrm": ("api_key", "client_id"),
    "mango": ("api_key", "api_salt", "products[].api_key", "products[].api_salt"),
    "amocrm": (
        "client_secret",
        "access_token",
        "refresh_token",
        "auth_code",
        "tokens.access_token",
        "tokens.refresh_token",
    ),
}
"""Integration -> where in its part of `integrations_config` secrets are: `a.b` is b inside a, `a[]` each of a list."""


def pbx_field(column: str) -> str:
    """The name a PBX's secret is sealed under."""
    return f"pbxs.{column}"


def integration_field(integration_type: str, path: str) -> str:
    """The name an integration's secret is sealed under."""
    return f"{integration_type}.{path}"


class Vault:
    """Seals with the first key, opens with any: a rotation puts the new key first, and drops the old one once all is
    sealed anew. Keys are texts of any length; the key that encrypts is derived from each."""

    def __init__(self, keys: Sequence[str]) -> None:
        if not keys or not all(keys):
            raise ValueError("a vault needs a key")
        fernets = [Fernet(_derived(key)) for key in keys]
        self._first = fernets[0]
        self._all = MultiFernet(fernets)

    def seal(self, plain: str, *, enterprise: str, field: str) -> str:
        """The sealed form. What is empty stays empty: there is no secret in it."""
        if not plain:
            return plain
        return SEALED + self._first.encrypt(msgspec.json.encode((enterprise, field, plain))).decode()

    def open(self, value: str, *, enterprise: str, field: str) -> str:
        """The secret; a plain value passes. Raises SecretProblem when it is not ours to open, or not of this place."""
        if not self.is_sealed(value):
            return value
        try:
            content = self._all.decrypt(value.removeprefix(SEALED).encode())
            its_enterprise, its_field, plain = msgspec.json.decode(content, type=tuple[str, str, str])
        except (InvalidToken, UnicodeEncodeError, msgspec.MsgspecError) as problem:
            raise SecretProblem(
                f"{field} of enterprise {enterprise} was sealed with a key that is not in BRIDGE_SECRET_KEY: "
                "add that key after the newest, or enter the secret again.",
                field=field,
            ) from problem
        if (its_enterprise, its_field) != (enterprise, field):
            raise SecretProblem(
                f"{field} of enterprise {enterprise} was sealed for another place: enter it again.",
                field=field,
            )
        return plain

    @staticmethod
    def is_sealed(value: str) -> bool:
        return value.startswith(SEALED)

    def is_current(self, value: str) -> bool:
        """Whether nothing is to be done: sealed with the newest key, or empty."""
        if not self.is_sealed(value):
            return not value
        try:
            self._first.decrypt(value.removeprefix(SEALED).encode())
        except (InvalidToken, UnicodeEncodeError):
            return False
        return True

    def renew(self, value: str, *, enterprise: str, field: str) -> str:
        """`value` as it should be stored: sealed with the newest key. Raises SecretProblem."""
        if self.is_current(value):
            return value
        return self.seal(self.open(value, enterprise=enterprise, field=field), enterprise=enterprise, field=field)

    @staticmethod
    def digest(plain: str) -> bytes:
        """What a presented credential is looked up by (sha256)."""
        return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).digest()

    def seal_integration(self, integration_type: str, config: Any, *, enterprise: str) -> Any:
        """The integration's part of `integrations_config` with its secrets sealed anew where they need it."""
        return self._through(integration_type, config, enterprise, self.renew)

    def open_integration(self, integration_type: str, config: Any, *, enterprise: str) -> Any:
        """The same with its secrets open. Raises SecretProblem."""
        return self._through(integration_type, config, enterprise, self.open)

    def _through(self, integration_type: str, config: Any, enterprise: str, change: Callable[..., str]) -> Any:
        for path in INTEGRATIONS.get(integration_type, ()):
            place = functools.partial(change, enterprise=enterprise, field=integration_field(integration_type, path))
            config = _changed(config, _steps(path), place)
        return config


def texts(config: Any, path: str) -> Iterator[str]:
    """The texts at `path` of an integration's configuration, in order."""
    found: list[str] = []

    def collect(text: str) -> str:
        found.append(text)
        return text

    _changed(config, _steps(path), collect)
    yield from found


def masked(integration_type: str, config: Any) -> Any:
    """The configuration for people: the last four characters of a long secret, nothing of a short or a sealed one."""
    for path in INTEGRATIONS.get(integration_type, ()):
        config = _changed(config, _steps(path), mask)
    return config


def mask(secret: str) -> str:
    """`…1f4c`: enough to recognise a secret by, useless otherwise."""
    if not secret:
        return ""
    return "…" + secret[-4:] if len(secret) >= 16 and not secret.startswith(SEALED) else "…"


def _steps(path: str) -> list[str]:
    return re.findall(r"\[\]|[^.\[\]]+", path)


def _changed(value: Any, steps: Sequence[str], change: Callable[[str], str]) -> Any:
    """A copy of `value` with the texts at `steps` changed. What has another shape than the path is left as it is."""
    if not steps:
        return change(value) if isinstance(value, str) else value
    if steps[0] == "[]":
        return [_changed(item, steps[1:], change) for item in value] if isinstance(value, list) else value
    if isinstance(value, dict) and steps[0] in value:
        return value | {steps[0]: _changed(value[steps[0]], steps[1:], change)}
    return value


def _derived(key: str) -> bytes:
    kdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"asterisk-bridge secrets at rest")
    return base64.urlsafe_b64encode(kdf.derive(key.encode()))
