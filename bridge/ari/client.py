"""Asterisk's REST interface: aioari's model of its operations, over a transport of our own.

aioari 0.10.2 builds operations from the PBX's own api-docs, which is what we keep. Its transport puts the password into
the URL, sends it to whatever address the docs name (always http), knows no time-outs and raises *server* exceptions.
Here the base URL is ours, the password is in a Basic auth header, and what Asterisk refuses is AriError.
"""

from __future__ import annotations

import asyncio
import base64
import warnings
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec
from yarl import URL

from bridge.errors import AriError, BadInput

with warnings.catch_warnings():
    # when it is first compiled, aioari's model.py warns of an invalid escape
    warnings.simplefilter("ignore")
    import aioari
    import aioswagger11.client
    from aioari.model import Repository
    from aioswagger11.http_client import HttpClient

T = TypeVar("T")

MAX_ANSWER = 16 * 1024 * 1024
"""A list of all channels of a very busy PBX is some MB."""

# The docs of a version are the same on every PBX of it: read once, kept as processed, for all clients of this process.
_docs: dict[str, dict[str, Any]] = {}


class _Answer:
    """A response already read, in the shape that aioari reads."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.body = body

    async def text(self) -> str:
        return self.body.decode("utf-8", "replace")


class Transport(HttpClient):  # type: ignore[misc]
    """Requests below one base URL. Raises AriError for all that is not an answer: refusals and silence alike."""

    def __init__(self, base_url: str, username: str, password: str, timeout: float) -> None:
        self._base = base_url.rstrip("/")
        self._session = aiohttp.ClientSession(
            headers={"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()},
            timeout=aiohttp.ClientTimeout(total=timeout),
        )

    async def close(self) -> None:
        await self._session.close()

    async def request(
        self,
        method: str,
        url: str,
        params: Mapping[str, Any] | None = None,
        data: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> _Answer:
        """`url` is a path below the base, its parameters encoded by aioswagger11."""
        query = {name: _encoded(value) for name, value in (params or {}).items() if value is not None}
        target = URL(self._base + url, encoded=True).update_query(query)
        try:
            async with self._session.request(
                method, target, data=data, headers=headers, allow_redirects=False
            ) as response:
                body = bytearray()
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > MAX_ANSWER:
                        raise AriError(response.status, f"{url}: the answer is longer than {MAX_ANSWER} bytes.")
        except TimeoutError:
            raise AriError(0, f"{self._base} did not answer in time.") from None
        except (aiohttp.ClientError, OSError) as error:
            raise AriError(0, f"{self._base} cannot be reached: {error}.") from error
        if response.status >= 300:
            raise AriError(response.status, _refusal(response.status, bytes(body)))
        return _Answer(response.status, bytes(body))


class System(msgspec.Struct, frozen=True, kw_only=True):
    version: str


class Config(msgspec.Struct, frozen=True, kw_only=True):
    name: str = ""


class Info(msgspec.Struct, frozen=True, kw_only=True):
    """Of `asterisk/info`, what the bridge asks."""

    system: System
    config: Config = Config()

    @property
    def version(self) -> str:
        """As in `22.10.1~dfsg`."""
        return self.system.version


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A phone or trunk. `state`: online, offline, unknown. `channels` are ids of its live ones."""

    technology: str
    resource: str
    state: str = "unknown"
    channels: tuple[str, ...] = msgspec.field(default=(), name="channel_ids")


class Party(msgspec.Struct, frozen=True, kw_only=True):
    name: str = ""
    number: str = ""


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """A live channel. `id` is AMI's Uniqueid; `state` its ChannelStateDesc; `created` ISO 8601 in the PBX's zone."""

    id: str
    name: str
    state: str
    caller: Party = Party()
    connected: Party = Party()
    created: str = msgspec.field(default="", name="creationtime")


class Ari(aioari.Client):  # type: ignore[misc]
    """One PBX's REST interface. `await Ari.open(…)`, `await ari.close()`; aioari's repositories are its attributes."""

    def __init__(self, transport: Transport, docs: dict[str, Any]) -> None:
        self.transport = transport
        self.swagger = aioswagger11.client.SwaggerClient(url=docs, http_client=transport)
        self.swagger.api_docs = docs
        self.swagger.resources = {api["name"]: aioswagger11.client.Resource(api, transport) for api in docs["apis"]}
        self.repositories = {name: Repository(self, name, api) for name, api in self.swagger.resources.items()}
        self.websockets: set[Any] = set()
        self.event_listeners: dict[str, Any] = {}

    @classmethod
    async def open(cls, url: str, username: str, password: str, *, timeout: float = 5.0) -> Ari:
        """`url` as in `http://127.0.0.1:8088/ari`; `timeout` in seconds for each request. Raises AriError, BadInput."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise BadInput(f"ari.url: {url!r} found; allowed is http(s)://HOST:PORT/ari", field="ari.url")
        transport = Transport(url, username, password, timeout)
        try:
            version = (await _info(transport)).version
            if version not in _docs:
                _docs[version] = await _read_docs(transport)
            return cls(transport, _docs[version])
        except BaseException:
            await transport.close()
            raise

    async def info(self) -> Info:
        return await _info(self.transport)

    async def list_endpoints(self) -> list[Endpoint]:
        return _typed(await self.swagger.endpoints.list(), list[Endpoint])

    async def list_channels(self) -> list[Channel]:
        return _typed(await self.swagger.channels.list(), list[Channel])


async def _info(transport: Transport) -> Info:
    return _typed(await transport.request("GET", "/asterisk/info"), Info)


async def _read_docs(transport: Transport) -> dict[str, Any]:
    """resources.json and what it names, all at once; with its base path taken out, so that ours is used."""
    listing = _typed(await transport.request("GET", "/api-docs/resources.json"), dict[str, Any])
    try:
        paths = [str(api["path"]).replace("{format}", "json") for api in listing["apis"]]
        answers = await asyncio.gather(*(transport.request("GET", path) for path in paths))
        for api, answer in zip(listing["apis"], answers, strict=True):
            api["api_declaration"] = {**_typed(answer, dict[str, Any]), "basePath": ""}
        loader = aioswagger11.Loader(
            transport, [aioswagger11.client.WebsocketProcessor(), aioswagger11.client.ClientProcessor()]
        )
        loader.process_resource_listing(listing)
    except (KeyError, TypeError, aioswagger11.SwaggerError) as error:
        raise AriError(200, f"Its api-docs cannot be read: {error!r}.") from error
    return listing


def _typed(answer: _Answer, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(answer.body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AriError(answer.status, f"It answers something else than Asterisk: {error}.") from error


def _encoded(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _refusal(status: int, body: bytes) -> str:
    """Asterisk's words: `{"message": "…"}`, `{"error": "…"}`, or a page."""
    try:
        said = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = {}
    words = said.get("message") or said.get("error")
    if status == 401 and not words:
        words = "The user or the password is wrong"
    return f"{status}: {words or 'no reason given'}."
