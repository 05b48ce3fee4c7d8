"""The pipeline: fetches what is owed from its source into the store, verified, at its own pace.

Theory of operation. Recordings become due; a worker claims some of each place (an enterprise's PBX), so that a place
that is slow or down takes no more than its share. A claim lasts `lease` seconds and is moved on while the worker works;
a worker that is killed loses it and another begins anew, under the same key, so there is one object whoever finishes. A
stream that breaks leaves nothing in the store and starts over. What became of it is written only by whoever still holds
the claim.

What is tried again is tried later and later, and not for ever: a recording that is not there after `patience`, or that
could not be fetched or stored within `horizon`, is `failed`, with the reason, until a person asks for it again.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing

import asyncpg
import msgspec
import stamina
import structlog

from bridge import pacing
from bridge.errors import RecordingFailed, RecordingGone, RecordingNotYet, StoreProblem
from bridge.recordings import work
from bridge.recordings.journal import Recordings
from bridge.recordings.metrics import RecordingMetrics
from bridge.recordings.port import Source, Stream, Wanted
from bridge.recordings.sound import HEAD, Sound, sound, state
from bridge.recordings.store import Store, Stored
from bridge.recordings.work import Job, Place

log = structlog.get_logger(__name__)

LOST = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds, except `slots` and `share` (recordings under way in this process, and of one place of it) and `largest`
    (bytes).

    lease      how long a claim holds without a sign of life
    longest    how long one fetch may take
    idle       how long a source may send nothing
    settling   how long a file that looks unfinished or empty is given to be finished by its PBX
    patience   how long a recording that its source does not have is waited for
    horizon    how long a source or a store that fails is tried
    first, last  bounds of the back-off
    """

    slots: int = 4
    share: int = 2
    largest: int = 4 * 1024**3
    lease: float = 60.0
    longest: float = 3600.0
    idle: float = 30.0
    settling: float = 60.0
    patience: float = 3600.0
    horizon: float = 72 * 3600.0
    first: float = 5.0
    last: float = 3600.0
    poll: float = 1.0
    gauges: float = 15.0
    writing: float = 30.0


class _Kept(msgspec.Struct, frozen=True):
    key: str
    stored: Stored
    sound: Sound


class _Absent(msgspec.Struct, frozen=True):
    reason: str


class _Failed(msgspec.Struct, frozen=True):
    reason: str


class _Later(msgspec.Struct, frozen=True):
    """`within`: seconds after it became due that it is tried at all."""

    reason: str
    within: float
    retry_after: float | None = None


_Outcome = _Kept | _Absent | _Failed | _Later


