"""What the end-to-end tests ask the service, over HTTP as its users do, and how they wait for what comes of calls."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import httpx

from lab.retailcrm.account import Account, ReceivedCall
from lab.service import Service
from lab.stage import Stage, company_file


async def eventually(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """What `condition` gives (it may be awaited) once that is true. Raises TimeoutError with what it gave last."""
    holds: Any = None
    try:
        async with asyncio.timeout(seconds):
            while True:
                holds = condition()
                if inspect.isawaitable(holds):
                    holds = await holds
                if holds:
                    return holds
                await asyncio.sleep(0.02)  # another process's state is polled, as its users poll it
    except TimeoutError:
        raise TimeoutError(f"after {seconds:g} s: {inspect.getsource(condition).strip()} is {holds!r}") from None


_PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Reading the system's authorities for every client takes longer than what it asks."""


def visitor(service: Service) -> httpx.AsyncClient:
    """Somebody who talks HTTP with the service and has not signed in."""
    return httpx.AsyncClient(base_url=service.url, timeout=10, verify=_PLAIN)


async def get(service: Service, path: str, **query: str | int) -> Any:
    """`data` of an answer to the deployment's administrator."""
    return (await whole(service, path, **query))["data"]


async def whole(service: Service, path: str, **query: str | int) -> Any:
    if not hasattr(service, "token"):
        service.token = await service.login()  # type: ignore[attr-defined]
    async with visitor(service) as client:
        headers = {"Authorization": f"Bearer {service.token}"}  # type: ignore[attr-defined]
        answer = await client.get(path, params=query, headers=headers)
        return answer.raise_for_status().json()


async def health(service: Service) -> Any:
    async with visitor(service) as client:
        return (await client.get("/health")).json()["data"]


async def is_up(service: Service, name: str = "office") -> bool:
    """Whether the PBX of that name is, as /health tells it."""
    return {pbx["name"]: pbx["state"] for pbx in (await health(service))["pbxs"]}.get(name) == "up"


async def row(service: Service, client: str) -> Any:
    """The one call of this client in the API's list; None when there is none."""
    found = await get(service, "/api/v1/calls", search=client, limit=10)
    assert len(found) < 2, f"{client} has {len(found)} calls: {found}"
    return found[0] if found else None


async def record(service: Service, client: str) -> dict[str, Any]:
    """The client's one call, whole, with the field names of `replay`."""
    listed = await row(service, client)
    assert listed is not None, f"the API has no call of {client}"
    call = await get(service, f"/api/v1/calls/{listed['id']}")
    return {**call, "status": call["result"]}


async def ended(service: Service, client: str, seconds: float = 20.0) -> Any:
    """The client's call once it is over."""

    async def over() -> Any:
        call = await row(service, client)
        return call if call is not None and call["result"] != "active" else None

    return await eventually(over, seconds)


def calls_of(account: Account, client: str) -> list[ReceivedCall]:
    """What the CRM keeps of this client: one for each externalId."""
    return [call for call in account.calls if call.phone.lstrip("+") == client]


async def told(at: Stage, client: str, seconds: float = 20.0) -> ReceivedCall:
    """The one call of this client in the CRM, once it is there."""
    await at.account.until(lambda account: bool(calls_of(account, client)), seconds)
    (call,) = calls_of(at.account, client)
    return call


async def nothing_owed(service: Service, seconds: float = 40.0) -> None:
    """Returns when every delivery has been made or given up."""

    async def owed() -> bool:
        return not [waiting for waiting in (await get(service, "/stats"))["deliveries"] if waiting["state"] != "dead"]

    await eventually(owed, seconds)


async def apply(at: Stage, text: str, *options: str) -> None:
    """Declares the company of `text` by the command line."""
    facts = at.service.data / "changed.toml"
    facts.write_text(text)
    code, said, problem = await at.service.command("apply", str(facts), *options)
    assert code == 0, f"{said}{problem}"


def company_at(at: Stage, host: str, port: int) -> str:
    """The stage's own apply file, its PBX's AMI elsewhere."""
    text = company_file(at.company, at.account)
    here = f'host = "{at.company.pbx.host}", port = 5038'
    assert text.count(here) == 1
    return text.replace(here, f'host = "{host}", port = {port}')


@contextlib.asynccontextmanager
async def database(service: Service) -> AsyncIterator[asyncpg.Connection]:
    """A plain connection to the embedded Postgres, as psql makes one."""
    connection: asyncpg.Connection = await asyncpg.connect((service.data / "postgres.url").read_text().strip())
    try:
        yield connection
    finally:
        await connection.close()
