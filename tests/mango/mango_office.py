"""A Mango Office of the tests' own: it answers as it is told, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from bridge.mango.config import Product
from lab.listener import Listener

PRODUCT = Product(api_key="product-key", api_salt="product-salt")


@dataclass
class Asked:
    """One question. `signed`: by who has the salt."""

    path: str
    question: dict[str, Any]
    at: float
    signed: bool
    raw: str


Answer = Response | Mapping[str, Any] | int
Behaviour = Callable[[Asked], Answer]


@dataclass
class MangoOffice:
    """`behave` gives a response, a JSON object, or an HTTP status."""

    product: Product = PRODUCT
    behave: Behaviour = lambda asked: {"result": 1000}
    asked: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.listener = Listener(self)
        self._heard = asyncio.Event()

    @property
    def url(self) -> str:
        return f"{self.listener.url}/vpbx"

    @property
    def paths(self) -> list[str]:
        return [each.path for each in self.asked]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Looked at after every question."""
        while not condition():
            await self._heard.wait()
            self._heard.clear()

    async def __aenter__(self) -> MangoOffice:
        await self.listener.up()
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.listener.close()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        raw = form.get("json", "")
        expected = hashlib.sha256(f"{self.product.api_key}{raw}{self.product.api_salt}".encode()).hexdigest()
        asked = Asked(
            path=request.url.path.removeprefix("/vpbx/"),
            question=msgspec.json.decode(raw) if raw else {},
            at=time.monotonic(),
            signed=(form.get("vpbx_api_key"), form.get("sign")) == (self.product.api_key, expected),
            raw=raw,
        )
        self.asked.append(asked)
        self._heard.set()
        answer = self.behave(asked)
        if isinstance(answer, int):
            answer = Response(status_code=answer)
        elif not isinstance(answer, Response):
            answer = Response(msgspec.json.encode(answer), media_type="application/json")
        await answer(scope, receive, send)


def refusal(code: int, status: int = 420, message: str = "Wrong parameter") -> Response:
    body = msgspec.json.encode({"code": code, "message": message, "name": "Bad request"})
    return Response(body, status_code=status, media_type="application/json")
