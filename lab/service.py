"""The service as a person runs it: a process of its own, on a free port, that can be stopped, killed and started again.

The demo, the end-to-end tests and the benches drive the product only through this: the command line, HTTP and signals.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import httpx

READY_WITHIN = 60.0
"""Seconds a first start may take: initdb with cold files is 4 s, the rest is a loaded machine."""


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


class ServiceFailed(Exception):
    """The service's process ended, or was not ready in time."""


class Service:
    """One `asterisk-bridge serve`. `settings` are added to the environment; `data` is its data directory."""

    def __init__(self, data: Path, settings: Mapping[str, str] | None = None, *, host: str = "127.0.0.1") -> None:
        self.data = data
        self.http = f"{host}:{free_port(host)}"
        self.agi = f"{host}:{free_port(host)}"
        self.url = f"http://{self.http}"
        self.log = data / "serve.out"
        self.process: asyncio.subprocess.Process | None = None
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("BRIDGE_")},
            "BRIDGE_DATA_DIR": str(data),
            "BRIDGE_HTTP": self.http,
            "BRIDGE_AGI": self.agi,
            "BRIDGE_PUBLIC_URL": self.url,
            "BRIDGE_ADMIN_EMAIL": "admin@bridge.example",
            "BRIDGE_ADMIN_PASSWORD": "demo-admin-password",
            **(settings or {}),
        }

    async def start(self, *arguments: str) -> None:
        """Starts the process and returns when /health answers 200.

        Raises ServiceFailed, with the end of the log, when it ends or is not ready in time."""
        self.data.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as out:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bridge.cli", "serve", *arguments,
                env=self.environment, stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip
        try:
            async with asyncio.timeout(READY_WITHIN):
                await self._healthy()
        except TimeoutError:
            await self.kill()
            raise ServiceFailed(f"not ready within {READY_WITHIN:.0f} s\n{self.tail()}") from None
        except asyncio.CancelledError:
            await self.stop()
            raise

    async def _healthy(self) -> None:
        async with httpx.AsyncClient(timeout=2) as client:
            while True:
                if self.process is None or self.process.returncode is not None:
                    raise ServiceFailed(f"the service ended while starting\n{self.tail()}")
                try:
                    if (await client.get(f"{self.url}/health")).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.05)  # readiness is polled: nothing announces it to another process

    async def command(self, *arguments: str) -> tuple[int, str, str]:
        """Runs `asterisk-bridge …` beside the service, with its settings: (exit code, stdout, stderr)."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bridge.cli", *arguments, env=self.environment,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            out, err = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    async def login(self, email: str = "admin@bridge.example", password: str = "demo-admin-password") -> str:
        """A JWT for the API."""
        async with httpx.AsyncClient() as client:
            answer = await client.post(f"{self.url}/api/v1/auth/login", json={"email": email, "password": password})
            token: str = answer.raise_for_status().json()["data"]["token"]
            return token

    async def click(self, client_id: str, phone: str, code: str) -> httpx.Response:
        """What RetailCRM asks when the manager with extension `code` clicks a number."""
        query = {"clientId": client_id, "code": code, "phone": phone}
        async with httpx.AsyncClient(timeout=10) as client:
            return await client.get(f"{self.url}/retailcrm/make-call", params=query)

    def tail(self, size: int = 4000) -> str:
        return self.log.read_bytes()[-size:].decode(errors="replace") if self.log.exists() else ""

    async def kill(self) -> None:
        """SIGKILL: as a power cut would."""
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
            await self.process.wait()

    async def stop(self) -> None:
        """SIGTERM, as a service manager does; SIGKILL when that is not enough."""
        if self.process is None or self.process.returncode is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.process.wait(), 20)
        except TimeoutError:
            await self.kill()

    async def __aenter__(self) -> Service:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
