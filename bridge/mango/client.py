"""Mango Office's API (VPBX API, 2.4 and chapter 3): signed questions, and answers judged by what is in them.

A question is a form of `vpbx_api_key`, `sign` and `json`. The salt that makes the sign is in no field, no error and no
log; the key is taken out of what Mango says. An answer's `result` or `code` counts whatever the HTTP status: editions
of the documentation differ in that (420, 4xx, 200). Nothing is asked twice: repeating is its asker's business.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import msgspec
import structlog

from bridge.errors import (
    BadInput,
    HostForbidden,
    HostUnknown,
    MangoRefused,
    MangoTimeout,
    MangoUnavailable,
)
from bridge.hosts import Address, Hosts, Transport
from bridge.mango.config import Product
from bridge.mango.limits import Kind, Paces
from bridge.mango.signature import sign

log = structlog.get_logger(__name__)

DOMAINS: Final = ("mango-office.ru",)
"""Below these are the API and the files of recordings; others belong in BRIDGE_CRM_HOSTS."""

TIMEOUT = 5.0
_IDLE = 2.0  # seconds: a connection that the other side is about to close would cost a command its answer
_LARGEST = 256 * 1024  # bytes of an answer that is no statistics
_NOT_SUBSCRIBED = 5008  # or out of service for now: 1.4.4 asks to slow down
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Statuses that say that the request was invalid, should the body not say it. 404 and 410 speak of a thing, 408 and 429
# of time.
_INVALID = frozenset({400, 401, 403, 405, 406, 411, 413, 414, 415, 420, 422})


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What Mango answered. `document`: None where the body is no JSON object. `location`: where it sends us."""

    status: int
    body: bytes = b""
    document: Mapping[str, Any] | None = None
    location: str | None = None


class Api:
    """Of every product that this service knows. `url`: where the API is, with its path (…/vpbx).

    Raises BadInput for a `url` that must not be called."""

    def __init__(self, hosts: Hosts, url: str, paces: Paces) -> None:
        parts = urlsplit(url)
        self._address = hosts.judge(
            f"{parts.scheme}://{parts.netloc}", DOMAINS, field="MANGO_API_URL", example="https://app.mango-office.ru"
        )
        self._path = parts.path.rstrip("/")
        self._hosts = hosts
        self._paces = paces
        self._tls = tls()
        self._http: dict[str, httpx.AsyncClient] = {}

    async def ask(
        self,
        product: Product,
        kind: Kind,
        path: str,
        question: Mapping[str, Any],
        *,
        timeout: float = TIMEOUT,
        patience: float = 1.0,
        largest: int = _LARGEST,
        redirect: bool = False,
    ) -> Reply:
        """What Mango answers to `question` at `path` ("commands/route"). `patience`: seconds to wait for a turn.

        A redirect is an answer where `redirect`. Raises
            MangoPaused       it must be left alone
            MangoUnavailable  it cannot be reached, is overloaded, out of turns (with `retry_after`), or talks nonsense
            MangoTimeout      no answer: whether it acted is not known
            MangoRefused      it said no; `result` is its code
            DatabaseProblem, BadInput (a key that cannot be one)"""
        form = _sealed(product, question)
        troubled = await self._paces.place(product.name, kind, patience)
        reply = await self._post(product.name, f"{self._path}/{path}", form, timeout, largest)
        said = clean(_said(reply), product)
        result = _result(reply.document)
        if (result is not None and 3000 <= result < 4000) or (result is None and reply.status in _INVALID):
            await self._paces.refused(product.name, said)
            log.error("mango_refused", path=path, status=reply.status, result=result, said=said)
            raise MangoRefused(f"Mango Office refused {path}: {said}", result=result)
        if reply.status in (429, 503) or result == _NOT_SUBSCRIBED:
            await self._paces.exceeded(product.name, kind)
            log.warning("mango_slowed", path=path, status=reply.status, result=result)
            raise MangoUnavailable(
                f"Mango Office is asked too fast, is overloaded, or lacks the service: {said}", result=result
            )
        if reply.status >= 500 or reply.status == 408 or (result is not None and 5000 <= result < 6000):
            raise MangoUnavailable(f"Mango Office has a trouble of its own: {said}", result=result)
        if troubled:
            await self._paces.worked(product.name, kind)
        if reply.status in _REDIRECTS:
            if redirect:
                return reply
            raise MangoUnavailable(f"Mango Office sends us elsewhere (HTTP {reply.status}): is MANGO_API_URL right?")
        if reply.status >= 400 or (result is not None and result != 1000):
            raise MangoRefused(f"Mango Office would not do {path}: {said}", result=result, status=reply.status)
        return reply

    async def close(self) -> None:
        clients, self._http = list(self._http.values()), {}
        for client in clients:
            await client.aclose()

    async def _post(self, product: str, path: str, form: Mapping[str, str], timeout: float, largest: int) -> Reply:
        client = self._http.get(product)
        if client is None:
            client = self._http[product] = self._opened(self._address)
        try:
            async with asyncio.timeout(timeout):
                request = client.build_request("POST", path, data=form, timeout=timeout)
                response = await client.send(request, stream=True)
                try:
                    body = await _read(response, largest)
                finally:
                    await response.aclose()
        except (TimeoutError, httpx.TimeoutException):
            raise MangoTimeout(f"Mango Office did not answer within {timeout:g} s: it may have acted") from None
        except (HostUnknown, HostForbidden) as problem:
            raise MangoUnavailable(problem.message) from None
        except httpx.HTTPError as problem:
            # `from None`: the original's request carries key and sign.
            raise MangoUnavailable(f"Mango Office cannot be reached: {type(problem).__name__}") from None
        return Reply(
            status=response.status_code, body=body, document=_document(body), location=response.headers.get("location")
        )

    def _opened(self, address: Address) -> httpx.AsyncClient:
        inner = httpx.AsyncHTTPTransport(
            verify=self._tls,
            trust_env=False,
            limits=httpx.Limits(max_connections=8, max_keepalive_connections=4, keepalive_expiry=_IDLE),
        )
        return httpx.AsyncClient(
            base_url=address.url,
            headers={"Accept-Encoding": "identity", "User-Agent": "asterisk-bridge"},
            transport=Transport(self._hosts, address, inner),
            follow_redirects=False,  # a recording's link may be opened once only, and not by us
            trust_env=False,
        )


