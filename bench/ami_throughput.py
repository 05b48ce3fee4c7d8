"""What an AMI event costs on its way in: this service's path beside panoramisk 1.4 as shipped, in one run.

    .venv/bin/python bench/ami_throughput.py [--events 200000] [--rounds 3] [--synthetic]

Both read the same bytes from the same sender over TCP on loopback, in this process, in turn. The stream is a real one,
repeated (a recorded inbound call on Asterisk 22, every class); `--synthetic`: 20 headers an event, most of them noise.

ours            Connection and Framer, as in the service: the name is read first, wanted frames go on as bytes
ours + machine  the same, each wanted frame translated and fed to the machine: the whole read path
panoramisk 1.4  Manager with one callback on `*`: every event decoded, parsed and dispatched

The figure is this process's CPU time per event, the best of the rounds; the sender is a process of its own.

Caveats. Loopback hands over large reads; an event per segment costs both sides more. One PBX is read. CPU figures of a
shared machine wander by a fifth: compare within a run, do not quote. Writing to the database is in none of them.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import multiprocessing
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import panoramisk
import structlog

from bridge.ami.actions import Action
from bridge.ami.connection import Connection
from bridge.ami.framing import Framer
from bridge.ami.translate import WANTED, translate
from bridge.calls.machine import Exchange
from bridge.calls.model import Rules

CAPTURE = Path(__file__).parents[1] / "tests" / "captures" / "a_inbound_answered.v22.ami.txt"
GREETING = b"Asterisk Call Manager/11.0.0\r\n"
EPOCH = b"1795226894"
"""In the ids of the recorded call's channels."""

RULES = Rules(extensions=r"^1\d\d$", trunks=("PJSIP/trunk",), click_to_call_contexts=("inoffice",))


def real_stream() -> list[bytes]:
    """The events of one recorded call."""
    return [frame + b"\r\n\r\n" for frame in Framer().feed(CAPTURE.read_bytes()) if frame.startswith(b"Event: ")]


def synthetic_stream() -> list[bytes]:
    """Mostly what a busy PBX says most; 20 headers each."""
    names = [b"Newchannel"] + [b"Newexten", b"VarSet", b"RTCPSent"] * 3
    body = b"".join(b"Header%02d: some value %02d\r\n" % (n, n) for n in range(16))
    head = b"Event: %s\r\nPrivilege: call,all\r\nUniqueid: 1795226894.0\r\nLinkedid: 1795226894.0\r\n"
    return [head % name + body + b"\r\n" for name in names]


def send(listening: socket.socket, events: list[bytes], number: int) -> None:
    """The sender's process: to each connection the greeting, the login's answer and `number` events; then the end."""
    block = b"".join(events)
    while True:
        way, _ = listening.accept()
        with way:
            way.sendall(GREETING)
            login = b""
            while not login.endswith(b"\r\n\r\n"):
                login += way.recv(4096)
            (action_id,) = [line for line in login.split(b"\r\n") if line.startswith(b"ActionID: ")]
            way.sendall(b"Response: Success\r\n" + action_id + b"\r\nMessage: Authentication accepted\r\n\r\n")
            for call in range(number // len(events)):
                # each repetition is a call of its own
                way.sendall(block.replace(EPOCH, b"%d" % (int(EPOCH) + call)))


async def ours(port: int, on_frame: Callable[[bytes], None]) -> int:
    def on_event(name: bytes, frame: bytes) -> None:
        if name in WANTED:
            on_frame(frame)

    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(lambda: Connection(on_event), "127.0.0.1", port)
    await connection.ask(Action({"Action": "Login", "Username": "bench"}), 5)
    await connection.lost
    if connection.counters.callback_errors:
        raise SystemExit(f"{connection.counters.callback_errors} frames could not be taken")
    return connection.counters.events


async def plain_panoramisk(port: int) -> int:
    seen = 0
    over = asyncio.Event()

    def on_event(manager: panoramisk.Manager, event: panoramisk.message.Message) -> None:
        nonlocal seen
        seen += 1

    manager = panoramisk.Manager(
        host="127.0.0.1",
        port=port,
        username="bench",
        secret="bench",
        loop=asyncio.get_running_loop(),
        reconnect_timeout=3600,
        on_disconnect=lambda *_: over.set(),
    )
    manager.log.disabled = True
    manager.register_event("*", on_event)
    await manager.connect()
    await over.wait()
    manager.close()
    return seen


def measure(read: Callable[[], object], number: int) -> float:
    """CPU microseconds per event."""
    began = time.process_time()
    seen = asyncio.run(read())  # type: ignore[arg-type]
    took = time.process_time() - began
    if seen != number:
        raise SystemExit(f"{seen} of {number} events arrived")
    return took / number * 1e6


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    arguments.add_argument("--events", type=int, default=200_000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--synthetic", action="store_true", help="20 headers an event, most of them noise")
    given = arguments.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    events = synthetic_stream() if given.synthetic else real_stream()
    number = given.events // len(events) * len(events)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        sender = multiprocessing.get_context("fork").Process(target=send, args=(listening, events, number), daemon=True)
        sender.start()
        try:
            report(port, events, number, given.rounds)
        finally:
            sender.terminate()
            sender.join()


def report(port: int, events: list[bytes], number: int, rounds: int) -> None:
    exchange = Exchange(RULES)

    def feed(frame: bytes) -> None:
        event = translate(frame)
        if event is not None:
            exchange.feed(event)

    ways: dict[str, Callable[[], object]] = {
        "ours": lambda: ours(port, lambda _: None),
        "ours + machine": lambda: ours(port, feed),
        "panoramisk 1.4": lambda: plain_panoramisk(port),
    }
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, way in ways.items():
            best[name] = min(best[name], measure(way, number))
    wanted = sum(event[7 : event.index(b"\r\n")] in WANTED for event in events)
    size = sum(map(len, events)) / len(events)
    share = wanted * 100 // len(events)
    print(f"{number} events of {size:.0f} bytes, {share} % of them wanted; Python {sys.version.split()[0]}")
    for name, cost in best.items():
        times = best["panoramisk 1.4"] / cost
        print(f"  {name:14}  {cost:6.2f} µs an event  {1e6 / cost:8.0f} events/s of one core  {times:4.1f} x")


if __name__ == "__main__":
    main()
