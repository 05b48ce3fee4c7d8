"""The link's life with a PBX that greets, refuses, restarts, talks nonsense or is of another age."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from scripted_ami import ScriptedAmi, mute, until

from bridge.ami.actions import MAX_HEADERS, Action, redacted
from bridge.ami.framing import Message
from bridge.ami.manager import Manager, Timing
from bridge.errors import ActionFailed, BadInput, ConnectionLost, PbxUnavailable

Link = Callable[..., Manager]
ONCE = Timing(connect=1, login=0.3, snapshot=0.3, retry_first=60)


async def up(manager: Manager) -> None:
    await until(lambda: manager.state == "up")


async def down(manager: Manager) -> str:
    await until(lambda: manager.state not in ("connecting", "up"))
    return manager.problem


@pytest.mark.parametrize(
    "greeting", ["HTTP/1.1 400 Bad Request\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n", "x" * 5000, "\r\n\r\n", "220 smtp\r\n"]
)
async def test_something_that_is_no_asterisk_is_dropped_and_nothing_is_sent_to_it(link: Link, heard, greeting) -> None:
    async with ScriptedAmi(banner=greeting) as pbx:
        manager = link(pbx, timing=ONCE)
        assert "does not greet as Asterisk does" in await down(manager)
        assert pbx.wire == []
        assert heard.told == []


async def test_something_that_is_no_asterisk_is_tried_again_and_taken_when_it_is_one(link: Link) -> None:
    async with ScriptedAmi(banner="nonsense\r\n") as pbx:
        manager = link(pbx)
        await until(lambda: len(pbx.sessions) >= 3)
        pbx.banner = "Asterisk Call Manager/11.0.0\r\n"
        await up(manager)


async def test_something_that_accepts_and_stays_silent_is_left(link: Link) -> None:
    async with ScriptedAmi(banner="") as pbx:
        assert "does not greet" in await down(link(pbx, timing=ONCE))


async def test_a_greeting_cut_in_pieces_is_a_greeting(link: Link) -> None:
    async with ScriptedAmi(banner="") as pbx:
        manager = link(pbx, timing=Timing(retry_first=60))
        await until(lambda: pbx.sessions)
        for byte in b"Asterisk Call Manager/5.0.4\r\n":
            pbx.session.send(bytes([byte]))
            await asyncio.sleep(0)
        await up(manager)
        assert manager.asterisk == 16


@pytest.mark.parametrize("version", ["1.1", "2.10.6", "3.2.0", "4.0.3"])
async def test_an_asterisk_too_old_is_refused_in_words(link: Link, version: str) -> None:
    async with ScriptedAmi(banner=f"Asterisk Call Manager/{version}\r\n") as pbx:
        manager = link(pbx, timing=ONCE)
        assert "too old" in await down(manager)
        assert manager.state == "wrong_version"
        assert pbx.wire == []


@pytest.mark.parametrize("version", ["", "banana", "11", "99999.1", "-5.0.4"])
async def test_a_version_that_there_is_not_is_nonsense(link: Link, version: str) -> None:
    async with ScriptedAmi(banner=f"Asterisk Call Manager/{version}\r\n") as pbx:
        assert "no version there is" in await down(link(pbx, timing=ONCE))
        assert pbx.wire == []


async def test_an_asterisk_newer_than_those_known_is_used_and_said_to_be(link: Link) -> None:
    async with ScriptedAmi(banner="Asterisk Call Manager/14.0.0\r\n") as pbx:
        manager = link(pbx)
        await up(manager)
        assert "newer" in manager.problem


async def test_the_secret_does_not_travel(pbx, link: Link) -> None:
    await up(link(pbx))
    assert b"s3cret" not in b"".join(pbx.wire)
    assert pbx.named("Login")[0]["AuthType"] == "MD5"


async def test_without_a_challenge_the_secret_is_not_sent_in_clear(pbx, link: Link) -> None:
    pbx.answers["Challenge"] = lambda session, action: session.respond(
        action, "Error", "Message: Must specify AuthType"
    )
    assert "TLS" in await down(link(pbx, timing=ONCE))
    assert pbx.named("Login") == []


async def test_a_login_that_is_never_answered_ends(pbx, link: Link, heard) -> None:
    pbx.answers["Login"] = mute
    assert "did not answer Login" in await down(link(pbx, timing=ONCE))
    assert heard.told == []


async def test_a_connection_lost_while_logging_in_is_reported(pbx, link: Link) -> None:
    pbx.answers["Login"] = lambda session, action: session.drop()
    assert "before the PBX answered Login" in await down(link(pbx, timing=ONCE))


async def test_a_user_name_with_a_line_break_in_it_is_refused_in_words(pbx, link: Link) -> None:
    manager = link(pbx, username="bridge\r\nAction: Ping", timing=ONCE)
    assert "Username" in await down(manager)
    assert manager.state == "auth_failed"
    assert pbx.named("Ping") == []


async def test_only_the_classes_that_calls_need_are_asked_for(pbx, link: Link) -> None:
    await up(link(pbx))
    assert pbx.named("Login")[0]["Events"] == "system,call,agent,user,cdr,dialplan"


async def test_a_link_for_commands_asks_for_no_events_and_no_channels(pbx, link: Link) -> None:
    await up(link(pbx, events="off"))
    assert pbx.named("Login")[0]["Events"] == "off"
    assert pbx.named("Status") == []


async def test_the_list_of_channels_stands_between_the_events_before_and_after_it(pbx, link: Link, heard) -> None:
    pbx.channels = [
        [
            "Channel: PJSIP/trunk-1",
            "Uniqueid: 5.1",
            "Linkedid: 5.1",
            "ChannelStateDesc: Up",
            "BridgeID: b-1",
            "Seconds: 3723",
        ]
    ]
    listing = pbx.answers["Status"]

    def among_events(session, action: Message) -> None:
        session.event("Hangup", "Uniqueid: 4.0")  # all in one read
        listing(session, action)
        session.event("Newchannel", "Uniqueid: 6.0")

    pbx.answers["Status"] = among_events
    link(pbx, wanted=frozenset({b"Hangup", b"Newchannel"}))
    await until(lambda: len(heard.told) == 3)
    assert [told if kind == "frame" else kind for kind, told in heard.told] == ["Hangup", "up", "Newchannel"]
    (channel,) = heard.told[1][1]
    assert (channel.name, channel.uniqueid, channel.state) == ("PJSIP/trunk-1", "5.1", "Up")
    assert (channel.bridge, channel.seconds) == ("b-1", 3723)


async def test_every_reconnect_lists_the_channels_anew(pbx, link: Link, heard) -> None:
    manager = link(pbx)
    await up(manager)
    pbx.session.drop()
    await until(lambda: heard.count("up") == 2)
    assert [kind for kind, _ in heard.told if kind != "frame"] == ["up", "down", "up"]
    assert manager.counters.connects == 2
    assert manager.counters.losses == 1


async def test_a_user_who_may_list_nothing_still_gets_events_and_the_problem_is_said(pbx, link: Link, heard) -> None:
    del pbx.answers["Status"]
    manager = link(pbx, wanted=frozenset({b"Hangup"}))
    await up(manager)
    assert heard.told == [("up", None)]
    assert "write class reporting" in manager.problem
    pbx.session.event("Hangup", "Uniqueid: 1.1")
    await until(lambda: heard.names == ["Hangup"])


async def test_only_wanted_events_are_handed_over(pbx, link: Link, heard) -> None:
    manager = link(pbx, wanted=frozenset({b"Hangup"}))
    await up(manager)
    pbx.session.event("Newexten", "Uniqueid: 1.1")
    pbx.session.event("HangupRequest", "Uniqueid: 1.1")
    pbx.session.event("Hangup", "Uniqueid: 1.1")
    await until(lambda: heard.names == ["Hangup"])
    assert manager.counters.events > manager.counters.handed_over == 1


async def test_a_restart_of_asterisk_is_named_and_the_link_comes_back(pbx, link: Link, heard) -> None:
    manager = link(pbx)
    await up(manager)
    pbx.session.event("Shutdown", "Shutdown: Cleanly", "Restart: True")
    await until(lambda: "Shutdown" in heard.names)
    assert manager.state == "up"  # channels still hang up: their events come before the end
    pbx.session.drop()
    await until(lambda: heard.count("up") == 2)
    assert [told for kind, told in heard.told if kind == "down"] == ["The link was lost: Asterisk restarts."]


async def test_the_end_in_the_middle_of_an_event_loses_only_that_event(pbx, link: Link, heard) -> None:
    manager = link(pbx, wanted=frozenset({b"Hangup"}))
    await up(manager)
    pbx.session.event("Hangup", "Uniqueid: 1.1")
    pbx.session.send(b"Event: Hangup\r\nUniq")
    await until(lambda: heard.names == ["Hangup"])
    pbx.session.drop()
    await until(lambda: heard.count("up") == 2)
    assert heard.names == ["Hangup"]


async def test_no_callback_comes_after_close(pbx, link: Link, heard) -> None:
    manager = link(pbx, wanted=frozenset({b"Hangup"}))
    await up(manager)

    def close_at_the_first(frame: bytes) -> None:
        heard.on_frame(frame)
        manager.close()

    manager.on_frame = close_at_the_first
    pbx.session.send(b"Event: Hangup\r\nUniqueid: 1\r\n\r\nEvent: Hangup\r\nUniqueid: 2\r\n\r\n")
    await manager.wait_closed()
    assert heard.names == ["Hangup"]
    assert heard.count("down") == 0
    with pytest.raises(PbxUnavailable, match="closed"):
        await manager.send({"Action": "Ping"})


async def test_close_tells_whoever_waits_for_an_answer(pbx, link: Link) -> None:
    pbx.answers["CoreShowChannels"] = mute
    manager = link(pbx, timing=Timing())
    await up(manager)
    waiting = asyncio.create_task(manager.send({"Action": "CoreShowChannels"}))
    await until(lambda: pbx.named("CoreShowChannels"))
    manager.close()
    with pytest.raises(ConnectionLost):
        await waiting


async def test_a_refused_action_says_what_asterisk_said(pbx, link: Link) -> None:
    manager = link(pbx)
    await up(manager)
    with pytest.raises(ActionFailed, match="Nonsense: Invalid/unknown command") as refused:
        await manager.send({"Action": "Nonsense"})
    assert refused.value.details["reason"] == "Invalid/unknown command: Nonsense."


async def test_a_pbx_that_stops_reading_does_not_fill_the_memory(pbx, link: Link) -> None:
    pbx.answers["UserEvent"] = lambda session, action: session.reader._transport.pause_reading()  # type: ignore[attr-defined]
    manager = link(pbx, timing=Timing())
    await up(manager)
    pending = []
    with pytest.raises(PbxUnavailable, match="does not read"):
        while len(pending) < 50_000:
            pending.append(manager.send_action({"Action": "UserEvent", "UserEvent": "x", "Text": "y" * 900}))
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"Action": "Setvar", "Value": "x" * 1000}, "bytes found"),
        ({"Action": "Setvar", "Value": "я" * 500}, "bytes found"),
        ({"Action": "Setvar", "Variable": [f"A{n}=1" for n in range(MAX_HEADERS)]}, "headers found"),
        ({"Action": "Setvar", "Value": 5}, "int found"),
        ({"Action": "Setvar", "Value": "\ud800"}, "no Unicode"),
        ({"Action": "Setvar", "Value: x": "y"}, "no name of a header"),
        ({"Action": "Setvar", "": "y"}, "no name of a header"),
        ({"Action": ""}, "needs a name"),
        ({"Channel": "PJSIP/150"}, "needs a name"),
    ],
)
async def test_what_asterisk_would_not_read_whole_is_refused(headers, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Action(headers)


async def test_what_became_bad_after_it_was_made_is_refused_when_it_is_sent() -> None:
    action = Action({"Action": "Setvar", "Value": "x"})
    action["Value"] = "x\r\nAction: Command"
    with pytest.raises(BadInput):
        action.encode()


async def test_secrets_are_not_shown(pbx, link: Link) -> None:
    login = {"Action": "Login", "Username": "bridge", "Secret": "s3cret", "Key": "d41d8c"}
    assert redacted(login) == {"Action": "Login", "Username": "bridge", "Secret": "***", "Key": "***"}
    assert "s3cret" not in repr(Action(login))
    with structlog.testing.capture_logs() as logs:
        manager = link(pbx)
        await up(manager)
        pbx.session.drop()
        await until(lambda: len(pbx.sessions) == 2)
    assert "s3cret" not in repr(logs)
    assert "s3cret" not in repr(manager.pbx)
    assert "s3cret" not in repr(manager.config)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that signs itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pbx")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "pbx.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


async def test_over_tls_the_pbx_must_prove_who_it_is(link: Link, certificate: Path) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    async with ScriptedAmi(tls=server) as pbx:
        trusting = ssl.create_default_context(cafile=str(certificate))
        await up(link(pbx, tls=True, tls_context=trusting))
        distrusting = link(pbx, tls=True, tls_context=ssl.create_default_context(), timing=ONCE)
        assert "not trusted" in await down(distrusting)


async def test_tls_to_a_plain_port_is_reported(pbx, link: Link) -> None:
    assert "does not speak TLS" in await down(link(pbx, tls=True, timing=ONCE))


async def test_many_links_cut_at_once_do_not_come_back_at_once(pbx, link: Link) -> None:
    managers = [link(pbx, timing=Timing(retry_first=0.3)) for _ in range(20)]
    for manager in managers:
        await up(manager)
    loop = asyncio.get_running_loop()
    for session in list(pbx.sessions):
        session.drop()
    back: list[float] = []
    for manager in managers:
        manager.on_up = lambda _: back.append(loop.time())
    await until(lambda: len(back) == 20)
    assert back[-1] - back[0] > 0.05
