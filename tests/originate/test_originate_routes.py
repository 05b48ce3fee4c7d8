"""The routes CRMs, their users' tools and older dialplans call: who may, what they may say, and what they hear."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from originate_pbx import ScriptedPbx, clicks
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from two_enterprises import furnish

from bridge.crm.retailcrm.routes import RetailcrmRoutes
from bridge.db.pool import Pool
from bridge.errors import ActionFailed, PbxUnavailable, Unauthorized
from bridge.http.errors import HANDLERS
from bridge.lookups import Lookups
from bridge.redirect import Redirects, RoutingMetrics
from bridge.routing import Responsible

KNOWN = "+79165550152"


@dataclass
class Config:
    user_extensions: dict[str, str | None]


class Crms:
    """RetailCRM of every enterprise: one person is known; users 19 and 22 are, 22 without a number."""

    kind = "retailcrm"

    def __init__(self) -> None:
        self.on = {"0367": {"retailcrm": True}, "0999": {"retailcrm": True}}

    def enabled(self, enterprise_number: str) -> dict[str, bool]:
        return self.on.get(enterprise_number, {})

    async def get(self, enterprise_number: str, integration_type: str) -> Config:
        return Config({"19": "150", "22": None} if enterprise_number == "0367" else {"19": "101"})

    async def responsible(self, enterprise_number: str, phone: str, config: Any, timeout: float) -> Responsible | None:
        return Responsible(user_id="19", customer='Roe, "Ann"') if phone == KNOWN else None


@dataclass
class Guest:
    enterprise_number: str | None


@dataclass
class Office:
    client: httpx.AsyncClient
    pbx: ScriptedPbx
    crms: Crms
    pool: Pool

    async def get(self, path: str, **params: str) -> httpx.Response:
        return await self.client.get(path, params=params)


@pytest.fixture
async def office(pool: Pool) -> AsyncIterator[Office]:
    directory = await furnish(pool)
    crms, pbx, registry = Crms(), ScriptedPbx(), CollectorRegistry()
    lookups = Lookups(crms, crms, {"retailcrm": crms}, registry)  # type: ignore[dict-item]
    redirects = Redirects(directory, lookups, pbx, pool, RoutingMetrics(registry))

    async def reception(request: Request) -> Guest | None:
        who = request.headers.get("X-Guest")
        if who == "forged":
            raise Unauthorized()
        return Guest(None if who == "staff" else who) if who else None

    ours = clicks(directory, pbx, pool, answer_within=5.0)[0]
    routes = RetailcrmRoutes(directory, lookups, ours, redirects, reception).routes()
    app = Starlette(routes=routes, exception_handlers=HANDLERS)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://bridge") as client:
        yield Office(client, pbx, crms, pool)
    await ours.close()
    await redirects.close()


def problem(response: httpx.Response) -> str:
    body = response.json()
    assert body["success"] is False
    return str(body["error"]["message"])


CLICK = {"clientId": "june-client", "userId": "19", "phone": "+79031112233"}


async def test_a_click_in_the_crm_rings_the_users_extension(office: Office) -> None:
    response = await office.get("/retailcrm/make-call", **CLICK)

    assert response.status_code == 200
    assert response.json() == {
        "success": True,
        "data": {"status": "queued", "pbx": "office", "extension": "150", "phone": "79031112233", "repeated": False},
    }
    assert office.pbx.sent[0]["Channel"] == "PJSIP/150"


@pytest.mark.parametrize("how", ["query", "form", "json", "multipart", "both"])
async def test_it_may_be_sent_in_any_of_the_crms_ways(office: Office, how: str) -> None:
    path = "/retailcrm/make-call"
    match how:
        case "query":
            response = await office.client.post(path, params=CLICK)
        case "form":
            response = await office.client.post(path, data=CLICK)
        case "json":
            response = await office.client.post(path, json={**CLICK, "userId": 19, "code": None})
        case "multipart":
            response = await office.client.post(path, files={name: (None, value) for name, value in CLICK.items()})
        case _:
            response = await office.client.post(
                path, params={"clientId": "june-client"}, data={**CLICK, "clientId": "june-secret"}
            )

    assert (response.status_code, len(office.pbx.sent)) == (200, 1)


async def test_the_code_wins_over_the_user_and_an_unescaped_plus_is_tolerated(office: Office) -> None:
    response = await office.client.get(
        "/retailcrm/make-call?clientId=june-client&userId=99&code=151&phone=+79031112233&externalPhone=+74951000001"
    )
    assert response.status_code == 200
    assert (office.pbx.sent[0]["Channel"], office.pbx.sent[0]["Exten"]) == ("PJSIP/151", "79031112233")
    assert "__BRIDGE_LINE=+74951000001" in office.pbx.sent[0]["Variable"]


async def test_a_repeated_click_is_the_same_request(office: Office) -> None:
    first, second = [await office.get("/retailcrm/make-call", **CLICK) for _ in range(2)]

    assert [first.json()["data"]["repeated"], second.json()["data"]["repeated"]] == [False, True]
    assert len(office.pbx.sent) == 1


@pytest.mark.parametrize("user", ["999", "22", "19 or 1=1"])
async def test_a_user_without_an_extension_is_said_so(office: Office, user: str) -> None:
    response = await office.get("/retailcrm/make-call", **{**CLICK, "userId": user})

    assert (response.status_code, problem(response)) == (400, f"No extension configured for user {user}")
    assert office.pbx.sent == []


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"userId": ""}, 400),
        ({"code": "999"}, 400),
        ({"code": "150\r\nAction: Command"}, 400),
        ({"phone": ""}, 400),
        ({"phone": "+7903\r\nAction: Originate"}, 400),
        ({"phone": "x\0y"}, 400),
        ({"externalPhone": "$(id)"}, 400),
        ({"clientId": ""}, 401),
        ({"clientId": "0367"}, 401),
        ({"clientId": "june-secret"}, 401),
        ({"clientId": "\0"}, 401),
    ],
)
async def test_what_is_wrong_is_refused_before_anything_is_sent(
    office: Office, changes: dict[str, str], status: int
) -> None:
    response = await office.get("/retailcrm/make-call", **{**CLICK, **changes})

    assert response.status_code == status
    assert problem(response)
    assert office.pbx.sent == []


async def test_one_enterprises_client_id_rings_no_phone_of_another(office: Office) -> None:
    response = await office.get("/retailcrm/make-call", **{**CLICK, "clientId": "other-client"})

    assert response.json()["data"]["pbx"] == "other"
    assert response.json()["data"]["extension"] == "101"


async def test_a_crm_that_is_switched_off_makes_no_calls(office: Office) -> None:
    office.crms.on["0367"] = {"retailcrm": False}
    response = await office.get("/retailcrm/make-call", **CLICK)

    assert (response.status_code, office.pbx.sent) == (403, [])


@pytest.mark.parametrize(("trouble", "status"), [(PbxUnavailable("down"), 503), (ActionFailed("no"), 502)])
async def test_a_pbx_that_cannot_is_said(office: Office, trouble: Exception, status: int) -> None:
    office.pbx.problem = trouble  # type: ignore[assignment]
    response = await office.get("/retailcrm/make-call", **CLICK)

    assert (response.status_code, problem(response)) == (status, str(trouble))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"userId": {"a": 1}}', b"\xff"])
async def test_a_body_that_is_none_is_bad_input(office: Office, body: bytes) -> None:
    response = await office.client.post(
        "/retailcrm/make-call", content=body, headers={"Content-Type": "application/json"}
    )
    assert response.status_code == 400


async def test_the_older_way_in_answers_in_its_own_shape(office: Office) -> None:
    response = await office.get("/api/makecallexternal", code="150", phone="+79031112233", clientId="june-secret")
    body = response.json()

    assert response.status_code == 200
    assert body.pop("response_time_ms") >= 0
    assert body == {
        "success": True,
        "message": "Call from 150 to 79031112233 is queued",
        "enterprise": "June",
        "enterprise_number": "0367",
        "from_ext": "150",
        "to_phone": "79031112233",
        "pbx": "office",
        "repeated": False,
    }


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"clientId": "june-client"}, 401),
        ({"clientId": "0367"}, 401),
        ({"clientId": ""}, 401),
        ({"code": "150;id"}, 400),
        ({"phone": "`id`"}, 400),
        ({"code": ""}, 400),
    ],
)
async def test_the_older_way_in_believes_nothing_more(office: Office, changes: dict[str, str], status: int) -> None:
    asked = {"code": "150", "phone": "+79031112233", "clientId": "june-secret", **changes}
    response = await office.get("/api/makecallexternal", **asked)

    assert (response.status_code, office.pbx.sent) == (status, [])
    if status == 401:
        assert problem(response) == "Invalid clientId"


@pytest.mark.parametrize("prefix", ["/retailcrm/api", "/retailcrm-admin/api", "/api"])
@pytest.mark.parametrize("proof", [{"Token": "june-secret"}, {"X-Guest": "0367"}, {"X-Guest": "staff"}])
async def test_who_should_get_a_caller_is_told_to_the_enterprises_own(
    office: Office, prefix: str, proof: dict[str, str]
) -> None:
    response = await office.client.post(
        f"{prefix}/smart-redirect", json={"enterprise_number": "0367", "phone": KNOWN}, headers=proof
    )
    assert response.json() == {
        "success": True,
        "data": {"extension": "150", "name": "Roe Ann", "reason": "mapped", "redirected": False},
    }


@pytest.mark.parametrize(
    ("proof", "enterprise", "status"),
    [
        ({}, "0367", 401),
        ({"X-Guest": "forged"}, "0367", 401),
        ({"Token": "june-client"}, "0367", 401),
        ({"Token": ""}, "0367", 401),
        ({"Token": "june-secret"}, "0999", 404),
        ({"X-Guest": "0999"}, "0367", 404),
        ({"X-Guest": "staff"}, "none", 404),
    ],
)
async def test_nobody_else_is_told(office: Office, proof: dict[str, str], enterprise: str, status: int) -> None:
    response = await office.client.post(
        "/api/smart-redirect", json={"enterprise_number": enterprise, "phone": KNOWN}, headers=proof
    )
    assert (response.status_code, response.json()["success"]) == (status, False)


@pytest.mark.parametrize("body", [{}, {"enterprise_number": 367, "phone": KNOWN}, [], {"enterprise_number": "0367"}])
async def test_a_question_that_lacks_something_names_it(office: Office, body: object) -> None:
    response = await office.client.post("/api/smart-redirect", json=body, headers={"Token": "june-secret"})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "BAD_REQUEST")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"enterprise_number": "0367"}, "phone"),
        ({"phone": KNOWN}, "enterprise_number"),
        ({"enterprise_number": "0367", "phone": 79165550152}, "phone"),
        ({"enterprise_number": 367, "phone": KNOWN}, "enterprise_number"),
        ({"enterprise_number": "0367", "phone": "7916\0"}, "phone"),
        ({"enterprise_number": "0367", "phone": KNOWN, "call_unique_id": 5}, "call_unique_id"),
        ([], "body"),
    ],
)
async def test_the_wrong_field_of_a_question_is_named(office: Office, body: object, field: str) -> None:
    response = await office.client.post("/api/smart-redirect", json=body, headers={"Token": "june-secret"})
    error = response.json()["error"]
    assert (response.status_code, error["details"]["field"]) == (400, field)
    assert error["message"].startswith(f"{field}: ")


@pytest.mark.parametrize("path", ["/retailcrm/make-call", "/api/makecallexternal"])
async def test_asking_for_the_head_of_an_answer_rings_nobody(office: Office, path: str) -> None:
    secret = {"/retailcrm/make-call": "june-client", "/api/makecallexternal": "june-secret"}[path]
    response = await office.client.head(path, params={"clientId": secret, "code": "150", "phone": "+79031112233"})
    assert response.status_code == 405
    assert "HEAD" not in response.headers["allow"]
    assert office.pbx.sent == []


async def test_a_live_call_that_is_not_there_is_said(office: Office) -> None:
    class Empty:
        events: tuple[()] = ()

    async def send(action: Any, *, timeout: float | None = None) -> Empty:
        return Empty()

    office.pbx.send = send  # type: ignore[assignment, method-assign]
    response = await office.client.post(
        "/api/smart-redirect",
        json={"enterprise_number": "0367", "phone": KNOWN, "call_unique_id": "1.1"},
        headers={"Token": "june-secret"},
    )
    assert (response.status_code, response.json()["error"]["code"]) == (404, "CALL_NOT_FOUND")


ASKED = {"UniqueId": "1.1", "Phone": "79165550152", "TrunkId": "0001001", "LoadDialPlan": "true"}


@pytest.mark.parametrize("token", ["june-secret", "office-token"])
@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({}, b'{"Name":"Roe Ann","DialPlan":"mngr150_0001001_1"}'),
        ({"LoadDialPlan": "false"}, b'{"Name":"Roe Ann","DialPlan":null}'),
        ({"TrunkId": "0009999"}, b'{"Name":"","DialPlan":null}'),
        ({"Phone": "79160000000"}, b'{"Name":"","DialPlan":"mngr150_0001001_1"}'),
        ({"TrunkId": "84951000005"}, b'{"Name":"Roe Ann","DialPlan":null}'),
    ],
)
async def test_older_dialplans_get_their_answer_byte_for_byte(
    office: Office, token: str, changes: dict[str, str], answer: bytes
) -> None:
    response = await office.client.post(
        "/api/callevent/getcustomerdata", json={**ASKED, **changes}, headers={"Token": token}
    )
    assert (response.status_code, response.content) == (200, answer)


@pytest.mark.parametrize("token", ["", "0367", "june-client"])
async def test_older_dialplans_of_nobody_get_nothing(office: Office, token: str) -> None:
    response = await office.client.post("/api/callevent/getcustomerdata", json=ASKED, headers={"Token": token})
    assert response.status_code == 401


async def test_a_hundred_clicks_of_as_many_managers_are_answered_side_by_side(office: Office) -> None:
    asked = [{**CLICK, "code": str(100 + number)} for number in range(100)]
    answers = await asyncio.gather(*(office.get("/retailcrm/make-call", **params) for params in asked))

    assert {answer.status_code for answer in answers} == {200}
    assert len({action["ChannelId"] for action in office.pbx.sent}) == 100
