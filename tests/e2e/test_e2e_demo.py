"""The demonstration, as a newcomer runs it: one command, and nothing is left of it."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from e2e_verbs import eventually

WITHIN = 100.0


class Demo:
    """`asterisk-bridge demo …` as a process, its temporary folders in one of the test's."""

    def __init__(self, folder: Path, process: asyncio.subprocess.Process) -> None:
        self.folder = folder
        self.process = process
        self.said = ""

    @classmethod
    async def start(cls, folder: Path, *arguments: str) -> Demo:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("BRIDGE_")}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bridge.cli", "demo", *arguments,
            env={**environment, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"},
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        return cls(folder, process)

    async def says(self, words: str) -> None:
        """Returns once it has printed them. Raises AssertionError when it ends without."""
        assert self.process.stdout is not None
        async with asyncio.timeout(WITHIN):
            while words not in self.said:
                chunk = await self.process.stdout.read(4096)
                assert chunk, f"it ended without saying {words!r}:\n{self.said}"
                self.said += chunk.decode()

    async def ends(self) -> int:
        assert self.process.stdout is not None
        async with asyncio.timeout(WITHIN):
            self.said += (await self.process.stdout.read()).decode()
            return await self.process.wait()

    def press_ctrl_c(self) -> None:
        """As a terminal does: everything it started in its process group hears it too."""
        os.killpg(self.process.pid, signal.SIGINT)

    def processes(self) -> dict[int, str]:
        """Everything that runs in its folder: Asterisk, the service, Postgres and whoever watches over it."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    surroundings = (entry / "environ").read_bytes().decode(errors="replace")
                except (FileNotFoundError, ProcessLookupError, PermissionError):
                    continue
                if str(self.folder) in command or f"TMPDIR={self.folder}\0" in surroundings:
                    found[int(entry.name)] = command
        return found

    async def ports_are_free(self) -> None:
        """Nobody listens where it said to look."""
        for host, port in set(re.findall(r"http://([\d.]+):(\d+)/", self.said)):
            with pytest.raises(OSError):
                await asyncio.open_connection(host, int(port))


@pytest.fixture
async def folder() -> AsyncIterator[Path]:
    """Short, as Asterisk's socket must be."""
    path = Path(tempfile.mkdtemp(prefix="e2e-"))
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize("version", ["22", "16"])
async def test_every_call_of_the_demo_is_told_once_and_right(folder: Path, version: str) -> None:
    demo = await Demo.start(folder, "--once", "--version", version)

    assert await demo.ends() == 0, demo.said
    assert "The CRM was told of every call, once and right." in demo.said
    assert re.search(r"a known caller: put through to 152 .* in answered, 152, \d s +✔ once", demo.said)
    assert re.search(r"a click in the CRM: 150 calls out .* out answered, 150, \d s +✔ once", demo.said)
    assert re.search(r"in the cloud \(Mango Office\): 301 answered .* in answered, 301, \d s +✔ once", demo.said)
    assert re.search(r"a click: 301 calls out of the cloud .* out answered, 301, \d s +✔ once", demo.said)
    assert demo.said.count("✔ once") == 12
    assert "✘" not in demo.said
    await nothing_is_left(demo)


async def test_ctrl_c_while_calls_are_made_leaves_nothing(folder: Path) -> None:
    demo = await Demo.start(folder)
    await demo.says("answered by 150")
    assert len(demo.processes()) >= 4
    assert list(folder.iterdir())

    demo.press_ctrl_c()

    assert await demo.ends() == 0, demo.said
    assert "Traceback" not in demo.said
    await nothing_is_left(demo)


async def test_ctrl_c_while_the_stage_is_set_up_leaves_nothing(folder: Path) -> None:
    demo = await Demo.start(folder)
    await demo.says("Setting up")
    await eventually(lambda: len(demo.processes()) >= 3, 30)

    demo.press_ctrl_c()

    assert await demo.ends() == 0, demo.said
    assert "Traceback" not in demo.said
    await nothing_is_left(demo)


async def test_sigterm_leaves_nothing(folder: Path) -> None:
    demo = await Demo.start(folder)
    await demo.says("answered by 150")

    demo.process.terminate()

    assert await demo.ends() == 0, demo.said
    await nothing_is_left(demo)


async def nothing_is_left(demo: Demo) -> None:
    # Postgres's reaper ends when the last user of the server has
    await eventually(lambda: not demo.processes(), 10)
    assert list(demo.folder.iterdir()) == []
    await demo.ports_are_free()
