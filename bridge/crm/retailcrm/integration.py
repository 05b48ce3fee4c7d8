"""RetailCRM behind the port of integrations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import msgspec

from bridge.crm.port import Delivered, Delivery, Later, Outcome, Refused, Request
from bridge.crm.retailcrm.client import Client
from bridge.crm.retailcrm.config import RetailcrmConfig
from bridge.crm.retailcrm.hosts import judge
from bridge.crm.retailcrm.mapping import map_delivery
from bridge.errors import BadInput, CrmRefused, CrmUnavailable
from bridge.hosts import Hosts, Transport
from bridge.pacing import Rate
from bridge.routing.model import Responsible

_LOGGED = 4000  # characters of an answer that a log row keeps


class _Open:
    """A client and what it was opened for; closed when it has been replaced and the last request is over.

    Not a struct: those show their fields, and one is the key.
    """

    def __init__(self, domain: str, api_key: str, client: Client) -> None:
        self.opened_for = (domain, api_key)
        self.client = client
        self.users = 0
        self.replaced = False


class RetailcrmIntegration:
    """One HTTP client per enterprise (a pool that all shared would be slow), one TLS context for all.

    `timeout`: seconds a delivery may take.
    """

    kind = "retailcrm"
    # Telephony methods allow 40 in a second to a key. In no second do deliveries take more than 28: the rest is for
    # questions about callers (`LookupLimits.rate` takes 12 at the most), which cannot wait.
    rate = Rate(per_second=24, burst=4)

    def __init__(self, hosts: Hosts, *, timeout: float = 3.0) -> None:
        self.timeout = timeout
        self._hosts = hosts
        self._tls = httpx.create_ssl_context()
        self._open: dict[str, _Open] = {}

    def map(self, delivery: Delivery, config: RetailcrmConfig) -> Request | None:
        return map_delivery(delivery, config)

    async def deliver(self, enterprise_number: str, request: Request, config: RetailcrmConfig) -> Outcome:
        try:
            async with _Use(self, enterprise_number, config) as client:
                if request.event_type == "calls_upload":
                    return await self._upload(client, request.body)
                return _told(await client.call_event(request.body, self.timeout))
        except CrmUnavailable as problem:
            return Later(reason=problem.message, retry_after=problem.retry_after)
        except CrmRefused as problem:
            response = _shortened(problem.response)
            if problem.final:
                return Refused(reason=problem.message, response=response)
            return Later(reason=problem.message, response=response)
        except BadInput as problem:  # the configuration's fault: somebody will correct it
            return Later(reason=problem.message)

    async def _upload(self, client: Client, call: Mapping[str, Any]) -> Outcome:
        upload, answer = await client.calls_upload([call], self.timeout)
        response = _shortened(answer)
        if call["externalId"] in upload.duplicates:
            return Delivered(response=response, remark="the CRM had this call already")
        if upload.processed == 0:
            return Later(reason="the CRM took no call and named no duplicate", account=False, response=response)
        return Delivered(response=response)

    async def responsible(
        self, enterprise_number: str, phone: str, config: RetailcrmConfig, timeout: float
    ) -> Responsible | None:
        """Raises CrmTimeout, CrmUnavailable, CrmRefused, BadInput (a configuration that cannot work)."""
        async with _Use(self, enterprise_number, config) as client:
            answer = await client.manager(phone.removeprefix("+"), timeout)
        manager, customer = answer.get("manager"), answer.get("customer")
        known = Responsible(customer=_name(customer) if isinstance(customer, dict) else "")
        if isinstance(manager, dict) and manager.get("id") is not None:
            code = manager.get("code")
            return Responsible(
                user_id=str(manager["id"]),
                code=str(code) if code else None,
                customer=known.customer,
                manager=_name(manager),
            )
        return known if isinstance(customer, dict) else None

    async def close(self) -> None:
        opened, self._open = list(self._open.values()), {}
        for each in opened:
            await each.client.close()

    def _take(self, enterprise_number: str, config: RetailcrmConfig) -> tuple[_Open, _Open | None]:
        """The enterprise's client, and one that it replaces and nobody uses any more."""
        current = self._open.get(enterprise_number)
        if current is not None and current.opened_for == (config.domain, config.api_key):
            return current, None
        address = judge(self._hosts, config.domain)
        inner = httpx.AsyncHTTPTransport(
            verify=self._tls,
            trust_env=False,
            limits=httpx.Limits(max_connections=16, max_keepalive_connections=8, keepalive_expiry=30),
        )
        client = Client(address.url, config.api_key, Transport(self._hosts, address, inner))
        fresh = self._open[enterprise_number] = _Open(config.domain, config.api_key, client)
        if current is None:
            return fresh, None
        current.replaced = True
        return fresh, None if current.users else current


class _Use:
    """The client of an enterprise while it is used: a new key or domain replaces it only for who comes after."""

    def __init__(self, integration: RetailcrmIntegration, enterprise_number: str, config: RetailcrmConfig) -> None:
        self._opened, self._idle = integration._take(enterprise_number, config)

    async def __aenter__(self) -> Client:
        self._opened.users += 1
        if self._idle is not None:
            await self._idle.client.close()
        return self._opened.client

    async def __aexit__(self, *failure: object) -> None:
        self._opened.users -= 1
        if self._opened.replaced and not self._opened.users:
            await self._opened.client.close()


def _told(answer: dict[str, Any]) -> Delivered:
    unknown = [str(code) for name in ("notExistCodes", "notExistUsers") for code in _list(answer.get(name))]
    remark = f"the CRM knows no manager with {', '.join(unknown)}"[:500] if unknown else None
    return Delivered(response=_shortened(answer), remark=remark)


def _list(value: Any) -> list[Any]:
    """PHP says an empty map, an empty list or nothing for the same thing."""
    return value if isinstance(value, list) else []


def _name(person: Mapping[str, Any]) -> str:
    """Surname first, as offices here read it."""
    parts = (person.get("lastName"), person.get("firstName"))
    return " ".join(str(part).strip() for part in parts if part)


def _shortened(answer: Any) -> Any:
    if answer is None:
        return None
    text = msgspec.json.encode(answer).decode()
    return answer if len(text) <= _LOGGED else {"shortened": text[:_LOGGED]}
