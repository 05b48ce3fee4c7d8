"""Recordings at an address on the web: a source whose reference is the address, and what others are built on.

The address comes from outside, so its host is judged (bridge.hosts) as any address is that others may name: below the
domains that are allowed, or trusted by the deployment; a public address; nobody sends us on to another. A link that may
be opened once is opened once: what breaks off is begun anew by whoever knows how to get another link.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from urllib.parse import urlsplit

import httpx

from bridge.errors import BadInput, HostForbidden, HostUnknown, RecordingFailed, RecordingGone, RecordingNotYet
from bridge.hosts import Hosts, Transport
from bridge.recordings.port import Stream, Wanted

TIMEOUT = 15.0
"""Seconds to connect, and of silence."""

_RETRY_AFTER = 60.0
_GONE = frozenset({404, 410})
_LATER = frozenset({408, 425, 429})
_TEXT = ("text/", "application/json", "application/xml", "application/xhtml")
_LONGEST_RETRY = 3600.0


class Web:
    """`domains`: those below which recordings may be; `tls`: how one speaks to them (None: as usual)."""

    def __init__(self, hosts: Hosts, domains: Sequence[str], tls: ssl.SSLContext | None = None) -> None:
        self._hosts = hosts
        self._domains = domains
        self._tls = tls

    @asynccontextmanager
    async def fetch(self, address: str) -> AsyncIterator[Stream]:
        """Raises RecordingGone, RecordingNotYet, RecordingFailed. The address itself is in no message: it may be all
        that it takes to hear the recording."""
        try:
            parts = urlsplit(address)
            judged = self._hosts.judge(f"{parts.scheme}://{parts.netloc}", self._domains, field="address")
        except (BadInput, ValueError):
            allowed = ", ".join(self._domains)
            raise RecordingFailed(
                f"Its address is not below {allowed} or a host of BRIDGE_CRM_HOSTS, or not https.", final=True
            ) from None
        inner = httpx.AsyncHTTPTransport(verify=self._tls if self._tls is not None else True, trust_env=False)
        async with httpx.AsyncClient(
            transport=Transport(self._hosts, judged, inner),
            headers={"Accept-Encoding": "identity", "User-Agent": "asterisk-bridge"},
            timeout=TIMEOUT,
            follow_redirects=False,
            trust_env=False,
        ) as client:
            try:
                async with client.stream("GET", address) as response:
                    yield _stream(response)
            except (HostUnknown, HostForbidden) as problem:
                raise RecordingFailed(problem.message) from None
            except (httpx.HTTPError, httpx.InvalidURL) as problem:
                raise RecordingFailed(f"{judged.host} cannot be reached: {type(problem).__name__}.") from None


class Addresses:
    """The source `address`: the reference is the address."""

    def __init__(self, web: Web) -> None:
        self._web = web

    def open(self, wanted: Wanted) -> AbstractAsyncContextManager[Stream]:
        return self._web.fetch(wanted.reference)


def _stream(response: httpx.Response) -> Stream:
    status, host = response.status_code, response.url.host
    if status in _GONE:
        raise RecordingGone(f"{host} does not have it any more ({status}).")
    if status in _LATER or status == 503:
        raise RecordingNotYet(f"{host} asks for patience ({status}).", retry_after=_retry_after(response))
    if status != 200:
        raise RecordingFailed(f"{host} answered {status}.")
    kind = response.headers.get("content-type", "").lower()
    if kind.startswith(_TEXT):
        raise RecordingFailed(f"{host} answered with {kind.partition(';')[0]}, which is no recording.")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise RecordingFailed(f"{host} answered in an encoding that was not asked for.")
    length = response.headers.get("content-length", "")
    return Stream(_chunks(response), size=int(length) if length.isascii() and length.isdigit() else None)


async def _chunks(response: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.aiter_raw(65536):
            yield chunk
    except httpx.HTTPError as problem:
        raise RecordingFailed(f"{response.url.host} broke off: {type(problem).__name__}.") from None


def _retry_after(response: httpx.Response) -> float:
    said = response.headers.get("retry-after", "")
    return min(float(said), _LONGEST_RETRY) if said.isascii() and said.isdigit() else _RETRY_AFTER
