"""Recordings go when their enterprise's time for them is over, and with their enterprise."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from recordings_office import S3, Office, Scripted, eventually, gives, wave, working

from bridge.errors import StoreProblem
from bridge.recordings.metrics import RecordingMetrics
from bridge.recordings.retention import Retention
from bridge.recordings.store import Bucket, Store


def retention(office: Office, store: Store) -> Retention:
    return Retention(office.pool, store, office.recordings, RecordingMetrics(CollectorRegistry()))


@pytest.fixture
async def calls(office: Office, s3: S3) -> tuple[int, int, int]:
    """Two of 0367, one old and one new; an old one of 0999: all stored."""
    found = (
        await office.call("old"),
        await office.call("new"),
        await office.call("old", "0999", "other"),
    )
    await office.owe(call_id="old")
    await office.owe(call_id="new")
    await office.owe(call_id="old", enterprise="0999", pbx="other")
    async with working(office, s3.store, Scripted(gives(wave()))):

        async def stored() -> bool:
            return {(await office.the(call)).state for call in found} == {"stored"}

        await eventually(stored)
    await office.pool.execute("update recordings set created_at = now() - interval '31 days' where call_id = 'old'")
    return found


async def test_recordings_go_when_their_enterprises_time_is_over(
    office: Office, s3: S3, calls: tuple[int, int, int]
) -> None:
    await office.pool.execute("update enterprises set recordings_days = 30 where number = '0367'")
    old, new, others = calls
    assert await retention(office, s3.store).sweep() == 1
    assert [(await office.the(call)).state for call in calls] == ["expired", "stored", "stored"]
    assert len(s3.objects()) == 2
    assert await office.url(old) is None
    assert await office.url(new) is not None
    assert (await office.the(others)).key in s3.objects(), "another enterprise keeps its own for ever"


async def test_for_ever_is_for_ever(office: Office, s3: S3, calls: tuple[int, int, int]) -> None:
    assert await retention(office, s3.store).sweep() == 0
    assert len(s3.objects()) == 3


async def test_the_recordings_of_an_enterprise_that_is_removed_go_with_it(
    office: Office, s3: S3, calls: tuple[int, int, int]
) -> None:
    await office.pool.execute("delete from enterprises where number = '0367'")
    assert await retention(office, s3.store).sweep() == 2
    assert s3.objects() == [(await office.the(calls[2])).key]
    assert await office.pool.fetchval("select count(*) from recordings") == 1


async def test_a_file_that_the_store_does_not_let_go_keeps_its_row(
    office: Office, s3: S3, calls: tuple[int, int, int]
) -> None:
    await office.pool.execute("update enterprises set recordings_days = 30")
    gone = Store.s3(Bucket(name="gone", key_id="k", secret="s", endpoint=s3.url))
    with pytest.raises(StoreProblem):
        await retention(office, gone).sweep()
    assert {(await office.the(call)).state for call in calls} == {"stored"}


async def test_what_a_killed_upload_left_in_a_folder_is_removed(office: Office, tmp_path: Path) -> None:
    store = Store.in_folder(tmp_path / "recordings")
    (tmp_path / "recordings" / "0367").mkdir()
    stale, fresh, other = (tmp_path / "recordings" / "0367" / name for name in ("a.wav#1", "b.wav#1", "c#d.wav"))
    for path in (stale, fresh, other):
        path.write_bytes(b"half")
    for path in (stale, other):
        os.utime(path, (1, 1))
    await retention(office, store).sweep()
    assert (stale.exists(), fresh.exists(), other.exists()) == (False, True, True)
