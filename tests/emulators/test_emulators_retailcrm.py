"""The RetailCRM emulator is as strict as the service it stands for: each refusal here is one a live account gives."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request as HttpRequest
from starlette.responses import PlainTextResponse

from lab.listener import Listener
from lab.retailcrm import Account, Customer, Emulator, Faults, User, callbacks
from lab.retailcrm.account import SCOPES

EVENT = {
    "phone": "+375290000001",
    "type": "in",
    "codes": ["150", "151", "152"],
    "externalPhone": "+375290000100",
    "callExternalId": "office:1758798777.27",
}
CALL = {
    "date": "2025-09-25 14:12:57",
    "type": "in",
    "phone": "375290000001",
    "code": "151",
    "result": "answered",
    "duration": 11,
    "durationWaiting": 10,
    "externalId": "office:1758798777.27",
    "recordUrl": "https://tel.example.test/rec/5f0c",
    "externalPhone": "+375290000100",
    "site": "main",
}
MODULE = {
    "code": "acme-tel-0001",
    "integrationCode": "acme-tel",
    "active": True,
    "name": "Acme Telephony",
    "logo": "https://tel.example.test/static/logo.svg",
    "clientId": "f" * 64,
    "baseUrl": "https://tel.example.test",
    "accountUrl": "https://tel.example.test/account",
    "actions": {"activity": "/retailcrm/activity"},
    "integrations": {
        "telephony": {
            "makeCallUrl": "https://tel.example.test/retailcrm/make-call",
            "changeUserStatusUrl": "https://tel.example.test/retailcrm/status",
            "allowEdit": False,
            "inputEventSupported": True,
            "outputEventSupported": True,
            "hangupEventSupported": True,
            "additionalCodes": [{"userId": 16, "code": "152"}, {"userId": 18, "code": "151"}],
            "externalPhones": [{"siteCode": "main", "externalPhone": "+375290000100"}],
        }
    },
}


def june(**overrides: Any) -> Account:
    users = [
        User(16, "Boris", code="152", email="boris@june.example"),
        User(18, "Vera", code="151", status="busy"),
        User(19, "Anna", "Ivanova", code="150"),
        User(22, "Gone", active=False, is_manager=False),
    ]
    customers = [
        Customer(1, "Ann", ("+375290000001",), "Roe", manager_id=19),
        Customer(2, "Bo", ("+375290000002",), manager_id=18),
    ]
    settings: dict[str, Any] = {"requests_per_second": 1000, "telephony_requests_per_second": 1000, **overrides}
    return Account("june", {"secret-key": SCOPES}, users, customers, **settings)


@pytest.fixture
async def account() -> AsyncIterator[Account]:
    async with Emulator(june()) as crm:
        yield crm.account("june")


@pytest.fixture
async def client(account: Account) -> AsyncIterator[httpx.AsyncClient]:
    async with connect(account) as client:
        yield client


def connect(account: Account, key: str = "secret-key") -> httpx.AsyncClient:
    headers = {"X-API-KEY": key} if key else {}
    return httpx.AsyncClient(base_url=account.url, headers=headers, timeout=5.0, trust_env=False)


async def tell(client: httpx.AsyncClient, event: Any = None, **changes: Any) -> httpx.Response:
    body = {**(EVENT if event is None else event), **changes}
    body = {name: value for name, value in body.items() if value is not None}
    return await client.post("/api/v5/telephony/call/event", data={"event": json.dumps(body)})


async def upload(client: httpx.AsyncClient, *calls: dict[str, Any]) -> httpx.Response:
    return await client.post("/api/v5/telephony/calls/upload", data={"calls": json.dumps(calls)})


async def register(client: httpx.AsyncClient, **changes: Any) -> httpx.Response:
    module = {**MODULE, **changes}
    address = f"/api/v5/integration-modules/{MODULE['code']}/edit"
    return await client.post(address, data={"integrationModule": json.dumps(module)})


def refused(answer: httpx.Response, status: int, message: str) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["success"], body["errorMsg"]) == (status, False, message), body
    return body


# --- keys, scopes, addresses --------------------------------------------------------------------------------------


async def test_key_is_taken_from_the_header_and_its_scopes_are_listed(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/credentials")
    assert answer.json()["scopes"] == sorted(SCOPES)
    assert answer.json()["siteAccess"] == "access_full"


async def test_key_in_a_url_is_accepted_and_remembered(account: Account) -> None:
    async with connect(account, key="") as client:
        assert (await client.get("/api/credentials", params={"apiKey": "secret-key"})).status_code == 200
        assert (await tell(client)).status_code == 403
        answer = await client.post(
            "/api/v5/telephony/call/event", data={"event": json.dumps(EVENT), "apiKey": "secret-key"}
        )
        assert answer.json()["success"] is True
    assert [request.path for request in account.keys_in_urls] == ["/api/credentials"]
    assert "secret-key" not in repr(account.requests)


@pytest.mark.parametrize(("key", "message"), [("", '"apiKey" is missing.'), ("wrong", 'Wrong "apiKey" value.')])
async def test_missing_and_wrong_key_are_refused(account: Account, key: str, message: str) -> None:
    async with connect(account, key) as client:
        refused(await client.get("/api/credentials"), 403, message)
        refused(await tell(client), 403, message)
    assert account.events == []


async def test_key_without_the_scope_is_denied(account: Account) -> None:
    account.keys["reader"] = frozenset({"telephony_read"})
    async with connect(account, "reader") as client:
        refused(await tell(client), 403, "Access denied.")
        refused(await client.get("/api/v5/users"), 403, "Access denied.")
        assert (await client.get("/api/v5/telephony/manager", params={"phone": "1234567"})).status_code == 200


@pytest.mark.parametrize("path", ["/api/v5/credentials", "/api/v5/telephony/setting/acme", "/api/v5/nothing"])
async def test_method_that_is_not_there(client: httpx.AsyncClient, path: str) -> None:
    refused(await client.get(path), 404, "API method not found")


async def test_unknown_account_answers_a_page_instead_of_json() -> None:
    async with Emulator(june()) as crm, httpx.AsyncClient(base_url=crm.url, trust_env=False) as client:
        answer = await client.post("/api/v5/telephony/call/event", headers={"Host": "nobody.retailcrm.ru"})
        assert (answer.status_code, answer.headers["content-type"]) == (405, "text/html; charset=utf-8")
        assert answer.text.startswith("<")


async def test_accounts_are_told_apart_by_host_and_by_port() -> None:
    async with Emulator(june(), Account("july")) as crm:
        async with httpx.AsyncClient(base_url=crm.url, trust_env=False) as door:
            headers = {"Host": "july.retailcrm.ru", "X-API-KEY": "key-of-july"}
            await door.post("/api/v5/telephony/call/event", data={"event": json.dumps(EVENT)}, headers=headers)
        async with connect(crm.account("june")) as client:
            await upload(client, CALL)
        assert (len(crm.account("june").events), len(crm.account("june").calls)) == (0, 1)
        assert (len(crm.account("july").events), len(crm.account("july").calls)) == (1, 0)


# --- form fields --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        {"json": {"event": EVENT}},
        {"data": {"event[phone]": "+375290000001", "event[type]": "in"}},
    ],
)
async def test_object_instead_of_a_json_string(client: httpx.AsyncClient, account: Account, request_: Any) -> None:
    answer = await client.post("/api/v5/telephony/call/event", **request_)
    refused(answer, 400, 'Input value "event" contains a non-scalar value')
    assert account.events == []


@pytest.mark.parametrize("request_", [{"data": {}}, {"json": {"event": json.dumps(EVENT)}}, {"data": {"event": ""}}])
async def test_missing_field(client: httpx.AsyncClient, request_: Any) -> None:
    refused(await client.post("/api/v5/telephony/call/event", **request_), 400, "Parameter 'event' is missing")


async def test_multipart_form_is_as_good(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/v5/telephony/call/event", files={"event": (None, json.dumps(EVENT))})
    assert answer.json()["success"] is True


async def test_unknown_form_field_is_refused_but_the_modules_client_id_is_not(client: httpx.AsyncClient) -> None:
    form = {"event": json.dumps(EVENT), "clientId": "f" * 64}
    assert (await client.post("/api/v5/telephony/call/event", data=form)).json()["success"] is True
    refused(
        await client.post("/api/v5/telephony/call/event", data={**form, "user": "1"}),
        400,
        "Errors in the entity format",
    )


# --- events -------------------------------------------------------------------------------------------------------


async def test_ring_group_is_one_event_with_all_extensions(client: httpx.AsyncClient, account: Account) -> None:
    answer = await tell(client)
    assert answer.json() == {"success": True}
    (event,) = account.events_of("office:1758798777.27")
    assert (event.type, event.codes, event.external_phone) == ("in", ["150", "151", "152"], "+375290000100")


async def test_extensions_that_nobody_has_are_named(client: httpx.AsyncClient) -> None:
    answer = await tell(client, codes=["150", "999"])
    assert answer.json() == {"success": True, "notExistCodes": ["999"], "notExistUsers": []}
    answer = await tell(client, codes=None, userIds=[19, 42])
    assert answer.json() == {"success": True, "notExistCodes": [], "notExistUsers": [42]}


@pytest.mark.parametrize("status", ["answered", "busy", "cancel", "failed", "no answered"])
async def test_hangup_statuses_of_an_event(client: httpx.AsyncClient, status: str) -> None:
    assert (await tell(client, type="hangup", hangupStatus=status)).json()["success"] is True


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"type": "hangup", "hangupStatus": "no answer"}, "hangupStatus"),  # the upload's spelling
        ({"type": "hangup", "hangupStatus": "missed"}, "hangupStatus"),
        ({"type": "hangup"}, "hangupStatus"),
        ({"hangupStatus": "busy"}, "hangupStatus"),
        ({"type": "incoming"}, "type"),
        ({"phone": None}, "entity"),
        ({"phone": "anonymous"}, "phone"),
        ({"phone": 375290000001}, "phone"),
        ({"codes": "150"}, "codes"),
        ({"codes": [150]}, "codes[0]"),
        ({"codes": []}, "codes, userIds"),
        ({"code": "150"}, "entity"),  # v3's name
        ({"userIds": ["19"]}, "userIds[0]"),
        ({"callExternalId": 17}, "callExternalId"),
        ({"site": "nowhere"}, "site"),
    ],
)
async def test_wrong_event(client: httpx.AsyncClient, account: Account, changes: dict[str, Any], field: str) -> None:
    body = refused(await tell(client, **changes), 400, "Errors in the entity format")
    assert any(name.startswith(field.split(",")[0]) for name in body["errors"]), body["errors"]
    assert account.events == []


@pytest.mark.parametrize("text", ["{", "[]", "'event'", '"event"'])
async def test_field_that_is_not_a_json_object(client: httpx.AsyncClient, text: str) -> None:
    answer = await client.post("/api/v5/telephony/call/event", data={"event": text})
    refused(answer, 400, "Errors in the entity format")


async def test_telephony_that_is_off_answers_200(client: httpx.AsyncClient, account: Account) -> None:
    account.telephony = False
    refused(await tell(client), 200, "Telephony not enabled")
    refused(await upload(client, CALL), 200, "Telephony not enabled or not supports calls upload")
    assert (account.events, account.calls) == ([], [])


# --- uploads ------------------------------------------------------------------------------------------------------


async def test_call_is_kept_once_however_often_it_is_uploaded(client: httpx.AsyncClient, account: Account) -> None:
    assert (await upload(client, CALL)).json() == {"success": True, "processedCallsCount": 1, "duplicateCalls": []}
    again = await upload(client, CALL, {**CALL, "externalId": "office:2"})
    assert again.json() == {"success": True, "processedCallsCount": 1, "duplicateCalls": ["office:1758798777.27"]}
    assert [call.external_id for call in account.calls] == ["office:1758798777.27", "office:2"]
    assert account.duplicates == ["office:1758798777.27"]
    assert account.call("office:2").duration_waiting == 10


async def test_date_is_read_in_the_accounts_time_zone(client: httpx.AsyncClient, account: Account) -> None:
    await upload(client, CALL)
    moscow = account.calls[0].started_at("Europe/Moscow")
    assert moscow == 1758798777.0
    assert account.calls[0].started_at("UTC") - moscow == 3 * 3600


async def test_fifty_calls_and_not_one_more(client: httpx.AsyncClient, account: Account) -> None:
    calls = [{**CALL, "externalId": f"office:{number}"} for number in range(51)]
    refused(await upload(client, *calls), 400, "Errors in the entity format")
    refused(await upload(client), 400, "Errors in the entity format")
    assert account.calls == []
    assert (await upload(client, *calls[:50])).json()["processedCallsCount"] == 50


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"result": "no answered"}, "[0].result"),  # the event's spelling
        ({"result": "missed"}, "[0].result"),
        ({"date": "2025-09-25T14:12:57Z"}, "[0]"),
        ({"date": "2025-13-25 14:12:57"}, "[0]"),
        ({"type": "internal"}, "[0].type"),
        ({"duration": "11"}, "[0].duration"),
        ({"duration": -1}, "[0].duration"),
        ({"duration": 1.5}, "[0].duration"),
        ({"userId": 19}, "[0]"),  # beside code
        ({"recordUrl": "file:///etc/passwd"}, "[0]"),
        ({"site": "nowhere"}, "[0].site"),
        ({"callExternalId": "office:1"}, "[0]"),  # the event's name
    ],
)
async def test_wrong_upload(client: httpx.AsyncClient, account: Account, changes: dict[str, Any], field: str) -> None:
    body = refused(await upload(client, {**CALL, **changes}), 400, "Errors in the entity format")
    assert list(body["errors"]) == [field], body["errors"]
    assert account.calls == []


@pytest.mark.parametrize("result", ["answered", "busy", "failed", "no answer", "not allowed", "unknown"])
async def test_results_of_an_upload(client: httpx.AsyncClient, result: str) -> None:
    assert (await upload(client, {**CALL, "result": result})).json()["processedCallsCount"] == 1


async def test_uploaded_calls_are_listed_newest_first(client: httpx.AsyncClient, account: Account) -> None:
    await upload(client, *[{**CALL, "externalId": f"office:{number}"} for number in range(30)])
    first = (await client.get("/api/v5/telephony/calls", params={"limit": 20})).json()
    rest = (
        await client.get("/api/v5/telephony/calls", params={"limit": 20, "cursor": first["pagination"]["nextCursor"]})
    ).json()
    listed = [call["externalId"] for call in first["calls"] + rest["calls"]]
    assert listed == [f"office:{number}" for number in reversed(range(30))]
    assert rest["pagination"] == {}
    assert first["calls"][0]["manager"] == {"id": 18, "firstName": "Vera", "lastName": ""}
    refused(await client.get("/api/v5/telephony/calls", params={"limit": 7}), 400, "Errors in the entity format")
    account.lists_calls = False
    refused(await client.get("/api/v5/telephony/calls"), 404, "API method not found")


# --- the responsible manager --------------------------------------------------------------------------------------


async def ask(client: httpx.AsyncClient, **query: str) -> Any:
    return (await client.get("/api/v5/telephony/manager", params=query)).json()


async def test_known_caller_has_a_manager_with_details(client: httpx.AsyncClient) -> None:
    body = await ask(client, phone="375290000001", details="1", ignoreStatus="1")
    assert body["manager"]["id"] == 19
    assert body["manager"]["code"] == "150"
    assert body["customer"]["phones"] == [{"number": "+375290000001"}]
    assert set(body["links"]) == {"lastOrderLink", "customerLink"}


async def test_busy_manager_is_given_only_when_his_status_is_ignored(client: httpx.AsyncClient) -> None:
    assert (await ask(client, phone="+375290000002"))["manager"] is None
    assert (await ask(client, phone="+375290000002", ignoreStatus="1"))["manager"]["id"] == 18


async def test_stranger_has_no_manager(client: httpx.AsyncClient, account: Account) -> None:
    body = await ask(client, phone="+375290000009", details="1")
    assert (body["manager"], set(body["links"])) == (None, {"newOrderLink", "newCustomerLink"})
    account.terse = True
    assert await ask(client, phone="+375290000009") == {"success": True}


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({}, "Parameter 'phone' is missing"),
        ({"phone": "1", "details": "True"}, "Errors in the entity format"),
        ({"phone": "1", "ignoreStatus": "true"}, "Errors in the entity format"),
        ({"phone": "1", "site": "main"}, "Errors in the entity format"),
    ],
)
async def test_wrong_question_about_a_manager(client: httpx.AsyncClient, query: dict[str, str], message: str) -> None:
    refused(await client.get("/api/v5/telephony/manager", params=query), 400, message)


# --- users --------------------------------------------------------------------------------------------------------


async def test_users_are_filtered_and_paged(client: httpx.AsyncClient) -> None:
    query = {"filter[active]": "1", "filter[isManager]": "1", "limit": "100"}
    body = (await client.get("/api/v5/users", params=query)).json()
    assert [user["id"] for user in body["users"]] == [16, 18, 19]
    assert "code" not in body["users"][0]
    assert body["pagination"] == {"limit": 100, "totalCount": 3, "currentPage": 1, "totalPageCount": 1}
    refused(await client.get("/api/v5/users", params={"limit": "10"}), 400, "Errors in the entity format")
    refused(await client.get("/api/v5/users", params={"filter[code]": "1"}), 400, "Errors in the entity format")


async def test_one_user_and_his_status(client: httpx.AsyncClient, account: Account) -> None:
    assert (await client.get("/api/v5/users/19")).json()["user"]["firstName"] == "Anna"
    assert (await client.post("/api/v5/users/19/status", data={"status": "dinner"})).json() == {"success": True}
    assert account.users[2].status == "dinner"
    refused(await client.post("/api/v5/users/19/status", data={"status": "away"}), 400, "Errors in the entity format")
    refused(await client.post("/api/v5/users/19/status"), 400, "Parameter 'status' is missing")
    refused(await client.get("/api/v5/users/77"), 404, "Not found")


# --- integration modules ------------------------------------------------------------------------------------------


async def test_module_is_created_then_updated_and_read_without_its_client_id(client: httpx.AsyncClient) -> None:
    created = await register(client)
    assert (created.status_code, created.json()) == (201, {"success": True, "info": []})
    assert (await register(client, name="Acme")).status_code == 200
    shown = (await client.get("/api/v5/integration-modules/acme-tel-0001")).json()["integrationModule"]
    assert (shown["name"], "clientId" in shown) == ("Acme", False)
    refused(await client.get("/api/v5/integration-modules/other"), 404, "Not found")


async def test_telephony_block_is_replaced_whole(client: httpx.AsyncClient, account: Account) -> None:
    await register(client)
    assert account.codes() == {"150": 19, "151": 18, "152": 16}
    await register(client, integrations={"telephony": {"makeCallUrl": "https://tel.example.test/make"}})
    telephony = (await client.get("/api/v5/integration-modules/acme-tel-0001")).json()["integrationModule"][
        "integrations"
    ]
    assert "additionalCodes" not in telephony["telephony"]


async def test_users_and_sites_that_are_not_there_are_named(client: httpx.AsyncClient) -> None:
    telephony = {
        "additionalCodes": [{"userId": "19", "code": "150"}, {"userId": 99, "code": "199"}],
        "externalPhones": [{"siteCode": "nope", "externalPhone": "+375290000100"}],
    }
    info = (await register(client, integrations={"telephony": telephony})).json()["info"]
    assert info == {"notExistUsersIds": [99], "notExistSiteCodes": ["nope"]}


@pytest.mark.parametrize(
    ("changes", "errors"),
    [
        ({"integrationCode": "other"}, {"code": "Code prefix must match integrationCode"}),
        (
            {"logo": "https://tel.example.test/logo.jpg", "baseUrl": ""},
            {"logo": "Logo image must be svg", "baseUrl": "This value should not be blank"},
        ),
        ({"actions": {"start": "/start"}}, {"actions": "The value you selected is not a valid choice"}),
        ({"makeCallUrl": "https://tel.example.test/make"}, {"entity": "Object contains unknown field `makeCallUrl`"}),
        ({"clientId": "f" * 71}, {"clientId": "Expected `str` of length <= 70"}),
    ],
)
async def test_wrong_module(client: httpx.AsyncClient, account: Account, changes: dict[str, Any], errors: Any) -> None:
    body = refused(await register(client, **changes), 400, "Errors in the entity format")
    assert body["errors"] == errors
    assert account.modules == {}


async def test_module_object_instead_of_a_string(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/v5/integration-modules/acme-tel-0001/edit", json={"integrationModule": MODULE})
    refused(answer, 400, 'Input value "integrationModule" contains a non-scalar value')


async def test_module_without_funds_and_off(client: httpx.AsyncClient, account: Account) -> None:
    account.funds = False
    body = refused(await register(client), 400, "Failed to activate module")
    assert body["errors"] == ["Your account has insufficient funds to activate integration module"]
    assert (await register(client, active=False)).status_code == 201
    refused(await tell(client), 200, "Telephony not enabled")


async def test_more_scopes_come_as_a_new_key(client: httpx.AsyncClient, account: Account) -> None:
    await register(client)
    account.keys["few"] = frozenset({"integration_write"})
    async with connect(account, "few") as other:
        answer = await other.post(
            "/api/v5/integration-modules/acme-tel-0001/update-scopes",
            data={"requires": json.dumps({"scopes": ["telephony_write"]})},
        )
    async with connect(account, answer.json()["apiKey"]) as better:
        assert (await tell(better)).json()["success"] is True


# --- limits and faults --------------------------------------------------------------------------------------------


async def test_each_key_has_ten_requests_a_second_and_forty_of_telephony() -> None:
    now = 1000.0
    account = june(requests_per_second=10, telephony_requests_per_second=40, clock=lambda: now)
    account.keys["second"] = SCOPES
    async with Emulator(account), connect(account) as client, connect(account, "second") as other:
        ordinary = [(await client.get("/api/credentials")).status_code for _ in range(12)]
        telephony = [(await tell(client)).status_code for _ in range(42)]
        assert ordinary == [200] * 10 + [503] * 2
        assert telephony == [200] * 40 + [503] * 2
        assert (await other.get("/api/credentials")).status_code == 200
        now += 1.0
        assert (await client.get("/api/credentials")).status_code == 200
    assert len(account.events) == 40


async def test_account_that_is_down_refuses_connections_and_comes_back_at_the_same_address() -> None:
    async with Emulator(june(), Account("july")) as crm:
        account = crm.account("june")
        async with connect(account) as client:
            await crm.down("june")
            with pytest.raises(httpx.ConnectError):
                await client.get("/api/credentials")
            async with connect(crm.account("july"), "key-of-july") as other:
                assert (await other.get("/api/credentials")).status_code == 200
            await crm.up("june")
            assert (await client.get("/api/credentials")).status_code == 200


async def test_account_that_hangs_does_nothing_and_one_that_is_mute_does_it_unseen(account: Account) -> None:
    async with connect(account) as client:
        client.timeout = httpx.Timeout(0.2)
        account.faults = Faults(hang=True)
        with pytest.raises(httpx.ReadTimeout):
            await upload(client, CALL)
        assert account.calls == []
        account.faults = Faults(mute=True)
        with pytest.raises(httpx.ReadTimeout):
            await upload(client, CALL)
        assert len(account.calls) == 1
        account.faults = Faults()
        client.timeout = httpx.Timeout(5.0)
        assert (await upload(client, CALL)).json()["duplicateCalls"] == [CALL["externalId"]]
    assert [request.status for request in account.requests] == [0, 0, 200]


async def test_going_down_does_not_wait_for_a_hung_request() -> None:
    async with Emulator(june()) as crm:
        account = crm.account("june")
        account.faults = Faults(hang=True)
        async with connect(account) as client:
            hung = asyncio.create_task(client.get("/api/credentials"))
            await account.until(lambda account: len(account.requests) == 1)
            async with asyncio.timeout(3):
                await crm.down("june")
            await asyncio.wait({hung})
            assert hung.exception() is not None or hung.result().status_code == 500


async def test_slow_busy_and_broken(account: Account, client: httpx.AsyncClient) -> None:
    loop = asyncio.get_running_loop()
    account.faults = Faults(slow=0.2)
    began = loop.time()
    assert (await client.get("/api/credentials")).status_code == 200
    assert loop.time() - began >= 0.2
    account.faults = Faults(busy=0.5)
    statuses = [(await tell(client)).status_code for _ in range(40)]
    assert set(statuses) == {200, 503}
    assert len(account.events) == statuses.count(200)
    account.faults = Faults(status=500)
    assert (await tell(client)).text.startswith("<")
    account.faults = Faults(refuse="Telephony not enabled")
    refused(await tell(client), 200, "Telephony not enabled")


async def test_waiting_for_what_never_comes_says_what_there_is(account: Account) -> None:
    with pytest.raises(TimeoutError, match="june has 0 calls, 0 events"):
        await account.until(lambda account: bool(account.calls), seconds=0.05)


# --- what the CRM does by itself ----------------------------------------------------------------------------------


class Module:
    """A module's callbacks, written down: (method, path, parameters)."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str]]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = HttpRequest(scope, receive)
        parameters = dict(request.query_params) if request.method == "GET" else dict(await request.form())
        self.asked.append((request.method, request.url.path, {name: str(parameters[name]) for name in parameters}))
        await PlainTextResponse("queued")(scope, receive, send)


