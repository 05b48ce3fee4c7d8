"""PBXs that cannot be worked with are said so plainly, everywhere one would look, and cost the others nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable

from e2e_verbs import apply, eventually, health, is_up, told

from lab.service import free_port
from lab.stage import Stage, company_file

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

PBX = """
  [[enterprise.pbx]]
  name = "{name}"
  ami = {{ host = "{host}", port = {port}, username = "bridge", secret = "{secret}" }}
  extensions = '^9\\d\\d$'
"""


@contextlib.asynccontextmanager
async def something(serve: Serve) -> AsyncIterator[int]:
    """Something that listens where an AMI port is said to be."""
    writers: list[asyncio.StreamWriter] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(ConnectionError):
            await serve(reader, writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        for writer in writers:
            writer.close()
        server.close()
        await server.wait_closed()


async def a_web_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
    await writer.drain()
    writer.close()


async def a_babbler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Greets as Asterisk does, then talks nonsense without end and without a frame's end."""
    writer.write(b"Asterisk Call Manager/11.0.0\r\n")
    while True:
        writer.write(b"\x00\xff nonsense: \xfe\r\n" * 65536)
        await writer.drain()


async def an_old_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"Asterisk Call Manager/1.3\r\n")
    await writer.drain()
    await reader.read()


async def test_each_is_told_of_plainly_and_the_one_that_works_goes_on(at: Stage) -> None:
    here = at.company.pbx.host
    async with something(a_web_server) as web, something(a_babbler) as babbler, something(an_old_one) as old:
        strange = {
            "stranger": (here, 5038, "a wrong secret", "refused the login"),
            "nobody": ("127.0.0.1", free_port(), "x", "cannot be reached"),
            "web": ("127.0.0.1", web, "x", "does not greet as Asterisk does"),
            "babbler": ("127.0.0.1", babbler, "x", "it does not speak AMI"),
            "old": ("127.0.0.1", old, "x", "too old"),
        }
        declared = [
            PBX.format(name=name, host=host, port=port, secret=secret)
            for name, (host, port, secret, _) in strange.items()
        ]
        own, rest = company_file(at.company, at.account).split("  [[enterprise.user]]", 1)
        await apply(at, f"{own}{''.join(declared)}\n  [[enterprise.user]]{rest}")

        # /health says what is wrong with each, and that the service works
        async def problems() -> dict[str, str]:
            said = {pbx["name"]: pbx["problem"] for pbx in (await health(at.service))["pbxs"]}
            return said if all(said.get(name) for name in strange) else {}

        said = await eventually(problems, 20)
        for name, (*_, words) in strange.items():
            assert words in said[name], (name, said[name])
        told_of = await health(at.service)
        assert told_of["status"] == "degraded"
        assert len(told_of["reasons"]) == len(strange)
        assert await is_up(at.service)
        # while they are tried again, a call on the one that works is as it should be
        await at.company.inbound_answered("79163100001", talk=0.5)
        assert (await told(at, "79163100001")).result == "answered"
        # the doctor says so, and what to do
        code, examined, _ = await at.service.command("check", "--timeout", "2")
        assert code == 1
        for name in strange:
            (line,) = [line for line in examined.splitlines() if line.startswith(f"✗ PBX 0367/{name}")]
            assert examined.splitlines()[examined.splitlines().index(line) + 1].startswith("    → "), line
        assert "✓ PBX 0367/office" in examined
        # and so does the log, without the secret
        log = at.service.log.read_text()
        lines = [json.loads(line) for line in log.splitlines()]
        for name, (*_, words) in strange.items():
            assert [line for line in lines if line.get("pbx") == name and words in line.get("problem", "")], name
        assert "a wrong secret" not in log + examined
    # when they are taken away again, all is well
    await apply(at, company_file(at.company, at.account), "--prune")
    await eventually(lambda: is_well(at))


async def is_well(at: Stage) -> bool:
    return (await health(at.service))["status"] == "ok"
