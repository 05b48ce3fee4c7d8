"""One running Asterisk: configured, started, ready, stopped, with nothing left behind.

    async with Asterisk(installation) as pbx:
        await pbx.cli("core show uptime")

It runs as a child of this process and dies with it, however this process ends.
"""

from __future__ import annotations

import asyncio
import asyncio.subprocess
import resource
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import IO

from lab.asterisk import config
from lab.asterisk.provision import Installation
from lab.asterisk.tap import Tap
from lab.errors import LabError, NotReady
from lab.loopback import Network

READY_WITHIN = 30.0
"""Seconds; it takes 0.3 on an idle machine."""

AMI_PORT, HTTP_PORT = 5038, 8088


class Asterisk:
    """Asterisk on a loopback network of its own.

    `name`, `agi` (host:port) and `agi_token` are what its dialplan tells the bridge about itself. `ring_seconds` is how
    long the dialplan lets a phone or the provider ring. `work` keeps the files of this one, recordings in
    `work/spool/recording`; a temporary folder by default, which goes when it stops.
    """

    bridge_user, bridge_secret = "bridge", "bridgesecret"
    lab_user, lab_secret = "lab", "labsecret"
    ari_user, ari_password = "bridge", "bridgepass"

    def __init__(
        self,
        installation: Installation,
        *,
        name: str = "office",
        agi: str = "127.0.0.1:4573",
        agi_token: str = "lab-token",
        ring_seconds: int = 15,
        network: Network | None = None,
        work: Path | None = None,
    ) -> None:
        self.installation = installation
        self.name = name
        self.network = network or Network.claim()
        self._own_network = network is None
        self._own_work = work is None
        self._values = {
            "name": name,
            "agi": agi,
            "agi_token": agi_token,
            "ring_seconds": str(ring_seconds),
            "bridge_secret": self.bridge_secret,
            "lab_secret": self.lab_secret,
            "ari_password": self.ari_password,
        }
        self.work = work or Path(tempfile.mkdtemp(prefix="bridge-lab-"))
        self._run = Path(tempfile.mkdtemp(prefix="bl-"))
        self._process: asyncio.subprocess.Process | None = None
        self._config = self.work / "etc" / "asterisk.conf"

    @property
    def version(self) -> int:
        return self.installation.version

    @property
    def host(self) -> str:
        return self.network.asterisk

    @property
    def recordings(self) -> Path:
        return self.work / "spool" / "recording"

    @property
    def log(self) -> str:
        """What it complained about: its own log and what it printed."""
        files = (self.work / "log" / "messages.log", self.work / "log" / "console.log")
        return "".join(file.read_text(errors="replace") for file in files if file.exists())

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if self._process and running else None

    # --- life ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Returns when it is fully booted. Raises NotReady with what its log says when it does not get there."""
        if self.pid is not None:
            return
        config.make_folders(self.work)
        config.render(self.installation, self.network, self.work, self._run, self._values)
        if not self.network.is_free():
            raise LabError(f"somebody listens on {self.host} already")
        with (self.work / "log" / "console.log").open("ab") as console:
            self._process = await self._spawn(console)
        try:
            await self._until_booted()
        except NotReady as problem:
            await self.kill()
            raise NotReady(f"Asterisk {self.version} did not start: {problem}\n{self.log[-2000:]}") from None

    async def _spawn(self, console: IO[bytes]) -> asyncio.subprocess.Process:
        command = [str(self.installation.binary), "-C", str(self._config), "-f"]
        if setpriv := shutil.which("setpriv"):  # a lab that is killed takes its Asterisk along
            command = [setpriv, "--pdeathsig", "KILL", *command]
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:  # inherited: a thousand calls take some four files each
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=console,
            stderr=asyncio.subprocess.STDOUT,
            cwd=self.work,
            start_new_session=True,
        )

    async def _until_booted(self) -> None:
        try:
            async with asyncio.timeout(READY_WITHIN):
                async with await self._first_tap() as tap:
                    await tap.event("FullyBooted", READY_WITHIN)
        except TimeoutError:
            raise NotReady(f"not fully booted after {READY_WITHIN:g} s") from None

    async def _first_tap(self) -> Tap:
        """A session as soon as there is one to be had."""
        while True:
            if self.pid is None:
                raise NotReady("it exited")
            try:
                return await Tap.connect(self.host, self.lab_user, self.lab_secret)
            except (OSError, NotReady):
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Asks, then insists. Everything it held is free afterwards."""
        if self.pid is not None:
            await asyncio.gather(self.cli("core stop now"), return_exceptions=True)
            if not await self._gone_within(5):
                self._signal("terminate")
                if not await self._gone_within(3):
                    await self.kill()
        self._process = None

    async def kill(self) -> None:
        """As if the machine had lost its power: SIGKILL. `start` brings it back with its database."""
        self._signal("kill")
        if self._process is not None:
            await self._process.wait()
        self._process = None

    async def restart(self) -> None:
        """`core restart now`: calls are cut, the process and its files stay. Returns when it is fully booted again."""
        async with self.tap() as before:
            await asyncio.gather(self.cli("core restart now"), return_exceptions=True)
            await before.event("Shutdown")
        await self._until_booted()

    async def close(self) -> None:
        """Stops it and removes what it made."""
        try:
            await self.stop()
        finally:
            shutil.rmtree(self._run, ignore_errors=True)
            if self._own_work:
                shutil.rmtree(self.work, ignore_errors=True)
            if self._own_network:
                self.network.release()

    async def _gone_within(self, seconds: float) -> bool:
        if self._process is None:
            return True
        try:
            async with asyncio.timeout(seconds):
                await self._process.wait()
        except TimeoutError:
            return False
        return True

    def _signal(self, how: str) -> None:
        if self._process is not None and self._process.returncode is None:
            getattr(self._process, how)()

    async def __aenter__(self) -> Asterisk:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    # --- talking to it ------------------------------------------------------------------------------------------

    @property
    def cli_command(self) -> list[str]:
        """The words before a command line command: what the replaced scripts spawned for every click."""
        return [str(self.installation.binary), "-C", str(self._config), "-rx"]

    async def cli(self, command: str, timeout: float = 10.0) -> str:
        process = await asyncio.create_subprocess_exec(
            *self.cli_command, command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        try:
            async with asyncio.timeout(timeout):
                said, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise NotReady(f"Asterisk did not answer {command!r} within {timeout:g} s") from None
        if process.returncode != 0:
            raise LabError(f"{command!r} failed: {said.decode(errors='replace').strip()}")
        return said.decode(errors="replace")

    async def set_global(self, name: str, value: str) -> None:
        """A global variable of the dialplan: BRIDGE_AGI and BRIDGE_TOKEN, once the bridge's are known."""
        if not name.isidentifier() or any(character in value for character in '"\r\n'):
            raise ValueError(f"{name}={value!r} cannot be set")
        await self.cli(f'dialplan set global {name} "{value}"')

    @asynccontextmanager
    async def tap(self, username: str = "", secret: str = "") -> AsyncIterator[Tap]:
        """An AMI session that records; of the user with every right unless told."""
        tap = await Tap.connect(self.host, username or self.lab_user, secret or self.lab_secret)
        try:
            yield tap
        finally:
            await tap.close()

    async def quiet(self, timeout: float = 10.0) -> None:
        """Returns when no channel is left."""
        async with self.tap() as tap:
            try:
                async with asyncio.timeout(timeout):
                    while True:
                        after = len(tap.messages)
                        await tap.send({"Action": "CoreShowChannels"})
                        done = await tap.event("CoreShowChannelsComplete", timeout, after)
                        if done.get("ListItems") == "0":
                            return
                        await tap.event("Hangup", timeout, after)
            except (TimeoutError, NotReady):
                raise NotReady(f"channels are left: {await self.cli('core show channels concise')}") from None
