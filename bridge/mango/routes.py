"""Where Mango Office's webhooks arrive: authenticated, kept, then answered.

    POST /api/v1/webhook/mango[/…]   Mango's own dialect; it appends its own path (events/call, result/callback, …)
    POST /api/webhooks/mango[/…]     the flat dialect, or Mango's own: whichever it is
    GET  of either                   the cabinet's check of the connection
    GET  /api/webhooks/mango/settings

Only the HTTP status of an answer is read by Mango; whether it repeats what was refused is not documented.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bridge.errors import DatabaseProblem, Forbidden, TooLarge, Unauthorized
from bridge.mango import intake
from bridge.mango.config import Product
from bridge.mango.intake import Judged
from bridge.mango.journal import Journal
from bridge.mango.metrics import WebhookMetrics
from bridge.mango.products import Owned

log = structlog.get_logger(__name__)

LARGEST_BODY = 256 * 1024
"""Bytes. Calls need some 2 kB; a recognised conversation is the largest that Mango posts."""

SIGNED_PATH = "/api/v1/webhook/mango"
FLAT_PATH = "/api/webhooks/mango"

STRANGERS_A_MINUTE = 60
"""How much is kept of what nobody has signed; all of it is counted."""

_THANKS = b'{"success":true}'


class Products(Protocol):
    """Whose a webhook is."""

    def find(self, api_key: str) -> Owned | None: ...

    def owned(self, enterprise_number: str) -> Sequence[Product]: ...


class Guest(Protocol):
    """Somebody who is signed in. `enterprise_number` None: the deployment's own staff."""

    @property
    def enterprise_number(self) -> str | None: ...


Reception = Callable[[Request], Awaitable[Guest | None]]
"""Who sent a request, by session or bearer token. Raises Unauthorized for a proof that does not hold."""


class MangoRoutes:
    """`addresses`: networks that may post; empty: any. `flat_path`, `public_url`, `api_url` as settings have them;
    `default`: the deployment's own product. `clock` is monotonic."""

    def __init__(
        self,
        journal: Journal,
        products: Products,
        reception: Reception,
        metrics: WebhookMetrics,
        *,
        addresses: Sequence[str] = (),
        flat_path: str = FLAT_PATH,
        public_url: str = "",
        api_url: str = "",
        default: Product | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal = journal
        self._products = products
        self._reception = reception
        self._metrics = metrics
        self._networks = [ipaddress.ip_network(each, strict=False) for each in addresses]
        self._flat_path = flat_path.rstrip("/") or FLAT_PATH
        self._public_url = public_url.rstrip("/")
        self._api_url = api_url
        self._default = default
        self._strangers = Allowance(STRANGERS_A_MINUTE, clock)

    def routes(self) -> list[Route]:
        flat_paths = dict.fromkeys((self._flat_path, FLAT_PATH))
        return [
            *(Route(f"{path}/settings", self.settings, methods=["GET"]) for path in flat_paths),
            *_below(SIGNED_PATH, self.signed),
            *(route for path in flat_paths for route in _below(path, self.either)),
        ]

    async def signed(self, request: Request) -> Response:
        """Mango's own dialect."""
        body = await self._body(request)
        return await self._answer(intake.signed(body, _appended(request), _remote(request), self._products.find))

    async def either(self, request: Request) -> Response:
        """The flat dialect; a form is Mango's own, whose owner was given this address."""
        body = await self._body(request)
        remote, find = _remote(request), self._products.find
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not body or kind == "application/x-www-form-urlencoded":
            return await self._answer(intake.signed(body, _appended(request), remote, find))
        return await self._answer(intake.flat(body, remote, find))

    async def settings(self, request: Request) -> Response:
        """Where webhooks must be sent, and by which products; what is secret is masked."""
        guest = await self._reception(request)
        if guest is None:
            raise Unauthorized()
        if guest.enterprise_number is None:
            products = [self._default] if self._default is not None else []
        else:
            products = list(self._products.owned(guest.enterprise_number))
        return _json(
            {
                "success": True,
                "data": {
                    "webhookUrl": self._flat_path,
                    "apiUrl": self._api_url,
                    "apiKey": _masked(products[0].api_key if products else ""),
                    "apiId": _masked(products[0].api_id if products else ""),
                    "signedWebhookUrl": self._public_url + SIGNED_PATH,
                    "products": [
                        {"name": each.name, "apiKey": _masked(each.api_key), "apiId": _masked(each.api_id)}
                        for each in products
                    ],
                },
            }
        )

    async def _body(self, request: Request) -> bytes:
        """Raises Forbidden, TooLarge: nothing is kept of such a request, but it is counted."""
        if self._networks and not self._welcome(_remote(request)):
            self._metrics.count("", "forbidden")
            log.warning("webhook_from_elsewhere", remote=_remote(request))
            raise Forbidden("This address is not one of BRIDGE_MANGO_ADDRESSES")
        try:
            body = await request.body()
            if len(body) > LARGEST_BODY:
                raise TooLarge(found=len(body), allowed=LARGEST_BODY)
        except TooLarge:
            self._metrics.count("", "too_large")
            raise
        return body

    def _welcome(self, remote: str) -> bool:
        try:
            address = ipaddress.ip_address(remote)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._networks)

    async def _answer(self, judged: Judged) -> Response:
        webhook = judged.webhook
        wanted = not judged.stranger or self._strangers.take()
        if wanted:
            try:
                await self._journal.keep(webhook)
            except DatabaseProblem:
                self._metrics.count(judged.kind, "busy")
                raise
        self._metrics.count(judged.kind, judged.outcome)
        if judged.problem is None:
            return Response(_THANKS, media_type="application/json")
        if wanted:
            log.warning(
                "webhook_refused",
                enterprise=webhook.enterprise_number,
                product=webhook.product,
                path=webhook.path,
                remote=webhook.remote,
                reason=webhook.reason,
            )
        raise judged.problem


class Allowance:
    """So many a minute, whoever asks."""

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self._most = most
        self._clock = clock
        self._began = clock()
        self._taken = 0

    def take(self) -> bool:
        now = self._clock()
        if now - self._began >= 60.0:
            self._began, self._taken = now, 0
        self._taken += 1
        return self._taken <= self._most


def _below(path: str, handler: Callable[[Request], Awaitable[Response]]) -> list[Route]:
    return [Route(each, handler, methods=["GET", "POST"]) for each in (path, path + "/{appended:path}")]


def _appended(request: Request) -> str:
    return str(request.path_params.get("appended", ""))


def _remote(request: Request) -> str:
    return request.client.host if request.client else ""


def _masked(secret: str) -> str:
    return "***" if secret else ""


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
