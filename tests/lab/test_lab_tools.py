"""Load by SIPp, a headless browser, and the developer's command line."""

from __future__ import annotations

import asyncio
import json
import os
import sys

import pytest

from lab import browser, desk, sipp
from lab.company import Company
from lab.errors import LabError


async def test_sipp_makes_as_many_calls_as_it_is_told(company22: Company) -> None:
    load = await sipp.call_in(company22.pbx, "wait", calls=60, rate=60, talk=0.2)

    assert (load.calls, load.succeeded, load.failed) == (60, 60, 0)


async def test_sipp_calls_through_to_somebody_who_answers(company22: Company) -> None:
    async with sipp.answering(company22.pbx):
        load = await sipp.call_in(company22.pbx, "bridge", calls=10, rate=20, talk=0.2)

    assert (load.succeeded, load.failed) == (10, 0)


async def test_calls_that_asterisk_does_not_take_are_counted(company22: Company) -> None:
    load = await sipp.call_in(company22.pbx, "nowhere", calls=5, rate=50)

    assert (load.succeeded, load.failed) == (0, 5)


async def test_a_load_that_takes_too_long_is_cut_off(company22: Company) -> None:
    with pytest.raises(LabError, match="timed out"):
        await sipp.call_in(company22.pbx, "wait", calls=3, rate=10, talk=30, timeout=1)
    for channel in (await company22.pbx.cli("core show channels concise")).splitlines():
        await company22.pbx.cli(f"channel request hangup {channel.partition('!')[0]}")
    await company22.pbx.quiet()


async def test_a_page_is_rendered_with_its_letters() -> None:
    async with browser.opened() as chromium:
        page = await chromium.new_page()
        await page.set_content("<span style='font-size:100px'>Звонок</span>")
        width = await page.evaluate("document.querySelector('span').offsetWidth")

    assert width > 200


async def _lab(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "lab", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_a_developer_keeps_an_office_open_and_has_calls_made() -> None:
    name = f"test-{os.getpid()}"
    code, said, problem = await _lab("start", "--name", name)
    assert code == 0, problem
    try:
        assert "asterisk    22" in said
        code, said, problem = await _lab("call", "inbound_answered", "-o", "by=151", "-o", "talk=0.1", "--name", name)
        assert code == 0, problem
        assert json.loads(said)["answered_by"] == "151"

        code, _, problem = await _lab("call", "internal", "-o", "client=1", "--name", name)
        assert (code, "internal takes by, to, ring, talk; not client" in problem) == (1, True)

        code, said, _ = await _lab("cli", "core show channels count", "--name", name)
        assert (code, "0 active" in said) == (0, True)

        code, _, problem = await _lab("start", "--name", name)
        assert (code, "runs already" in problem) == (1, True)
    finally:
        code, _, problem = await _lab("stop", "--name", name)
    assert code == 0, problem
    desk.log_path(name).unlink()

    code, _, problem = await _lab("status", "--name", name)
    assert (code, f"no lab named '{name}' is running" in problem) == (1, True)
