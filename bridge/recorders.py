"""Where the recordings of PBXs are fetched: over ARI, or in a folder that this host shares with the PBX."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bridge.ari.recordings import stored_recording
from bridge.db import pbxs
from bridge.db.pool import LOST, Pool
from bridge.errors import AriError, RecordingFailed, RecordingNotYet, SecretProblem
from bridge.recordings.files import below, open_file
from bridge.recordings.port import Stream, Wanted
from bridge.recordings.store import DEFAULT_REGION, Bucket, Store
from bridge.secrets import Vault, pbx_field
from bridge.settings import Settings

RETRY_AFTER = 30.0
"""Seconds until a file that the PBX does not have is asked for again."""


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
