"""The phones' protocols, without a network: messages, digests, descriptions, sound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.phones import rtp, sdp
from lab.phones.dialog import Dialog
from lab.phones.digest import authorization
from lab.phones.message import MalformedMessage, Request, Response, answer, name_of, parse, tag_of, uri_of, user_of

INVITE = (
    "INVITE sip:150@127.1.1.150:5060 SIP/2.0\r\n"
    "v: SIP/2.0/UDP 127.1.1.1:5060;rport;branch=z9hG4bKabc\r\n"
    "Record-Route: <sip:127.1.1.1;lr>\r\n"
    'f: "Анна" <sip:79161234567@127.1.1.1>;tag=their-tag\r\n'
    "t: <sip:150@127.1.1.150>\r\n"
    "i: call-1\r\n"
    "CSeq: 102 INVITE\r\n"
    "m: <sip:asterisk@127.1.1.1:5060>\r\n"
    "l: 4\r\n\r\nbody"
)


def test_a_request_is_read_with_its_compact_headers() -> None:
    message = parse(INVITE.encode())

    assert isinstance(message, Request)
    assert (message.method, message.uri, message.body) == ("INVITE", "sip:150@127.1.1.150:5060", "body")
    assert (message.call_id, message.branch, message.cseq) == ("call-1", "z9hG4bKabc", (102, "INVITE"))
    sender = message.get("From")
    assert (name_of(sender), user_of(sender), tag_of(sender)) == ("Анна", "79161234567", "their-tag")
    assert uri_of(message.get("Contact")) == "sip:asterisk@127.1.1.1:5060"


def test_an_answer_copies_what_it_must_and_completes_to() -> None:
    request = parse(INVITE.encode())
    assert isinstance(request, Request)

    response = parse(answer(request, 200, "OK", "our-tag", [("Contact", "<sip:150@x>")], "Привет").encode())

    assert isinstance(response, Response)
    assert (response.status, response.reason, response.body) == (200, "OK", "Привет")
    assert response.all("Via") == request.all("Via")
    assert response.all("Record-Route") == request.all("Record-Route")
    assert (tag_of(response.get("To")), response.cseq) == ("our-tag", (102, "INVITE"))


@pytest.mark.parametrize(
    "data", [b"", b"\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"SIP/2.0 20 OK\r\n\r\n", b"\xff\xfe\x00"]
)
def test_what_is_no_sip_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        parse(data)


@given(st.binary(max_size=400))
def test_no_datagram_breaks_the_parser(data: bytes) -> None:
    try:
        parse(data)
    except MalformedMessage:
        return


def test_requests_inside_a_dialog_go_where_the_invite_said() -> None:
    invite = parse(INVITE.encode())
    assert isinstance(invite, Request)
    dialog = Dialog.of_incoming(invite, "<sip:150@127.1.1.150:5060>", "127.1.1.150:5060")

    bye = dialog.request("BYE")

    assert bye.uri == "sip:asterisk@127.1.1.1:5060"
    assert bye.all("Route") == ["<sip:127.1.1.1;lr>"]
    assert tag_of(bye.get("To")) == "their-tag"
    assert tag_of(bye.get("From")) == dialog.local_tag
    assert bye.cseq == (1, "BYE")


def test_a_refusal_is_acknowledged_inside_the_invites_own_transaction() -> None:
    dialog = Dialog("<sip:150@a>", "<sip:151@b>", "sip:151@b", "<sip:150@a>", "a:5060")
    invite = dialog.request("INVITE")
    refusal, success = answer(invite, 486, "Busy Here", "x"), answer(invite, 200, "OK", "x")

    assert dialog.ack(invite, refusal).branch == invite.branch
    assert dialog.ack(invite, success).branch != invite.branch
    assert dialog.cancel(invite).branch == invite.branch


def test_a_challenge_is_answered_as_rfc_2617_shows() -> None:
    asked = (
        'Digest realm="testrealm@host.com", qop="auth,auth-int", '
        'nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41"'
    )
    challenge = Response([("WWW-Authenticate", asked)], status=401)

    name, value = authorization(challenge, "GET", "/dir/index.html", "Mufasa", "Circle Of Life", "0a4f113b")

    assert name == "Authorization"
    assert 'response="6629fae49393a05397450978507c4ef1"' in value


def test_a_description_is_read_as_it_was_written() -> None:
    described = sdp.Description("127.1.1.150", 40000, "sendonly")

    assert sdp.read(described.write(1, 1)) == described
    assert sdp.read("v=0\r\n") is None


@pytest.mark.parametrize("sample", [0, 1, -1, 255, -256, 4000, -4000, 32635, -32768])
def test_alaw_keeps_a_sample_within_its_step(sample: int) -> None:
    back = rtp.from_alaw(rtp.to_alaw(sample))

    assert abs(back - max(min(sample, 32635), -32635)) <= max(16, abs(sample) // 16)


@pytest.mark.parametrize("hertz", [400, 500, 600, 700, 800])
def test_a_listener_knows_who_speaks_by_the_pitch(hertz: int) -> None:
    sender, listener = rtp.Sender(1, 65530), rtp.Listener()

    for _ in range(10):
        listener.receive(sender.sound(rtp.tone(hertz)))

    assert (listener.hertz, listener.packets) == (hertz, 10)
    assert listener.sounds


def test_silence_has_no_pitch() -> None:
    sender, listener = rtp.Sender(1, 0), rtp.Listener()
    for _ in range(10):
        listener.receive(sender.sound(bytes([rtp.to_alaw(0)]) * rtp.SAMPLES))

    assert listener.hertz is None
    assert not listener.sounds


def test_a_key_that_is_sent_in_many_packets_is_heard_once() -> None:
    sender, listener = rtp.Sender(1, 0), rtp.Listener()
    for digit in "152##":
        for packet in sender.digit(digit):
            listener.receive(packet)
        listener.receive(sender.sound(rtp.tone(400)))

    assert listener.digits == "152##"
