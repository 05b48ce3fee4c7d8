"""An office, its CRM and the service between them: what demonstration, end-to-end tests and benches share."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from lab import mango
from lab.asterisk import provision
from lab.cloud import service_settings, webhook_address
from lab.company import Company
from lab.errors import LabError
from lab.office import ROUTED_LINE
from lab.retailcrm import Account, Customer, Emulator, User
from lab.service import Service

TOKEN = "demo-pbx-token-0123456789abcdef"
CLIENT_ID = "d3" * 32
SECRET = "demo-enterprise-secret-0123456789"
KNOWN_CLIENT, KNOWN_CLIENTS_MANAGER = "79165550152", "152"
"""The CRM knows this caller, and that Oleg looks after them."""

COMPANY = """
[[enterprise]]
number = "0367"
name = "June"
secret = "{secret}"
fallback = "150"

  [[enterprise.pbx]]
  name = "office"
  ami = {{ host = "{ami}", port = 5038, username = "bridge", secret = "{ami_secret}" }}
  ari = {{ url = "http://{ami}:8088/ari", username = "bridge", password = "{ari_password}" }}
  token = "{token}"
  extensions = '^[12]\\d\\d$'
  trunks = ["PJSIP/trunk"]
  click_to_call_contexts = ["inoffice"]

  [[enterprise.user]]
  email = "ivan@june.example"
  first_name = "Иван"
  last_name = "Петров"
  role = "operator"
  extensions = ["150"]

  [[enterprise.user]]
  email = "anna@june.example"
  first_name = "Анна"
  last_name = "Орлова"
  role = "operator"
  extensions = ["151"]

  [[enterprise.user]]
  email = "oleg@june.example"
  first_name = "Олег"
  last_name = "Смирнов"
  role = "operator"
  extensions = ["152"]

  [[enterprise.line]]
  number = "+74951000001"
  city = "Москва"

  [[enterprise.line]]
  number = "+{routed}"
  smart_redirect = "route"

  [enterprise.integrations.retailcrm]
  enabled = true
  domain = "{crm}"
  api_key = "{key}"
  client_id = "{client_id}"
  user_extensions = {{ "19" = "150", "18" = "151", "16" = "152"{more} }}
"""

CLOUD = """
  [[enterprise.user]]
  email = "darya@june.example"
  first_name = "Дарья"
  last_name = "Зуева"
  role = "operator"
  extensions = ["301"]

  [enterprise.integrations.mango]
  enabled = true
  products = [ {{ api_key = "{key}", api_salt = "{salt}" }} ]
"""
"""What makes one of June's managers work from home, on a telephone of Mango Office."""
CLOUD_USER, CLOUD_EXTENSION = 21, "301"


def crm_account(name: str = "june") -> Account:
    """June's RetailCRM: three managers, one customer who has a manager of their own."""
    return Account(
        name,
        users=[
            User(19, "Иван", "Петров", code="150"),
            User(18, "Анна", "Орлова", code="151"),
            User(16, "Олег", "Смирнов", code="152"),
        ],
        customers=[Customer(7, "Мария", (KNOWN_CLIENT,), last_name="Кузнецова", manager_id=16)],
    )


@dataclass
class Stage:
    """All of them, running and told of each other."""

    company: Company
    crm: Emulator
    service: Service
    cloud: mango.Emulator

    @property
    def exchange(self) -> mango.Product:
        """June's part of Mango Office. A stage set up without a cloud has none."""
        return self.cloud.products[0]

    @property
    def account(self) -> Account:
        return self.crm.account("june")

    async def click(self, phone: str, code: str = "150") -> httpx.Response:
        """A manager clicks a number in the CRM, which calls the service as RetailCRM does."""
        return await self.service.click(CLIENT_ID, phone, code)


@contextlib.asynccontextmanager
async def stage(
    folder: Path,
    *,
    version: int = 22,
    ring_seconds: int = 6,
    account: Account | None = None,
    settings: Mapping[str, str] | None = None,
    cloud: bool = False,
) -> AsyncIterator[Stage]:
    """The office, its CRM and the running service, told of each other. `settings` are the service's, beside its own.

    `cloud`: one more manager, whose telephone is at Mango Office."""
    async with contextlib.AsyncExitStack() as stack:
        account = account or crm_account()
        exchange = await stack.enter_async_context(mango.Emulator())
        if cloud:
            _move_to_the_cloud(account, exchange)
        crm = await stack.enter_async_context(Emulator(account))
        service = Service(folder / "data", {**service_settings(exchange), **(settings or {})})
        company = Company(
            provision(version), name="office", agi=service.agi, agi_token=TOKEN, ring_seconds=ring_seconds
        )
        await stack.enter_async_context(company)
        await stack.enter_async_context(service)
        facts = folder / "company.toml"
        facts.write_text(company_file(company, account, exchange.products))
        code, said, problem = await service.command("apply", str(facts))
        if code:
            raise LabError(f"apply failed: {said}{problem}")
        account.install(service.url, CLIENT_ID)
        for product in exchange.products:
            product.webhooks = webhook_address(service)
        await connected(service)
        yield Stage(company, crm, service, exchange)


def _move_to_the_cloud(account: Account, exchange: mango.Emulator) -> None:
    account.users.append(User(CLOUD_USER, "Дарья", "Зуева", code=CLOUD_EXTENSION))
    product = exchange.add(mango.Product(account.name))
    product.hire(CLOUD_EXTENSION, "Дарья Зуева")


def company_file(company: Company, account: Account, cloud: Sequence[mango.Product] = ()) -> str:
    written = COMPANY.format(
        secret=SECRET,
        ami=company.pbx.host,
        ami_secret=company.pbx.bridge_secret,
        ari_password=company.pbx.ari_password,
        token=TOKEN,
        routed=ROUTED_LINE,
        crm=account.url,
        key=account.key,
        client_id=CLIENT_ID,
        more=f', "{CLOUD_USER}" = "{CLOUD_EXTENSION}"' if cloud else "",
    )
    return written + "".join(CLOUD.format(key=product.key, salt=product.salt) for product in cloud)


async def connected(service: Service, within: float = 20.0) -> None:
    """Returns when the service's PBX is up, as /health tells it."""
    async with asyncio.timeout(within), httpx.AsyncClient() as client:
        while True:
            health = (await client.get(f"{service.url}/health")).json()["data"]
            if health["pbxs"] and all(pbx["state"] == "up" for pbx in health["pbxs"]):
                return
            await asyncio.sleep(0.05)  # polled, as a monitoring system would
