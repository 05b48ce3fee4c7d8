"""The nineteen ways in which panoramisk 1.4 as shipped loses events, calls or the link, each shown not to be ours."""

from __future__ import annotations

import asyncio
import copy
import socket
import time
from collections.abc import Callable

import pytest
from scripted_ami import ScriptedAmi, mute, until

from bridge.ami.actions import Action, Answer
from bridge.ami.framing import Message, parse
from bridge.ami.manager import Manager, Timing
from bridge.errors import ActionFailed, ActionTimeout, BadInput, ConnectionLost, PbxUnavailable

Link = Callable[..., Manager]


async def up(manager: Manager) -> None:
    await until(lambda: manager.state == "up")


async def test_trap_01_a_callback_that_fails_loses_no_later_event_and_keeps_the_link(pbx, link: Link, heard) -> None:
    def fail_at_the_first(frame: bytes) -> None:
        heard.on_frame(frame)
        if b"Uniqueid: 1" in frame:
            raise RuntimeError("a bug in the consumer")

    manager = link(pbx, on_frame=fail_at_the_first, wanted=frozenset({b"Hangup"}))
    await up(manager)
    # three events in one read
    pbx.session.send(b"".join(b"Event: Hangup\r\nUniqueid: %d\r\n\r\n" % n for n in (1, 2, 3)))
    await until(lambda: len(heard.frames) == 3)
    assert manager.state == "up"
    assert manager.counters.callback_errors == 1
    assert len(pbx.sessions) == 1


async def test_trap_02_a_user_event_with_an_event_header_of_its_own_is_one_event(pbx, link: Link, heard) -> None:
    manager = link(pbx, wanted=frozenset({b"UserEvent", b"Hangup"}))
    caught: list[Answer] = []
    manager.register_event("UserEvent", lambda _, event: caught.append(event))
    await up(manager)
    pbx.session.event("UserEvent", "UserEvent: x", "Event: Hangup", "Uniqueid: 1.1")
    pbx.session.event("Hangup", "Uniqueid: 2.2")
    await until(lambda: heard.names == ["UserEvent", "Hangup"])
    assert [event.event for event in caught] == ["UserEvent"]
    assert len(pbx.sessions) == 1


async def test_trap_03_a_utf8_character_cut_by_two_reads_is_whole(pbx, link: Link, heard) -> None:
    manager = link(pbx, wanted=frozenset({b"Hangup"}))
    await up(manager)
    name = "Müller Иванова"
    for byte in f"Event: Hangup\r\nCallerIDName: {name}\r\n\r\n".encode():
        before = manager.counters.bytes
        pbx.session.send(bytes([byte]))
        await until(lambda before=before: manager.counters.bytes == before + 1)  # each byte is a read of its own
    await until(lambda: heard.frames)
    assert parse(heard.frames[0])["CallerIDName"] == name


async def test_trap_04_bytes_that_are_no_utf8_are_shown_as_replaced_not_dropped(pbx, link: Link, heard) -> None:
    manager = link(pbx, wanted=frozenset({b"Hangup"}))
    await up(manager)
    pbx.session.send(b"Event: Hangup\r\nCallerIDName: M\xfcller\r\n\r\n")
    await until(lambda: heard.frames)
    assert parse(heard.frames[0])["CallerIDName"] == "M\ufffdller"


async def test_trap_05_an_empty_last_header_is_kept(pbx, link: Link, heard) -> None:
    pbx.answers["Getvar"] = lambda session, action: session.respond(action, "Success", "Variable: X", "Value: ")
    manager = link(pbx, wanted=frozenset({b"VarSet"}))
    await up(manager)
    pbx.session.event("VarSet", "Variable: X", "Value: ")
    await until(lambda: heard.frames)
    assert parse(heard.frames[0])["Value"] == ""
    reply = await manager.send({"Action": "Getvar", "Variable": "X"})
    assert "Value" in reply.response


async def test_trap_06_a_wrong_password_is_a_state_with_its_reason_and_is_not_tried_again_soon(
    pbx, link: Link, heard
) -> None:
    manager = link(pbx, secret="wrong")
    await until(lambda: manager.state == "auth_failed")
    assert "Authentication failed" in manager.problem
    assert "wrong" not in manager.problem.replace("is wrong", "")
    assert heard.told == []
    with pytest.raises(PbxUnavailable, match="refused the login"):
        await manager.send({"Action": "Ping"})
    # the next try is half a minute away at least; it comes at once when somebody changed something
    pbx.secret = "wrong"
    assert len(pbx.sessions) == 1
    manager.hurry()
    await up(manager)


async def test_trap_07_close_while_waiting_to_reconnect_is_final(link: Link) -> None:
    async with ScriptedAmi() as pbx:
        manager = link(pbx, timing=Timing(retry_first=60))
        await up(manager)
        pbx.session.drop()
        await until(lambda: manager.state == "down")
        manager.close()
        await manager.wait_closed()
        assert manager.state == "closed"
        assert manager.start().cancelled()  # the only thing that connects is over
        assert len(pbx.sessions) == 1


