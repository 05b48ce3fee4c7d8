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
from collections.abc import Mapping

from lab.listener import Listener
from lab.retailcrm.account import Account
from lab.retailcrm.api import Api


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
