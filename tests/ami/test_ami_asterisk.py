"""The link, the snapshot and the doctor against real Asterisks, 22 and 16."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from scripted_ami import Heard, until

from bridge.ami.doctor import Finding, examine
from bridge.ami.framing import parse
from bridge.ami.manager import Manager, Timing
from bridge.ami.pbx import PbxRow
from bridge.ami.resync import channels
from bridge.calls.model import Rules
from bridge.errors import ActionFailed
from lab.asterisk import Asterisk, provision
from lab.company import Company

Link = Callable[..., Manager]
CALL = {"Action": "Originate", "Channel": "Local/699@inoffice", "Application": "Wait", "Data": "30"}


def row(pbx: Asterisk, **fields: Any) -> PbxRow:
    given = {"username": pbx.bridge_user, "secret": pbx.bridge_secret, **fields}
    return PbxRow(id=1, enterprise_number="0367", name=pbx.name, host=pbx.host, **given)


@pytest.fixture
async def reach(heard: Heard) -> AsyncIterator[Link]:
    """`reach(pbx)` starts a link with the rights that administrators are told to give."""
    managers: list[Manager] = []

    def start(pbx: Asterisk, *, timing: Timing | None = None, **fields: Any) -> Manager:
        manager = Manager(
            row(pbx, **fields), on_frame=heard.on_frame, on_up=heard.on_up, on_down=heard.on_down, timing=timing
        )
        managers.append(manager)
        manager.start()
        return manager

    yield start
    for manager in managers:
        manager.close()
        await manager.wait_closed()


async def up(manager: Manager) -> None:
    await until(lambda: manager.state == "up", deadline=15)


async def test_a_call_is_seen_from_its_first_channel_to_its_hangup(company: Company, reach: Link, heard: Heard) -> None:
    manager = reach(company.pbx)
    await up(manager)
    assert manager.asterisk == company.pbx.version
    await manager.send({**CALL, "ChannelId": "seen-1"}, outcome=True)
    await manager.send({"Action": "Hangup", "Channel": "/^Local/699@inoffice/"})
    await until(
        lambda: b"seen-1;2" in b"".join(frame for frame in heard.frames if frame.startswith(b"Event: Hangup\r"))
    )
    told = [name for name in heard.names if name in ("Newchannel", "OriginateResponse", "Hangup")]
    assert told[0] == "Newchannel"
    assert told.count("Hangup") == 2
    await company.pbx.quiet()


async def test_calls_under_way_are_in_the_snapshot_with_their_bridge(
    company: Company, reach: Link, heard: Heard
) -> None:
    conversation = await company.inbound("79161110101", by="150")
    await up(reach(company.pbx))
    ((_, seen),) = [told for told in heard.told if told[0] == "up"]
    trunk, phone = sorted(seen, key=lambda channel: channel.name, reverse=True)
    assert phone.name.startswith("PJSIP/150-")
    assert trunk.number == "79161110101"
    assert phone.linkedid == trunk.linkedid == trunk.uniqueid
    assert phone.bridge == trunk.bridge != ""
    assert {phone.state, trunk.state} == {"Up"}
    assert trunk.seconds is not None
    await conversation.end("client")


async def test_no_channel_falls_between_the_snapshot_and_the_events(
    company: Company, reach: Link, heard: Heard
) -> None:
    async with company.pbx.tap() as tap:
        made = [f"between-{number}" for number in range(40)]

        async def originate() -> None:
            for number in made:
                await tap.send({**CALL, "Async": "true", "ChannelId": number})

        calls = asyncio.create_task(originate())
        await tap.event("Newchannel")  # calls are being made while the link logs in
        manager = reach(company.pbx)
        await up(manager)
        await calls
        known: set[str] = set()

        def all_known() -> bool:
            for kind, told in heard.told:
                if kind == "up":
                    known.update(channel.uniqueid for channel in told)
            known.update(parse(frame)["Uniqueid"] for frame in heard.frames if frame.startswith(b"Event: Newchannel\r"))
            return known.issuperset(made)

        await until(all_known)
        listed = channels((await manager.send({"Action": "CoreShowChannels"})).events)
        assert {channel.uniqueid for channel in listed} >= set(made)
        await manager.send({"Action": "Hangup", "Channel": "/^Local/699@inoffice/"})
    await company.pbx.quiet()


async def test_a_wrong_secret_is_refused_and_said(company: Company, reach: Link) -> None:
    manager = reach(company.pbx, secret="wrong")
    await until(lambda: manager.state == "auth_failed")
    assert "Authentication failed" in manager.problem


async def test_what_the_bridge_may_not_do_is_refused_in_asterisks_words(company: Company, reach: Link) -> None:
    manager = reach(company.pbx)
    await up(manager)
    with pytest.raises(ActionFailed, match="Permission denied"):
        await manager.send({"Action": "Command", "Command": "core show uptime"})
    with pytest.raises(ActionFailed, match="Forbidden"):
        await manager.send(
            {"Action": "Originate", "Channel": "Local/699@inoffice", "Application": "System", "Data": "id"}
        )
    with pytest.raises(ActionFailed, match="No such channel"):
        await manager.send({"Action": "Hangup", "Channel": "PJSIP/nobody-00000000"})


async def test_an_originate_to_a_phone_that_is_not_there_fails_with_its_reason(company: Company, reach: Link) -> None:
    manager = reach(company.pbx)
    await up(manager)
    nobody = {"Action": "Originate", "Channel": "PJSIP/999", "Application": "Wait", "Data": "1"}
    assert (await manager.send(nobody)).success  # queued
    with pytest.raises(ActionFailed, match="Failure, reason 0"):
        await manager.send(nobody, outcome=True)


async def test_a_link_for_commands_gets_no_events(company: Company, heard: Heard) -> None:
    manager = Manager(row(company.pbx), on_frame=heard.on_frame, events="off")
    manager.start()
    await manager.send({**CALL, "Data": "0", "ChannelId": "quiet-1"})
    await company.pbx.quiet()
    await manager.send({"Action": "Ping"})
    manager.close()
    await manager.wait_closed()
    assert heard.frames == []


@pytest.fixture(params=[22, 16], ids=["asterisk-22", "asterisk-16"])
async def own(request: pytest.FixtureRequest) -> AsyncIterator[Asterisk]:
    """An Asterisk of the test's own: it will be harmed."""
    installation = await asyncio.to_thread(provision, request.param)
    async with Asterisk(installation) as pbx:
        yield pbx


