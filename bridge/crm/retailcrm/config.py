"""An enterprise's RetailCRM configuration, secrets opened: what `integrations_config.retailcrm` says, and its zone."""

from __future__ import annotations

from typing import Any

import msgspec


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
