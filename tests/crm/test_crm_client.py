"""RetailCRM's API as the client speaks it: against the strict emulator, and against answers that are odd on purpose."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from bridge.crm.port import Delivered, Later, Outcome, Refused, Request
from bridge.crm.retailcrm.client import Client
from bridge.crm.retailcrm.config import RetailcrmConfig
from bridge.crm.retailcrm.integration import RetailcrmIntegration
from bridge.errors import BadInput, CrmRefused, CrmTimeout, CrmUnavailable
from bridge.hosts import Hosts
from lab.retailcrm import Account, Customer, Emulator, Faults, User

KEY = "7c1f-very-secret"
EVENT = Request(
    event_type="call_event:in",
    body={"phone": "+79161234567", "type": "in", "codes": ["150", "999"], "callExternalId": "office:1.1"},
)
CALL = Request(
    event_type="calls_upload",
    body={
        "date": "2025-09-25 14:12:57",
        "type": "in",
        "phone": "79161234567",
        "result": "answered",
        "duration": 11,
        "externalId": "office:1.1",
    },
)


class Odd(httpx.AsyncBaseTransport):
    """A CRM that answers what the test wants."""

    def __init__(self, answer: httpx.Response | Exception) -> None:
        self.answer = answer
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        stream = httpx.ByteStream(self.answer.content)
        return httpx.Response(self.answer.status_code, headers=self.answer.headers, stream=stream)


async def odd(answer: httpx.Response | Exception) -> dict[str, Any]:
    client = Client("https://june.retailcrm.ru", KEY, Odd(answer))
    try:
        return await client.call_event({"type": "in"}, 1.0)
    finally:
        await client.close()


@pytest.fixture
async def june() -> AsyncIterator[Account]:
    account = Account(
        "june",
        users=[User(19, "Анна", "Иванова", code="150")],
        customers=[
            Customer(7, "Пётр", ("+79161234567",), "Сидоров", manager_id=19),
            Customer(8, "Лев", ("79160000000",)),
        ],
    )
    async with Emulator(account):
        yield account


def config(account: Account, **changes: Any) -> RetailcrmConfig:
    return RetailcrmConfig(**({"domain": account.url, "api_key": account.key} | changes))


async def test_a_popup_reaches_the_account(june: Account, retailcrm: RetailcrmIntegration) -> None:
    outcome = await retailcrm.deliver("0367", EVENT, config(june))
    assert isinstance(outcome, Delivered)
    assert outcome.remark == "the CRM knows no manager with 999"
    assert [event.codes for event in june.events] == [["150", "999"]]
    assert not june.keys_in_urls


async def test_an_upload_is_idempotent_by_its_external_id(june: Account, retailcrm: RetailcrmIntegration) -> None:
    first = await retailcrm.deliver("0367", CALL, config(june))
    again = await retailcrm.deliver("0367", CALL, config(june))
    assert isinstance(first, Delivered)
    assert first.remark is None
    assert isinstance(again, Delivered)
    assert again.remark == "the CRM had this call already"
    assert len(june.calls) == 1


async def test_a_terse_account_is_understood(june: Account, retailcrm: RetailcrmIntegration) -> None:
    june.terse = True
    assert isinstance(await retailcrm.deliver("0367", CALL, config(june)), Delivered)
    assert await retailcrm.responsible("0367", "+79169999999", config(june), 1.0) is None


async def test_whose_caller_it_is(june: Account, retailcrm: RetailcrmIntegration) -> None:
    owner = await retailcrm.responsible("0367", "+79161234567", config(june), 1.0)
    assert owner is not None
    assert (owner.user_id, owner.code, owner.customer, owner.manager) == ("19", "150", "Сидоров Пётр", "Иванова Анна")


async def test_a_customer_whom_nobody_owns(june: Account, retailcrm: RetailcrmIntegration) -> None:
    owner = await retailcrm.responsible("0367", "+79160000000", config(june), 1.0)
    assert owner is not None
    assert (owner.user_id, owner.customer) == (None, "Лев")


async def test_a_manager_who_is_busy_is_still_the_responsible(june: Account, retailcrm: RetailcrmIntegration) -> None:
    june.users[0].status = "busy"
    owner = await retailcrm.responsible("0367", "+79161234567", config(june), 1.0)
    assert owner is not None
    assert owner.user_id == "19"


async def test_the_scopes_of_a_key(june: Account) -> None:
    june.keys["narrow"] = frozenset({"telephony_read"})
    client = Client(june.url, "narrow", httpx.AsyncHTTPTransport())
    found = await client.credentials(1.0)
    await client.close()
    assert found.scopes == {"telephony_read"}
    assert "telephony_write" in found.missing
    assert "telephony_read" not in found.missing


async def test_no_more_than_fifty_calls_go_in_one_upload() -> None:
    client = Client("https://june.retailcrm.ru", KEY, Odd(httpx.Response(200, json={"success": True})))
    for count in (0, 51):
        with pytest.raises(ValueError, match="allowed are 1 to 50"):
            await client.calls_upload([{}] * count, 1.0)
    await client.close()


@pytest.mark.parametrize(
    ("faults", "kind", "reason"),
    [
        (Faults(busy=1.0), Later, "over its rate or overloaded (HTTP 503)"),
        (Faults(status=429), Later, "over its rate or overloaded (HTTP 429)"),
        (Faults(status=500), Later, "HTTP 500"),
        (Faults(hang=True), Later, "no answer within 1 s"),
        (Faults(mute=True), Later, "no answer within 1 s"),
        (Faults(refuse="Telephony not enabled"), Later, "Telephony not enabled (HTTP 200)"),
        (Faults(refuse="Something nobody has seen before"), Later, "Something nobody has seen before (HTTP 200)"),
        (Faults(refuse="Errors in the entity format"), Refused, "Errors in the entity format (HTTP 200)"),
    ],
)
async def test_what_an_ailing_account_means_for_a_delivery(
    june: Account, retailcrm: RetailcrmIntegration, faults: Faults, kind: type[Outcome], reason: str
) -> None:
    june.faults = faults
    outcome = await retailcrm.deliver("0367", EVENT, config(june))
    assert isinstance(outcome, kind)
    assert isinstance(outcome, Later | Refused)
    assert outcome.reason == reason


async def test_a_wrong_key_is_the_accounts_trouble(june: Account, retailcrm: RetailcrmIntegration) -> None:
    outcome = await retailcrm.deliver("0367", EVENT, config(june, api_key="wrong"))
    assert outcome == Later(
        reason='Wrong "apiKey" value. (HTTP 403)',
        account=True,
        response={"success": False, "errorMsg": 'Wrong "apiKey" value.'},
    )


async def test_a_request_that_will_never_be_right_is_refused_for_good(
    june: Account, retailcrm: RetailcrmIntegration
) -> None:
    wrong = Request(event_type="call_event:in", body={**EVENT.body, "type": "inbound"})
    outcome = await retailcrm.deliver("0367", wrong, config(june))
    assert isinstance(outcome, Refused)
    assert outcome.reason.startswith("Errors in the entity format: type:")


async def test_an_account_that_nobody_has_answers_with_a_page(june: Account) -> None:
    hosts = Hosts(["127.0.0.1"])
    integration = RetailcrmIntegration(hosts, timeout=1.0)
    async with Emulator() as empty:
        outcome = await integration.deliver("0367", EVENT, RetailcrmConfig(domain=empty.url, api_key="k"))
    await integration.close()
    hosts.close()
    assert isinstance(outcome, Later)
    assert "there is no such account at this domain" in outcome.reason


async def test_an_address_that_is_not_allowed_is_never_called(retailcrm: RetailcrmIntegration) -> None:
    outcome = await retailcrm.deliver("0367", EVENT, RetailcrmConfig(domain="http://10.0.0.1", api_key="k"))
    assert isinstance(outcome, Later)
    assert outcome.reason.startswith("domain: 'http://10.0.0.1' is not allowed")


async def test_an_address_where_nobody_listens(june: Account, retailcrm: RetailcrmIntegration) -> None:
    async with Emulator(Account("gone")) as crm:
        where = config(crm.account("gone"))
        await crm.down("gone")
        outcome = await retailcrm.deliver("0367", EVENT, where)
    assert isinstance(outcome, Later)
    assert outcome.reason.startswith("ConnectError")


async def test_a_new_key_is_used_at_once_and_what_is_under_way_ends_with_the_old(
    june: Account, retailcrm: RetailcrmIntegration
) -> None:
    june.faults = Faults(slow=0.3)
    old = asyncio.create_task(retailcrm.deliver("0367", EVENT, config(june)))
    async with asyncio.timeout(5):
        while not june.events:  # noqa: ASYNC110 - the emulator tells only of answered requests
            await asyncio.sleep(0.01)
    june.keys["new"] = june.keys[june.key]
    assert isinstance(await retailcrm.deliver("0367", CALL, config(june, api_key="new")), Delivered)
    assert isinstance(await old, Delivered)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, json={"success": True}),
        httpx.Response(201, json={"success": True, "info": []}),
        httpx.Response(200, json={"success": "true", "notExistCodes": []}),
        httpx.Response(200, json={"success": True, "notExistCodes": None, "notExistUsers": {}}),
    ],
)
async def test_success_in_all_its_shapes(answer: httpx.Response) -> None:
    assert (await odd(answer))["success"] in (True, "true")


@pytest.mark.parametrize(
    ("answer", "final", "says"),
    [
        (
            httpx.Response(400, json={"success": False, "errorMsg": "X", "errors": {"a": "b"}}),
            True,
            "X: a: b (HTTP 400)",
        ),
        (
            httpx.Response(400, json={"success": False, "errorMsg": "X", "errors": ["b", "c"]}),
            True,
            "X: b; c (HTTP 400)",
        ),
        (httpx.Response(400, json={"success": False, "errorMsg": "X", "errors": []}), True, "X (HTTP 400)"),
        (httpx.Response(200, json={"success": "false", "errorMsg": "Telephony not enabled"}), False, "Telephony"),
        (httpx.Response(400, json={"success": False, "errorMsg": "Access denied."}), False, "Access denied."),
        (httpx.Response(404, json={"success": False, "errorMsg": "API method not found"}), False, "API method"),
        (httpx.Response(200, json={}), False, "no reason given"),
        (httpx.Response(405, text="<html>nothing here</html>"), False, "no such account"),
        (httpx.Response(200, text="  <!DOCTYPE html>"), False, "no such account"),
        (httpx.Response(302, headers={"location": "https://evil.test"}), False, "another address"),
    ],
)
async def test_refusals_in_all_their_shapes(answer: httpx.Response, final: bool, says: str) -> None:
    with pytest.raises(CrmRefused) as refused:
        await odd(answer)
    assert refused.value.final is final
    assert says in refused.value.message


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (httpx.Response(200, text="not json"), "not JSON"),
        (httpx.Response(200, text=""), "not JSON"),
        (httpx.Response(200, text="[]"), "not an object"),
        (httpx.Response(200, text='{"success": true'), "not JSON"),
        (httpx.Response(200, content=b"\xff\xfe"), "not JSON"),
        (httpx.Response(502, text="<html>"), "HTTP 502"),
        (httpx.Response(408, text=""), "HTTP 408"),
        (httpx.Response(200, content=b"{" + b" " * 300_000 + b"}"), "more than 262144 bytes"),
        (httpx.Response(200, headers={"content-encoding": "br"}, content=b"{}"), "encoding"),
        (httpx.ConnectError("All connection attempts failed"), "ConnectError: All connection attempts failed"),
        (httpx.RemoteProtocolError("peer closed"), "RemoteProtocolError"),
    ],
)
async def test_nonsense_is_not_believed(answer: httpx.Response | Exception, says: str) -> None:
    with pytest.raises(CrmUnavailable) as unavailable:
        await odd(answer)
    assert says in unavailable.value.message


async def test_a_time_out_says_so() -> None:
    with pytest.raises(CrmTimeout, match="no answer within 1 s"):
        await odd(httpx.ReadTimeout("late"))


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("", None), ("soon", None), ("-1", None), ("9" * 30, None)]
)
async def test_the_time_a_crm_asks_for(header: str, seconds: float | None) -> None:
    with pytest.raises(CrmUnavailable) as unavailable:
        await odd(httpx.Response(503, headers={"retry-after": header}))
    assert unavailable.value.retry_after == seconds


async def test_redirects_are_not_followed() -> None:
    transport = Odd(httpx.Response(302, headers={"location": "https://june.retailcrm.ru/elsewhere"}))
    client = Client("https://june.retailcrm.ru", KEY, transport)
    with pytest.raises(CrmRefused):
        await client.call_event({}, 1.0)
    await client.close()
    assert len(transport.requests) == 1


async def test_the_key_is_in_one_header_and_nowhere_else() -> None:
    transport = Odd(httpx.Response(200, json={"success": True}))
    client = Client("https://june.retailcrm.ru", KEY, transport)
    await client.call_event({"type": "in"}, 1.0)
    await client.manager("79161234567", 1.0)
    await client.close()
    for request in transport.requests:
        assert request.headers["x-api-key"] == KEY
        assert KEY not in str(request.url)
        assert KEY.encode() not in request.content


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(403, json={"success": False, "errorMsg": f"Wrong key {KEY}", "errors": {KEY: [KEY]}}),
        httpx.Response(400, json={"success": False, "errorMsg": "X", "errors": [f"apiKey={KEY}"]}),
        httpx.ConnectError(f"cannot connect with {KEY}"),
    ],
)
async def test_a_crm_that_repeats_the_key_does_not_spread_it(answer: httpx.Response | Exception) -> None:
    with pytest.raises((CrmRefused, CrmUnavailable)) as failure:
        await odd(answer)
    problem = failure.value
    assert KEY not in problem.message
    assert KEY not in repr(getattr(problem, "response", None))
    assert problem.__cause__ is None
    assert problem.__suppress_context__ or problem.__context__ is None


@pytest.mark.parametrize("key", ["", "with space", "line\r\nX-Other: 1", "ключ", "nul\0"])
def test_a_key_that_cannot_be_one_is_refused_unshown(key: str) -> None:
    with pytest.raises(BadInput) as refused:
        Client("https://june.retailcrm.ru", key, Odd(httpx.Response(200)))
    assert refused.value.details["field"] == "api_key"
    assert not key or key not in refused.value.message
