"""The kinds of integrations there are, and how a configuration of each comes out of the database."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from bridge.crm.retailcrm import config as retailcrm
from bridge.db.integrations import configured
from bridge.db.pool import Pool
from bridge.errors import BadInput
from bridge.mango import config as mango
from bridge.secrets import Vault
from bridge.settings import Settings

Decode = Callable[..., Any]
"""(document, timezone=, region=) -> a frozen struct. Raises BadInput."""

DECODERS: Final[Mapping[str, Decode]] = {"retailcrm": retailcrm.decode, "mango": mango.decode}
"""In the order in which CRMs are believed. They also judge shapes for the matrix: sealed secrets are texts too."""


def deployment_product(settings: Settings) -> mango.Product | None:
    """The product at Mango Office of the enterprise that names none of its own."""
    if not settings.mango_api_key or not settings.mango_api_salt:
        return None
    return mango.Product(
        api_key=settings.mango_api_key, api_salt=settings.mango_api_salt, api_id=settings.mango_api_id or ""
    )


class ConfigurationLoader:
    """What `Configurations` loads with: read, secrets opened, decoded."""

    def __init__(self, pool: Pool, vault: Vault, decoders: Mapping[str, Decode] = DECODERS) -> None:
        self._pool = pool
        self._vault = vault
        self._decoders = decoders

    async def __call__(self, enterprise_number: str, integration_type: str) -> Any:
        """The configuration, or None where there is none. Raises BadInput, SecretProblem, or what asyncpg raises."""
        decode = self._decoders.get(integration_type)
        if decode is None:
            return None
        async with self._pool.acquire() as connection:
            found = await configured(connection, enterprise_number, integration_type)
        if found is None:
            return None
        if not isinstance(found.config, Mapping):
            raise BadInput(f"{integration_type} is not an object", field=integration_type)
        opened = self._vault.open_integration(integration_type, found.config, enterprise=enterprise_number)
        return decode(opened, timezone=found.timezone, region=found.region)
