"""A service that cannot start says why, by the setting's name, and one that waits can be told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from lab.service import free_port

STOPS_WITHIN = 10.0


async def serve(tmp_path: Path, **settings: str) -> asyncio.subprocess.Process:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("BRIDGE_")},
        "BRIDGE_DATA_DIR": str(tmp_path / "data"),
        "BRIDGE_HTTP": f"127.0.0.1:{free_port()}",
        "BRIDGE_AGI": f"127.0.0.1:{free_port()}",
        **settings,
    }
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bridge.cli", "serve",
        env=environment, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_service_that_waits_for_its_database_can_be_stopped(tmp_path: Path, number: int) -> None:
    away = f"postgresql://bridge:hunter2@127.0.0.1:{free_port()}/bridge"
    process = await serve(tmp_path, BRIDGE_DATABASE_URL=away)
    assert process.stderr is not None
    try:
        line = await asyncio.wait_for(process.stderr.readline(), 30)
        assert b"database_away" in line
        assert b"hunter2" not in line

        process.send_signal(number)

        assert await asyncio.wait_for(process.wait(), STOPS_WITHIN) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_service_is_stopped_in_the_middle_of_its_first_start(tmp_path: Path) -> None:
    process = await serve(tmp_path)
    try:
        assert process.stderr is not None
        line = await asyncio.wait_for(process.stderr.readline(), 30)
        assert b"embedded" in line, "the first start says that it takes a while"

        process.send_signal(signal.SIGTERM)

        _, said = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == 0, said.decode()
        assert not list((tmp_path / "data").glob("postgres/data/postmaster.pid")), "nothing of it is left running"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_log_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file in the way")
    process = await serve(tmp_path, BRIDGE_LOG_DIR=str(tmp_path / "taken" / "logs"))

    out, said = await asyncio.wait_for(process.communicate(), 30)

    assert (process.returncode, out) == (2, b"")
    assert said.decode().startswith("error: BRIDGE_LOG_DIR: ")
    assert "allowed: a directory" in said.decode()
