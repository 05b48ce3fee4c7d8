"""Where recordings are kept: a bucket of an S3-compatible storage, or a folder. obstore behind both.

S3 is asked as the simplest of its implementations understand it: path style, the configured region in the signature,
and no checksums beyond what the signature itself needs. An upload that is given up, whoever gives it up, leaves neither
an object nor an unfinished multipart upload; only SIGKILL does (a bucket's lifecycle rule for unfinished uploads takes
care of those, `tidy` of a folder's).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from bridge.errors import StoreProblem

PART = 5 * 1024 * 1024
"""Bytes of a part of an upload: the least that S3 takes, and up to 48 GiB in its ten thousand parts."""
_PARTS_AT_ONCE = 2
WINDOW = 1024 * 1024
"""Bytes asked for at a time when reading: a listener who pauses holds this much memory and no connection."""

DEFAULT_REGION = "us-east-1"

_LONGEST = 3600.0
_ABANDON_WITHIN = 10.0
_UNFINISHED = re.compile(r"#\d+$")  # what LocalStore calls a file until it is whole
_STALE = 24 * 3600.0
_S3_CODE = re.compile(r"<Code>(\w+)</Code>")
_FAILURES = (BaseError, OSError)


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """`endpoint` None: Amazon's own."""

    name: str
    key_id: str
    secret: str
    region: str = DEFAULT_REGION
    endpoint: str | None = None


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What was put: `size` in bytes."""

    size: int
    sha256: bytes


class Store:
    """Raises StoreProblem for whatever the store does not do, in words that name no bucket and no host: they reach the
    people of every enterprise. `where` is for the deployment's own."""

    def __init__(
        self,
        inner: S3Store | LocalStore,
        where: str,
        folder: Path | None = None,
        patient: S3Store | None = None,
    ) -> None:
        """`patient`: the same, for requests that last as long as what they carry."""
        self._inner = inner
        self._patient = patient or inner
        self._folder = folder
        self.where = where

    @classmethod
    def s3(cls, bucket: Bucket, *, timeout: float = 30.0) -> Store:
        """`timeout` in seconds for each request: a part of an upload, a window of a download."""
        options: dict[str, Any] = {"endpoint": bucket.endpoint} if bucket.endpoint else {}
        where = f"bucket {bucket.name} at {bucket.endpoint or 'Amazon S3'}"

        def opened(whole: float) -> S3Store:
            return S3Store(
                bucket.name,
                region=bucket.region,
                access_key_id=bucket.key_id,
                secret_access_key=bucket.secret,
                virtual_hosted_style_request=False,
                client_options={
                    "allow_http": (bucket.endpoint or "").startswith("http://"),
                    "timeout": timedelta(seconds=whole),
                    "read_timeout": timedelta(seconds=timeout),
                    "connect_timeout": timedelta(seconds=min(timeout, 5.0)),
                },
                # the pipeline has its own back-off, and a listener does not wait for minutes
                retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=timeout)},
                **options,
            )

        try:
            return cls(opened(timeout), where, patient=opened(_LONGEST))
        except _FAILURES as problem:
            raise StoreProblem(f"The store ({where}) cannot be used: {_reason(problem)}.") from problem

    @classmethod
    def in_folder(cls, folder: Path) -> Store:
        """Makes the folder, for its owner only. Raises StoreProblem."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return cls(LocalStore(folder, automatic_cleanup=True), f"folder {folder}", folder)
        except _FAILURES as problem:
            raise StoreProblem(f"The folder {folder} cannot be used: {_reason(problem)}.") from problem

    async def put(self, key: str, chunks: AsyncIterator[bytes], content_type: str) -> Stored:
        """Stores all that comes. What the chunks raise is raised here, and nothing is stored then."""
        feed = _Feed(chunks)
        try:
            head = await feed.take(PART)
            with self._told():
                if feed.ended:
                    await self._upload(key, head, content_type)
                else:
                    await self._multipart(key, feed, content_type)
                if self._folder is not None:
                    await asyncio.to_thread(_sync, self._folder / key)
        except (StoreProblem, RuntimeError):
            if feed.failure is not None:
                raise feed.failure from None
            raise
        return Stored(size=feed.size, sha256=feed.sha256)

    async def verify(self, key: str, stored: Stored) -> None:
        """Reads it back. Raises StoreProblem when the store holds something else; then it is removed."""
        digest = hashlib.sha256()
        size = await self.size(key)
        if size == stored.size:
            with self._told(missing=True):
                found = await obstore.get_async(self._patient, key)
                async for chunk in found.stream(min_chunk_size=WINDOW):
                    digest.update(chunk)
        if digest.digest() != stored.sha256:
            await self.delete(key)
            raise StoreProblem("What the store gives back is not what was put.", found=size, allowed=stored.size)

    async def size(self, key: str) -> int:
        """Bytes. Raises FileNotFoundError."""
        with self._told(missing=True):
            return int((await obstore.head_async(self._inner, key))["size"])

    async def read(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to, not including, `end`, window by window. Raises FileNotFoundError."""
        for begin in range(start, end, WINDOW):
            with self._told(missing=True):
                window = await obstore.get_range_async(self._inner, key, start=begin, end=min(begin + WINDOW, end))
            if len(window) != min(begin + WINDOW, end) - begin:
                raise StoreProblem("The stored recording is shorter than it was.")
            yield bytes(window)

    async def delete(self, key: str) -> None:
        """What is not there is deleted already."""
        try:
            with self._told(missing=True):
                await obstore.delete_async(self._inner, key)
        except FileNotFoundError:
            pass

    async def examine(self) -> None:
        """Puts, reads and removes a small object. Raises StoreProblem."""
        key, content = f"check/{secrets.token_hex(8)}", secrets.token_bytes(16)

        async def chunks() -> AsyncIterator[bytes]:
            yield content

        stored = await self.put(key, chunks(), "application/octet-stream")
        try:
            await self.verify(key, stored)
        except FileNotFoundError:
            raise StoreProblem("What was put into the store is not there.") from None
        await self.delete(key)

    async def tidy(self) -> None:
        """Removes what killed uploads have left in a folder."""
        if self._folder is not None:
            await asyncio.to_thread(_remove_unfinished, self._folder, time.time() - _STALE)

    # --- uploads ----------------------------------------------------------------------------------------------------

    async def _upload(self, key: str, content: bytes, content_type: str) -> None:
        await obstore.put_async(self._inner, key, content, attributes=self._attributes(content_type))

    async def _multipart(self, key: str, feed: _Feed, content_type: str) -> None:
        """A cancelled upload would be left unfinished in the bucket: instead its source ends with an error, at which
        obstore aborts it."""
        upload = asyncio.ensure_future(
            obstore.put_async(
                self._inner,
                key,
                feed,
                attributes=self._attributes(content_type),
                chunk_size=PART,
                max_concurrency=_PARTS_AT_ONCE,
                use_multipart=True,
            )
        )
        try:
            await asyncio.shield(upload)
        except asyncio.CancelledError:
            feed.abandon()
            await asyncio.wait({upload}, timeout=_ABANDON_WITHIN)
            if upload.done() and not upload.cancelled():
                upload.exception()
            raise

    def _attributes(self, content_type: str) -> Any:
        return None if self._folder is not None else {"Content-Type": content_type}

    @contextmanager
    def _told(self, *, missing: bool = False) -> Iterator[None]:
        """obstore's errors as StoreProblem; with `missing`, FileNotFoundError where there is no such object."""
        try:
            yield
        except FileNotFoundError as problem:
            code = _S3_CODE.search(str(problem))  # none in a folder, and none in the answer to a HEAD
            if missing and (code is None or code[1] == "NoSuchKey"):
                raise FileNotFoundError("no such object") from problem
            raise StoreProblem(f"The store of recordings refuses: {_reason(problem)}.") from problem
        except _FAILURES as problem:
            raise StoreProblem(f"The store of recordings failed: {_reason(problem)}.") from problem


