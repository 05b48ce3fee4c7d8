"""A pipeline as a process of its own, so that it can be killed, and its memory measured.

python recording_process.py DATABASE_URL STORE SIZE [HANG]

STORE is a folder or the address of an S3 server (bucket `recordings`). Every recording that is owed comes as SIZE
bytes; with HANG the source sends that many, says "sent" on stdout, and then nothing. The process ends when nothing is
owed any more, and its last line says how much its memory grew at the most, in bytes, and how long it took.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from prometheus_client import CollectorRegistry

from bridge.db.pool import open_pool
from bridge.recordings.journal import Recordings
from bridge.recordings.links import Links
from bridge.recordings.metrics import RecordingMetrics
from bridge.recordings.pipeline import Pipeline, Settings
from bridge.recordings.port import Stream, Wanted
from bridge.recordings.store import Bucket, Store

PIECE = bytes(range(256)) * 256
HEAD = b"ID3\x04"


def content(size: int) -> bytes:
    """What the source gives."""
    return (HEAD + PIECE * (size // len(PIECE) + 1))[:size]


class Generated:
    """A source of `size` bytes that are in no memory."""

    def __init__(self, size: int, hang: int | None) -> None:
        self.size, self.hang = size, hang

    @asynccontextmanager
    async def open(self, wanted: Wanted) -> AsyncIterator[Stream]:
        yield Stream(self.chunks(), size=self.size)

    async def chunks(self) -> AsyncIterator[bytes]:
        sent = 0
        piece = HEAD + PIECE[: -len(HEAD)]
        tail = PIECE[-len(HEAD) :]
        while sent < self.size:
            if self.hang is not None and sent >= self.hang:
                print("sent", flush=True)  # noqa: T201
                await asyncio.Event().wait()
            chunk = piece[: self.size - sent]
            yield chunk
            sent += len(chunk)
            piece = tail + PIECE[: -len(HEAD)]


def memory() -> int:
    """Bytes that are resident now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


async def run(url: str, where: str, size: int, hang: int | None) -> None:
    pool = await open_pool(url)
    if where.startswith("http"):
        store = Store.s3(Bucket(name="recordings", key_id="key", secret="secret", region="ru-1", endpoint=where))
    else:
        store = Store.in_folder(Path(where))
    pipeline = Pipeline(
        pool,
        store,
        {"mango": Generated(size, hang)},
        Recordings(Links(["a key of the recordings process"], "http://127.0.0.1")),
        RecordingMetrics(CollectorRegistry()),
        Settings(poll=0.05, lease=1.0, first=0.05, last=0.2, gauges=3600.0),
    )
    before = most = memory()
    began = time.monotonic()
    running = asyncio.create_task(pipeline.run())
    while await pool.fetchval("select exists (select from recordings where state in ('waiting', 'fetching'))"):
        most = max(most, memory())
        await asyncio.sleep(0.02)
    took = time.monotonic() - began
    pipeline.stop()
    await running
    await pool.close()
    print(msgspec.json.encode({"grew": most - before, "seconds": took}).decode(), flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:3], int(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else None))
