"""The page in a real browser: sign in, see a call come, be answered and end, without a reload."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
from http_office import PASSWORD, Exchanges, Feed, Office
from playwright.async_api import Browser, Page, expect
from test_http_live import serving

from bridge.calls.model import Answered, Call, Change, Ended, Ringing, Started
from bridge.db import calls
from bridge.db.calls import CallWrite
from bridge.db.pool import Pool
from bridge.http.app import create_app
from bridge.http.services import PbxState, Services
from lab.browser import opened


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with opened() as browser:
        yield browser


async def _open(
    browser: Browser, url: str, name: str, locale: str = "en-US", width: int = 1280
) -> tuple[Page, list[str]]:
    """A signed-in page, and what its console complained of."""
    context = await browser.new_context(locale=locale, viewport={"width": width, "height": 800})
    page = await context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type != "log" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.goto(url)
    await expect(page).to_have_url(url + "/login")
    await page.get_by_role("textbox").first.fill(f"{name}@example.com")
    await page.locator("input[type=password]").fill(PASSWORD)
    await page.get_by_role("button").click()
    await expect(page.locator("#link.on")).to_be_visible()
    return page, complaints


async def test_a_call_comes_is_answered_and_ends_before_ones_eyes(
    browser: Browser, services: Services, office: Office, pool: Pool
) -> None:
    feed = services.feed
    assert isinstance(feed, Feed)

    async def write(call: Call, change: Change) -> int:
        async with pool.acquire() as db, db.transaction():
            (row,) = (await calls.save(db, "0367", "office", [CallWrite(call=call, changes=[change])])).values()
        feed.announce("0367", row)
        return row

    call = Call(call_id="1795229999.7", direction="inbound", client_number="+79165550011", started_at=services.clock())
    async with serving(create_app(services)) as (_, url):
        page, complaints = await _open(browser, url, "olga")
        await page.evaluate("window.never_reloaded = true")
        await expect(page.locator("#active-count")).to_have_text("1")

        row = await write(call, Started(call=call))
        shown = page.locator(f"#active #call-{row}")
        await expect(shown).to_contain_text("+7 916 555-00-11")
        await expect(shown).to_contain_text("ringing")
        await expect(page.locator("#active-count")).to_have_text("2")
        await expect(page.locator("#active tr").first).to_have_id(f"call-{row}")

        call.extensions = ["150", "151"]
        await write(call, Ringing(call=call, extensions=("150", "151")))
        await expect(shown.locator(".extension")).to_have_text(["150", "151"])

        call.answered_by, call.answered_at = "151", services.clock()
        await write(call, Answered(call=call, extension="151", first=True))
        await expect(shown).to_contain_text("talking")
        await expect(shown.locator(".extension.talked")).to_have_text("151")
        await expect(shown.locator(".talked [data-since]")).to_have_text(re.compile("0:0[1-9]"))

        call.status, call.ended_at, call.wait_seconds, call.talk_seconds = "answered", services.clock(), 4, 75
        await write(call, Ended(call=call))
        over = page.locator(f"#recent #call-{row}")
        await expect(over).to_contain_text("answered")
        await expect(over).to_contain_text("1:15")
        await expect(page.locator("#active-count")).to_have_text("1")
        await expect(page.locator(f"#call-{row}")).to_have_count(1)

        assert await page.evaluate("window.never_reloaded")
        assert complaints == []


async def test_a_dead_letter_is_sent_again_with_a_button(browser: Browser, services: Services, office: Office) -> None:
    async with serving(create_app(services)) as (_, url):
        page, complaints = await _open(browser, url, "olga")
        row = page.locator(f"#delivery-{office.deliveries['dead']}")
        await expect(row).to_contain_text("the CRM refused it")

        await row.get_by_role("button").click()

        await expect(row).to_contain_text("pending")
        await expect(row.get_by_role("button")).to_have_count(0)
        assert complaints == []


async def test_the_page_speaks_russian_fits_a_telephone_and_can_be_left(
    browser: Browser, services: Services, office: Office
) -> None:
    async with serving(create_app(services)) as (_, url):
        page, complaints = await _open(browser, url, "anna", "ru-RU", width=360)

        await expect(page.get_by_role("heading", name="Звонки сейчас")).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360
        await expect(page.locator("#deliveries")).to_have_count(0)
        await page.get_by_role("link", name="EN").click()
        await expect(page.get_by_role("heading", name="Live calls")).to_be_visible()
        await page.get_by_role("button", name="Sign out").click()
        await expect(page).to_have_url(url + "/login")
        await page.goto(url)
        await expect(page).to_have_url(url + "/login")
        assert complaints == []


async def test_a_page_left_open_comes_back_by_itself_with_what_it_missed(
    browser: Browser, services: Services, office: Office, pool: Pool
) -> None:
    assert isinstance(services.pbxs, Exchanges)
    async with serving(create_app(services)) as (server, url):
        page, _ = await _open(browser, url, "olga")
        port = int(url.rpartition(":")[2])
        server.stop()
        await expect(page.locator("#link.on")).to_have_count(0)
    await pool.execute("update calls set result = 'answered' where id = $1", office.calls["live"])
    services.pbxs.now = [PbxState(enterprise_number="0367", name="office", state="down", problem="it is off")]

    async with serving(create_app(_anew(services)), port):
        await expect(page.locator("#link.on")).to_be_visible(timeout=15000)
        await expect(page.locator("#active-count")).to_have_text("0")
        await expect(page.locator("#pbxs")).to_contain_text("it is off")


async def test_a_session_that_ended_elsewhere_leads_to_the_door(
    browser: Browser, services: Services, office: Office, pool: Pool
) -> None:
    async with serving(create_app(services)) as (server, url):
        page, _ = await _open(browser, url, "olga")
        port = int(url.rpartition(":")[2])
        await pool.execute("delete from sessions")
        server.stop()
    async with serving(create_app(_anew(services)), port):
        await expect(page).to_have_url(url + "/login", timeout=15000)


def _anew(services: Services) -> Services:
    """The same house after a restart: metrics are counted from nothing."""
    return Services(
        settings=services.settings,
        pool=services.pool,
        pbxs=services.pbxs,
        matrix=services.matrix,
        scripts=services.scripts,
        feed=Feed(),
    )
