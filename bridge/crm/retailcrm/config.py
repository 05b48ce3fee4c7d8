"""An enterprise's RetailCRM configuration, secrets opened: what `integrations_config.retailcrm` says, and its zone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from bridge.errors import BadInput


class RetailcrmConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`user_extensions` maps the CRM's user id to an extension; null: the number was taken from that user.

    timezone  of the CRM's dates: the enterprise's, unless the CRM account keeps another
    site      the CRM's store code that calls are filed under; empty: the CRM decides
    """

    domain: str
    api_key: str
    enabled: bool = True
    client_id: str = ""
    user_extensions: dict[str, str | None] = {}
    timezone: str = "Europe/Moscow"
    region: str = "RU"
    site: str = ""

    def __repr__(self) -> str:
        """Without the key: a repr ends in logs."""
        return f"RetailcrmConfig(domain={self.domain!r}, enabled={self.enabled})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Tracebacks that show local variables ask this first."""
        return [("domain", self.domain), ("enabled", self.enabled)]


def decode(document: Mapping[str, Any], **of_enterprise: str) -> RetailcrmConfig:
    """`integrations_config.retailcrm` as somebody wrote it, over what the enterprise gives (`timezone`, `region`).

    Tolerant: unknown keys are left out, numbers pass for texts, null is as good as absent, and it is off unless it says
    that it is on. Raises BadInput naming the key, what was found and what is allowed; never a secret.
    """
    if not isinstance(document, Mapping):
        raise BadInput("retailcrm must be an object", field="retailcrm")
    given = {name: _text(value) for name, value in document.items() if name in _FIELDS and value is not None}
    for name in _REQUIRED:
        if given.get(name, "") == "":
            raise BadInput(f"retailcrm.{name} is absent; it must be a text", field=name)
    if isinstance(extensions := given.get("user_extensions"), Mapping):
        given["user_extensions"] = {user: _text(extension) or None for user, extension in extensions.items()}
    try:
        return msgspec.convert({**of_enterprise, "enabled": False, **given}, RetailcrmConfig)
    except msgspec.ValidationError as problem:
        raise BadInput(f"retailcrm: {problem}") from problem


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


_FIELDS = frozenset(RetailcrmConfig.__struct_fields__)
_REQUIRED = ("domain", "api_key")
