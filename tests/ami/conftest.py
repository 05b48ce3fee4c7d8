"""A scripted PBX and links to it that end with the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from scripted_ami import ScriptedAmi

from bridge.ami.manager import Manager, Timing
from bridge.ami.pbx import PbxRow

# a PBX on loopback answers at once: what is waited for in vain is waited for briefly
QUICK = Timing(
    connect=1, login=1, snapshot=1, action=1, idle=0.1, pong=0.1, retry_first=0.01, retry_most=0.05, refused_first=60
)


class Heard:
    """What a link told, in order: ("frame", first line), ("up", channels), ("down", reason)."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        self.frames: list[bytes] = []

    def on_frame(self, frame: bytes) -> None:
        self.frames.append(frame)
        self.told.append(("frame", frame.split(b"\r\n")[0].removeprefix(b"Event: ").decode()))

    def on_up(self, channels: Any) -> None:
        self.told.append(("up", channels))

    def on_down(self, reason: str) -> None:
        self.told.append(("down", reason))

    @property
    def names(self) -> list[str]:
        return [what for kind, what in self.told if kind == "frame"]

    def count(self, kind: str) -> int:
        return sum(1 for told, _ in self.told if told == kind)


@pytest.fixture
async def pbx() -> AsyncIterator[ScriptedAmi]:
    async with ScriptedAmi() as server:
        yield server


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
async def link(heard: Heard) -> AsyncIterator[Callable[..., Manager]]:
    """`link(pbx, …)` starts a link to a scripted PBX; keywords replace those of Manager and of the row."""
    managers: list[Manager] = []

    def start(server: ScriptedAmi | int, *, timing: Timing = QUICK, **options: Any) -> Manager:
        port = server if isinstance(server, int) else server.port
        row = {name: options.pop(name) for name in ("username", "secret", "tls", "host") if name in options}
        settings = {"host": "127.0.0.1", "username": "bridge", "secret": "s3cret", **row}
        pbx = PbxRow(id=1, enterprise_number="0367", name="office", port=port, **settings)
        callbacks = {"on_frame": heard.on_frame, "on_up": heard.on_up, "on_down": heard.on_down, **options}
        callbacks["tls"] = callbacks.pop("tls_context", None)
        manager = Manager(pbx, timing=timing, **callbacks)
        managers.append(manager)
        manager.start()
        return manager

    yield start
    for manager in managers:
        manager.close()
        await manager.wait_closed()
