"""The pool of connections to Postgres, and what every connection of ours is taught.

Text is cleaned on its way in: Postgres refuses NUL, and UTF-8 has no lone surrogates; both come from phones and web
forms. Each becomes U+FFFD, so that what was sent stays distinguishable from what was not. jsonb is read and written by
msgspec.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import msgspec

from bridge.errors import DatabaseProblem

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy
Pool = asyncpg.Pool

OLDEST = 14
"""The oldest Postgres that the bridge works with."""

_UNFIT = re.compile("[\0\ud800-\udfff]")
_encode = msgspec.json.Encoder().encode


def clean(text: str) -> str:
    """`text` with U+FFFD where Postgres would refuse it."""
    return _UNFIT.sub("\ufffd", text)


def clean_all(value: Any) -> Any:
    """A JSON-like value whose every text, keys too, is clean."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean_all(key): clean_all(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [clean_all(item) for item in value]
    return value


def json_bytes(value: Any) -> bytes:
    """`value` as JSON that jsonb takes. Structs, datetimes and the like are written as msgspec writes them."""
    try:
        encoded = _encode(value)
    except UnicodeEncodeError:
        encoded = b"\\u0000"
    if b"\\u0000" in encoded:
        # Seldom: a real NUL, or the six characters in somebody's text. Structs become plain values first.
        encoded = _encode(clean_all(msgspec.to_builtins(value)))
    return encoded


class CleanConnection(asyncpg.Connection):
    """A connection whose arguments are cleaned. (A codec would not do: asyncpg does not ask it about text[].)

    A server that ends says goodbye before its stream does. asyncpg calls what is asked in between an error of its own
    (InternalClientError); here it is what it means: the connection is lost."""


@contextlib.contextmanager
def _farewell(connection: Connection) -> Iterator[None]:
    try:
        yield
    except asyncpg.InternalClientError as problem:
        connection.terminate()
        raise asyncpg.ConnectionDoesNotExistError(f"the connection was lost: {problem}") from problem


def _cleaned(name: str) -> Callable[..., Awaitable[Any]]:
    method = getattr(asyncpg.Connection, name)

    @functools.wraps(method)
    async def one(self: asyncpg.Connection, query: str, *args: Any, **options: Any) -> Any:
        with _farewell(self):
            return await method(self, query, *map(_clean_argument, args), **options)

    @functools.wraps(method)
    async def many(self: asyncpg.Connection, query: str, args: Iterable[Iterable[Any]], **options: Any) -> Any:
        with _farewell(self):
            return await method(self, query, [tuple(map(_clean_argument, row)) for row in args], **options)

    return many if name.endswith("many") else one


for _name in ("execute", "fetch", "fetchrow", "fetchval", "executemany", "fetchmany"):
    setattr(CleanConnection, _name, _cleaned(_name))


def _clean_argument(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list | tuple):
        return [_clean_argument(item) for item in value]
    return value


async def teach(connection: Connection) -> None:
    """Set the codecs of a connection; the pool does it for its own."""
    with _farewell(connection):
        await connection.set_type_codec(
            "jsonb",
            schema="pg_catalog",
            encoder=lambda value: b"\x01" + json_bytes(value),  # the binary format's version, then the text
            decoder=lambda data: msgspec.json.decode(memoryview(data)[1:]),
            format="binary",
        )


async def connect(url: str, *, timeout: float = 10.0) -> asyncpg.Connection:
    """One connection outside of the pool. Raises DatabaseProblem."""
    try:
        connection: asyncpg.Connection = await asyncpg.connect(
            url, timeout=timeout, connection_class=CleanConnection, server_settings=_SETTINGS
        )
    except _PROBLEMS as problem:
        raise explain(url, problem) from problem
    await teach(connection)
    return connection


async def open_pool(url: str, *, smallest: int = 1, largest: int = 10, timeout: float = 10.0) -> Pool:
    """A pool whose connections are taught. Raises DatabaseProblem in plain words, never with the password."""
    try:
        pool = await asyncpg.create_pool(
            url,
            min_size=smallest,
            max_size=largest,
            timeout=timeout,
            command_timeout=30.0,
            connection_class=CleanConnection,
            init=teach,
            server_settings=_SETTINGS,
        )
    except _PROBLEMS as problem:
        raise explain(url, problem) from problem
    async with pool.acquire() as connection:
        try:
            require_version(connection)
        except DatabaseProblem:
            pool.terminate()
            raise
    return pool


def require_version(connection: Connection) -> None:
    """Raises DatabaseProblem when the server is older than what the SQL here is written for."""
    version = connection.get_server_version()
    if version.major < OLDEST:
        raise DatabaseProblem(
            f"The database is Postgres {version.major}.{version.minor}; the bridge needs {OLDEST} or newer.",
            found=f"{version.major}.{version.minor}",
            allowed=f">= {OLDEST}",
        )


def explain(url: str, problem: BaseException) -> DatabaseProblem:
    """What a failed connection means to the person who set the address."""
    where = without_password(url)
    if isinstance(problem, asyncpg.InvalidCatalogNameError):
        return DatabaseProblem(
            f"The server at {where} has no such database: create it, or correct BRIDGE_DATABASE_URL."
        )
    if isinstance(problem, asyncpg.InvalidAuthorizationSpecificationError):
        return DatabaseProblem(f"The server at {where} refused the user or the password of BRIDGE_DATABASE_URL.")
    if isinstance(problem, TimeoutError):
        return DatabaseProblem(f"The server at {where} did not answer in time.")
    if isinstance(problem, asyncpg.ClientConfigurationError | ValueError):
        return DatabaseProblem(f"BRIDGE_DATABASE_URL is not an address of a Postgres ({where}): {problem}")
    return DatabaseProblem(f"No connection to the database at {where}: {problem}")


def without_password(url: str) -> str:
    """The address for people: `postgresql://user@host/name`, without the password and the options."""
    try:
        parts = urlsplit(url)
        user = f"{parts.username}@" if parts.username else ""
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{user}{parts.hostname or ''}{port}{parts.path}"
    except ValueError:
        return "the address given"


LOST = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""What a read or a write raises when the database is away, or refuses: the same may be tried again later."""

_SETTINGS = {"application_name": "asterisk-bridge", "timezone": "UTC"}
_PROBLEMS = (*LOST, ValueError)
