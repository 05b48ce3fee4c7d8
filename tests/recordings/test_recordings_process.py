"""The pipeline as a process: killed in the middle, and given more than its memory holds."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from recording_process import content
from recordings_office import S3, Office, content_of

from bridge.recordings.store import Bucket

MEGABYTE = 1024 * 1024


@asynccontextmanager
async def process(url: str, where: str, size: int, *hang: int) -> AsyncIterator[asyncio.subprocess.Process]:
    script = Path(__file__).with_name("recording_process.py")
    started = await asyncio.create_subprocess_exec(
        sys.executable, str(script), url, where, str(size), *map(str, hang),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


async def test_a_process_killed_in_the_middle_leaves_it_to_the_next(
    office: Office, database_url: str, s3_server: str
) -> None:
    s3 = S3(Bucket(name="recordings", key_id="key", secret="secret", region="ru-1", endpoint=s3_server), s3_server)
    await asyncio.to_thread(s3.make)
    call = await office.call("entry")
    await office.owe("mango", "id", call_id="entry")
    size = 20 * MEGABYTE
    async with process(database_url, s3_server, size, 12 * MEGABYTE) as first:
        assert first.stdout is not None
        assert await asyncio.wait_for(first.stdout.readline(), 30) == b"sent\n"
        first.kill()
        await first.wait()
    assert (await office.the(call)).state == "fetching", "nobody said that it was given up"
    assert s3.objects() == []
    async with process(database_url, s3_server, size) as second:
        assert await asyncio.wait_for(second.wait(), 30) == 0
    recording = await office.the(call)
    assert (recording.state, recording.attempts) == ("stored", 2)
    assert s3.objects() == [recording.key]
    assert await content_of(s3.store, recording) == content(size)


async def test_500_mb_pass_through_flat_memory(office: Office, database_url: str, tmp_path: Path) -> None:
    size = 500 * MEGABYTE
    call = await office.call("entry")
    await office.owe("mango", "id", call_id="entry")
    async with process(database_url, str(tmp_path / "recordings"), size) as running:
        said, _ = await asyncio.wait_for(running.communicate(), 60)
    figures = msgspec.json.decode(said.splitlines()[-1])
    assert figures["grew"] < 100 * MEGABYTE
    recording = await office.the(call)
    assert (recording.state, recording.size, recording.attempts) == ("stored", size, 1)
    (tmp_path / "recordings" / str(recording.key)).unlink()
