"""What a PBX's event stream says of recordings, owed with the calls; and where a PBX's files are fetched."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from recordings_office import Office, wave

from bridge.calls.model import Absorbed, Answered, Call, Change, Ended, Recorded, Refined, Started
from bridge.crm.outbox import Outbox
from bridge.directory import Directory
from bridge.errors import RecordingFailed
from bridge.ledger import CallLedger
from bridge.mailbox import Work
from bridge.recorders import PbxFiles
from bridge.recordings.port import Wanted
from bridge.secrets import Vault

NOON = 1_795_000_000.0
FILE = "/var/spool/asterisk/recording/2026/11/21/a.wav"


def told(kind: type[Change], call_id: str = "1.1", into: str | None = None, **fields: Any) -> Work:
    """What the machine says of a call that is answered."""
    known: dict[str, Any] = {
        "direction": "inbound",
        "client_number": "+79161234567",
        "extensions": ["150"],
        "answered_by": "150",
        "answered_first": "150",
        "started_at": NOON,
        "answered_at": NOON + 2,
        "recording": FILE,
    }
    call = Call(call_id=call_id, **(known | fields))
    more: dict[type[Change], dict[str, Any]] = {
        Answered: {"extension": "150", "first": True},
        Recorded: {"file": call.recording},
        Absorbed: {"into": into},
    }
    change = kind(call=call, at=NOON, **more.get(kind, {}))
    return Work(call=call, changes=[change], state=None if call.status != "active" else b"live", into=into)


@pytest.fixture
def ledger(office: Office) -> CallLedger:
    outbox = Outbox(lambda _: {"retailcrm": True}, ("retailcrm",))
    return CallLedger(office.pool, outbox, "0367", "office", recordings=office.recordings)


async def pk(office: Office, call_id: str = "1.1") -> int:
    return int(await office.pool.fetchval("select id from calls where call_id = $1", call_id))


async def test_the_link_is_there_while_they_talk_and_the_file_is_fetched_when_they_have(
    office: Office, ledger: CallLedger
) -> None:
    await ledger.write([told(Recorded)])
    call = await pk(office)
    link = await office.url(call)
    assert link is not None
    assert (await office.the(call)).due_at is None
    await ledger.write([told(Ended, status="answered", ended_at=NOON + 9, talk_seconds=7)])
    assert (await office.the(call)).due_at is not None
    assert await office.url(call) == link


async def test_the_record_that_the_crm_is_owed_finds_the_link(office: Office, ledger: CallLedger) -> None:
    await ledger.write([told(Ended, status="answered", ended_at=NOON + 9, talk_seconds=7)])
    found = await office.pool.fetchrow(
        "select c.recording_url from deliveries d join calls c on c.id = d.call_pk where d.kind = 'record'"
    )
    assert found is not None
    assert found["recording_url"] == await office.url(await pk(office))


async def test_a_file_that_became_known_after_the_end(office: Office, ledger: CallLedger) -> None:
    over: dict[str, Any] = {"status": "answered", "ended_at": NOON + 9, "talk_seconds": 7}
    await ledger.write([told(Ended, recording=None, **over)])
    assert await office.of(await pk(office)) == []
    await ledger.write([told(Refined, **over)])
    assert (await office.the(await pk(office))).due_at is not None


async def test_a_call_without_talk_owes_none(office: Office, ledger: CallLedger) -> None:
    await ledger.write([told(Ended, status="missed", recording=None, answered_by=None, answered_first=None)])
    assert await office.of(await pk(office)) == []


async def test_what_is_no_news_of_the_recording_writes_nothing_of_it(office: Office, ledger: CallLedger) -> None:
    await ledger.write([told(Answered)])
    assert await office.of(await pk(office)) == []


async def test_the_recording_of_an_absorbed_call_goes_along(office: Office, ledger: CallLedger) -> None:
    await ledger.write([told(Started, recording=None), told(Recorded, "2.2")])
    await ledger.write([told(Absorbed, "2.2", into="1.1")])
    (recording,) = await office.of(await pk(office))
    assert recording.call_id == "1.1"
    assert await office.url(recording.call_pk) == office.recordings.url(recording)


async def test_a_pbx_whose_files_nobody_can_fetch_promises_no_links(office: Office) -> None:
    await office.pool.execute(
        "insert into pbxs (enterprise_number, name, ami_host, ami_username, ari_url, recordings) values "
        "('0367', 'office', 'h', 'u', null, ''), ('0367', 'over-ari', 'h', 'u', 'http://h/ari', ''), "
        "('0367', 'on-disk', 'h', 'u', null, '/srv/monitor')"
    )
    directory = Directory(office.pool)
    await directory.refresh()
    outbox = Outbox(lambda _: {}, ())
    for name, owed in (("office", 0), ("over-ari", 1), ("on-disk", 1), ("unknown", 0)):

        def recorded(name: str = name) -> bool:
            return directory.recorded("0367", name)

        ledger = CallLedger(office.pool, outbox, "0367", name, recordings=office.recordings, recorded=recorded)
        await ledger.write([told(Ended, f"{name}.1", status="answered", ended_at=NOON + 9)])
        assert len(await office.of(await pk(office, f"{name}.1"))) == owed, name


# --- where the files are --------------------------------------------------------------------------------------------


@pytest.fixture
def files(office: Office) -> PbxFiles:
    return PbxFiles(office.pool, Vault(["a key of at least thirty-two characters"]))


def wanted(pbx: str = "office", enterprise: str = "0367") -> Wanted:
    return Wanted(enterprise_number=enterprise, pbx_name=pbx, call_id="1.1", reference=FILE)


async def test_a_folder_that_is_shared_with_the_pbx(office: Office, files: PbxFiles, tmp_path: Path) -> None:
    folder = tmp_path / "2026" / "11" / "21"
    folder.mkdir(parents=True)
    (folder / "a.wav").write_bytes(wave())
    os.utime(folder / "a.wav", (1, 1))
    await office.pool.execute(
        "insert into pbxs (enterprise_number, name, ami_host, ami_username, recordings) values "
        "('0367', 'office', 'h', 'u', $1), ('0999', 'other', 'h', 'u', '')",
        str(tmp_path),
    )
    async with files.open(wanted()) as stream:
        assert b"".join([chunk async for chunk in stream.chunks]) == wave()
    for pbx, enterprise in (("other", "0999"), ("other", "0367"), ("office", "0999")):
        with pytest.raises(RecordingFailed):
            async with files.open(wanted(pbx, enterprise)):
                pass


async def test_a_password_that_cannot_be_opened_is_said(office: Office, files: PbxFiles) -> None:
    await office.pool.execute(
        "insert into pbxs (enterprise_number, name, ami_host, ami_username, ari_url, ari_username, ari_password) "
        "values ('0367', 'office', 'h', 'u', 'http://127.0.0.1:1/ari', 'a', $1)",
        Vault(["another key of at least thirty-two characters"]).seal("p", enterprise="0367", field="x"),
    )
    with pytest.raises(RecordingFailed, match="password"):
        async with files.open(wanted()):
            pass


async def test_a_pbx_whose_ari_does_not_answer_is_tried_again(office: Office, files: PbxFiles) -> None:
    await office.pool.execute(
        "insert into pbxs (enterprise_number, name, ami_host, ami_username, ari_url, ari_username, ari_password) "
        "values ('0367', 'office', 'h', 'u', 'http://127.0.0.1:1/ari', 'a', 'p')"
    )
    with pytest.raises(RecordingFailed, match="cannot be reached") as failed:
        async with files.open(wanted()):
            pass
    assert not failed.value.final