def tls() -> ssl.SSLContext:
    """Mango's servers speak 1.2 and nothing newer (VPBX API, 1.3)."""
    context = httpx.create_ssl_context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def clean(text: str, product: Product) -> str:
    """`text` without key and salt, should Mango have repeated them; one line of bounded length."""
    for secret in (product.api_salt, product.api_key):
        text = text.replace(secret, "***") if secret else text
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())[:300]


def _sealed(product: Product, question: Mapping[str, Any]) -> dict[str, str]:
    if not product.api_key or not product.api_salt:
        raise BadInput("mango: a product lacks its api_key or api_salt", field="api_salt")
    json = msgspec.json.encode(question).decode()
    try:
        return {"vpbx_api_key": product.api_key, "sign": sign(product.api_key, json, product.api_salt), "json": json}
    except UnicodeEncodeError:
        raise BadInput("mango: api_key or api_salt holds characters that no key has", field="api_salt") from None


async def _read(response: httpx.Response, largest: int) -> bytes:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise MangoUnavailable("Mango Office answers in an encoding that was not asked for")
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > largest:
            raise MangoUnavailable(f"Mango Office answers with more than {largest} bytes")
    return bytes(body)


def _document(body: bytes) -> Mapping[str, Any] | None:
    if not body.lstrip().startswith(b"{"):
        return None
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _result(document: Mapping[str, Any] | None) -> int | None:
    """The code in an answer, by either of its names and as a number or a text; 0 is none."""
    for name in ("result", "code"):
        value = (document or {}).get(name)
        if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit() and len(value) < 9:
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and value:
            return value
    return None


def _said(reply: Reply) -> str:
    document = reply.document or {}
    text = next((str(document[name]) for name in ("message", "name", "error") if document.get(name)), "")
    code = _result(document)
    return f"{text} ({f'code {code}, ' if code is not None else ''}HTTP {reply.status})".strip()
