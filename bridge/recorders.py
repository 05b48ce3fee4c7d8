"""Where recordings are fetched: over a PBX's ARI, in a folder that this host shares with it, from Mango Office."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Protocol

from bridge.ari.recordings import stored_recording
from bridge.db import pbxs
from bridge.db.pool import LOST, Pool
from bridge.errors import (
    AriError,
    BadInput,
    BridgeError,
    MangoRefused,
    MangoUnavailable,
    RecordingFailed,
    RecordingGone,
    RecordingNotYet,
    SecretProblem,
)
from bridge.recordings.files import below, open_file
from bridge.recordings.port import Stream, Wanted
from bridge.recordings.store import DEFAULT_REGION, Bucket, Store
from bridge.recordings.web import Web
from bridge.secrets import Vault, pbx_field
from bridge.settings import Settings

RETRY_AFTER = 30.0
"""Seconds until a file that the PBX does not have is asked for again."""
REFUSED_RETRY_AFTER = 600.0
"""The same where Mango refuses key or sign: a person has to put that right first."""
_NOT_ALLOWED, _NO_SUCH_THING = range(3100, 3200), range(3200, 4000)
MANGO_RETRY_AFTER = 60.0
"""The same of Mango Office (VPBX API, 3.5: about once a minute)."""


class PbxFiles:
    """The source `asterisk`: the reference is the file's name, as the event stream has it."""

    def __init__(self, pool: Pool, vault: Vault) -> None:
        self._pool = pool
        self._vault = vault

    @asynccontextmanager
    async def open(self, wanted: Wanted) -> AsyncIterator[Stream]:
        try:
            async with self._pool.acquire() as connection:
                row = await pbxs.recorder(connection, wanted.enterprise_number, wanted.pbx_name)
        except LOST as problem:
            raise RecordingFailed("The database does not answer.") from problem
        if row is None:
            raise RecordingFailed(f"There is no PBX {wanted.pbx_name} any more.", final=True)
        if row["recordings"]:
            async with open_file(Path(row["recordings"]), wanted.reference) as stream:
                yield stream
        elif row["ari_url"]:
            field = pbx_field("ari_password")
            try:
                password = self._vault.open(row["ari_password"] or "", enterprise=wanted.enterprise_number, field=field)
            except SecretProblem as problem:
                raise RecordingFailed("ARI's password cannot be opened with the keys there are.") from problem
            async with _over_ari(row["ari_url"], row["ari_username"] or "", password, wanted.reference) as stream:
                yield stream
        else:
            raise RecordingFailed(f"PBX {wanted.pbx_name} has neither `ari` nor `recordings` any more.")


@asynccontextmanager
async def _over_ari(url: str, username: str, password: str, reference: str) -> AsyncIterator[Stream]:
    name = "/".join(below(reference))
    folder, _, file = name.rpartition("/")
    stem = file.rpartition(".")[0] or file
    try:
        async with stored_recording(url, username, password, f"{folder}/{stem}" if folder else stem) as found:
            yield Stream(_chunks(found.chunks()), size=found.size)
    except AriError as problem:
        if problem.http_status == 404:
            raise RecordingNotYet(
                f"ARI has no {name}: it serves the folder `recording` of Asterisk's spool (see recording.conf).",
                retry_after=RETRY_AFTER,
            ) from problem
        if problem.http_status in (401, 403):
            raise RecordingFailed("ARI refuses the user or the password.") from problem
        raise RecordingFailed(problem.message) from problem


async def _chunks(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        async for chunk in chunks:
            yield chunk
    except AriError as problem:
        raise RecordingFailed(problem.message) from problem


class MangoLinks(Protocol):
    """What gives the address of a recording of Mango Office, which works once."""

    async def recording_link(self, enterprise_number: str, recording_id: str) -> str:
        """Raises MangoRefused where there is no such file: for good where its `result` is 3xxx. Also MangoUnavailable,
        and other errors of ours."""


class MangoFiles:
    """The source `mango`: the reference is a recording_id. Every attempt asks for a link of its own."""

    def __init__(self, links: MangoLinks, web: Web) -> None:
        self._links = links
        self._web = web

    @asynccontextmanager
    async def open(self, wanted: Wanted) -> AsyncIterator[Stream]:
        link = await self._link(wanted)
        async with AsyncExitStack() as stack:
            try:
                stream = await stack.enter_async_context(self._web.fetch(link))
            except RecordingGone:  # the link is, which is not the recording: it works once and not for long
                raise RecordingFailed("The link that Mango Office gave did not work.") from None
            yield stream

    async def _link(self, wanted: Wanted) -> str:
        try:
            return await self._links.recording_link(wanted.enterprise_number, wanted.reference)
        except MangoRefused as refused:
            if refused.result in _NOT_ALLOWED:
                raise RecordingFailed(refused.message, retry_after=REFUSED_RETRY_AFTER) from refused
            if refused.result in _NO_SUCH_THING:
                raise RecordingGone(refused.message) from refused
            raise RecordingNotYet(refused.message, retry_after=MANGO_RETRY_AFTER) from refused
        except MangoUnavailable as problem:
            raise RecordingFailed(problem.message, retry_after=problem.retry_after) from problem
        except BadInput as wrong:
            raise RecordingFailed(wrong.message, final=True) from wrong
        except BridgeError as problem:
            raise RecordingFailed(problem.message) from problem


def open_store(settings: Settings) -> Store:
    """The bucket of the settings; without one, a folder in the data directory. Raises StoreProblem."""
    if not settings.s3_bucket_name:
        return Store.in_folder(settings.data_dir / "recordings")
    return Store.s3(
        Bucket(
            name=settings.s3_bucket_name,
            key_id=settings.s3_access_key_id or "",
            secret=settings.s3_secret_access_key or "",
            region=settings.s3_region or DEFAULT_REGION,
            endpoint=settings.s3_endpoint,
        )
    )