@pytest.fixture
async def module() -> AsyncIterator[tuple[Module, str]]:
    module = Module()
    listener = Listener(module)
    await listener.up()
    yield module, listener.url
    await listener.close()


async def test_click_status_button_and_switch_reach_the_module(account: Account, module: tuple[Module, str]) -> None:
    told, url = module
    account.install(url, "c" * 64)
    assert (await callbacks.click(account, 19, "+375290000001")).text == "queued"
    await callbacks.click(account, 18, "+375290000001", external_phone="+375290000100")
    await callbacks.change_status(account, 19, "dinner")
    await callbacks.open_account(account)
    await callbacks.activity(account, active=False)
    identity = {"clientId": "c" * 64}
    assert told.asked == [
        ("GET", "/retailcrm/make-call", {**identity, "code": "150", "phone": "+375290000001", "userId": "19"}),
        (
            "GET",
            "/retailcrm/make-call",
            {**identity, "code": "151", "phone": "+375290000001", "userId": "18", "externalPhone": "+375290000100"},
        ),
        ("GET", "/retailcrm/status", {**identity, "userId": "19", "code": "150", "status": "dinner"}),
        ("POST", "/retailcrm-admin/", identity),
        (
            "POST",
            "/retailcrm/activity",
            {**identity, "activity": '{"active": false, "freeze": false}', "systemUrl": account.url},
        ),
    ]
    assert account.users[2].status == "dinner"


