"""Verbs of the recordings tests: calls that have recordings, what became of them, sources that do as they are told."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from prometheus_client import CollectorRegistry

from bridge.db.pool import Pool
from bridge.recordings.journal import Recording, Recordings, of_calls
from bridge.recordings.metrics import RecordingMetrics
from bridge.recordings.pipeline import Pipeline, Settings
from bridge.recordings.port import Source, Stream, Wanted
from bridge.recordings.store import Bucket, Store

KEY = "an old secret of the recordings tests"
URL = "https://bridge.example"

_CALL = """
insert into calls (enterprise_number, pbx_name, call_id, direction, result, started_at)
values ($1, $2, $3, 'inbound', 'answered', now()) returning id
"""


@dataclass
class Office:
    """0367 with the PBX `office`, 0999 with `other`."""

    pool: Pool
    recordings: Recordings

    async def call(self, call_id: str = "1.1", enterprise: str = "0367", pbx: str = "office") -> int:
        return int(await self.pool.fetchval(_CALL, enterprise, pbx, call_id))

    async def owe(
        self,
        source: str = "asterisk",
        reference: str = "/var/spool/asterisk/recording/1.1.wav",
        *,
        call_id: str = "1.1",
        enterprise: str = "0367",
        pbx: str = "office",
        after: float | None = 0.0,
    ) -> str:
        async with self.pool.acquire() as conn, conn.transaction():
            return await self.recordings.owe(conn, enterprise, pbx, call_id, source, reference, after=after)

    async def of(self, call_pk: int) -> list[Recording]:
        async with self.pool.acquire() as conn:
            return await of_calls(conn, [call_pk])

    async def the(self, call_pk: int) -> Recording:
        (recording,) = await self.of(call_pk)
        return recording

    async def url(self, call_pk: int) -> str | None:
        url: str | None = await self.pool.fetchval("select recording_url from calls where id = $1", call_pk)
        return url


async def furnish(pool: Pool, recordings: Recordings) -> Office:
    await pool.execute("insert into enterprises (number) values ('0367'), ('0999')")
    return Office(pool, recordings)


async def eventually(condition: Callable[[], Any], seconds: float = 15.0) -> None:
    """Wait until `condition` (a function, or one that is awaited) holds; TimeoutError when it does not in time."""
    async with asyncio.timeout(seconds):
        while True:
            holds = condition()
            if inspect.isawaitable(holds):
                holds = await holds
            if holds:
                return
            await asyncio.sleep(0.02)


# --- the pipeline ---------------------------------------------------------------------------------------------------

QUICK = Settings(poll=0.05, first=0.05, last=0.2, settling=0.2, patience=0.6, horizon=1.5, idle=2.0, lease=2.0)
"""A pipeline that looks often and gives up soon: tests wait for events, not for hours."""

Step = Callable[[], AbstractAsyncContextManager[Stream]]


def wave(seconds: float = 1.0, *, length: int | None = None) -> bytes:
    """A file as MixMonitor writes it: 8 kHz, 16 bit, one channel. `length`: what its header says instead."""
    samples = bytes(range(256)) * int(seconds * 16000 / 256)
    size = len(samples) if length is None else length
    head = b"RIFF" + (36 + size).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    form = (1, 2), (1, 2), (8000, 4), (16000, 4), (2, 2), (16, 2)
    return head + b"".join(n.to_bytes(w, "little") for n, w in form) + b"data" + size.to_bytes(4, "little") + samples


def gives(
    content: bytes, *, size: int | None = None, breaks: Exception | None = None, sized: bool = True, piece: int = 65536
) -> Step:
    """A source that sends `content`; it promises `size` bytes (None: as many), and may break after them."""

    @asynccontextmanager
    async def step() -> AsyncIterator[Stream]:
        async def chunks() -> AsyncIterator[bytes]:
            for start in range(0, len(content), piece):
                yield content[start : start + piece]
            if breaks is not None:
                raise breaks

        promised = (len(content) if size is None else size) if sized else None
        yield Stream(chunks(), size=promised)

    return step


def says(problem: Exception) -> Step:
    @asynccontextmanager
    async def step() -> AsyncIterator[Stream]:
        raise problem
        yield  # a generator, for its type

    return step


def hangs(content: bytes, *, after: int = 0) -> Step:
    """A source that sends the first bytes and then nothing."""

    @asynccontextmanager
    async def step() -> AsyncIterator[Stream]:
        async def chunks() -> AsyncIterator[bytes]:
            yield content[:after]
            await asyncio.Event().wait()

        yield Stream(chunks(), size=len(content))

    return step


class Halves:
    """A source of two enterprises: 0367's recordings come one way, all others another."""

    def __init__(self, of_0367: Step, others: Step) -> None:
        self._of_0367, self._others = of_0367, others

    def open(self, wanted: Wanted) -> AbstractAsyncContextManager[Stream]:
        return self._of_0367() if wanted.enterprise_number == "0367" else self._others()


class Scripted:
    """A source that does one step per attempt, and the last of them for ever."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.asked: list[Wanted] = []

    def open(self, wanted: Wanted) -> AbstractAsyncContextManager[Stream]:
        self.asked.append(wanted)
        return (self.steps.pop(0) if len(self.steps) > 1 else self.steps[0])()


@asynccontextmanager
async def working(
    office: Office, store: Store, source: Source, settings: Settings = QUICK, kind: str = "asterisk"
) -> AsyncIterator[Pipeline]:
    """A running pipeline."""
    pipeline = Pipeline(
        office.pool, store, {kind: source}, office.recordings, RecordingMetrics(CollectorRegistry()), settings
    )
    running = asyncio.create_task(pipeline.run())
    try:
        yield pipeline
    finally:
        pipeline.stop()
        await running


async def content_of(store: Store, recording: Recording) -> bytes:
    assert recording.key is not None
    assert recording.size is not None
    return b"".join([window async for window in store.read(recording.key, 0, recording.size)])


# --- an S3 ----------------------------------------------------------------------------------------------------------


@dataclass
class S3:
    """A bucket of a running server."""

    bucket: Bucket
    url: str

    @property
    def store(self) -> Store:
        return Store.s3(self.bucket)

    def make(self) -> None:
        httpx.put(f"{self.url}/{self.bucket.name}").raise_for_status()

    def objects(self) -> list[str]:
        return _named(httpx.get(f"{self.url}/{self.bucket.name}").raise_for_status().text)

    def unfinished(self) -> list[str]:
        return _named(httpx.get(f"{self.url}/{self.bucket.name}?uploads").raise_for_status().text)


def _named(xml: str) -> list[str]:
    return [part.partition("</Key>")[0] for part in xml.split("<Key>")[1:]]