async def test_a_restart_is_named_and_the_link_is_back_with_a_new_snapshot(own, reach: Link, heard: Heard) -> None:
    manager = reach(own)
    await up(manager)
    await manager.send({**CALL, "ChannelId": "cut-1"}, outcome=True)
    await own.restart()
    await until(lambda: heard.count("up") == 2, deadline=15)
    kinds = [told for told in heard.told if told[0] != "frame"]
    assert kinds[1] == ("down", "The link was lost: Asterisk restarts.")
    assert kinds[2] == ("up", [])
    assert "Hangup" in heard.names  # what Asterisk said before it went was heard


async def test_after_a_kill_and_a_start_the_link_is_back(own, reach: Link, heard: Heard) -> None:
    manager = reach(own)
    await up(manager)
    await own.kill()
    await until(lambda: manager.state == "down")
    await own.start()
    await until(lambda: heard.count("up") == 2, deadline=20)


async def test_an_asterisk_that_hangs_is_noticed(own, reach: Link, heard: Heard) -> None:
    manager = reach(own, timing=Timing(idle=0.5, pong=0.5))
    await up(manager)
    assert own.pid is not None
    os.kill(own.pid, signal.SIGSTOP)
    try:
        await until(lambda: heard.count("down") == 1)
        assert "silent" in manager.problem
    finally:
        os.kill(own.pid, signal.SIGCONT)
    await until(lambda: heard.count("up") == 2, deadline=20)


def found(findings: list[Finding], subject: str) -> Finding:
    (one,) = [finding for finding in findings if finding.subject == subject]
    return one


async def test_a_pbx_set_up_as_told_has_nothing_to_complain_of(company: Company) -> None:
    pbx = row(company.pbx, rules=Rules(click_to_call_contexts=("inoffice", "bridge-click")))
    findings = await examine(pbx)
    assert [finding for finding in findings if finding.level != "ok"] == []
    assert f"Asterisk {company.pbx.version}." in found(findings, "login").problem
    assert found(findings, "events").level == "ok"


async def test_the_doctor_says_what_is_too_much_and_what_is_not_there(company: Company) -> None:
    rules = Rules(click_to_call_contexts=("nowhere",))
    pbx = row(company.pbx, username=company.pbx.lab_user, secret=company.pbx.lab_secret, rules=rules)
    findings = await examine(pbx)
    assert found(findings, "write class command").level == "warning"
    assert found(findings, "context nowhere").level == "error"
    assert found(findings, "context nowhere").advice


async def test_the_doctor_says_why_it_cannot_come_in(company: Company) -> None:
    (refused,) = await examine(row(company.pbx, secret="wrong"))
    assert (refused.level, refused.subject) == ("error", "login")
    assert "manager.conf" in refused.advice
    (nobody,) = await examine(row(company.pbx, port=1))
    assert "cannot be reached: Connection refused" in nobody.problem


async def test_the_doctor_says_which_rights_are_missing(own: Asterisk) -> None:
    await add_user(own, "poor", read="user", write="user")
    findings = await examine(row(own, username="poor", secret="poor"))
    errors = {finding.subject for finding in findings if finding.level == "error"}
    assert errors == {
        "read class system",
        "write class originate",
        "write class call",
        "write class reporting",
    }
    await add_user(own, "deaf", read="system", write="call,originate,reporting")
    findings = await examine(row(own, username="deaf", secret="deaf"))
    assert [finding.subject for finding in findings if finding.level == "error"] == ["read class call"]


async def add_user(pbx: Asterisk, name: str, *, read: str, write: str) -> None:
    conf = pbx.work / "etc" / "manager.conf"
    conf.write_text(conf.read_text() + f"\n[{name}]\nsecret = {name}\nread = {read}\nwrite = {write}\n")
    await pbx.cli("manager reload")
