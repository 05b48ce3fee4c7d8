"""What RetailCRM sends to the module: a click on a number, a manager's status, the account button, on and off.

The module is the account's active one; its `clientId` is all that opens our doors, so it travels as the CRM sends it.
"""

from __future__ import annotations

import json

import httpx

from lab.retailcrm.account import Account
from lab.retailcrm.formats import IntegrationModule, Telephony, UserStatus


class NoModule(Exception):
    """No active telephony module: the CRM shows no button to click."""


async def click(
    account: Account, user_id: int, phone: str, *, code: str | None = None, external_phone: str | None = None
) -> httpx.Response:
    """A manager clicks a number: GET makeCallUrl?clientId&code&phone&userId[&externalPhone]."""
    module, telephony = _telephony(account)
    if code is None:
        code = next((known for known, owner in account.codes().items() if owner == user_id), None)
    params = {"clientId": module.client_id, "code": code, "phone": phone, "userId": str(user_id)}
    params["externalPhone"] = external_phone
    given = {name: value for name, value in params.items() if value is not None}
    async with _client() as client:
        return await client.get(telephony.make_call_url, params=given)


async def change_status(account: Account, user_id: int, status: UserStatus) -> httpx.Response:
    """A manager goes to dinner: GET changeUserStatusUrl?clientId&userId&code&status."""
    module, telephony = _telephony(account)
    code = next((known for known, owner in account.codes().items() if owner == user_id), "")
    if user := account.user(user_id):
        user.status = status
    params = {"clientId": module.client_id, "userId": str(user_id), "code": code, "status": status}
    async with _client() as client:
        return await client.get(telephony.change_user_status_url, params=params)


async def open_account(account: Account) -> httpx.Response:
    """The account button: a browser POSTs the form field clientId to accountUrl. Redirects are not followed."""
    module, _ = _telephony(account)
    async with _client() as client:
        return await client.post(module.account_url, data={"clientId": module.client_id})


async def activity(account: Account, *, active: bool, freeze: bool = False) -> httpx.Response:
    """The module is switched on or off in the CRM: POST baseUrl + actions.activity."""
    module, _ = _telephony(account)
    form = {
        "clientId": module.client_id,
        "activity": json.dumps({"active": active, "freeze": freeze}),
        "systemUrl": account.url,
    }
    async with _client() as client:
        return await client.post(module.base_url.rstrip("/") + module.actions["activity"], data=form)


def _telephony(account: Account) -> tuple[IntegrationModule, Telephony]:
    for module in account.modules.values():
        if module.active and module.integrations and module.integrations.telephony:
            return module, module.integrations.telephony
    raise NoModule(f"{account.name} has no active telephony module")


def _client() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=5.0, follow_redirects=False, trust_env=False)
