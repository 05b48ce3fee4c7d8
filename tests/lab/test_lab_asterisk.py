"""A real Asterisk starts, stops and leaves nothing behind, many of them beside each other."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile

import pytest

from lab.asterisk import Asterisk, provision
from lab.errors import LabError
from lab.loopback import GUARD_PORT, Network

BOTH = pytest.mark.parametrize("version", [22, 16])


@BOTH
async def test_it_starts_without_complaint_and_leaves_its_ports_free(version: int) -> None:
    pbx = Asterisk(provision(version))
    network, work = pbx.network, pbx.work
    async with pbx:
        assert f"Asterisk {version}." in await pbx.cli("core show version")
        assert not network.is_free()
        assert "ERROR" not in pbx.log
        assert "WARNING" not in pbx.log

    assert network.is_free()
    assert not work.exists()


async def test_two_run_at_once_on_networks_of_their_own() -> None:
    async with Asterisk(provision(22)) as one, Asterisk(provision(16)) as other:
        assert one.host != other.host
        assert "Asterisk 22." in await one.cli("core show version")
        assert "Asterisk 16." in await other.cli("core show version")


@BOTH
async def test_the_bridge_gets_the_rights_that_administrators_are_told_to_give(version: int) -> None:
    async with Asterisk(provision(version)) as pbx, pbx.tap(pbx.bridge_user, pbx.bridge_secret) as bridge:
        assert await bridge.event("FullyBooted")
        shown = await bridge.send({"Action": "CoreShowChannels"})
        command = await bridge.send({"Action": "Command", "Command": "core show uptime"})
        system = await bridge.send({"Action": "Originate", "Channel": "Local/699@inoffice", "Application": "System"})

    assert shown["Response"] == "Success"
    assert command["Message"] == "Permission denied"
    assert system["Response"] == "Error"


async def test_a_restart_keeps_the_process_and_a_kill_keeps_its_files() -> None:
    async with Asterisk(provision(22)) as pbx:
        pid = pbx.pid
        await pbx.cli("database put lab key value")
        await pbx.restart()
        assert pbx.pid == pid

        await pbx.kill()
        assert pbx.pid is None
        assert pbx.network.is_free()

        await pbx.start()
        assert "value" in await pbx.cli("database get lab key")


async def test_it_dies_with_the_process_that_started_it() -> None:
    program = """
import asyncio
from lab.asterisk import Asterisk, provision
async def main():
    async with Asterisk(provision(22)) as pbx:
        print(pbx.pid, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""
    with tempfile.TemporaryDirectory() as folder:  # what it cannot clear away itself
        starter = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program), stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": folder}
        )
        assert starter.stdout is not None
        pid = int(await asyncio.wait_for(starter.stdout.readline(), 30))
        await _dies_with(starter, pid)


async def _dies_with(starter: asyncio.subprocess.Process, pid: int) -> None:
    watched = os.pidfd_open(pid)
    gone = asyncio.Event()
    asyncio.get_running_loop().add_reader(watched, gone.set)
    try:
        starter.send_signal(signal.SIGKILL)
        await starter.wait()
        await asyncio.wait_for(gone.wait(), 5)
    finally:
        asyncio.get_running_loop().remove_reader(watched)
        os.close(watched)


async def test_the_dialplan_learns_where_the_bridge_is() -> None:
    async with Asterisk(provision(22), name="second", agi="127.0.0.1:4999", agi_token="first") as pbx:
        await pbx.set_global("BRIDGE_TOKEN", "another")
        shown = await pbx.cli("dialplan show globals")

    assert "BRIDGE_PBX=second" in shown
    assert "BRIDGE_AGI=127.0.0.1:4999" in shown
    assert "BRIDGE_TOKEN=another" in shown


async def test_a_value_cannot_bring_configuration_of_its_own() -> None:
    pbx = Asterisk(provision(22), agi_token="x\n[intruder]")
    with pytest.raises(LabError, match="agi_token"):
        await pbx.start()
    await pbx.close()


async def test_a_wrong_secret_is_refused() -> None:
    async with Asterisk(provision(22)) as pbx:
        with pytest.raises(LabError, match="refuses bridge: Authentication failed"):
            async with pbx.tap("bridge", "wrong"):
                pass


def test_a_claimed_network_is_nobody_elses_until_it_is_released() -> None:
    with Network.claim() as one, Network.claim() as other:
        assert one.prefix != other.prefix
        taken = one.prefix
        with pytest.raises(OSError, match="in use"):
            _claim_again(taken)
    _claim_again(taken)


def _claim_again(prefix: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as guard:
        guard.bind((f"{prefix}.254", GUARD_PORT))
