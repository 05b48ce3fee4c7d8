"""Mango Office on a loopback port: several products behind one API, each with calls that can be made happen.

    async with Emulator(product) as mango:
        product.webhooks = "http://127.0.0.1:8000/api/v1/webhook/mango"
        played = scenarios.inbound_answered(product, at=time.time(), by="170", talk=3)
        await mango.play(played)                       # as it happens
        truth = await mango.switchboard(product).menu("79161234567")   # one that can be steered by commands

The API is at `Emulator.url` + /vpbx/.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from lab.listener import Listener
from lab.mango.api import Api
from lab.mango.delivery import Delivery, Knobs
from lab.mango.entry import Webhook
from lab.mango.live import Switchboard
from lab.mango.methods import Desk
from lab.mango.played import Played
from lab.mango.product import Product


class Emulator:
    """An async context manager."""

    def __init__(self, *products: Product, port: int = 0) -> None:
        self._desks: dict[str, Desk] = {}
        self._listener = Listener(Api(self._desks), port)
        for product in products:
            self.add(product)

    @property
    def url(self) -> str:
        return self._listener.url

    @property
    def api_url(self) -> str:
        """The base of all methods, as MANGO_API_URL has it."""
        return f"{self.url}/vpbx"

    @property
    def products(self) -> list[Product]:
        return [desk.product for desk in self._desks.values()]

    def add(self, product: Product) -> Product:
        product.url = self.url
        self._desks[product.key] = Desk(product, Switchboard(product, Delivery(product)))
        return product

    def switchboard(self, product: Product) -> Switchboard:
        return self._desks[product.key].switchboard

    def delivery(self, product: Product) -> Delivery:
        return self.switchboard(product).delivery

    async def play(self, played: Played, knobs: Knobs | None = None) -> None:
        """The call's webhooks, each at its time."""
        delivery = self.delivery(played.entry.product)
        delivery.turn(knobs or Knobs())
        await delivery.play(played.webhooks)

    async def storm(
        self,
        product: Product,
        webhooks: Iterable[Webhook],
        knobs: Knobs,
        progress: asyncio.Event | None = None,
        after: int = 0,
    ) -> None:
        """All of them at once."""
        delivery = self.delivery(product)
        delivery.turn(knobs)
        await delivery.storm(webhooks, progress, after)

    async def down(self) -> None:
        """The API refuses connections."""
        await self._listener.down()

    async def up(self) -> None:
        await self._listener.up()

    async def __aenter__(self) -> Emulator:
        await self._listener.up()
        return self

    async def __aexit__(self, *failure: object) -> None:
        for desk in self._desks.values():
            await desk.switchboard.close()
        await asyncio.gather(*(desk.switchboard.delivery.close() for desk in self._desks.values()))
        await self._listener.close()
