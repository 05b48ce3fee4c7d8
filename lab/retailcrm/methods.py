"""RetailCRM's API methods: what each needs, does to the account and answers. Pure; `METHODS` names them all."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import msgspec

from lab.retailcrm.account import Account, Customer, ReceivedCall, ReceivedEvent, User
from lab.retailcrm.formats import (
    FORMAT_ERROR,
    MAX_CALLS,
    CallEvent,
    IntegrationModule,
    Refused,
    UploadedCall,
    UserStatus,
    flag,
    json_field,
    only,
    page_size,
    whole_number,
)


@dataclass(frozen=True)
class Asked:
    """One request without its transport: `form` is empty for GET, no part holds the key."""

    key: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    form: Mapping[str, Any]


Answer = tuple[int, dict[str, Any]]
Handler = Callable[[Account, Asked], Answer]


@dataclass(frozen=True)
class Method:
    verb: str
    path: str
    scope: str
    handle: Handler

    @property
    def telephony(self) -> bool:
        """Whether the higher rate limit holds."""
        return self.path.startswith("/api/v5/telephony/")


METHODS: list[Method] = []


def method(verb: str, path: str, scope: str = "") -> Callable[[Handler], Handler]:
    def register(handle: Handler) -> Handler:
        METHODS.append(Method(verb, path, scope, handle))
        return handle

    return register


# --- the account itself: unversioned ----------------------------------------------------------------------------


@method("GET", "/api/credentials")
def credentials(account: Account, asked: Asked) -> Answer:
    return 200, {
        "success": True,
        "scopes": sorted(account.keys[asked.key]),
        "credentials": ["/api/integration-modules/{code}"],
        "siteAccess": "access_full",
    }


@method("GET", "/api/api-versions")
def api_versions(account: Account, asked: Asked) -> Answer:
    return 200, {"success": True, "versions": ["3.0", "4.0", "5.0"]}


@method("GET", "/api/system-info")
def system_info(account: Account, asked: Asked) -> Answer:
    return 200, {
        "success": True,
        "systemVersion": "8.7.77",
        "publicUrl": f"https://{account.name}.retailcrm.ru",
        "technicalUrl": f"https://{account.name}.retailcrm.io",
    }


# --- integration modules ----------------------------------------------------------------------------------------


@method("POST", "/api/v5/integration-modules/{code}/edit", "integration_write")
def edit_module(account: Account, asked: Asked) -> Answer:
    only(asked.form, "integrationModule")
    module = json_field(asked.form, "integrationModule", IntegrationModule)
    errors = {
        "code": "Code prefix must match integrationCode"
        if not module.integration_code or not module.code.startswith(module.integration_code)
        else ("Code does not match the address" if module.code != asked.path["code"] else ""),
        "name": "" if module.name else "This value should not be blank",
        "logo": "" if module.logo.endswith(".svg") else "Logo image must be svg",
        "baseUrl": "" if module.base_url else "This value should not be blank",
        "actions": ""
        if set(module.actions) <= {"activity", "settings"}
        else "The value you selected is not a valid choice",
        "clientId": "" if module.client_id else "This value should not be blank",
    }
    if found := {name: text for name, text in errors.items() if text}:
        raise Refused(400, FORMAT_ERROR, found)
    if module.active and not account.funds:
        raise Refused(
            400, "Failed to activate module", ["Your account has insufficient funds to activate integration module"]
        )
    created = module.code not in account.modules
    account.modules[module.code] = module
    telephony = module.integrations.telephony if module.integrations else None
    if telephony is not None:
        account.telephony = module.active
    info: dict[str, Any] = {}
    if telephony is not None:
        users = [int(pair.user_id) for pair in telephony.additional_codes]
        sites = [pair.site_code for pair in telephony.external_phones]
        info = {
            "notExistUsersIds": [user_id for user_id in users if account.user(user_id) is None],
            "notExistSiteCodes": [site for site in sites if site not in account.sites],
        }
    info = {name: missing for name, missing in info.items() if missing}
    return (201 if created else 200), {"success": True, "info": info or []}  # PHP: an empty map is an empty list


@method("GET", "/api/v5/integration-modules/{code}", "integration_read")
def get_module(account: Account, asked: Asked) -> Answer:
    module = account.modules.get(asked.path["code"])
    if module is None:
        raise Refused(404, "Not found")
    shown = msgspec.to_builtins(module)
    shown.pop("clientId", None)  # never given back
    return 200, {"success": True, "integrationModule": {"freeze": False, "native": False, **shown}}


class _Requires(msgspec.Struct, forbid_unknown_fields=True):
    scopes: list[str]


@method("POST", "/api/v5/integration-modules/{code}/update-scopes", "integration_write")
def update_scopes(account: Account, asked: Asked) -> Answer:
    only(asked.form, "requires")
    requires = json_field(asked.form, "requires", _Requires)
    if asked.path["code"] not in account.modules:
        raise Refused(404, "Not found")
    key = secrets.token_hex(16)
    account.keys[key] = account.keys[asked.key] | frozenset(requires.scopes)
    return 200, {"success": True, "apiKey": key}


# --- telephony --------------------------------------------------------------------------------------------------


@method("POST", "/api/v5/telephony/call/event", "telephony_write")
def call_event(account: Account, asked: Asked) -> Answer:
    only(asked.form, "event", "clientId")
    event = json_field(asked.form, "event", CallEvent)
    if not account.telephony:
        raise Refused(200, "Telephony not enabled")
    if event.site is not None and event.site not in account.sites:
        raise Refused(400, FORMAT_ERROR, {"site": "Site does not exist"})
    account.events.append(ReceivedEvent(received_at=account.clock(), **_fields(event)))
    known = account.codes()
    missing = {
        "notExistCodes": [code for code in event.codes if code not in known],
        "notExistUsers": [user_id for user_id in event.user_ids if account.user(user_id) is None],
    }
    if account.terse or not any(missing.values()):
        missing = {name: values for name, values in missing.items() if values}
    return 200, {"success": True, **missing}


@method("POST", "/api/v5/telephony/calls/upload", "telephony_write")
def calls_upload(account: Account, asked: Asked) -> Answer:
    only(asked.form, "calls", "clientId")
    calls = json_field(asked.form, "calls", list[UploadedCall])
    if not 1 <= len(calls) <= MAX_CALLS:
        raise Refused(400, FORMAT_ERROR, {"calls": f"This collection should contain 1 to {MAX_CALLS} elements"})
    for index, call in enumerate(calls):
        if call.site is not None and call.site not in account.sites:
            raise Refused(400, FORMAT_ERROR, {f"[{index}].site": "Site does not exist"})
    if not account.telephony:
        raise Refused(200, "Telephony not enabled or not supports calls upload")
    known = {call.external_id for call in account.calls if call.external_id}
    duplicates: list[str] = []
    for call in calls:
        if call.external_id in known:
            duplicates.append(call.external_id or "")
            continue
        if call.external_id:
            known.add(call.external_id)
        account.calls.append(ReceivedCall(received_at=account.clock(), id=len(account.calls) + 1, **_fields(call)))
    account.duplicates += duplicates
    body: dict[str, Any] = {"success": True, "processedCallsCount": len(calls) - len(duplicates)}
    if duplicates or not account.terse:
        body["duplicateCalls"] = duplicates
    return 200, body


@method("GET", "/api/v5/telephony/manager", "telephony_read")
def manager(account: Account, asked: Asked) -> Answer:
    only(asked.query, "phone", "details", "ignoreStatus")
    phone = asked.query.get("phone", "")
    if not phone:
        raise Refused(400, "Parameter 'phone' is missing")
    details, ignore_status = flag(asked.query, "details"), flag(asked.query, "ignoreStatus")
    customer = account.customer(phone)
    responsible = account.user(customer.manager_id) if customer and customer.manager_id else None
    if responsible is not None and not ignore_status and responsible.status != "free":
        responsible = None
    body: dict[str, Any] = {"success": True}
    if responsible is not None:
        body["manager"] = _manager(account, responsible)
    elif not account.terse:
        body["manager"] = None
    if details:
        base = f"https://{account.name}.retailcrm.ru"
        if customer is not None:
            body["customer"] = _customer(customer)
            body["links"] = {
                "lastOrderLink": f"{base}/orders/{customer.id}/edit",
                "customerLink": f"{base}/customers/{customer.id}",
            }
        else:
            body["links"] = {
                "newOrderLink": f"{base}/orders/add?phone={phone}",
                "newCustomerLink": f"{base}/customers/add?phone={phone}",
            }
    return 200, body


@method("GET", "/api/v5/telephony/calls", "telephony_read")
def list_calls(account: Account, asked: Asked) -> Answer:
    if not account.lists_calls:
        raise Refused(404, "API method not found")
    only(asked.query, "limit", "cursor")
    size = page_size(asked.query)
    newest = sorted(account.calls, key=lambda call: call.id, reverse=True)
    cursor = asked.query.get("cursor")
    if cursor is not None:
        if not cursor.isdecimal():
            raise Refused(400, FORMAT_ERROR, {"cursor": "This value is not valid"})
        newest = [call for call in newest if call.id < int(cursor)]
    page = newest[:size]
    pagination = {"nextCursor": str(page[-1].id)} if len(newest) > size else {}
    return 200, {"success": True, "calls": [_call(account, call) for call in page], "pagination": pagination}


# --- users ------------------------------------------------------------------------------------------------------

_USER_FILTERS: dict[str, Callable[[User], str]] = {
    "active": lambda user: str(int(user.active)),
    "isManager": lambda user: str(int(user.is_manager)),
    "isAdmin": lambda user: str(int(user.is_admin)),
    "online": lambda user: str(int(user.online)),
    "status": lambda user: user.status,
    "email": lambda user: user.email,
}


@method("GET", "/api/v5/users", "user_read")
def list_users(account: Account, asked: Asked) -> Answer:
    only(asked.query, "limit", "page", "filter")
    size, page = page_size(asked.query), whole_number(asked.query, "page", 1)
    users = account.users
    for name, value in asked.query.items():
        if name.startswith("filter["):
            read = _USER_FILTERS.get(name.removeprefix("filter[").removesuffix("]"))
            if read is None:
                raise Refused(400, FORMAT_ERROR, {name: "This field was not expected"})
            users = [user for user in users if read(user) == value]
    return 200, {
        "success": True,
        "pagination": {
            "limit": size,
            "totalCount": len(users),
            "currentPage": page,
            "totalPageCount": max(1, -(-len(users) // size)),
        },
        "users": [_user(user) for user in users[(page - 1) * size : page * size]],
    }


@method("GET", "/api/v5/users/{id:int}", "user_read")
def get_user(account: Account, asked: Asked) -> Answer:
    user = account.user(int(asked.path["id"]))
    if user is None:
        raise Refused(404, "Not found")
    return 200, {"success": True, "user": _user(user)}


@method("POST", "/api/v5/users/{id:int}/status", "user_write")
def set_status(account: Account, asked: Asked) -> Answer:
    only(asked.form, "status")
    status = asked.form.get("status")
    if not status:
        raise Refused(400, "Parameter 'status' is missing")
    if status not in get_args(UserStatus):
        raise Refused(400, FORMAT_ERROR, {"status": "The value you selected is not a valid choice"})
    user = account.user(int(asked.path["id"]))
    if user is None:
        raise Refused(404, "Not found")
    user.status = status
    return 200, {"success": True}


# --- shapes of answers ------------------------------------------------------------------------------------------


def _fields(struct: msgspec.Struct) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def _user(user: User) -> dict[str, Any]:
    """A user has no `code`: extensions belong to the module."""
    return {
        "id": user.id,
        "createdAt": "2020-05-25 12:49:00",
        "active": user.active,
        "email": user.email,
        "firstName": user.first_name,
        "lastName": user.last_name,
        "status": user.status,
        "online": user.online,
        "isAdmin": user.is_admin,
        "isManager": user.is_manager,
        "groups": [{"id": 25, "name": "Managers", "code": "manager"}] if user.is_manager else [],
    }


def _manager(account: Account, user: User) -> dict[str, Any]:
    code = next((code for code, user_id in account.codes().items() if user_id == user.id), None)
    shown = {"id": user.id, "firstName": user.first_name, "lastName": user.last_name, "email": user.email}
    return {**shown, "code": code} if code else shown


def _customer(customer: Customer) -> dict[str, Any]:
    return {
        "id": customer.id,
        "externalId": customer.external_id or str(customer.id),
        "firstName": customer.first_name,
        "lastName": customer.last_name,
        "patronymic": "",
        "email": customer.email,
        "phones": [{"number": number} for number in customer.phones],
    }


def _call(account: Account, call: ReceivedCall) -> dict[str, Any]:
    user = account.user(account.codes().get(call.code or "", call.user_id or 0))
    customer = account.customer(call.phone)
    return {
        "id": call.id,
        "externalId": call.external_id,
        "type": call.type,
        "date": call.date,
        "code": call.code,
        "manager": {"id": user.id, "firstName": user.first_name, "lastName": user.last_name} if user else None,
        "phone": call.phone,
        "orderNumber": None,
        "customer": {"id": customer.id} if customer else None,
        "isMissed": call.type == "in" and call.result != "answered",
        "duration": call.duration or 0,
        "result": call.result,
    }