class Pipeline:
    """Start with `run()`; it returns after `stop()`, once what was under way is given up: it is begun anew later."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        store: Store,
        sources: Mapping[str, Source],
        recordings: Recordings,
        metrics: RecordingMetrics,
        settings: Settings | None = None,
    ) -> None:
        self._pool = pool
        self._store = store
        self._sources = sources
        self._recordings = recordings
        self._metrics = metrics
        self._settings = settings or Settings()
        self._stopping = asyncio.Event()
        self._free = asyncio.Event()
        self._tasks: dict[asyncio.Task[None], Place] = {}

    # --- life -------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        self._stopping.set()
        self._free.set()

    async def run(self) -> None:
        gauges = asyncio.create_task(self._measure(), name="recording gauges")
        try:
            while not self._stopping.is_set():
                self._free.clear()
                try:
                    more = await self._claim()
                except LOST as problem:
                    log.warning("recordings_not_claimed", problem=repr(problem))
                    more = False
                if more and len(self._tasks) < self._settings.slots:
                    continue
                try:
                    await asyncio.wait_for(self._free.wait(), self._settings.poll * random.uniform(0.9, 1.1))  # noqa: S311
                except TimeoutError:
                    continue
        finally:
            gauges.cancel()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(gauges, *self._tasks, return_exceptions=True)

    async def _claim(self) -> bool:
        """Begins what is due and has room; whether anything was begun."""
        settings, begun = self._settings, False
        room = settings.slots - len(self._tasks)
        if room <= 0:
            return False
        async with self._pool.acquire() as conn:
            found = await work.places(conn)
            random.shuffle(found)  # no place is always the last
            busy = Counter(self._tasks.values())
            for place in found:
                count = min(room, settings.share - busy[place])
                if count <= 0:
                    continue
                for job in await work.claim(conn, place, count, settings.lease):
                    task = asyncio.create_task(self._attempt(job), name=f"recording {job.id}")
                    self._tasks[task] = place
                    task.add_done_callback(self._ended)
                    room -= 1
                    begun = True
        return begun

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        self._free.set()

    async def _measure(self) -> None:
        while True:
            try:
                async with self._pool.acquire() as conn:
                    now = await work.backlog(conn)
            except LOST as problem:
                log.warning("recordings_not_measured", problem=repr(problem))
            else:
                self._metrics.owed.set(now.owed)
                self._metrics.oldest.set(now.oldest)
                self._metrics.failed.set(now.failed)
            await asyncio.sleep(self._settings.gauges)

    # --- one attempt ------------------------------------------------------------------------------------------------

    async def _attempt(self, job: Job) -> None:
        """Fetches one claimed recording and writes down what came of it. This is the edge of a task."""
        began = time.monotonic()
        fetching = asyncio.create_task(self._fetch(job), name=f"fetch {job.id}")
        keeping = asyncio.create_task(self._keep(job), name=f"claim {job.id}")
        try:
            await asyncio.wait({fetching, keeping}, return_when=asyncio.FIRST_COMPLETED)
            if not fetching.done():
                log.warning("recording_taken_over", recording=job.id)
                return
            async for attempt in stamina.retry_context(on=LOST, timeout=self._settings.writing, attempts=None):
                with attempt:
                    await self._write(job, fetching.result(), time.monotonic() - began)
        except LOST as problem:
            log.warning("recording_not_written", recording=job.id, problem=repr(problem))
        except Exception:
            log.exception("recording_defect", recording=job.id)
        finally:
            for task in (fetching, keeping):
                task.cancel()
            await asyncio.gather(fetching, keeping, return_exceptions=True)

    async def _keep(self, job: Job) -> None:
        """Returns when the claim is somebody else's."""
        while True:
            await asyncio.sleep(self._settings.lease / 4)
            try:
                async with self._pool.acquire() as conn:
                    if not await work.keep(conn, job, self._settings.lease):
                        return
            except LOST as problem:
                log.warning("recording_claim_not_kept", recording=job.id, problem=repr(problem))

    async def _fetch(self, job: Job) -> _Outcome:
        settings = self._settings
        source = self._sources.get(job.source)
        if source is None:
            return _Later(f"nothing here fetches recordings of {job.source}", settings.patience)
        wanted = Wanted(
            enterprise_number=job.enterprise_number,
            pbx_name=job.pbx_name,
            call_id=job.call_id,
            reference=job.reference,
            age=job.age,
        )
        try:
            async with asyncio.timeout(settings.longest), source.open(wanted) as stream:
                return await self._transfer(job, stream)
        except RecordingGone as gone:
            return _Absent(gone.message)
        except RecordingNotYet as not_yet:
            return _Later(not_yet.message, settings.patience, not_yet.retry_after)
        except RecordingFailed as failed:
            if failed.final:
                return _Failed(failed.message)
            return _Later(failed.message, settings.horizon, failed.retry_after)
        except StoreProblem as problem:
            return _Later(problem.message, settings.horizon)
        except FileNotFoundError:
            return _Later("What was stored is not there.", settings.horizon)
        except TimeoutError:
            return _Later(f"It took longer than {settings.longest:.0f} s.", settings.horizon)
        except Exception as problem:
            # a defect of ours must cost this recording time, not the pipeline its place
            log.exception("recording_defect", recording=job.id, source=job.source)
            return _Later(f"internal error: {type(problem).__name__}", settings.horizon)

    async def _transfer(self, job: Job, stream: Stream) -> _Outcome:
        settings = self._settings
        if stream.size is not None and stream.size > settings.largest:
            return _too_large(settings.largest)
        async with aclosing(self._checked(stream)) as chunks:
            head = b""
            while len(head) < HEAD and (chunk := await anext(chunks, b"")):
                head += chunk
            if stream.size is not None or not head:
                found = state(head[:HEAD], stream.size or 0)
                if found != "whole" and job.age < settings.settling:
                    return _Later("The PBX has not finished the file.", settings.patience, settings.settling / 4)
                if found == "empty":
                    return _Absent("The file is empty: nothing was recorded.")
            kind = sound(head[:HEAD], job.reference)
            key = _key(job, kind)
            stored = await self._store.put(key, _chained(head, chunks), kind.content_type)
        await self._store.verify(key, stored)
        return _Kept(key, stored, kind)

    async def _checked(self, stream: Stream) -> AsyncGenerator[bytes, None]:
        """The stream's chunks, not empty ones, and none of more than the stream promised. Raises RecordingFailed where
        it is cut off, stands still, or never ends."""
        size = 0
        chunks = aiter(stream.chunks)
        while True:
            try:
                async with asyncio.timeout(self._settings.idle):
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                break
            except TimeoutError:
                raise RecordingFailed(f"Nothing came for {self._settings.idle:.0f} s.") from None
            size += len(chunk)
            if size > self._settings.largest:
                raise RecordingFailed(_too_large(self._settings.largest).reason, final=True)
            if chunk:
                yield chunk
        if stream.size is not None and size != stream.size:
            raise RecordingFailed(f"It was cut off: {size} of {stream.size} bytes came.")

    # --- what came of it --------------------------------------------------------------------------------------------

    async def _write(self, job: Job, outcome: _Outcome, seconds: float) -> None:
        settings, metrics = self._settings, self._metrics
        reason: str | None = None
        async with self._pool.acquire() as conn, conn.transaction():
            match outcome:
                case _Kept(key=key, stored=stored, sound=kind):
                    name = "stored"
                    held = await work.stored(conn, job, key, stored, kind.content_type)
                case _Later(reason=reason, within=within, retry_after=retry_after) if job.age < within:
                    name = "retried"
                    pause = pacing.backoff(job.attempts, random.random(), first=settings.first, longest=settings.last)  # noqa: S311
                    pause = min(max(pause, settings.first / 2, retry_after or 0.0), settings.last)
                    held = await work.again(conn, job, reason, pause)
                case _Absent(reason=reason):
                    name = "absent"
                    held = await work.over(conn, job, name, reason)
                case _Failed(reason=reason) | _Later(reason=reason):
                    name = "failed"
                    held = await work.over(conn, job, name, reason)
            if held:
                await self._recordings.relink(conn, job.enterprise_number, job.pbx_name, job.call_id)
        if not held:
            log.warning("recording_taken_over", recording=job.id, outcome=name)
            return
        metrics.attempts.labels(job.source, name).inc()
        if isinstance(outcome, _Kept):
            metrics.bytes.labels(job.source).inc(outcome.stored.size)
            metrics.seconds.labels(job.source).observe(seconds)
        log.info(
            "recording_attempted",
            recording=job.id,
            enterprise=job.enterprise_number,
            pbx=job.pbx_name,
            call_id=job.call_id,
            attempt=job.attempts,
            outcome=name,
            reason=reason,
        )


def _key(job: Job, kind: Sound) -> str:
    """`enterprise/PBX/yyyy/mm/dd/` and a digest, since what sources call their recordings is no file's name. The same
    for every attempt, so that there is one object whoever finishes."""
    identity = "\0".join((str(job.id), job.call_id, job.source, job.part)).encode("utf-8", "replace")
    digest = hashlib.sha256(identity).hexdigest()[:32]
    return f"{job.enterprise_number}/{job.pbx_name}/{job.day}/{digest}.{kind.extension}"


def _too_large(largest: int) -> _Failed:
    return _Failed(f"It is larger than {largest} bytes.")


async def _chained(head: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield head
    async for chunk in rest:
        yield chunk
