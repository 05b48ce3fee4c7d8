"""A scripted PBX and links to it that end with the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from scripted_ami import QUICK, Heard, ScriptedAmi

from bridge.ami.manager import Manager, Timing
from bridge.ami.pbx import PbxRow


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
