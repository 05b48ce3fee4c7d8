"""AMI framing: whatever the cuts of the reads, the frames are the same."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.ami.framing import Framer, FramingError, Message, frame_name, parse

STREAM = (
    b"Asterisk Call Manager/11.0.0\r\n"
    b"Response: Success\r\nActionID: 1\r\nMessage: Authentication accepted\r\n\r\n"
    b"Event: FullyBooted\r\nPrivilege: system,all\r\nUptime: 0\r\n\r\n"
    + "Event: Newchannel\r\nCallerIDName: Иван Müller\r\nExten: \r\n\r\n".encode()
    + b"Event: CoreShowChannelMapComplete\r\nListItems: 0\r\n\n"
    b"Event: UserEvent\r\nUserEvent: x\r\nEvent: Hangup\r\nText: a\nEvent: Hangup\n\nEvent: Hangup\r\n\r\n"
    b"Event: VarSet\r\nVariable: LAST\r\nValue: \r\n\r\n"
    b"Asterisk Call Manager/11.0.0\r\nEvent: Shutdown\r\n\r\n"
)
FRAMES = [
    b"Response: Success\r\nActionID: 1\r\nMessage: Authentication accepted",
    b"Event: FullyBooted\r\nPrivilege: system,all\r\nUptime: 0",
    "Event: Newchannel\r\nCallerIDName: Иван Müller\r\nExten: ".encode(),
    b"Event: CoreShowChannelMapComplete\r\nListItems: 0",
    b"Event: UserEvent\r\nUserEvent: x\r\nEvent: Hangup\r\nText: a\nEvent: Hangup\n\nEvent: Hangup",
    b"Event: VarSet\r\nVariable: LAST\r\nValue: ",
    b"Event: Shutdown",
]


def test_a_stream_read_at_once_gives_its_frames() -> None:
    framer = Framer()

    assert framer.feed(STREAM) == FRAMES
    assert framer.version == "11.0.0"


def test_a_stream_read_byte_by_byte_gives_the_same_frames() -> None:
    framer = Framer()

    assert [frame for byte in STREAM for frame in framer.feed(bytes([byte]))] == FRAMES


@pytest.mark.parametrize("cut", range(1, len(STREAM)))
def test_a_stream_cut_anywhere_gives_the_same_frames(cut: int) -> None:
    framer = Framer()

    assert framer.feed(STREAM[:cut]) + framer.feed(STREAM[cut:]) == FRAMES


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_a_stream_cut_in_many_places_gives_the_same_frames(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    framer = Framer()

    frames = [f for start, end in itertools.pairwise(edges) for f in framer.feed(STREAM[start:end])]

    assert frames == FRAMES


@given(st.binary(max_size=400))
def test_nonsense_is_framed_without_a_crash_and_loses_no_byte_of_a_header(data: bytes) -> None:
    framer = Framer()

    for frame in framer.feed(data) + framer.feed(b"\r\n\r\n"):
        assert b"\r\n\r\n" not in frame
        frame_name(frame)
        parse(frame)


NAMES = st.text("abcXYZ-_", min_size=1, max_size=12)
VALUES = st.text(st.characters(blacklist_characters="\r\0", blacklist_categories=("Cs",)), max_size=40)


@given(st.lists(st.tuples(NAMES, VALUES), min_size=1, max_size=8))
def test_every_header_comes_back_as_it_was_written(fields: list[tuple[str, str]]) -> None:
    wire = b"".join(f"{name}: {value}\r\n".encode() for name, value in fields) + b"\r\n"

    (frame,) = Framer().feed(wire)

    assert parse(frame).fields == fields


def test_a_peer_that_never_ends_a_frame_is_refused_before_it_fills_the_memory() -> None:
    framer = Framer(limit=1000)
    framer.feed(b"x" * 1000)

    with pytest.raises(FramingError, match="in 1000 bytes"):
        framer.feed(b"x")


def test_the_limit_is_on_one_frame_not_on_the_stream() -> None:
    framer = Framer(limit=100)

    assert len(framer.feed(b"Event: A\r\n\r\n" * 1000)) == 1000


def test_half_a_message_at_the_end_is_no_frame() -> None:
    assert Framer().feed(b"Event: Hangup\r\nChannel: PJSIP/15") == []


def test_the_first_line_alone_names_a_frame() -> None:
    assert frame_name(FRAMES[4]) == (b"Event", b"UserEvent")
    assert frame_name(FRAMES[0]) == (b"Response", b"Success")
    assert frame_name(b"no header at all\r\nEvent: Hangup") == (b"", b"")


def test_a_line_feed_inside_a_value_forges_no_header() -> None:
    message = parse(FRAMES[4])

    assert message["Text"] == "a\nEvent: Hangup\n\nEvent: Hangup"
    assert message.all("event") == ["UserEvent", "Hangup"]


def test_headers_keep_case_order_empty_values_and_repetition() -> None:
    message = parse(b"Response: Success\r\nOutput: a\r\nOutput: \r\nOutput:  b: c\r\nempty:\r\nno colon")

    assert message.fields == [
        ("Response", "Success"),
        ("Output", "a"),
        ("Output", ""),
        ("Output", " b: c"),
        ("empty", ""),
    ]
    assert message.get("OUTPUT") == "a"
    assert message.all("output") == ["a", "", " b: c"]
    assert message.get("absent", "?") == "?"
    assert "Empty" in message
    assert "absent" not in message
    with pytest.raises(KeyError):
        message["absent"]


def test_bytes_that_are_not_utf8_are_marked_and_nul_is_dropped() -> None:
    assert parse(b"Name: M\xfcller\0!") == Message([("Name", "M�ller!")])
