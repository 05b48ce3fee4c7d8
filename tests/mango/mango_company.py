"""An enterprise on Mango Office in a database, what it has heard, and the parts of the service that speak to Mango."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
from mango_office import PRODUCT, MangoOffice
from mango_stories import Webhook
from prometheus_client import CollectorRegistry

from bridge.db.pool import Pool
from bridge.directory import Directory
from bridge.hosts import Hosts
from bridge.mango.client import Api
from bridge.mango.commands import Commands
from bridge.mango.config import Product
from bridge.mango.limits import Paces
from bridge.mango.products import Products
from bridge.mango.users import Users
from bridge.originate import ClickMetrics, Clicks
from bridge.secrets import Vault

NUMBER, OTHER = "0412", "0999"

USERS = {
    "users": [
        {"general": {"user_id": 300 + int(extension)}, "telephony": {"extension": extension}}
        for extension in ("150", "151", "152")
    ]
}

_COMPANY = """
insert into enterprises (number, name, fallback, integrations_config) values ($1, 'July', '150', $2)
"""
_PEOPLE = """
insert into user_internal_phones (enterprise_number, phone_number) select $1, e from unnest($2::text[]) e
"""
_LINES = """
insert into phones (enterprise_number, number, smart_redirect) values
    ($1, '+74951000001', 'route'), ($1, '+74951000002', 'name'), ($1, '+74951000003', 'off')
"""
_KEEP = """
insert into mango_webhooks (enterprise_number, product, dialect, path, entry_id, body, state)
values ($1, $2, 'signed', $3, $4, $5, 'worked')
"""


async def found(pool: Pool, number: str = NUMBER, products: Sequence[Product] = (PRODUCT,)) -> None:
    """An enterprise with extensions 150 to 153 (Mango has 150 to 152) and three lines."""
    config = {
        "mango": {"enabled": True, "products": [msgspec.structs.asdict(product) for product in products]},
        "retailcrm": {"enabled": True, "domain": "x", "api_key": "k", "user_extensions": {"19": "152", "20": None}},
    }
    await pool.execute(_COMPANY, number, config)
    await pool.execute(_PEOPLE, number, ["150", "151", "153"])
    await pool.execute(_LINES, number)


@dataclass
class Company:
    """What one instance of the service has. `clicks` has no PBX but Mango."""

    pool: Pool
    office: MangoOffice
    api: Api
    paces: Paces
    products: Products
    users: Users
    commands: Commands
    directory: Directory
    clicks: Clicks

    async def hears(self, webhooks: Sequence[Webhook], number: str = NUMBER, product: Product = PRODUCT) -> None:
        """The webhooks have been kept."""
        for path, document in webhooks:
            await self.pool.execute(
                _KEEP, number, product.name, path.strip("/"), document.get("entry_id"), msgspec.json.encode(document)
            )

    async def command(self) -> dict[str, Any]:
        """The last command's row."""
        row = await self.pool.fetchrow("select * from mango_commands order by id desc limit 1")
        return dict(row) if row is not None else {}


class NoPbx:
    def manager_for(self, enterprise_number: str, name: str | None = None) -> Any:
        raise AssertionError("no PBX is asked")


@asynccontextmanager
async def instance(pool: Pool, office: MangoOffice) -> AsyncIterator[Company]:
    """One instance of the service, on an enterprise that is in the database already."""
    hosts = Hosts(["127.0.0.1"])
    paces = Paces(pool)
    api = Api(hosts, office.url, paces)
    products = Products(pool, Vault(["k" * 32]))
    await products.refresh()
    users = Users(api)
    commands = Commands(api, products, users, paces, pool)
    directory = Directory(pool)
    await directory.refresh()
    clicks = Clicks(directory, NoPbx(), pool, ClickMetrics(CollectorRegistry()), cloud=commands, answer_within=5)
    yield Company(pool, office, api, paces, products, users, commands, directory, clicks)
    await clicks.close()
    await users.close()
    await api.close()
    hosts.close()
