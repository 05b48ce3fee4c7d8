"""Recordings into S3: the pipeline beside the bare upload it is built on, in one run.

    .venv/bin/python bench/recordings.py [--megabytes 500] [--small 100]

ours   the whole pipeline: claimed in Postgres, fetched from a source, hashed, uploaded in parts, read back and
       compared, settled in Postgres
floor  obstore's upload of the same stream to the same server, and nothing else

One large recording, whose memory is watched (RSS of this process, which holds no more than what is on its way), and
many small ones of half a megabyte, as calls have.

Caveats. The server is moto, an S3 for tests, in a process of its own on this machine: it is the slowest part of both
ways and shares the machine's cores with them. The source makes its bytes up; no PBX and no network is in it. Ours reads
back everything that it has uploaded; the floor does not.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import obstore
from prometheus_client import CollectorRegistry

from bridge.db.embedded import EmbeddedPostgres
from bridge.db.migrate import migrate
from bridge.db.pool import Pool, connect, open_pool
from bridge.recordings.journal import Owed, Recordings
from bridge.recordings.links import Links
from bridge.recordings.metrics import RecordingMetrics
from bridge.recordings.pipeline import Pipeline, Settings
from bridge.recordings.port import Stream, Wanted
from bridge.recordings.store import PART, Bucket, Store
from lab.service import free_port

MEGABYTE = 1024 * 1024
SMALL = MEGABYTE // 2
PIECE = b"ID3\x04" + bytes(range(252)) * 260
TARGET_MEGABYTES = 100


class Generated:
    """A source: the reference of a recording is its size in bytes."""

    @asynccontextmanager
    async def open(self, wanted: Wanted) -> AsyncIterator[Stream]:
        size = int(wanted.reference.partition("-")[0])
        yield Stream(generated(size), size=size)


async def generated(size: int) -> AsyncIterator[bytes]:
    for sent in range(0, size, len(PIECE)):
        yield PIECE[: size - sent]


class Memory:
    """How much this process grows while it is watched, at the most; bytes."""

    def __init__(self) -> None:
        self.before = self.most = self._now()

    async def watch(self) -> None:
        while True:
            self.most = max(self.most, self._now())
            await asyncio.sleep(0.02)

    @property
    def grew(self) -> int:
        return self.most - self.before

    @staticmethod
    def _now() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@contextmanager
def s3_server() -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.monotonic() > until or process.poll() is not None:
                    raise SystemExit("the S3 server does not start") from None
                time.sleep(0.05)
        httpx.put(f"http://127.0.0.1:{port}/recordings").raise_for_status()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


async def ours(pool: Pool, store: Store, sizes: list[int]) -> float:
    """Seconds until all are stored."""
    recordings = Recordings(Links(["a key of the recordings bench, long enough"], "http://127.0.0.1"))
    run = str(time.monotonic_ns())
    owed = [Owed(call_id=run, source="mango", reference=f"{size}-{number}") for number, size in enumerate(sizes)]
    async with pool.acquire() as connection, connection.transaction():
        await recordings.owe_all(connection, "0367", "mango", owed)
    metrics = RecordingMetrics(CollectorRegistry())
    settings = Settings(poll=0.05, share=4)
    began = time.monotonic()
    running = asyncio.create_task(Pipeline(pool, store, {"mango": Generated()}, recordings, metrics, settings).run())
    try:
        while await pool.fetchval("select exists (select from recordings where state <> 'stored')"):
            await asyncio.sleep(0.02)
        return time.monotonic() - began
    finally:
        running.cancel()
        await asyncio.wait({running})


async def floor(store: Store, sizes: list[int]) -> float:
    """The same, four at a time as ours."""
    places = asyncio.Semaphore(4)

    async def put(number: int, size: int) -> None:
        async with places:
            if size <= PART:
                whole = b"".join([chunk async for chunk in generated(size)])
                await obstore.put_async(store._inner, f"floor/{number}", whole)
            else:
                await obstore.put_async(
                    store._inner, f"floor/{number}", generated(size), chunk_size=PART, max_concurrency=2
                )

    began = time.monotonic()
    await asyncio.gather(*(put(number, size) for number, size in enumerate(sizes)))
    return time.monotonic() - began


async def measure(url: str, server: str, megabytes: int, small: int) -> bool:
    connection = await connect(url)
    await migrate(connection)
    await connection.execute("insert into enterprises (number) values ('0367') on conflict do nothing")
    await connection.close()
    pool = await open_pool(url)
    store = Store.s3(Bucket(name="recordings", key_id="key", secret="secret", region="ru-1", endpoint=server))
    await ours(pool, store, [SMALL] * 8)  # warm
    memory = Memory()
    watching = asyncio.create_task(memory.watch())
    large = await ours(pool, store, [megabytes * MEGABYTE])
    watching.cancel()
    bare = await floor(store, [megabytes * MEGABYTE])
    many = await ours(pool, store, [SMALL] * small)
    bare_many = await floor(store, [SMALL] * small)
    await pool.close()
    print(f"one of {megabytes} MB      ours {large:6.1f} s  {megabytes / large:6.1f} MB/s   "
          f"floor {bare:6.1f} s  {megabytes / bare:6.1f} MB/s")  # fmt: skip
    print(f"{small} of 0.5 MB     ours {many:6.1f} s  {small / many:6.1f} /s     "
          f"floor {bare_many:6.1f} s  {small / bare_many:6.1f} /s")  # fmt: skip
    grew = memory.grew / MEGABYTE
    print(f"memory while the large one passed: grew by {grew:.0f} MB at the most (target: under {TARGET_MEGABYTES} MB)")
    return grew < TARGET_MEGABYTES


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--small", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bridge-bench-") as home, s3_server() as server:
        postgres = EmbeddedPostgres(Path(home), progress=lambda _: None)
        try:
            well = asyncio.run(measure(postgres.start(), server, options.megabytes, options.small))
        finally:
            postgres.stop()
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
