"""A stored recording as a response: whole or a range of it, out of the store a window at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from email.utils import format_datetime
from http import HTTPStatus

import structlog
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from bridge.errors import RecordingNotFound
from bridge.http import ranges
from bridge.http.envelope import failure
from bridge.recordings.journal import Recording
from bridge.recordings.store import Store

log = structlog.get_logger(__name__)


async def playback(request: Request, store: Store, recording: Recording) -> Response:
    """Of a recording that is stored. Raises RecordingNotFound when its file is gone, StoreProblem."""
    if recording.key is None or recording.size is None or recording.stored_at is None:
        raise RecordingNotFound
    etag = f'"{(recording.sha256 or b"").hex()[:32]}"'
    stored_at = recording.stored_at.replace(microsecond=0)
    headers = {
        "Accept-Ranges": "bytes",
        "ETag": etag,
        "Last-Modified": format_datetime(stored_at, usegmt=True),
        # asked for again each time, or a revoked link would go on playing
        "Cache-Control": "private, no-cache",
    }
    if ranges.known(request.headers.get("if-none-match"), etag):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    wanted: tuple[int, int] | None = None
    if request.method == "GET" and ranges.still(request.headers.get("if-range"), etag, stored_at):
        try:
            wanted = ranges.span(request.headers.get("range"), recording.size)
        except ranges.NotSatisfiable:
            headers["Content-Range"] = f"bytes */{recording.size}"
            status = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
            return failure(status, "RANGE_NOT_SATISFIABLE", f"It has {recording.size} bytes", headers=headers)
    start, end = wanted or (0, recording.size)
    headers |= {
        "Content-Type": recording.content_type or "application/octet-stream",
        "Content-Length": str(end - start),
        "Content-Disposition": f'inline; filename="call-{recording.call_pk}.{recording.key.rpartition(".")[2]}"',
    }
    if wanted:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{recording.size}"
    if request.method == "HEAD":
        return Response(headers=headers)
    windows = store.read(recording.key, start, end)
    try:
        first = await anext(windows)  # before the head goes out: its absence is still an ordinary answer
    except FileNotFoundError:
        log.error("recording_lost", recording=recording.id, key=recording.key)
        raise RecordingNotFound("The recording is not in the store any more") from None
    status_code = HTTPStatus.PARTIAL_CONTENT if wanted else HTTPStatus.OK
    return StreamingResponse(_chained(first, windows), status_code, headers)


async def _chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for window in rest:
        yield window
