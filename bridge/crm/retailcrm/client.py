"""RetailCRM's HTTP API (v5), the methods the bridge needs: one client per account.

The key travels in the `X-API-KEY` header only; it is in no URL, and taken out of whatever the CRM says before anybody
sees it. Parameters that are objects are *strings of JSON* in form fields. Success is `success: true` in the body: a
refusal may come with HTTP 200. `errors` may be a map or a list, ids may be numbers or strings, empty maps may be `[]`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import msgspec

from bridge.errors import BadInput, CrmRefused, CrmTimeout, CrmUnavailable, HostForbidden, HostUnknown

MAX_CALLS = 50
"""Calls in one upload; RetailCRM's own .NET client refuses more."""

REQUIRED_SCOPES = frozenset(
    {"integration_read", "integration_write", "telephony_read", "telephony_write", "user_read", "customer_read"}
)

_LARGEST = 256 * 1024  # bytes of an answer: the longest real one (a manager with details) has two thousand

# What RetailCRM says when the account, its key or its settings are the trouble: a person can repair that within the
# time deliveries are retried.
_ACCOUNT_SAYS = (
    '"apiKey" is missing',
    'Wrong "apiKey"',
    "Access denied",
    "Account does not exist",
    "API method not found",
    "Telephony not enabled",
)
# What it says of a request that will never be right.
_REQUEST_SAYS = ("Errors in the entity format", "Validation error", "Parameter '", 'Input value "')
_NEVER_RIGHT = frozenset({400, 409, 410, 413, 414, 415, 422})


class Upload(msgspec.Struct, frozen=True):
    """What became of uploaded calls: how many are new (None: not said), external ids the CRM had already."""

    processed: int | None
    duplicates: tuple[str, ...]


class Credentials(msgspec.Struct, frozen=True):
    scopes: frozenset[str]
    site_access: str

    @property
    def missing(self) -> frozenset[str]:
        return REQUIRED_SCOPES - self.scopes


