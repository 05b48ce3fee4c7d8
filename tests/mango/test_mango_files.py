"""The link of a recording: asked of the product that has it, given once, leading only where we may call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from mango_company import NUMBER, OTHER, Company, found, instance
from mango_office import PRODUCT, MangoOffice, refusal
from starlette.responses import Response

from bridge.db.pool import Pool
from bridge.errors import BadInput, BridgeError, MangoPaused, MangoRefused, MangoUnavailable, NotFound
from bridge.hosts import Hosts
from bridge.mango.config import Product
from bridge.mango.files import Files

RECORDING = "MToxMDA5Njg3Nzo1MDY+/=="
SECOND = Product(api_key="second-key", api_salt="second-salt")


def sends_to(location: str, status: int = 302) -> Response:
    return Response(status_code=status, headers={"location": location})


@pytest.fixture
async def office() -> AsyncIterator[MangoOffice]:
    async with MangoOffice() as office:
        yield office


@pytest.fixture
async def company(pool: Pool, office: MangoOffice) -> AsyncIterator[Company]:
    await found(pool)
    async with instance(pool, office) as company:
        yield company


def files(company: Company) -> Files:
    hosts = Hosts(["127.0.0.1"])
    return Files(company.api, company.products, hosts, company.pool, company.office.url)


@pytest.mark.parametrize(
    ("location", "link"),
    [
        ("https://files.mango-office.ru/a?b=c%2B", "https://files.mango-office.ru/a?b=c%2B"),
        ("http://127.0.0.1:9/x", "http://127.0.0.1:9/x"),
    ],
)
async def test_the_link_is_given_and_not_followed(
    company: Company, office: MangoOffice, location: str, link: str
) -> None:
    office.behave = lambda asked: sends_to(location)
    assert await files(company).recording_link(NUMBER, RECORDING) == link
    [asked] = office.asked
    assert asked.path == "queries/recording/post"
    assert asked.question == {"recording_id": RECORDING, "action": "download"}


async def test_a_link_on_the_same_host(company: Company, office: MangoOffice) -> None:
    office.behave = lambda asked: sends_to("/files/one-time", 303)
    link = await files(company).recording_link(NUMBER, RECORDING)
    assert link == f"{office.listener.url}/files/one-time"


@pytest.mark.parametrize(
    "location",
    ["https://evil.test/a", "http://files.mango-office.ru/a", "https://169.254.169.254/", "file:///etc/passwd",
     "https://mango-office.ru.evil.test/", "https://u:p@files.mango-office.ru/", "//evil.test/a", ""],
)  # fmt: skip
async def test_a_link_that_leads_elsewhere_is_none(company: Company, office: MangoOffice, location: str) -> None:
    office.behave = lambda asked: sends_to(location)
    with pytest.raises(MangoUnavailable):
        await files(company).recording_link(NUMBER, RECORDING)


@pytest.mark.parametrize(("answer", "result"), [(404, None), (refusal(4003, 200), 4003), (refusal(3300), 3300)])
async def test_a_file_that_is_not_there(company: Company, office: MangoOffice, answer: Any, result: int | None) -> None:
    office.behave = lambda asked: answer
    with pytest.raises(MangoRefused) as refused:
        await files(company).recording_link(NUMBER, RECORDING)
    assert refused.value.result == result
    if result == 3300:
        with pytest.raises(MangoPaused):
            await files(company).recording_link(NUMBER, RECORDING)
        assert len(office.asked) == 1


@pytest.mark.parametrize("answer", [{"result": 1000}, Response(b"ID3", media_type="audio/mpeg"), 503])
async def test_an_answer_without_a_link(company: Company, office: MangoOffice, answer: Any) -> None:
    office.behave = lambda asked: answer
    with pytest.raises(MangoUnavailable):
        await files(company).recording_link(NUMBER, RECORDING)


@pytest.mark.parametrize(
    ("enterprise", "recording", "problem"),
    [(OTHER, RECORDING, NotFound), (NUMBER, "", BadInput), (NUMBER, "a\r\nb", BadInput), (NUMBER, "x" * 129, BadInput)],
)
async def test_what_cannot_be_is_not_asked(
    company: Company, office: MangoOffice, enterprise: str, recording: str, problem: type[BridgeError]
) -> None:
    with pytest.raises(problem):
        await files(company).recording_link(enterprise, recording)
    assert office.asked == []


async def test_of_several_products_that_one_is_asked_which_told_of_the_call(pool: Pool, office: MangoOffice) -> None:
    await found(pool, products=[SECOND, PRODUCT])
    office.behave = lambda asked: sends_to("https://files.mango-office.ru/a")
    async with instance(pool, office) as company:
        with pytest.raises(NotFound):
            await files(company).recording_link(NUMBER, RECORDING)
        assert office.asked == []

        await company.hears([("/events/record/added", {"entry_id": "e", "recording_id": RECORDING})])
        await pool.execute(
            "insert into recordings (enterprise_number, pbx_name, call_id, source, part, reference, link_id)"
            " values ($1, 'mango', 'e', 'mango', 'p', $2, 'l')",
            NUMBER,
            RECORDING,
        )
        await files(company).recording_link(NUMBER, RECORDING)
    assert [asked.signed for asked in office.asked] == [True]
