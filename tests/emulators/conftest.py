"""A Mango Office with one product, somebody who listens to its webhooks and somebody who asks its API."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from mango_outside import Caller, Clock, Receiver, staffed

from lab.listener import Listener
from lab.mango import Emulator, Habits, Product


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    listener = Listener(receiver)
    await listener.up()
    receiver.url = f"{listener.url}/hook/"
    yield receiver
    await listener.close()


@pytest.fixture
async def mango(receiver: Receiver) -> AsyncIterator[Emulator]:
    async with Emulator(staffed(webhooks=receiver.url, habits=Habits(ring=0.05, talk=0.2, patience=2.0))) as mango:
        yield mango


@pytest.fixture
def product(mango: Emulator) -> Product:
    return mango.products[0]


@pytest.fixture
async def ask(product: Product) -> AsyncIterator[Caller]:
    async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
        yield Caller(product, client)
