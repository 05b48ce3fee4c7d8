"""What is around the Mango emulator in its tests: the outside system it posts to, and a customer of its API."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import httpx
from starlette.requests import Request as HttpRequest
from starlette.responses import PlainTextResponse

from lab.mango import Group, Product

CLIENT = "79161234567"
NOW = 1_790_000_000.0


class Clock:
    """Time that passes when told."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def staffed(name: str = "june", **rest: Any) -> Product:
    product = Product(name, **rest)
    for extension in ("170", "171", "172", "0511"):
        product.hire(extension, f"Employee {extension}")
    product.groups.append(Group(7001, "999", "Sales", ("170", "171", "172")))
    return product


class Receiver:
    """The outside system: what was posted to it, as the form came, and whether it was signed as it should be."""

    def __init__(self) -> None:
        self.url = ""
        self.posts: list[tuple[str, dict[str, str]]] = []
        self.raw: list[bytes] = []
        self.status = 200
        self._changed = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = HttpRequest(scope, receive)
        body = await request.body()
        self.raw.append(body)
        form = {name: values[0] for name, values in parse_qs(body.decode(), keep_blank_values=True).items()}
        self.posts.append((request.url.path, form))
        self._changed.set()
        self._changed = asyncio.Event()
        await PlainTextResponse("ok", self.status)(scope, receive, send)

    def told(self, path: str) -> list[dict[str, Any]]:
        return [json.loads(form["json"]) for where, form in self.posts if where == f"/hook/{path}"]

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await self._changed.wait()


class Caller:
    """A customer of the API, who signs by the documentation."""

    def __init__(self, product: Product, client: httpx.AsyncClient) -> None:
        self.product = product
        self.client = client

    async def __call__(self, method: str, fields: Any = None, **wrong: str) -> httpx.Response:
        document = fields if isinstance(fields, str) else json.dumps({} if fields is None else fields)
        key, salt = self.product.key, self.product.salt
        signed = hashlib.sha256((key + document + salt).encode()).hexdigest()
        form = {"vpbx_api_key": key, "sign": signed, "json": document} | wrong
        return await self.client.post(f"{self.product.url}/vpbx/{method}", data=form)


def patient(product: Product, clock: Clock) -> None:
    """Limits by a clock that stands still until told."""
    product.clock = clock