class _Feed:
    """Chunks on their way into the store: counted, hashed, and stoppable. What they raise is kept as `failure`."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._ready: list[bytes] = []
        self._pulling: asyncio.Future[bytes] | None = None
        self._abandoned = False
        self._hash = hashlib.sha256()
        self.size = 0
        self.ended = False
        self.failure: BaseException | None = None

    @property
    def sha256(self) -> bytes:
        return self._hash.digest()

    async def take(self, size: int) -> bytes:
        """The first `size` bytes or a little more; fewer when that is all (`ended`). They come again, if not all."""
        taken = 0
        while taken < size:
            try:
                self._ready.append(await self._next())
            except StopAsyncIteration:
                self.ended = True
                break
            taken += len(self._ready[-1])
        return b"".join(self._ready) if self.ended else b""

    def abandon(self) -> None:
        self._abandoned = True
        if self._pulling is not None:
            self._pulling.cancel()

    def __aiter__(self) -> _Feed:
        return self

    async def __anext__(self) -> bytes:
        if self._ready:
            return self._ready.pop(0)
        self._pulling = asyncio.ensure_future(self._next())
        try:
            return await self._pulling
        except StopAsyncIteration:
            raise
        except BaseException as problem:
            self.failure = problem
            raise RuntimeError("the source has ended with an error") from None
        finally:
            self._pulling = None

    async def _next(self) -> bytes:
        if self._abandoned:
            raise RuntimeError("the upload is given up")
        chunk = await anext(self._chunks)
        self._hash.update(chunk)
        self.size += len(chunk)
        return chunk


def _reason(problem: Exception) -> str:
    """One line: S3's own code where it gave one."""
    if isinstance(problem, OSError) and problem.strerror:
        return problem.strerror
    text = str(problem)
    if found := _S3_CODE.search(text):
        return found[1]
    line = text.split("\n")[0].split(" - ")
    return (line[0] if len(line) == 1 else line[-1]).strip(" .")[:300]


def _sync(path: Path) -> None:
    """Onto the disk: once the database says that it is stored, it must be."""
    for target in (path, path.parent):
        handle = os.open(target, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _remove_unfinished(folder: Path, before: float) -> None:
    for path in folder.rglob("*#*"):
        if _UNFINISHED.search(path.name) and path.is_file() and path.stat().st_mtime < before:
            path.unlink(missing_ok=True)
