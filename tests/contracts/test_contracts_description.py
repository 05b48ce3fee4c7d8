"""/openapi.json describes all of the API: what HTTP has by itself, and the routes that CRMs and dialplans call."""

from __future__ import annotations

from typing import Any

from openapi_spec_validator import OpenAPIV31SpecValidator
from prometheus_client import CollectorRegistry
from starlette.requests import Request

from bridge.crm.retailcrm.description import description
from bridge.crm.retailcrm.routes import PREFIXES, RetailcrmRoutes
from bridge.http.openapi import document
from bridge.http.routes import API


def whole() -> dict[str, Any]:
    return document(API, "https://bridge.example", [description()])


def test_the_whole_document_is_valid() -> None:
    OpenAPIV31SpecValidator(whole()).validate()


async def test_every_route_of_the_crm_is_described_or_named_as_another_path() -> None:
    async def nobody(request: Request) -> None:
        return None

    routes = RetailcrmRoutes(*[CollectorRegistry()] * 4, nobody).routes()  # type: ignore[arg-type]
    served = {(route.path, method.lower()) for route in routes for method in route.methods or ()}

    described = {(path, method) for path, methods in whole()["paths"].items() for method in methods}
    others = {(f"{prefix}/smart-redirect", "post") for prefix in PREFIXES[1:]}
    assert served <= described | others
    text = whole()["paths"][f"{PREFIXES[0]}/smart-redirect"]["post"]["description"]
    assert all(path in text for path, _ in others)


def test_what_is_sent_and_answered_is_described() -> None:
    paths, schemas = whole()["paths"], whole()["components"]["schemas"]

    click = paths["/retailcrm/make-call"]["get"]
    assert [parameter["name"] for parameter in click["parameters"] if parameter["required"]] == ["clientId", "phone"]
    assert set(schemas["MakeCall"]["properties"]) == {"clientId", "userId", "code", "phone", "externalPhone"}
    assert set(schemas["Redirected"]["required"]) == {"extension", "name", "reason", "redirected"}
    assert schemas["Asked"]["required"] == ["enterprise_number", "phone"]
    assert (
        "status" in paths["/health"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]["properties"]
    )