async def test_trap_08_a_peer_that_no_longer_answers_is_noticed_and_its_pings_leave_nothing(
    pbx, link: Link, heard
) -> None:
    pbx.answers["Ping"] = mute
    manager = link(pbx, timing=Timing(idle=0.1, pong=0.1, retry_first=60))
    await up(manager)
    connection = manager.protocol
    began = time.monotonic()
    await until(lambda: manager.state == "down", deadline=2)
    assert time.monotonic() - began < 1
    assert "silent" in manager.problem
    assert heard.count("down") == 1
    assert connection is not None
    assert connection.responses == {}
    assert Timing().idle + Timing().pong < 15


async def test_trap_08_any_byte_is_a_sign_of_life(pbx, link: Link) -> None:
    pbx.answers["Ping"] = mute
    manager = link(pbx, timing=Timing(idle=0.2, pong=0.4, retry_first=60))
    await up(manager)
    began = time.monotonic()
    while time.monotonic() - began < 1:
        pbx.session.send(b"E")  # the beginning of a long event, dripping in
        await asyncio.sleep(0.03)
    assert manager.state == "up"


async def test_trap_09_connecting_to_a_black_hole_ends(link: Link) -> None:
    hole = socket.socket()
    hole.bind(("127.0.0.1", 0))
    hole.listen(0)
    # a full backlog: the kernel drops further SYNs
    fillers = [socket.socket() for _ in range(4)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(hole.getsockname())
    try:
        manager = link(hole.getsockname()[1], timing=Timing(connect=0.2, retry_first=60))
        await until(lambda: manager.state == "down", deadline=3)
        assert "does not answer within 0.2 s" in manager.problem
    finally:
        for one in (*fillers, hole):
            one.close()


async def test_trap_10_an_action_before_the_first_connect_waits_for_it_and_goes_through(pbx, link: Link) -> None:
    manager = link(pbx)
    assert manager.state == "connecting"
    with pytest.raises(PbxUnavailable):
        manager.send_action({"Action": "Ping"})
    reply = await manager.send({"Action": "Ping"})
    assert reply.response["Ping"] == "Pong"


async def test_trap_10_an_action_to_a_pbx_that_never_was_there_is_refused_in_words(link: Link) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        manager = link(free.getsockname()[1])
        with pytest.raises(PbxUnavailable, match="cannot be reached"):
            await manager.send({"Action": "Ping"})


async def test_trap_11_an_action_while_down_is_refused_at_once_and_never_sent_later(pbx, link: Link) -> None:
    manager = link(pbx, timing=Timing(retry_first=60))
    await up(manager)
    pbx.session.drop()
    await until(lambda: manager.state == "down")
    with pytest.raises(PbxUnavailable, match="lost"):
        await manager.send({"Action": "Originate", "Channel": "PJSIP/150"})
    manager.hurry()
    await up(manager)
    await manager.send({"Action": "Ping"})
    assert pbx.named("Originate") == []


async def test_trap_12_an_unanswered_originate_is_reported_lost_and_never_repeated(pbx, link: Link) -> None:
    pbx.answers["Originate"] = lambda session, action: session.drop()
    manager = link(pbx)
    await up(manager)
    with pytest.raises(ConnectionLost, match="Originate"):
        await manager.send({"Action": "Originate", "Channel": "PJSIP/150"})
    await until(lambda: len(pbx.sessions) == 2 and manager.state == "up")
    pbx.session.event("FullyBooted", "Status: Fully Booted")
    await manager.send({"Action": "Ping"})  # answered after whatever FullyBooted had set off
    assert len(pbx.named("Originate")) == 1


@pytest.mark.parametrize("bad", ["x\r\n\r\nAction: Command", "x\nAction: Command", "x\rAction: Command", "x\0y"])
@pytest.mark.parametrize("where", ["value", "list", "key"])
async def test_trap_13_a_line_break_or_nul_never_reaches_the_pbx(pbx, link: Link, bad: str, where: str) -> None:
    manager = link(pbx)
    await up(manager)
    headers = {"value": {"CallerID": bad}, "list": {"Variable": ["A=1", bad]}, "key": {bad: "1"}}[where]
    with pytest.raises(BadInput):
        await manager.send({"Action": "Originate", "Channel": "PJSIP/150", **headers})
    await manager.send({"Action": "Ping"})
    assert pbx.named("Originate") == []
    assert pbx.named("Command") == []


async def test_trap_14_fifty_cancelled_and_fifty_timed_out_actions_leave_nothing(pbx, link: Link) -> None:
    pbx.answers["CoreShowChannels"] = mute
    manager = link(pbx, timing=Timing())
    await up(manager)
    waiting = [asyncio.create_task(manager.send({"Action": "CoreShowChannels"})) for _ in range(50)]
    await until(lambda: len(pbx.named("CoreShowChannels")) == 50)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    late = await asyncio.gather(
        *(manager.send({"Action": "CoreShowChannels"}, timeout=0.05) for _ in range(50)), return_exceptions=True
    )
    assert all(isinstance(error, ActionTimeout) for error in late)
    assert manager.protocol is not None
    assert manager.protocol.responses == {}
    # an answer that comes after all disturbs nobody
    for action in pbx.named("CoreShowChannels"):
        pbx.session.respond(action, "Success", "Message: late")
    await manager.send({"Action": "Ping"})


async def test_trap_15_an_originate_that_fails_later_is_a_failure(pbx, link: Link, heard) -> None:
    def originate(session, action: Message) -> None:
        session.respond(action, "Success", "Message: Originate successfully queued")
        response = "Success" if action["Channel"] == "PJSIP/150" else "Failure"
        reason = "4" if response == "Success" else "3"
        session.event(
            "OriginateResponse", f"ActionID: {action['ActionID']}", f"Response: {response}", f"Reason: {reason}"
        )

    pbx.answers["Originate"] = originate
    manager = link(pbx)
    await up(manager)
    assert (await manager.send({"Action": "Originate", "Channel": "PJSIP/150"}, outcome=True)).success
    with pytest.raises(ActionFailed, match="Failure, reason 3"):
        await manager.send({"Action": "Originate", "Channel": "PJSIP/151"}, outcome=True)
    # without its outcome it is done when it is queued; the event is news to the machine all the same
    queued = await manager.send({"Action": "Originate", "Channel": "PJSIP/151"})
    assert queued.success
    assert queued.events == ()
    await until(lambda: heard.names.count("OriginateResponse") == 3)
    assert all(action["Async"] == "true" for action in pbx.named("Originate"))


async def test_trap_16_queue_add_completes(pbx, link: Link) -> None:
    pbx.answers["QueueAdd"] = lambda session, action: session.respond(
        action, "Success", "Message: Added interface to queue"
    )
    manager = link(pbx)
    await up(manager)
    reply = await manager.send({"Action": "QueueAdd", "Queue": "sales", "Interface": "PJSIP/150"})
    assert reply.message == "Added interface to queue"


async def test_trap_17_events_come_in_order_and_coroutine_callbacks_are_refused(pbx, link: Link, heard) -> None:
    manager = link(pbx, wanted=frozenset({b"Hangup"}))

    async def wait(_: object, event: object) -> None:
        await asyncio.sleep(0)

    with pytest.raises(TypeError, match="coroutine"):
        manager.register_event("Hangup", wait)
    seen: list[str] = []

    @manager.register_event("Hang*")
    def note(_: Manager, event: Answer) -> None:
        seen.append(event["Uniqueid"])

    await up(manager)
    for number in range(200):
        pbx.session.event("Hangup", f"Uniqueid: {number}")
    await until(lambda: len(seen) == 200)
    assert seen == [str(number) for number in range(200)]
    assert [parse(frame)["Uniqueid"] for frame in heard.frames] == seen


async def test_trap_18_a_peer_that_never_ends_its_frame_is_dropped_at_a_limit(pbx, link: Link) -> None:
    manager = link(pbx, timing=Timing(retry_first=60))
    await up(manager)
    began = time.process_time()
    pbx.session.send(b"Event: Hangup\r\n" + b"X: y\r\n" * 2_000_000)
    await until(lambda: manager.state == "down", deadline=20)
    assert "does not speak AMI" in manager.problem
    assert time.process_time() - began < 5
    assert manager.counters.bytes < 10 * 1024 * 1024


async def test_trap_19_messages_can_be_copied_and_a_wrong_name_is_an_error(pbx, link: Link) -> None:
    answer = Answer(parse(b"Response: Success\r\nPing: Pong"))
    assert copy.copy(answer)["ping"] == "Pong"
    assert copy.deepcopy(answer)["ping"] == "Pong"
    assert copy.copy(Action({"Action": "Ping"}))["action"] == "Ping"
    manager = link(pbx)
    await up(manager)
    reply = await manager.send({"Action": "Ping"})
    assert copy.copy(reply) == reply
    with pytest.raises(AttributeError):
        reply.anything  # type: ignore[attr-defined]  # noqa: B018


async def test_what_panoramisk_does_well_is_kept_lists_interleaved_with_events(pbx, link: Link, heard) -> None:
    def listing(session, action: Message) -> None:
        own = f"ActionID: {action['ActionID']}"
        session.respond(action, "Success", "EventList: start", "Message: Channels will follow")
        session.event("CoreShowChannel", own, "Channel: PJSIP/150-1")
        session.event("Hangup", "Uniqueid: 1")
        session.event("CoreShowChannel", own, "Channel: PJSIP/151-2")
        session.event("CoreShowChannelsComplete", own, "EventList: Complete")

    pbx.answers["CoreShowChannels"] = listing
    manager = link(pbx, wanted=frozenset({b"Hangup"}))
    await up(manager)
    replies = await asyncio.gather(*(manager.send({"Action": "CoreShowChannels"}) for _ in range(3)))
    for reply in replies:
        assert [event.get("Channel") for event in reply.events] == ["PJSIP/150-1", "PJSIP/151-2", ""]
    assert heard.names == ["Hangup"] * 3