class Client:
    """`transport` decides where the connection goes. Every method takes `timeout` seconds at most, and raises

    CrmTimeout      it did not answer in time
    CrmUnavailable  it cannot be reached, is overloaded (with `retry_after`, if it said so) or talks nonsense
    CrmRefused      it said no; `final` tells whether the same request will ever be right
    """

    def __init__(self, url: str, api_key: str, transport: httpx.AsyncBaseTransport) -> None:
        if not api_key or not all("!" <= character <= "~" for character in api_key):
            raise BadInput("api_key: holds characters that no key has", field="api_key", allowed="visible ASCII")
        self._key = api_key
        self._http = httpx.AsyncClient(
            base_url=url,
            headers={
                "X-API-KEY": api_key,
                "Accept": "application/json",
                "Accept-Encoding": "identity",  # what is small on the wire must be small in memory
                "User-Agent": "asterisk-bridge",
            },
            transport=transport,
            follow_redirects=False,  # a redirect could lead anywhere, and would take the key along
            trust_env=False,
        )

    async def call_event(self, event: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """Pop up at managers, or take the pop-up away. The answer may hold `notExistCodes` and `notExistUsers`."""
        return await self._ask("POST", "/api/v5/telephony/call/event", timeout, form={"event": _json(event)})

    async def calls_upload(self, calls: Sequence[Mapping[str, Any]], timeout: float) -> tuple[Upload, dict[str, Any]]:
        """Put finished calls (1 to 50) into the history; one with a known externalId changes nothing."""
        if not 1 <= len(calls) <= MAX_CALLS:
            raise ValueError(f"{len(calls)} calls in one upload; allowed are 1 to {MAX_CALLS}")
        answer = await self._ask("POST", "/api/v5/telephony/calls/upload", timeout, form={"calls": _json(calls)})
        processed = answer.get("processedCallsCount")
        duplicates = answer.get("duplicateCalls")
        return (
            Upload(
                processed if isinstance(processed, int) else None,
                tuple(map(str, duplicates)) if isinstance(duplicates, list) else (),
            ),
            answer,
        )

    async def manager(self, phone: str, timeout: float) -> dict[str, Any]:
        """Who is responsible for `phone` (digits): `manager`, `customer`, `links`, each absent, null or an object."""
        # Booleans are numbers here: the CRM takes "True" for false. ignoreStatus: also a manager who is busy.
        query = {"phone": phone, "details": "1", "ignoreStatus": "1"}
        return await self._ask("GET", "/api/v5/telephony/manager", timeout, query=query)

    async def credentials(self, timeout: float) -> Credentials:
        """What the key may do. This method is not versioned."""
        answer = await self._ask("GET", "/api/credentials", timeout)
        scopes = answer.get("scopes")
        return Credentials(
            frozenset(map(str, scopes)) if isinstance(scopes, list) else frozenset(),
            str(answer.get("siteAccess") or ""),
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def _ask(
        self,
        method: str,
        path: str,
        timeout: float,
        *,
        query: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        try:
            async with asyncio.timeout(timeout):
                request = self._http.build_request(method, path, params=query, data=form, timeout=timeout)
                response = await self._http.send(request, stream=True)
                try:
                    body = await _read(response)
                finally:
                    await response.aclose()
        except (TimeoutError, httpx.TimeoutException):
            raise CrmTimeout(f"no answer within {timeout:g} s") from None
        except HostUnknown as problem:
            raise CrmUnavailable(problem.message) from None
        except HostForbidden as problem:
            raise CrmRefused(problem.message) from None
        except httpx.HTTPError as problem:
            # `from None`: the original's request carries the key.
            raise CrmUnavailable(self._clean(f"{type(problem).__name__}: {problem}")) from None
        return self._judge(response.status_code, response.headers, body)

    def _judge(self, status: int, headers: httpx.Headers, body: bytes) -> dict[str, Any]:
        if status in (429, 503):
            raise CrmUnavailable(f"over its rate or overloaded (HTTP {status})", retry_after=_retry_after(headers))
        if status >= 500 or status == 408:
            raise CrmUnavailable(f"HTTP {status}")
        if 300 <= status < 400:
            raise CrmRefused(f"HTTP {status}: it sends us to another address; is the domain still right?")
        if body.lstrip().startswith(b"<"):
            # A sub-domain nobody has answers with a page: 404 to GET, 405 to everything else.
            raise CrmRefused(f"a page instead of an answer (HTTP {status}): there is no such account at this domain")
        try:
            answer = msgspec.json.decode(body)
        except msgspec.DecodeError:
            raise CrmUnavailable(f"an answer that is not JSON (HTTP {status})") from None
        if not isinstance(answer, dict):
            raise CrmUnavailable(f"an answer that is not an object (HTTP {status})")
        answer = {str(name): self._clean(value) for name, value in answer.items()}
        if status < 300 and answer.get("success") in (True, "true"):
            return answer
        said = str(answer.get("errorMsg") or "no reason given")
        account = said.startswith(_ACCOUNT_SAYS)
        final = not account and (status in _NEVER_RIGHT or said.startswith(_REQUEST_SAYS))
        raise CrmRefused(_sentence(said, answer.get("errors")) + f" (HTTP {status})", final=final, response=answer)

    def _clean(self, value: Any) -> Any:
        """The same data without the key, should the CRM have repeated it."""
        match value:
            case str():
                return value.replace(self._key, "***")
            case dict():
                return {self._clean(key): self._clean(item) for key, item in value.items()}
            case list():
                return [self._clean(item) for item in value]
            case _:
                return value


async def _read(response: httpx.Response) -> bytes:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise CrmUnavailable("an answer in an encoding that was not asked for")
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > _LARGEST:
            raise CrmUnavailable(f"an answer of more than {_LARGEST} bytes")
    return bytes(body)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _sentence(said: str, errors: Any) -> str:
    """errorMsg and `errors`, which is a map of field to text or a list of texts, in a line of bounded length."""
    details: list[str] = []
    if isinstance(errors, dict):
        details = [f"{field}: {text}" for field, text in errors.items()]
    elif isinstance(errors, list):
        details = [str(text) for text in errors]
    return ": ".join([said, "; ".join(details)] if details else [said])[:1000]


def _retry_after(headers: httpx.Headers) -> float | None:
    """Seconds; a date is not worth reading, the limit of the CRM is per second."""
    value = headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdecimal() and len(value) < 8 else None
