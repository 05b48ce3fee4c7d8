"""A transcript is Asterisk's bytes; a scrubbed one tells no number, name or secret, and still is the same calls."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from scripted_ami import QUICK, ScriptedAmi, until

from bridge.ami.framing import Framer, parse
from bridge.ami.pbx import PbxRow
from bridge.ami.record import Scrubber, record
from bridge.errors import PbxUnavailable

CAPTURES = Path(__file__).parents[1] / "captures"

CALL = """Event: Newchannel\r
Channel: PJSIP/trunk-00000012\r
CallerIDNum: 79161234567\r
CallerIDName: Иван Петров\r
ConnectedLineName: <unknown>\r
Exten: 74951000001\r
Uniqueid: 1795226894.0\r
Linkedid: 1795226894.0\r
\r
Event: VarSet\r
Variable: CRM_API_KEY\r
Value: 5tgb6yhn\r
\r
Event: Newexten\r
Extension: 150\r
AppData: agi://10.0.0.5:4573/route?pbx=office&token=abcdef0123,74951000001\r
\r
Event: VarSet\r
Variable: RECFILE\r
Value: 20261121-020814-in-89161234567-74951000001-1795226894.0.wav\r
\r
Event: Newchannel\r
Channel: Local/+79161234567@inoffice-0000000a;1\r
EventTV: 2026-11-21T02:08:13.966+0000\r
BridgeUniqueid: 12345678-1234-1234-1234-123456789012\r
SessionID: 0x7f8b84002080\r
\r
"""


def predictable() -> Callable[[int], int]:
    drawn = iter(range(1111111, 9999999, 1111111))
    return lambda below: next(drawn) % below


def test_numbers_names_and_secrets_are_made_up_consistently_and_nothing_else_changes() -> None:
    scrubbed = Scrubber(predictable()).feed(CALL.encode()).decode()
    expected = (
        CALL.replace("9161234567", "9161111111")
        .replace("74951000001", "74952222222")
        .replace("Иван Петров", "Name 1")
        .replace("5tgb6yhn", "***")
        .replace("token=abcdef0123", "token=***")
    )
    assert scrubbed == expected


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_however_the_stream_is_cut_the_result_is_the_same(size: int) -> None:
    data = CALL.encode()
    scrubber = Scrubber(predictable())
    pieces = [scrubber.feed(data[start : start + size]) for start in range(0, len(data), size)]
    assert b"".join(pieces) + scrubber.flush() == Scrubber(predictable()).feed(data)


def test_two_people_stay_two_whatever_is_drawn() -> None:
    draws = iter([5, 5, 6])
    scrubber = Scrubber(lambda below: next(draws) % below)
    assert scrubber.feed(b"A: 79161234567\nB: 79167654321\nC: 9167654321\n") == (
        b"A: 79160000005\nB: 79160000006\nC: 9160000006\n"
    )


def test_extensions_and_short_numbers_stay() -> None:
    assert Scrubber().feed(b"Exten: 150\r\nExten: 112\r\nDuration: 999999\r\n") == (
        b"Exten: 150\r\nExten: 112\r\nDuration: 999999\r\n"
    )


@pytest.mark.parametrize("capture", sorted(CAPTURES.glob("*inbound_answered*.ami.txt")), ids=lambda path: path.stem)
def test_of_a_real_stream_no_number_is_left_and_every_frame_keeps_its_form(capture: Path) -> None:
    data = capture.read_bytes()
    scrubber = Scrubber()
    scrubbed = scrubber.feed(data) + scrubber.flush()
    for number in (b"79161234567", b"74951000001"):
        assert number in data
        assert number not in scrubbed
    before, after = (Framer().feed(stream) for stream in (data, scrubbed))
    assert [[name for name, _ in parse(frame)] for frame in before] == [
        [name for name, _ in parse(frame)] for frame in after
    ]
    for name in ("Uniqueid", "Linkedid", "Event", "EventTime"):
        assert [parse(frame).get(name) for frame in before] == [parse(frame).get(name) for frame in after]


def test_there_are_real_streams_to_try() -> None:
    assert list(CAPTURES.glob("*inbound_answered*.ami.txt"))


def row(pbx: ScriptedAmi, **fields: str) -> PbxRow:
    given = {"host": "127.0.0.1", "username": "bridge", "secret": "s3cret", **fields}
    return PbxRow(id=1, enterprise_number="0367", name="office", port=pbx.port, **given)


async def test_what_is_recorded_is_what_was_sent_byte_for_byte(pbx) -> None:
    out, stop = io.BytesIO(), asyncio.Event()
    recording = asyncio.create_task(record(row(pbx), out, stop=stop, timing=QUICK))
    await until(lambda: pbx.named("Status"))
    sent = b"Event: Hangup\r\nCallerIDName: M\xfcller\r\n\r\n\r\n"
    pbx.session.send(sent)
    await until(lambda: out.getvalue().endswith(sent))
    stop.set()
    assert await recording == len(out.getvalue())
    assert out.getvalue().startswith(b"Asterisk Call Manager/11.0.0\r\nResponse: Success\r\n")
    assert b"s3cret" not in out.getvalue()


async def test_a_recording_goes_on_after_a_lost_link_and_can_be_scrubbed(pbx) -> None:
    out, stop = io.BytesIO(), asyncio.Event()
    recording = asyncio.create_task(record(row(pbx), out, scrub=True, stop=stop, timing=QUICK))
    await until(lambda: pbx.named("Status"))
    pbx.session.drop()
    await until(lambda: len(pbx.named("Status")) == 2)
    pbx.session.event("Hangup", "CallerIDNum: 79161234567")
    await until(lambda: b"CallerIDNum" in out.getvalue())
    stop.set()
    await recording
    assert b"79161234567" not in out.getvalue()
    assert out.getvalue().count(b"Asterisk Call Manager/") == 2


async def test_a_pbx_that_refuses_us_is_not_recorded(pbx) -> None:
    with pytest.raises(PbxUnavailable, match="refused the login"):
        await record(row(pbx, secret="wrong"), io.BytesIO(), stop=asyncio.Event(), timing=QUICK)


async def test_a_full_disk_ends_the_recording_with_its_reason(pbx) -> None:
    with (
        Path("/dev/full").open("wb", buffering=0) as full,  # noqa: ASYNC230 - it is no disk
        pytest.raises(OSError, match="No space left"),
    ):
        await record(row(pbx), full, stop=asyncio.Event(), timing=QUICK)  # type: ignore[arg-type]
