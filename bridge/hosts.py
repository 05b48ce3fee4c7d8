"""Which addresses an integration may call: an administrator of one enterprise must not reach our own network with it.

The name is judged first (https, nothing but a host, below a domain of whom the integration is with), then the addresses
it has, and the connection is made to an address that was judged, so that an answer of DNS that changes in between opens
nothing. Hosts the deployment trusts (BRIDGE_CRM_HOSTS) may use http, ports and private addresses.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import msgspec

from bridge.errors import BadInput, HostForbidden, HostUnknown

_REMEMBERED = 30.0  # seconds that judged addresses are used again
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where an account is. `trusted`: the deployment vouches for it, its address may be private."""

    scheme: str
    host: str
    port: int
    trusted: bool

    @property
    def url(self) -> str:
        standard = {"https": 443, "http": 80}[self.scheme]
        return f"{self.scheme}://{self.host}" + ("" if self.port == standard else f":{self.port}")


class Hosts:
    """`trusted`: host suffixes (a host itself or what is below it) of BRIDGE_CRM_HOSTS."""

    def __init__(self, trusted: Sequence[str] = ()) -> None:
        self._trusted = tuple(suffix.strip().lower().strip(".") for suffix in trusted if suffix.strip(" ."))
        # Threads of our own: a name server that hangs must not take those other parts of the process resolve with.
        self._threads = ThreadPoolExecutor(16, "outside-dns")
        self._known: dict[tuple[str, int], tuple[float, str]] = {}
        self._asking: dict[tuple[str, int], asyncio.Task[str]] = {}

    def judge(self, address: str, domains: Sequence[str], *, field: str = "domain", example: str = "") -> Address:
        """The address in `address`, which must be directly below one of `domains` or trusted.

        Raises BadInput naming `field` and what is wrong with it."""

        def wrong(allowed: str) -> BadInput:
            return BadInput(f"{field}: {address!r} is not allowed; allowed: {allowed}", field=field, allowed=allowed)

        one_like = f"an address like {example or f'https://name.{domains[0]}'}"
        try:
            parts = urlsplit(address.strip())
            host, port = (parts.hostname or "").rstrip("."), parts.port
        except ValueError:
            raise wrong(one_like) from None
        if not host or not host.isascii() or not all(c.isalnum() or c in ".-:" for c in host):
            raise wrong(one_like)
        if parts.username is not None or parts.path not in ("", "/") or "?" in address or "#" in address:
            raise wrong("nothing but scheme and host")
        trusted = any(host == suffix or host.endswith("." + suffix) for suffix in self._trusted)
        if parts.scheme not in ("https", "http") or (parts.scheme == "http" and not trusted):
            raise wrong("https")
        if not trusted:
            if port not in (None, 443):
                raise wrong("no port")
            if host.partition(".")[2] not in domains:
                raise wrong("NAME." + ", NAME.".join(domains) + " or a host named in BRIDGE_CRM_HOSTS")
        return Address(
            scheme=parts.scheme, host=host, port=port or {"https": 443, "http": 80}[parts.scheme], trusted=trusted
        )

    async def resolve(self, address: Address) -> str:
        """An IP address to connect to. Raises HostUnknown (the name has none), HostForbidden (one is not public)."""
        key = (address.host, address.port)
        known = self._known.get(key)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.create_task(self._ask(address), name=f"resolve {address.host}")
            task.add_done_callback(lambda done: self._answered(key, done))
        return await asyncio.shield(task)

    def _answered(self, key: tuple[str, int], task: asyncio.Task[str]) -> None:
        del self._asking[key]
        if not task.cancelled() and task.exception() is None:
            self._known[key] = (time.monotonic() + _REMEMBERED, task.result())

    async def _ask(self, address: Address) -> str:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(
                self._threads, lambda: socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
            )
        except OSError as problem:
            raise HostUnknown(f"the name {address.host} has no address: {problem.strerror or problem}") from problem
        addresses = [str(entry[4][0]) for entry in found]
        if not address.trusted and (bad := next((each for each in addresses if not is_public(each)), None)):
            raise HostForbidden(f"{address.host} has the address {bad}, which is not a public one")
        return addresses[0]

    def forget(self, address: Address) -> None:
        """A connection failed: the name may have moved."""
        self._known.pop((address.host, address.port), None)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class Transport(httpx.AsyncBaseTransport):
    """Connects to an address that was judged; name, certificate and Host header stay those of the account.

    Besides what httpx raises: HostUnknown, HostForbidden."""

    def __init__(self, hosts: Hosts, address: Address, inner: httpx.AsyncBaseTransport) -> None:
        self._hosts = hosts
        self._address = address
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if (request.url.host, request.url.scheme) != (self._address.host, self._address.scheme):
            raise httpx.UnsupportedProtocol("a client of one account is asked for another address")
        ip = await self._hosts.resolve(self._address)
        judged = httpx.Request(
            request.method,
            request.url.copy_with(host=ip),
            headers=request.headers,  # with the Host header of the name
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": self._address.host},
        )
        try:
            return await self._inner.handle_async_request(judged)
        except httpx.ConnectError:
            self._hosts.forget(self._address)
            raise

    async def aclose(self) -> None:
        await self._inner.aclose()


def is_public(address: str) -> bool:
    """Whether an IP address is of the open internet, and what it wraps (IPv4 in IPv6) too."""
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            ip = inner
    return ip.is_global and not ip.is_multicast