async def test_page_shows_what_came_and_lets_a_manager_click(account: Account, module: tuple[Module, str]) -> None:
    told, url = module
    async with connect(account) as client:
        assert "<form" not in (await client.get("/")).text
        account.install(url, "c" * 64)
        await upload(client, {**CALL, "externalId": "<script>"})
        await tell(client)
        page = (await client.get("/", headers={"Accept-Language": "ru"})).text
        assert "375290000001" in page
        assert "&lt;script&gt;" in page
        assert "Звонки: 1" in page
        answer = await client.post("/click", data={"user": "19", "phone": "+375290000001"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert "200 queued" in (await client.get("/")).text
        await client.post("/click", data={"user": "nobody"})
        assert "choose a manager" in (await client.get("/")).text
    assert [parameters["code"] for _, _, parameters in told.asked] == ["150"]


async def test_state_and_faults_from_another_process(account: Account) -> None:
    async with connect(account) as client:
        await upload(client, CALL)
        state = (await client.get("/_lab/state")).json()
        assert (state["name"], [call["externalId"] for call in state["calls"]]) == ("june", [CALL["externalId"]])
        assert (await client.post("/_lab/faults", json={"status": 500})).status_code == 204
        assert (await tell(client)).status_code == 500


async def test_as_a_process_of_its_own(tmp_path: Path) -> None:
    accounts = tmp_path / "accounts.toml"
    accounts.write_text(
        '[[account]]\nname = "june"\nkey = "toml-key"\nusers = [{ id = 19, first_name = "Anna", code = "150" }]\n'
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "lab.retailcrm", "--accounts", str(accounts), "--account", "july"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        lines = [(await process.stdout.readline()).decode().split() for _ in range(3)]
        assert [line[0] for line in lines] == ["front", "july", "june"]
        async with httpx.AsyncClient(
            base_url=lines[2][1], headers={"X-API-KEY": lines[2][2]}, trust_env=False
        ) as client:
            assert (await client.get("/api/v5/users")).json()["users"][0]["firstName"] == "Anna"
    finally:
        process.terminate()
        assert await process.wait() == 0
