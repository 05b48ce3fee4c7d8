"""The FastAGI server on a real socket: callers are served, everybody else is cut, nobody waits beyond the deadline."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from prometheus_client import CollectorRegistry

from bridge.agi.metrics import publish_conversations
from bridge.agi.server import AgiServer, Dialogue, Limits
from bridge.errors import AgiRefused

QUESTION = b"agi_network_script: %s\nagi_uniqueid: 1.1\nagi_callerid: 79161234567\n\n"
QUICK = Limits(question=0.2, command=0.2, conversation=0.4)


@asynccontextmanager
async def listening(
    limits: Limits = QUICK, **handlers: Callable[[Dialogue], Awaitable[None]]
) -> AsyncIterator[AgiServer]:
    server = AgiServer({f"/{path}": handler for path, handler in handlers.items()}, limits)
    server.address = await server.start("127.0.0.1", 0)  # type: ignore[attr-defined]
    try:
        yield server
    finally:
        await server.stop(grace=0)


class Asterisk:
    """The other end: asks, and answers commands."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, server: AgiServer) -> "Asterisk":
        return cls(*await asyncio.open_connection(*server.address))  # type: ignore[attr-defined]

    async def ask(self, script: bytes) -> None:
        self.say(QUESTION % script)

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    async def hear(self) -> bytes:
        return await asyncio.wait_for(self.reader.readline(), 5)

    async def cut_off(self) -> bytes:
        """What is left to read until the server closes; fails when it does not."""
        try:
            return await asyncio.wait_for(self.reader.read(), 5)
        except ConnectionResetError:
            return b""

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


@asynccontextmanager
async def asterisk(server: AgiServer) -> AsyncIterator[Asterisk]:
    peer = await Asterisk.connect(server)
    try:
        yield peer
    finally:
        await peer.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - counters have no event to wait for
            await asyncio.sleep(0.005)


async def greet(dialogue: Dialogue) -> None:
    number = await dialogue.get_variable("CALLERID(num)")
    await dialogue.set_variable("BRIDGE_NAME", f'Анна "{number}" \\')


async def test_a_question_is_answered_command_by_command():
    async with listening(greet=greet) as server, asterisk(server) as peer:
        await peer.ask(b"greet?pbx=office")
        assert await peer.hear() == b'GET VARIABLE "CALLERID(num)"\n'
        peer.say(b"200 result=1 (150)\n")
        assert await peer.hear() == 'SET VARIABLE "BRIDGE_NAME" "Анна \\"150\\" \\\\"\n'.encode()
        peer.say(b"200 result=1\n")
        assert await peer.cut_off() == b""
        await until(lambda: server.counters.active == 0)
        assert server.counters.served == 1


async def test_how_conversations_end_is_shown_in_the_metrics():
    registry = CollectorRegistry()
    async with listening(greet=greet) as server:
        publish_conversations(registry, server.counters)
        async with asterisk(server) as peer:
            await until(lambda: registry.get_sample_value("bridge_agi_conversations_active") == 1)
            await peer.cut_off()
        await until(lambda: registry.get_sample_value("bridge_agi_conversations_total", {"outcome": "silent"}) == 1)


async def test_a_port_scan_does_nothing():
    async with listening(greet=greet) as server:
        for _ in range(20):
            await (await Asterisk.connect(server)).close()
        await until(lambda: server.counters.silent == 20 and server.counters.active == 0)
        async with asterisk(server) as peer:  # and the next caller is served
            await peer.ask(b"greet")
            assert (await peer.hear()).startswith(b"GET VARIABLE")


@pytest.mark.parametrize("said", [b"", b"agi_network: yes\n", b"agi_network"])
async def test_a_silent_client_is_cut(said: bytes):
    async with listening(greet=greet) as server, asterisk(server) as peer:
        peer.say(said)
        assert await peer.cut_off() == b""
        await until(lambda: server.counters.silent == 1)


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\n", b"\n" * 100 + b"x\n", b"z" * 100_000]
)
async def test_who_does_not_speak_agi_is_cut_at_once(garbage: bytes):
    async with listening(Limits(), greet=greet) as server, asterisk(server) as peer:
        peer.say(garbage)
        await peer.cut_off()
        await until(lambda: server.counters.active == 0)
        assert server.counters.served == 0
        assert server.counters.malformed + server.counters.unrouted == 1


async def test_a_path_nobody_answers_is_cut():
    async with listening(greet=greet) as server, asterisk(server) as peer:
        await peer.ask(b"elsewhere")
        assert await peer.cut_off() == b""
        await until(lambda: server.counters.unrouted == 1)


async def test_a_command_asterisk_does_not_answer_ends_the_conversation():
    async with listening(greet=greet) as server, asterisk(server) as peer:
        await peer.ask(b"greet")
        await peer.hear()
        assert await peer.cut_off() == b""
        await until(lambda: server.counters.overdue == 1 and server.counters.active == 0)


