"""A company whose telephones are all at Mango Office, its CRM and the service between them: no Asterisk anywhere."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from lab import mango, retailcrm
from lab.errors import LabError
from lab.mango import Group, Line, Product
from lab.service import Service

CLIENT_ID = "c1" * 32
SECRET = "cloud-enterprise-secret-0123456789"
ENTERPRISE = "0412"
LINE, ROUTED_LINE = "74951230001", "74951230002"
KNOWN_CLIENT, KNOWN_CLIENTS_MANAGER = "79165550172", "172"
"""The CRM knows this caller, and that Olga looks after them."""
GROUP = "999"
PEOPLE = (("170", 19, "Анна", "Орлова"), ("171", 18, "Борис", "Белов"), ("172", 16, "Ольга", "Серова"),
          ("0511", 22, "Пётр", "Быков"))  # fmt: skip
"""Extension, CRM user, name."""

COMPANY = """
[[enterprise]]
number = "{number}"
name = "July"
secret = "{secret}"
fallback = "170"
{users}
  [[enterprise.line]]
  number = "+{line}"
  city = "Москва"

  [[enterprise.line]]
  number = "+{routed}"
  smart_redirect = "route"

  [enterprise.integrations.retailcrm]
  enabled = true
  domain = "{crm}"
  api_key = "{crm_key}"
  client_id = "{client_id}"
  user_extensions = {{ {user_extensions} }}

  [enterprise.integrations.mango]
  enabled = true
  products = [ {{ api_key = "{key}", api_salt = "{salt}", api_id = "{api_id}" }} ]
"""

USER = """
  [[enterprise.user]]
  email = "u{extension}@july.example"
  first_name = "{first}"
  last_name = "{last}"
  role = "operator"
  extensions = ["{extension}"]
"""


def crm_account(name: str = "july") -> retailcrm.Account:
    users = [retailcrm.User(user, first, last, code=code) for code, user, first, last in PEOPLE]
    manager = next(user for code, user, _, _ in PEOPLE if code == KNOWN_CLIENTS_MANAGER)
    customers = [retailcrm.Customer(7, "Мария", (KNOWN_CLIENT,), last_name="Кузнецова", manager_id=manager)]
    return retailcrm.Account(name, users=users, customers=customers)


def product(name: str = "july") -> Product:
    """July's virtual PBX: four employees, three of whom are a group; two lines."""
    made = Product(name, lines=[Line(405512, LINE, "Main"), Line(405513, ROUTED_LINE, "Routed")])
    for extension, _, first, last in PEOPLE:
        made.hire(extension, f"{first} {last}")
    made.groups.append(Group(7001, GROUP, "Продажи", tuple(code for code, *_ in PEOPLE[:3])))
    return made


@dataclass
class Cloud:
    """The three, running and told of each other."""

    mango: mango.Emulator
    product: Product
    crm: retailcrm.Emulator
    account: retailcrm.Account
    service: Service

    async def click(self, phone: str, code: str = "170") -> httpx.Response:
        """A manager clicks a number in the CRM, which calls the service as RetailCRM does."""
        return await self.service.click(CLIENT_ID, phone, code)


@contextlib.asynccontextmanager
async def cloud(
    folder: Path, *, account: retailcrm.Account | None = None, settings: Mapping[str, str] | None = None
) -> AsyncIterator[Cloud]:
    """`settings` are the service's, beside its own. Raises LabError when the service does not take the company."""
    async with contextlib.AsyncExitStack() as stack:
        account = account or crm_account()
        crm = await stack.enter_async_context(retailcrm.Emulator(account))
        pbx = product()
        exchange = await stack.enter_async_context(mango.Emulator(pbx))
        service = Service(folder / "data", service_settings(exchange) | dict(settings or {}))
        await stack.enter_async_context(service)
        pbx.webhooks = webhook_address(service)
        facts = folder / "company.toml"
        facts.write_text(company_file(pbx, account))
        code, said, problem = await service.command("apply", str(facts))
        if code:
            raise LabError(f"apply failed: {said}{problem}")
        account.install(service.url, CLIENT_ID)
        yield Cloud(exchange, pbx, crm, account, service)


def service_settings(exchange: mango.Emulator) -> dict[str, str]:
    """What tells the service of emulators instead of the real ones."""
    return {"BRIDGE_CRM_HOSTS": "127.0.0.1", "MANGO_API_URL": exchange.api_url}


def webhook_address(service: Service) -> str:
    """What an administrator writes into Mango's cabinet."""
    return f"{service.url}/api/v1/webhook/mango"


def company_file(pbx: Product, account: retailcrm.Account) -> str:
    return COMPANY.format(
        number=ENTERPRISE,
        secret=SECRET,
        users="".join(USER.format(extension=code, first=first, last=last) for code, _, first, last in PEOPLE),
        line=LINE,
        routed=ROUTED_LINE,
        crm=account.url,
        crm_key=account.key,
        client_id=CLIENT_ID,
        user_extensions=", ".join(f'"{user}" = "{code}"' for code, user, _, _ in PEOPLE),
        key=pbx.key,
        salt=pbx.salt,
        api_id="90123",
    )
