"""Recordings of calls: playing them, by who is signed in or by link; taking links back; asking for them again."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from starlette.responses import Response

from bridge.db import call_lists
from bridge.errors import CallNotFound, RecordingNotFound, RecordingNotReady, Unauthorized
from bridge.http.api.types import Identifier, OneWanted
from bridge.http.operation import Visit
from bridge.http.playback import playback
from bridge.http.services import Library
from bridge.recordings.journal import Recording, State, of_calls, retry

_RETRY_AFTER = 10
_HOPE: tuple[State, ...] = ("stored", "fetching", "waiting", "failed", "absent", "expired")
"""Which of a call's recordings is played: the first that is there, then that may come."""


class RecordingWanted(msgspec.Struct, frozen=True, kw_only=True):
    """`token`: of a signed link, instead of signing in. `recording`: which of the call's. Players may add their own."""

    id: Identifier
    token: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    recording: Identifier | None = None


class RecordingItem(msgspec.Struct, frozen=True, kw_only=True):
    """A recording of a call. `reason`: why it is not there; `next_attempt_at`: when it is tried again; `size` in bytes;
    `url` its signed link."""

    id: int
    source: str
    state: State
    reason: str | None
    attempts: int
    next_attempt_at: datetime | None
    size: int | None
    sha256: str | None
    content_type: str | None
    stored_at: datetime | None
    url: str


class Links(msgspec.Struct, frozen=True, kw_only=True):
    """`recording_url` is the call's; `links` those of all its recordings."""

    recording_url: str | None
    links: list[str]


class Retried(msgspec.Struct, frozen=True, kw_only=True):
    """How many are fetched again."""

    retried: int


def shown(library: Library, recordings: list[Recording]) -> list[RecordingItem]:
    return [
        RecordingItem(
            id=recording.id,
            source=recording.source,
            state=recording.state,
            reason=recording.reason,
            attempts=recording.attempts,
            next_attempt_at=recording.due_at if recording.state == "waiting" else None,
            size=recording.size,
            sha256=recording.sha256.hex() if recording.sha256 is not None else None,
            content_type=recording.content_type,
            stored_at=recording.stored_at,
            url=library.recordings.url(recording),
        )
        for recording in recordings
    ]


async def play(visit: Visit, params: RecordingWanted) -> Response:
    """The recording of a call, or the range of it that is asked for: signed in, or by its signed link."""
    library = _library(visit)
    if params.token is not None:
        async with visit.desk.services.pool.acquire() as connection:
            recording = await library.recordings.opened(connection, params.id, params.token)
        if recording is None:
            raise RecordingNotFound
        reason = None  # whoever has the link is told no more than that
    else:
        visit.guest = await visit.desk.doors.principal(visit.request)
        if visit.guest is None:
            raise Unauthorized
        recording = _chosen(await _recordings(visit, params.id), params.recording)
        reason = recording.reason
    match recording.state:
        case "stored":
            return await playback(visit.request, library.store, recording)
        case "waiting" | "fetching":
            raise RecordingNotReady(state=recording.state, reason=reason, retry_after=_RETRY_AFTER)
        case "absent" | "failed" | "expired":
            raise RecordingNotFound(state=recording.state, reason=reason)


async def revoke(visit: Visit, params: OneWanted) -> Links:
    """Give the call's recordings other links: those that were given out open nothing any more."""
    library = _library(visit)
    recordings = await _recordings(visit, params.id)
    async with visit.desk.services.pool.acquire() as connection, connection.transaction():
        links = await library.recordings.revoke(connection, recordings)
        (first, *_) = await of_calls(connection, [params.id])
    return Links(recording_url=first.recording_url, links=links)


async def fetch_again(visit: Visit, params: OneWanted) -> Retried:
    """Fetch those of the call's recordings again that were given up."""
    recordings = await _recordings(visit, params.id)
    async with visit.desk.services.pool.acquire() as connection:
        return Retried(retried=await retry(connection, [recording.id for recording in recordings]))


def _library(visit: Visit) -> Library:
    library = visit.desk.services.library
    if library is None:
        raise RecordingNotFound
    return library


async def _recordings(visit: Visit, call_pk: int) -> list[Recording]:
    """Those of a call that the principal sees. Raises CallNotFound, RecordingNotFound where there is none."""
    async with visit.desk.services.pool.acquire() as connection:
        if await call_lists.one(connection, visit.principal.scope(), call_pk) is None:
            raise CallNotFound
        recordings = await of_calls(connection, [call_pk])
    if not recordings:
        raise RecordingNotFound("The call has no recording")
    return recordings


def _chosen(recordings: list[Recording], wanted: int | None) -> Recording:
    if wanted is None:
        return min(recordings, key=lambda recording: _HOPE.index(recording.state))
    for recording in recordings:
        if recording.id == wanted:
            return recording
    raise RecordingNotFound
