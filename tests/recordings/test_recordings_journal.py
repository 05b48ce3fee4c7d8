"""A recording that is owed: once, in the call's transaction, with a link that stays."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from recordings_office import KEY, URL, Office

from bridge.recordings import work
from bridge.recordings.journal import Owed, Recordings, retry
from bridge.recordings.links import Links, link_id_of

NEW_KEY = "a newer secret of the recordings tests"


async def test_the_link_is_known_when_the_recording_is_owed(office: Office) -> None:
    call = await office.call()
    link = await office.owe()
    assert link.startswith(f"{URL}/api/v1/calls/{call}/recording?token=")
    assert await office.url(call) == link
    assert (await office.the(call)).state == "waiting"


async def test_what_is_owed_again_is_the_same_recording(office: Office) -> None:
    call = await office.call()
    links = {await office.owe(), await office.owe(), await office.owe(reference="/better/name.wav")}
    assert len(links) == 1
    assert await office.pool.fetchval("select reference from recordings") == "/better/name.wav"
    assert len(await office.of(call)) == 1


async def test_a_recording_may_be_heard_of_before_its_call(office: Office) -> None:
    assert await office.owe("mango", "id=1", call_id="entry") == ""
    call = await office.call("entry")
    assert await office.owe("mango", "id=1", call_id="entry") == await office.url(call) != ""


async def test_a_call_that_goes_on_is_due_when_it_has_ended(office: Office) -> None:
    call = await office.call()
    await office.owe(after=None)
    assert (await office.the(call)).due_at is None
    await office.owe(after=3.0)
    due = (await office.the(call)).due_at
    assert due is not None
    await office.owe(after=60.0)
    assert (await office.the(call)).due_at == due, "what is due is not put off by what is told later"


async def test_a_cloud_call_may_have_several(office: Office) -> None:
    call = await office.call("entry")
    first = await office.owe("mango", "id=1", call_id="entry")
    second = await office.owe("mango", "id=2", call_id="entry")
    assert first != second
    assert await office.url(call) == first, "the call's own link is that of the first"
    assert len(await office.of(call)) == 2


async def test_many_are_owed_at_once(office: Office) -> None:
    calls = [await office.call(f"{number}.1") for number in range(20)]
    owed = [Owed(call_id=f"{number}.1", source="asterisk", reference=f"{number}.wav") for number in range(20)]
    async with office.pool.acquire() as conn, conn.transaction():
        links = await office.recordings.owe_all(conn, "0367", "office", owed)
    assert len(set(links.values())) == 20
    assert [await office.url(call) for call in calls] == list(links.values())


async def test_text_that_postgres_cannot_hold_is_owed_nevertheless(office: Office) -> None:
    call = await office.call("1\0.1")
    await office.owe(call_id="1\0.1", reference="a\0b\ud800.wav")
    assert (await office.the(call)).state == "waiting"


async def test_nothing_is_owed_when_the_call_is_not_written(office: Office) -> None:
    with pytest.raises(RuntimeError):
        async with office.pool.acquire() as conn, conn.transaction():
            await office.recordings.owe(conn, "0367", "office", "1.1", "asterisk", "a.wav")
            raise RuntimeError
    assert await office.pool.fetchval("select count(*) from recordings") == 0


async def test_the_recording_of_an_absorbed_call_becomes_the_other_calls(office: Office) -> None:
    await office.call("2.2")
    await office.owe(call_id="2.2", reference="half.wav")
    await office.pool.execute("delete from calls")
    stays = await office.call("1.1")
    async with office.pool.acquire() as conn, conn.transaction():
        await office.recordings.move(conn, "0367", "office", "2.2", "1.1")
    assert (await office.the(stays)).part == ""
    assert await office.url(stays) is not None


async def test_both_recordings_of_two_calls_that_became_one_are_kept(office: Office) -> None:
    stays = await office.call("1.1")
    link = await office.owe(call_id="1.1", reference="whole.wav")
    await office.owe(call_id="2.2", reference="half.wav")
    async with office.pool.acquire() as conn, conn.transaction():
        await office.recordings.move(conn, "0367", "office", "2.2", "1.1")
    assert len(await office.of(stays)) == 2
    assert await office.url(stays) == link


async def test_a_retry_begins_anew_with_what_was_given_up(office: Office) -> None:
    call = await office.call()
    await office.owe()
    await office.pool.execute("update recordings set state = 'failed', reason = 'no', attempts = 9, due_at = null")
    async with office.pool.acquire() as conn:
        assert await retry(conn, [(await office.the(call)).id]) == 1
    recording = await office.the(call)
    assert (recording.state, recording.attempts, recording.due_at is None) == ("waiting", 0, False)


# --- links ----------------------------------------------------------------------------------------------------------


@dataclass
class _Tokens:
    mine: str
    foreign: str


@pytest.fixture
async def tokens(office: Office) -> tuple[int, int, _Tokens]:
    mine, foreign = await office.call(), await office.call("1.1", "0999", "other")
    links = await office.owe(), await office.owe(enterprise="0999", pbx="other")
    return mine, foreign, _Tokens(*(link.partition("token=")[2] for link in links))


async def test_a_link_opens_its_recording_and_no_other(office: Office, tokens: tuple[int, int, _Tokens]) -> None:
    mine, foreign, given = tokens
    async with office.pool.acquire() as conn:
        opened = office.recordings.opened
        assert (await opened(conn, mine, given.mine)) == await office.the(mine)
        assert await opened(conn, foreign, given.mine) is None
        assert await opened(conn, mine, given.foreign) is None
        mixed = f"{given.mine.partition('.')[0]}.{given.foreign.partition('.')[2]}"
        assert await opened(conn, mine, mixed) is None
        for wrong in ("", ".", given.mine[:-1], given.mine + "A", given.mine[:-1] + "\0", "ё" * 45, "A" * 22 + "."):
            assert await opened(conn, mine, wrong) is None


async def test_a_link_is_of_one_enterprise(office: Office, tokens: tuple[int, int, _Tokens]) -> None:
    _, _, given = tokens
    links = Links([KEY], URL)
    assert links.holds(given.mine, "0367")
    assert not links.holds(given.mine, "0999")


async def test_a_revoked_link_opens_nothing_and_the_new_one_does(
    office: Office, tokens: tuple[int, int, _Tokens]
) -> None:
    mine, _, given = tokens
    async with office.pool.acquire() as conn, conn.transaction():
        (link,) = await office.recordings.revoke(conn, await office.of(mine))
    assert await office.url(mine) == link
    async with office.pool.acquire() as conn:
        assert await office.recordings.opened(conn, mine, given.mine) is None
        assert await office.recordings.opened(conn, mine, link.partition("token=")[2]) is not None


async def test_links_outlive_the_rotation_of_keys_while_the_old_key_is_listed(
    office: Office, tokens: tuple[int, int, _Tokens]
) -> None:
    mine, _, given = tokens
    async with office.pool.acquire() as conn:
        assert await Recordings(Links([NEW_KEY, KEY], URL)).opened(conn, mine, given.mine) is not None
        assert await Recordings(Links([NEW_KEY], URL)).opened(conn, mine, given.mine) is None
    renewed = Links([NEW_KEY, KEY], URL).token("0367", str(link_id_of(given.mine)))
    assert Links([NEW_KEY], URL).holds(renewed, "0367"), "the newest key signs"


async def test_what_is_asked_every_second_reads_only_what_is_owed(office: Office) -> None:
    """However many recordings there are, the pipeline's own questions go by index."""
    await office.pool.execute(
        "insert into recordings (enterprise_number, pbx_name, call_id, source, part, reference, link_id, state)"
        " select '0367', 'office', n::text, 'asterisk', '', 'a.wav', n::text, 'stored' from generate_series(1, 20000) n"
    )
    await office.pool.execute("analyze recordings")
    async with office.pool.acquire() as conn:
        for question in (work._PLACES, work._BACKLOG):
            plan = "\n".join(row[0] for row in await conn.fetch("explain " + question))
            assert "Seq Scan" not in plan, plan
        assert await work.places(conn) == []
        assert await work.backlog(conn) == work.Backlog(owed=0, oldest=0.0, failed=0)
