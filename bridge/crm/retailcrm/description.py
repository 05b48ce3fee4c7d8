"""What the API's description (OpenAPI 3.1) says of RetailCRM's routes and of those older dialplans and tools call."""

from __future__ import annotations

from typing import Any

import msgspec

from bridge.calls.click import ClickAnswer
from bridge.crm.retailcrm.routes import PREFIXES, Asked, CalledExternally, CustomerQuestion, MakeCall, Redirected

_REF = "#/components/schemas/{name}"
_TOKEN = {"enterprise_secret": {"type": "apiKey", "in": "header", "name": "Token"}}
_OTHER_PATHS = ", ".join(f"`{prefix}/smart-redirect`" for prefix in PREFIXES[1:])


def description() -> dict[str, Any]:
    """Paths and components, to be merged into the document of the rest."""
    kinds = (MakeCall, Asked, CustomerQuestion, ClickAnswer, Redirected, CalledExternally)
    (make_call, asked, question, click, redirected, called), schemas = msgspec.json.schema_components(
        kinds, ref_template=_REF
    )
    form = {"application/x-www-form-urlencoded": {"schema": make_call}, "application/json": {"schema": make_call}}
    click_to_call = {
        "summary": "Ring a manager's phone, then the client's",
        "description": "For RetailCRM: `clientId` is the module's. `code` wins over `userId`. The same within 15 s is "
        "the same request.",
    }
    return {
        "paths": {
            "/retailcrm/make-call": {
                "get": {
                    "operationId": "get_retailcrm_make_call",
                    **click_to_call,
                    "parameters": [
                        _in_query(name) for name in ("clientId", "userId", "code", "phone", "externalPhone")
                    ],
                    "responses": _answers("Queued", _enveloped(click)),
                },
                "post": {
                    "operationId": "post_retailcrm_make_call",
                    **click_to_call,
                    "requestBody": {"required": True, "content": form},
                    "responses": _answers("Queued", _enveloped(click)),
                },
            },
            "/api/makecallexternal": {
                "get": {
                    "operationId": "get_api_makecallexternal",
                    "summary": "Ring an extension's phone, then a number",
                    "description": "The older way in: `clientId` is the enterprise's secret.",
                    "parameters": [_in_query(name) for name in ("clientId", "code", "phone")],
                    "responses": _answers("Queued", called),
                }
            },
            f"{PREFIXES[0]}/smart-redirect": {
                "post": {
                    "operationId": "post_retailcrm_api_smart_redirect",
                    "summary": "Who should get a caller",
                    "description": "Redirects the live call when its id is given, and only answers otherwise. Also at "
                    f"{_OTHER_PATHS}.",
                    "security": [{"token": []}, {"enterprise_secret": []}],
                    "requestBody": {"required": True, "content": {"application/json": {"schema": asked}}},
                    "responses": _answers("Who, and why", _enveloped(redirected)),
                }
            },
            "/api/callevent/getcustomerdata": {
                "post": {
                    "operationId": "post_api_callevent_getcustomerdata",
                    "summary": "Who is calling, and which context gets the call, for older dialplans",
                    "description": 'Exactly `{"Name":"…","DialPlan":"…"}`; `DialPlan` may be null.',
                    "security": [{"enterprise_secret": []}],
                    "requestBody": {"required": True, "content": {"application/json": {"schema": question}}},
                    "responses": _answers("Compact JSON", {"type": "object", "required": ["Name", "DialPlan"]}),
                }
            },
        },
        "components": {"schemas": schemas, "securitySchemes": _TOKEN},
    }


def _in_query(name: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": name in ("clientId", "phone"), "schema": {"type": "string"}}


def _enveloped(data: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"success": {"const": True}, "data": data},
        "required": ["success", "data"],
    }


def _answers(said: str, schema: dict[str, Any]) -> dict[str, Any]:
    failure = {"schema": {"$ref": _REF.format(name="Failure")}}
    return {
        "200": {"description": said, "content": {"application/json": {"schema": schema}}},
        "default": {"description": "Refused, or failed", "content": {"application/json": failure}},
    }
