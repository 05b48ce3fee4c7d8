"""RetailCRM on a loopback port: several accounts in one emulator, each at an address of its own.

    async with Emulator(Account("june", users=[User(19, "Anna", code="150")])) as crm:
        crm.account("june").url          # http://127.0.0.1:<port>
        ...
        await crm.account("june").until(lambda account: len(account.calls) == 1)
        assert not crm.account("june").keys_in_urls

`Emulator.url` is a front door for people (a page with all accounts) and for requests that name the account by their
`Host` header, as the real service does: `june.retailcrm.ru`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Mapping

import uvicorn
from starlette.types import ASGIApp

from lab.retailcrm.account import Account
from lab.retailcrm.api import Api


class _Server(uvicorn.Server):
    """uvicorn without its grip on the process's signals; it says when it listens and stops at once when told."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()
        self.stopping = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    async def main_loop(self) -> None:
        await self.stopping.wait()


class Listener:
    """One port that can go down and come back: while it is down, connections are refused and nobody else takes it."""

    def __init__(self, app: ASGIApp, port: int = 0) -> None:
        self._app = app
        self._held = _bound(port)
        self.port: int = self._held.getsockname()[1]
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def up(self) -> None:
        config = uvicorn.Config(
            self._app,
            lifespan="off",
            log_config=None,
            access_log=False,
            ws="none",
            date_header=False,
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve([_bound(self.port)]), name=f"retailcrm:{self.port}")
        listening = asyncio.create_task(self._server.listening.wait())
        await asyncio.wait({self._task, listening}, return_when=asyncio.FIRST_COMPLETED)
        listening.cancel()
        if self._task.done():
            self._task.result()

    async def down(self) -> None:
        if self._server is not None and self._task is not None:
            self._server.stopping.set()
            await self._task
        self._server = self._task = None

    async def close(self) -> None:
        await self.down()
        self._held.close()


def _bound(port: int) -> socket.socket:
    # asyncio switches Nagle off only where the protocol is named: without it each answer waits 40 ms for an ACK.
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", port))
    return held


class Emulator:
    """Several accounts; an async context manager. `ports` fixes addresses by account name, `port` the front door's."""

    def __init__(self, *accounts: Account, port: int = 0, ports: Mapping[str, int] | None = None) -> None:
        self._accounts = {account.name: account for account in accounts}
        self._by_port: dict[int, Account] = {}
        self._api = Api(self._accounts, self._by_port)
        self._door = self._listener(port)
        self._listeners: dict[str, Listener] = {}
        for account in accounts:
            self._assign(account, (ports or {}).get(account.name, 0))

    @property
    def url(self) -> str:
        return self._door.url

    @property
    def accounts(self) -> list[Account]:
        return list(self._accounts.values())

    def account(self, name: str) -> Account:
        return self._accounts[name]

    async def add(self, account: Account) -> Account:
        """Open one more account while the emulator runs."""
        self._accounts[account.name] = account
        self._assign(account, 0)
        await self.up(account.name)
        return account

    async def down(self, name: str) -> None:
        """The account's address refuses connections; the ones there are are cut."""
        listener = self._listeners[name]
        self._api.released[listener.port].set()
        await listener.down()

    async def up(self, name: str) -> None:
        listener = self._listeners[name]
        self._api.released[listener.port].clear()
        await listener.up()

    async def __aenter__(self) -> Emulator:
        await self._door.up()
        for name in self._listeners:
            await self.up(name)
        return self

    async def __aexit__(self, *failure: object) -> None:
        for released in self._api.released.values():
            released.set()
        await asyncio.gather(*(listener.close() for listener in [self._door, *self._listeners.values()]))

    def _listener(self, port: int) -> Listener:
        listener = Listener(self._api, port)
        self._api.released[listener.port] = asyncio.Event()
        return listener

    def _assign(self, account: Account, port: int) -> None:
        listener = self._listeners[account.name] = self._listener(port)
        self._by_port[listener.port] = account
        account.url = listener.url
