"""Where the file of a recording can be fetched from (VPBX API, 3.5): a link that works once, and not for long.

It is asked for when the file is about to be fetched, never kept, and never opened to look whether it works.
"""

from __future__ import annotations

import asyncio
from urllib.parse import urljoin, urlsplit

import asyncpg

from bridge.errors import BadInput, DatabaseProblem, MangoUnavailable, NotFound
from bridge.hosts import Hosts
from bridge.mango.client import DOMAINS, Api
from bridge.mango.config import Product
from bridge.mango.products import Products

_LONGEST_ID = 128
_PATIENCE = 10.0
_AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

_PRODUCTS = """
select distinct w.product
from recordings r join mango_webhooks w on w.enterprise_number = r.enterprise_number and w.entry_id = r.call_id
where r.enterprise_number = $1 and r.source = 'mango' and r.reference = $2 and w.product is not null
"""


class Files:
    """Of every enterprise on Mango. `url`: where the API is."""

    def __init__(self, api: Api, products: Products, hosts: Hosts, pool: asyncpg.Pool, url: str) -> None:
        self._api = api
        self._products = products
        self._hosts = hosts
        self._pool = pool
        self._url = url

    async def recording_link(self, enterprise_number: str, recording_id: str) -> str:
        """The address to fetch a recording from, once. Its host is one that may be called.

        Raises MangoRefused where there is no such file: not yet, any more or ever. Where its `result` is 3xxx Mango
        counts the question as a wrong one, and it must not be asked again. Also MangoPaused, MangoTimeout,
        MangoUnavailable, NotFound (no product is known to have it), BadInput, DatabaseProblem."""
        if not recording_id or len(recording_id) > _LONGEST_ID or not recording_id.isprintable():
            raise BadInput("recording_id: not one of Mango Office", field="recording_id", found=recording_id[:40])
        product = await self._product(enterprise_number, recording_id)
        reply = await self._api.ask(
            product,
            "recording",
            "queries/recording/post",
            {"recording_id": recording_id, "action": "download"},
            timeout=15.0,
            patience=_PATIENCE,
            redirect=True,
        )
        if not reply.location:
            raise MangoUnavailable(f"Mango Office gives no link to the recording (HTTP {reply.status})")
        link = urljoin(self._url, reply.location)
        parts = urlsplit(link)
        try:
            self._hosts.judge(f"{parts.scheme}://{parts.netloc}", DOMAINS, field="location")
        except BadInput as elsewhere:
            raise MangoUnavailable(
                f"Mango Office sends us elsewhere for the recording: {parts.hostname}"
            ) from elsewhere
        return link

    async def _product(self, enterprise_number: str, recording_id: str) -> Product:
        products = self._products.of(enterprise_number)
        if len(products) > 1:
            # to ask the wrong one would be a wrong question
            try:
                async with asyncio.timeout(5), self._pool.acquire() as connection:
                    names = {
                        row["product"] for row in await connection.fetch(_PRODUCTS, enterprise_number, recording_id)
                    }
            except _AWAY as problem:
                raise DatabaseProblem("The database does not answer: nothing was asked of Mango Office") from problem
            products = [product for product in products if product.name in names]
        if not products:
            raise NotFound("No product of Mango Office is known to have this recording", field="recording_id")
        return products[0]
