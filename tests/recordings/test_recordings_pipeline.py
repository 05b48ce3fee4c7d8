"""What is owed is fetched, stored and verified; and every way in which that does not work ends where people see it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import msgspec
import pytest
from moto.server import ThreadedMotoServer
from recordings_office import (
    QUICK,
    S3,
    Halves,
    Office,
    Scripted,
    Step,
    content_of,
    eventually,
    gives,
    hangs,
    says,
    wave,
    working,
)

from bridge.errors import RecordingFailed, RecordingGone, RecordingNotYet, StoreProblem
from bridge.recordings.journal import retry
from bridge.recordings.port import Stream
from bridge.recordings.store import Bucket, Store
from lab.service import free_port

RECORDED = wave(2.0)
LARGE = wave(400.0)  # 6.4 MB: more than one part of an upload


async def settled(office: Office, call: int, *states: str) -> None:
    async def reached() -> bool:
        return {recording.state for recording in await office.of(call)} <= set(states)

    await eventually(reached)


@pytest.mark.parametrize("content", [RECORDED, LARGE], ids=["one part", "several parts"])
async def test_a_recording_arrives_byte_for_byte_in_s3(office: Office, s3: S3, content: bytes) -> None:
    call = await office.call()
    await office.owe()
    async with working(office, s3.store, Scripted(gives(content))):
        await settled(office, call, "stored")
    recording = await office.the(call)
    assert await content_of(s3.store, recording) == content
    assert (recording.size, recording.sha256) == (len(content), hashlib.sha256(content).digest())
    assert (recording.content_type, recording.attempts, recording.reason) == ("audio/wav", 1, None)
    assert s3.objects() == [recording.key]


async def test_without_s3_a_folder_holds_it_for_its_owner_only(office: Office, folder: Store, tmp_path: Path) -> None:
    call = await office.call()
    await office.owe()
    async with working(office, folder, Scripted(gives(LARGE, sized=False))):
        await settled(office, call, "stored")
    assert await content_of(folder, await office.the(call)) == LARGE
    assert (tmp_path / "recordings").stat().st_mode & 0o077 == 0


async def test_what_a_source_knows_of_it_comes_with_the_question(office: Office, folder: Store) -> None:
    call = await office.call("entry", pbx="mango")
    source = Scripted(gives(b"ID3" + bytes(500)))
    await office.owe("mango", "MToxMD+/=", call_id="entry", pbx="mango")
    async with working(office, folder, source, kind="mango"):
        await settled(office, call, "stored")
    wanted = source.asked[0]
    assert (wanted.enterprise_number, wanted.pbx_name, wanted.reference) == ("0367", "mango", "MToxMD+/=")
    assert (await office.the(call)).content_type == "audio/mpeg"


async def test_a_call_that_goes_on_is_not_fetched(office: Office, folder: Store) -> None:
    call, other = await office.call("1.1"), await office.call("2.2")
    source = Scripted(gives(RECORDED))
    await office.owe(call_id="1.1", after=None)
    await office.owe(call_id="2.2")
    async with working(office, folder, source):
        await settled(office, other, "stored")
    assert len(source.asked) == 1
    assert (await office.the(call)).state == "waiting"


# --- streams that break ---------------------------------------------------------------------------------------------

_BREAKS = {
    "cut short": gives(LARGE[:6_000_000], size=len(LARGE)),
    "cut at the first byte": gives(b"", size=len(LARGE)),
    "more than was promised": gives(LARGE, size=len(LARGE) - 1000),
    "an error in the middle": gives(LARGE[:6_000_000], size=len(LARGE), breaks=RecordingFailed("the line broke")),
    "a defect in the middle": gives(LARGE[:6_000_000], size=len(LARGE), breaks=ZeroDivisionError()),
    "an operating system's error": gives(LARGE[:6_000_000], size=len(LARGE), breaks=ConnectionResetError()),
    "an error at once": says(RecordingFailed("no route")),
}


@pytest.mark.parametrize("first", _BREAKS.values(), ids=_BREAKS)
async def test_a_stream_that_breaks_starts_over_and_leaves_nothing(office: Office, s3: S3, first: Step) -> None:
    call = await office.call()
    await office.owe()
    seen: list[tuple[list[str], list[str]]] = []
    whole = gives(LARGE)

    def second() -> AbstractAsyncContextManager[Stream]:
        seen.append((s3.objects(), s3.unfinished()))
        return whole()

    async with working(office, s3.store, Scripted(first, second)):
        await settled(office, call, "stored")
    assert seen == [([], [])], "before the second attempt neither an object nor an unfinished upload was there"
    assert await content_of(s3.store, await office.the(call)) == LARGE
    assert (await office.the(call)).attempts == 2


async def test_a_source_that_stands_still_is_left(office: Office, folder: Store) -> None:
    call = await office.call()
    await office.owe()
    hasty = msgspec.structs.replace(QUICK, idle=0.1)
    async with working(office, folder, Scripted(hangs(RECORDED, after=100), gives(RECORDED)), hasty):
        await settled(office, call, "stored")
    assert (await office.the(call)).attempts == 2


async def test_an_upload_that_is_given_up_at_the_end_of_the_service_leaves_nothing(office: Office, s3: S3) -> None:
    call = await office.call()
    await office.owe()
    async with working(office, s3.store, Scripted(hangs(LARGE, after=6_000_000))):
        await eventually(lambda: asyncio.to_thread(s3.unfinished))
    assert (s3.objects(), s3.unfinished()) == ([], [])
    assert (await office.the(call)).state == "fetching", "whoever claims it next begins anew"


# --- recordings that are not there ----------------------------------------------------------------------------------


async def test_a_recording_that_does_not_exist_is_absent_for_good(office: Office, folder: Store) -> None:
    call = await office.call()
    await office.owe()
    source = Scripted(says(RecordingGone("Deleted in Mango Office.")))
    async with working(office, folder, source):
        await settled(office, call, "absent")
    recording = await office.the(call)
    assert (recording.reason, recording.attempts, recording.due_at) == ("Deleted in Mango Office.", 1, None)
    assert await office.url(call) is None, "a link that leads nowhere is not kept"


@pytest.mark.parametrize("content", [wave(0), b""], ids=["a header and nothing else", "no bytes"])
async def test_an_empty_file_is_no_recording(office: Office, folder: Store, content: bytes) -> None:
    call = await office.call()
    await office.owe()
    async with working(office, folder, Scripted(gives(content))):
        await settled(office, call, "absent")
    assert "empty" in ((await office.the(call)).reason or "")


async def test_a_file_that_is_still_written_is_waited_for(office: Office, folder: Store) -> None:
    call = await office.call()
    await office.owe()
    async with working(office, folder, Scripted(gives(wave(1.0, length=0)), gives(wave(0)), gives(RECORDED))):
        await settled(office, call, "stored")
    assert await content_of(folder, await office.the(call)) == RECORDED


async def test_a_file_that_a_dying_pbx_left_open_is_kept_as_it_is(office: Office, folder: Store) -> None:
    left = wave(1.0, length=0)
    call = await office.call()
    await office.owe()
    async with working(office, folder, Scripted(gives(left))):
        await settled(office, call, "stored")
    assert await content_of(folder, await office.the(call)) == left


async def test_what_is_never_there_is_failed_with_the_reason(office: Office, folder: Store) -> None:
    call = await office.call()
    await office.owe()
    source = Scripted(says(RecordingNotYet("The PBX has no such file.", retry_after=0.1)))
    async with working(office, folder, source):
        await settled(office, call, "failed")
    recording = await office.the(call)
    assert (recording.reason, recording.due_at) == ("The PBX has no such file.", None)
    assert recording.attempts > 2
    assert await office.url(call) is not None, "a person may ask for it again: its link stays"


async def test_a_recording_that_was_given_up_is_fetched_when_a_person_asks(office: Office, folder: Store) -> None:
    call = await office.call()
    await office.owe()
    async with working(office, folder, Scripted(says(RecordingFailed("never", final=True)))):
        await settled(office, call, "failed")
    async with office.pool.acquire() as conn:
        await retry(conn, [(await office.the(call)).id])
    async with working(office, folder, Scripted(gives(RECORDED))):
        await settled(office, call, "stored")


@pytest.mark.parametrize("sized", [True, False])
async def test_what_is_too_large_is_not_stored(office: Office, s3: S3, sized: bool) -> None:
    call = await office.call()
    await office.owe()
    small = msgspec.structs.replace(QUICK, largest=6_000_000)
    async with working(office, s3.store, Scripted(gives(LARGE, sized=sized)), small):
        await settled(office, call, "failed")
    assert "larger" in ((await office.the(call)).reason or "")
    assert (s3.objects(), s3.unfinished()) == ([], [])


async def test_a_source_nobody_here_knows_is_failed_in_the_end(office: Office, folder: Store) -> None:
    call = await office.call("entry")
    await office.owe("mango", "id", call_id="entry")
    async with working(office, folder, Scripted(gives(RECORDED)), kind="asterisk"):
        await settled(office, call, "failed")
    assert "mango" in ((await office.the(call)).reason or "")


# --- stores that do not work ----------------------------------------------------------------------------------------


async def test_while_s3_is_down_it_is_tried_again_and_the_reason_seen(office: Office) -> None:
    port = free_port()
    bucket = Bucket(name="late", key_id="key", secret="secret", endpoint=f"http://127.0.0.1:{port}")
    call = await office.call()
    await office.owe()
    patient = msgspec.structs.replace(QUICK, horizon=3600.0)
    async with working(office, Store.s3(bucket, timeout=2), Scripted(gives(RECORDED)), patient):

        async def tried() -> bool:
            recording = await office.the(call)
            return recording.attempts >= 2 and "failed" in (recording.reason or "")

        await eventually(tried)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
        server.start()
        try:
            S3(bucket, str(bucket.endpoint)).make()
            await settled(office, call, "stored")
        finally:
            server.stop()
    assert (await office.the(call)).reason is None


async def test_a_store_that_refuses_is_named_and_given_up_in_the_end(office: Office, s3_server: str) -> None:
    bucket = Bucket(name="nobody-made-this", key_id="key", secret="secret", endpoint=s3_server)
    call = await office.call()
    await office.owe()
    async with working(office, Store.s3(bucket), Scripted(gives(RECORDED))):
        await settled(office, call, "failed")
    reason = (await office.the(call)).reason or ""
    assert "NoSuchBucket" in reason
    assert bucket.secret not in reason


async def test_a_store_that_gives_back_something_else_is_found_out(folder: Store, tmp_path: Path) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield RECORDED

    stored = await folder.put("a/b.wav", chunks(), "audio/wav")
    path = tmp_path / "recordings" / "a" / "b.wav"
    path.write_bytes(RECORDED[:-1] + b"!")
    with pytest.raises(StoreProblem):
        await folder.verify("a/b.wav", stored)
    assert not path.exists()


async def test_the_doctor_puts_reads_and_removes(s3: S3, folder: Store, s3_server: str, tmp_path: Path) -> None:
    await s3.store.examine()
    await folder.examine()
    assert s3.objects() == []
    with pytest.raises(StoreProblem, match="NoSuchBucket"):
        await Store.s3(Bucket(name="none", key_id="k", secret="s", endpoint=s3_server)).examine()
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreProblem):
        Store.in_folder(tmp_path / "file" / "below")


# --- many -----------------------------------------------------------------------------------------------------------


async def test_two_pipelines_fetch_each_recording_once(office: Office, folder: Store) -> None:
    calls = [await office.call(f"{number}.1") for number in range(30)]
    for number in range(30):
        await office.owe(call_id=f"{number}.1")
    source = Scripted(gives(RECORDED))
    async with working(office, folder, source), working(office, folder, source):
        for call in calls:
            await settled(office, call, "stored")
    assert len(source.asked) == 30


async def test_a_pbx_that_hangs_does_not_delay_anothers_recordings(office: Office, folder: Store) -> None:
    for number in range(10):
        await office.call(f"{number}.1")
        await office.owe(call_id=f"{number}.1")
    call = await office.call("1.1", "0999", "other")
    await office.owe(enterprise="0999", pbx="other")
    async with working(office, folder, Halves(hangs(RECORDED), gives(RECORDED))):
        await settled(office, call, "stored")


async def test_an_enterprise_that_is_gone_owes_nothing(office: Office, folder: Store) -> None:
    await office.call()
    await office.owe()
    await office.pool.execute("delete from enterprises where number = '0367'")
    source = Scripted(gives(RECORDED))
    other = await office.call("1.1", "0999", "other")
    await office.owe(enterprise="0999", pbx="other")
    async with working(office, folder, source):
        await settled(office, other, "stored")
    assert [wanted.enterprise_number for wanted in source.asked] == ["0999"]
