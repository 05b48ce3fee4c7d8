"""The AGI protocol without I/O: the recorded conversation, the torture corpus and the properties."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.agi.protocol import (
    MAX_ANSWER_LINES,
    MAX_COMMAND,
    MAX_HEADERS,
    MAX_LINE,
    Closed,
    Conversation,
    Event,
    HungUp,
    Reply,
    Request,
    State,
    command,
    quote,
)
from bridge.errors import AgiViolation, BadInput

RECORDED = Path(__file__).parent / "transcripts" / "routing_question.v22.agi.txt"
ENVIRONMENT = b"agi_network: yes\nagi_network_script: route?pbx=office&token=t0k\nagi_callerid: 79161234567\n\n"


def recorded() -> list[tuple[str, str]]:
    """(direction, line) of the recorded conversation; "<" came from Asterisk."""
    lines = RECORDED.read_text().splitlines()
    return [(line[0], line[2:]) for line in lines]


def idle() -> Conversation:
    conversation = Conversation()
    conversation.receive(ENVIRONMENT)
    return conversation


def awaiting() -> Conversation:
    conversation = idle()
    conversation.send("NOOP")
    return conversation


def test_the_recorded_conversation_gives_the_question_and_each_answer():
    conversation = Conversation()
    events: list[Event] = []
    for direction, line in recorded():
        if direction == "<":
            events += conversation.receive(line.encode() + b"\n")
        else:
            conversation.send("NOOP")  # our own quoting differs from the recorded client's; the turn counts

    request, *replies = events
    assert isinstance(request, Request)
    assert request.path == "/route"
    assert request.query == {"did": "74951000004"}
    assert request.environment["agi_uniqueid"] == "1795227039.79"
    assert request.environment["agi_accountcode"] == ""
    assert [(reply.code, reply.result, reply.data) for reply in replies if isinstance(reply, Reply)] == [
        (200, "1", None),
        (200, "1", "79161234567"),
        (200, "1", None),
        (510, "", None),
        (200, "0", None),
    ]


@given(st.lists(st.integers(1, 400), max_size=40))
def test_the_recorded_conversation_may_be_cut_anywhere(sizes: list[int]):
    heard = b"".join(line.encode() + b"\r\n" for direction, line in recorded() if direction == "<")
    environment, answers = heard.split(b"\r\n\r\n", 1)
    conversation = Conversation()
    events: list[Event] = []
    for piece in cut(environment + b"\r\n\r\n", sizes):
        events += conversation.receive(piece)
    for answer in answers.splitlines(keepends=True):
        conversation.send("NOOP")
        for piece in cut(answer, sizes):
            events += conversation.receive(piece)

    assert [type(event) for event in events] == [Request] + [Reply] * 5


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data]


def test_path_query_and_arguments_are_taken_apart():
    conversation = Conversation()
    (request,) = conversation.receive(
        b"agi_network_script: route/deep/?pbx=%D0%BE%D1%84%D0%B8%D1%81&empty=&token=a%2Bb\n"
        b"agi_arg_1: 74951000001\nagi_arg_2:\nagi_arg_4: never reached\n\n"
    )
    assert isinstance(request, Request)
    assert request.path == "/route/deep"
    assert request.query == {"pbx": "офис", "empty": "", "token": "a+b"}
    assert request.args == ("74951000001", "")


def test_the_first_of_two_headers_counts():
    """given a caller who smuggles a line into a header that comes late, then what came first stands"""
    conversation = Conversation()
    (request,) = conversation.receive(
        b"agi_network_script: route?token=good&token=bad\nagi_calleridname: x\nagi_network_script: route?token=bad\n\n"
    )
    assert isinstance(request, Request)
    assert request.query == {"token": "good"}


def test_the_token_stays_out_of_the_representation():
    (request,) = Conversation().receive(ENVIRONMENT)
    assert "t0k" not in repr(request)


@pytest.mark.parametrize(
    ("name", "text"),
    [(b"M\xfcller", "Müller"), ("Иванов".encode(), "Иванов"), (b"\xc8\xe2\xe0\xed", "Èâàí"), (b"a\0b", "ab")],
)
def test_a_name_in_any_encoding_is_read(name: bytes, text: str):
    (request,) = Conversation().receive(b"agi_calleridname: " + name + b"\n\n")
    assert isinstance(request, Request)
    assert request.environment["agi_calleridname"] == text


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        (b"200 result=1", Reply(200, "1", text="200 result=1")),
        (b"200 result=-1", Reply(200, "-1", text="200 result=-1")),
        (b"200 result=", Reply(200, "", text="200 result=")),
        (b"200 result=1 (a (b) c)", Reply(200, "1", "a (b) c", text="200 result=1 (a (b) c)")),
        (b"200 result=0 endpos=8000", Reply(200, "0", None, 8000, "200 result=0 endpos=8000")),
        (b"200 result=49 (timeout) endpos=1", Reply(200, "49", "timeout", 1, "200 result=49 (timeout) endpos=1")),
        (b"200 result=1 (first\nsecond)", Reply(200, "1", "first\nsecond", text="200 result=1 (first\nsecond)")),
        (b"200 result=1 ()", Reply(200, "1", "", text="200 result=1 ()")),
        (b"510 Invalid or unknown command", Reply(510, text="Invalid or unknown command")),
        (
            b"511 Command Not Permitted on a dead channel or intercept routine",
            Reply(511, text="Command Not Permitted on a dead channel or intercept routine"),
        ),
        (
            b"520-Invalid command syntax.  Proper usage follows:\nUsage: NOOP\n520 End of proper usage.",
            Reply(520, text="Usage: NOOP"),
        ),
        (b"520-Invalid command syntax.\n\n\n520 End of proper usage.", Reply(520, text="\n")),
        (b"100 Trying\n200 result=0", Reply(200, "0", text="200 result=0")),
    ],
)
def test_every_kind_of_answer(answer: bytes, reply: Reply):
    conversation = awaiting()
    assert conversation.receive(answer + b"\n") == [reply]
    assert conversation.state is State.IDLE


def test_a_hangup_between_answers_shifts_nothing():
    """given HANGUP before, between and after answers, then each command still gets its own"""
    conversation = awaiting()
    assert conversation.receive(b"HANGUP\n200 result=1 (A)\n") == [
        HungUp(),
        Reply(200, "1", "A", text="200 result=1 (A)"),
    ]
    assert conversation.hung_up
    conversation.send("NOOP")
    assert conversation.receive(b"200 result=1 (B)\nHANGUP\n") == [
        Reply(200, "1", "B", text="200 result=1 (B)"),
        HungUp(),
    ]


@pytest.mark.parametrize(("received", "complete"), [(b"", False), (b"agi_network: yes\n", False), (ENVIRONMENT, True)])
def test_the_end_of_the_connection_is_told_once(received: bytes, complete: bool):
    conversation = Conversation()
    conversation.receive(received)
    assert conversation.receive_eof() == [Closed(complete)]
    assert conversation.receive_eof() == []
    assert conversation.receive(b"late\n") == []


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n",
        b"Action: Login\r\n",
        b"agi_network\n",
        b"OPTIONS sip:x SIP/2.0\r\n",
        b"a" * (MAX_LINE + 1),
        b"agi_x: " + b"a" * MAX_LINE + b"\n",
        b"".join(b"agi_%d: x\n" % number for number in range(MAX_HEADERS + 1)),
        b"".join(b"agi_%d: %s\n" % (number, b"x" * 8000) for number in range(9)),
    ],
)
def test_who_does_not_speak_agi_is_told_apart(garbage: bytes):
    conversation = Conversation()
    with pytest.raises(AgiViolation):
        conversation.receive(garbage)
    assert conversation.state is State.CLOSED
    assert conversation.receive(ENVIRONMENT) == []


@pytest.mark.parametrize(
    "nonsense",
    [b"hello\n", b"\n", b"2000 result=1\n", b"999 what\n", b"200result=1\n", b"520-usage\n" + b"\n" * MAX_ANSWER_LINES],
)
def test_an_answer_that_makes_no_sense_ends_the_conversation(nonsense: bytes):
    with pytest.raises(AgiViolation):
        awaiting().receive(nonsense)


def test_an_answer_nobody_asked_for_ends_the_conversation():
    with pytest.raises(AgiViolation):
        idle().receive(b"200 result=1\n")


@pytest.mark.parametrize("conversation", [Conversation(), awaiting()])
def test_a_command_waits_for_its_turn(conversation: Conversation):
    with pytest.raises(RuntimeError):
        conversation.send("NOOP")


@pytest.mark.parametrize("bad", ["a\nSET VARIABLE x y", "a\r", "a\0b"])
def test_a_line_break_never_reaches_asterisk(bad: str):
    conversation = idle()
    with pytest.raises(BadInput):
        conversation.send("SET VARIABLE", "BRIDGE_NAME", bad)
    assert conversation.state is State.IDLE


@pytest.mark.parametrize("words", ["", "SET\nVARIABLE", "EXEC;", "9", 'NOOP "'])
def test_command_words_are_letters(words: str):
    with pytest.raises(BadInput):
        command(words)


def test_a_command_is_no_longer_than_asterisk_reads():
    with pytest.raises(BadInput):
        command("SET VARIABLE", "x", "a" * MAX_COMMAND)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), max_size=200))
def test_quoting_survives_asterisks_reading(argument: str):
    """given any text, then Asterisk's own reader of arguments gives it back whole"""
    assert as_asterisk_reads(quote(argument)) == [argument]


def as_asterisk_reads(line: str) -> list[str]:
    """parse_args() of res_agi.c: quotes toggle, a backslash takes the next character as it is."""
    words: list[str] = []
    word: str | None = None
    quoted = escaped = False
    for character in line:
        if escaped:
            word, escaped = (word or "") + character, False
        elif character == "\\":
            escaped = True
        elif character == '"':
            word, quoted = word or "", not quoted
        elif character in " \t" and not quoted:
            if word is not None:
                words.append(word)
            word = None
        else:
            word = (word or "") + character
    return words if word is None else [*words, word]


@given(
    st.lists(st.one_of(st.binary(max_size=60), st.sampled_from([b"\n", b"agi_x: y\n", b"200 result=1\n", b"HANGUP\n"])))
)
def test_no_bytes_make_it_fail_otherwise(pieces: list[bytes]):
    """given any bytes in any cuts, then there are events or an AgiViolation, and the buffer stays small"""
    conversation = Conversation()
    try:
        for piece in pieces:
            for event in conversation.receive(piece):
                if isinstance(event, Request | Reply):
                    conversation.send("NOOP")
    except AgiViolation:
        assert conversation.state is State.CLOSED