async def test_a_handler_that_never_ends_is_ended():
    async def ponder(dialogue: Dialogue) -> None:
        await asyncio.Event().wait()

    async with listening(ponder=ponder) as server, asterisk(server) as peer:
        began = asyncio.get_running_loop().time()
        await peer.ask(b"ponder")
        assert await peer.cut_off() == b""
        assert asyncio.get_running_loop().time() - began < 3
        await until(lambda: server.counters.overdue == 1 and server.counters.active == 0)


async def test_a_handler_that_fails_costs_only_its_own_conversation():
    async def stumble(dialogue: Dialogue) -> None:
        raise ValueError("a defect")

    async with listening(stumble=stumble, greet=greet) as server:
        async with asterisk(server) as peer:
            await peer.ask(b"stumble")
            assert await peer.cut_off() == b""
        await until(lambda: server.counters.failed == 1)
        async with asterisk(server) as peer:
            await peer.ask(b"greet")
            assert (await peer.hear()).startswith(b"GET VARIABLE")


async def test_a_caller_who_hangs_up_ends_the_work_for_them():
    stopped = asyncio.Event()

    async def ponder(dialogue: Dialogue) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async with listening(Limits(), ponder=ponder) as server:
        peer = await Asterisk.connect(server)
        await peer.ask(b"ponder")
        await until(lambda: server.counters.active == 1)
        await peer.close()
        await asyncio.wait_for(stopped.wait(), 5)
        await until(lambda: server.counters.hung_up == 1 and server.counters.active == 0)


async def test_inline_hangup_is_known_and_variables_can_still_be_set():
    heard: list[bool] = []

    async def note(dialogue: Dialogue) -> None:
        await dialogue.set_variable("A", "1")
        heard.append(dialogue.hung_up)
        await dialogue.set_variable("B", "2")

    async with listening(note=note) as server, asterisk(server) as peer:
        await peer.ask(b"note")
        await peer.hear()
        peer.say(b"HANGUP\n200 result=1\n")
        assert await peer.hear() == b'SET VARIABLE "B" "2"\n'
        peer.say(b"200 result=1\n")
        await peer.cut_off()
    assert heard == [True]


@pytest.mark.parametrize(
    "answer",
    [b"510 Invalid or unknown command\n", b"511 Dead\n", b"520-Usage\nSET VARIABLE n v\n520 End of proper usage.\n"],
)
async def test_a_refused_command_is_an_error_of_its_own(answer: bytes):
    refused: list[AgiRefused] = []

    async def note(dialogue: Dialogue) -> None:
        try:
            await dialogue.verbose("hello")
        except AgiRefused as error:
            refused.append(error)
        await dialogue.set_variable("AFTER", "yes")

    async with listening(note=note) as server, asterisk(server) as peer:
        await peer.ask(b"note")
        assert await peer.hear() == b'VERBOSE "hello" "1"\n'
        peer.say(answer)
        assert await peer.hear() == b'SET VARIABLE "AFTER" "yes"\n'
    assert refused[0].details["reply"] == int(answer[:3])


async def test_beyond_the_cap_connections_are_closed_and_room_comes_back():
    async with listening(Limits(conversations=2), greet=greet) as server:
        async with asterisk(server) as first, asterisk(server):
            await until(lambda: server.counters.active == 2)
            async with asterisk(server) as third:
                assert await third.cut_off() == b""
                assert server.counters.refused == 1
            await first.close()
            await until(lambda: server.counters.active == 1)
        async with asterisk(server) as later:
            await later.ask(b"greet")
            assert (await later.hear()).startswith(b"GET VARIABLE")


async def test_stopping_lets_conversations_end():
    async with listening(Limits(), greet=greet) as server, asterisk(server) as peer:
        await peer.ask(b"greet")
        await peer.hear()
        stopping = asyncio.create_task(server.stop(grace=5))
        peer.say(b"200 result=1 (150)\n")
        assert (await peer.hear()).startswith(b"SET VARIABLE")
        peer.say(b"200 result=1\n")
        await stopping
        assert server.counters.served == 1


async def test_stopping_cuts_what_does_not_end():
    async with listening(Limits(conversation=60, question=60), greet=greet) as server, asterisk(server) as peer:
        await until(lambda: server.counters.active == 1)
        await asyncio.wait_for(server.stop(grace=0.05), 5)
        assert await peer.cut_off() == b""


async def test_a_hundred_callers_at_once():
    async with listening(Limits(), greet=greet) as server:

        async def call(number: int) -> bytes:
            async with asterisk(server) as peer:
                await peer.ask(b"greet")
                await peer.hear()
                peer.say(b"200 result=1 (%d)\n" % number)
                answer = await peer.hear()
                peer.say(b"200 result=1\n")
                await peer.cut_off()
                return answer

        answers = await asyncio.gather(*map(call, range(100)))
        assert [f'\\"{number}\\"'.encode() in answer for number, answer in enumerate(answers)] == [True] * 100
        assert server.counters.served == 100
