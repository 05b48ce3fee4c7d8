"""The signature of Mango's requests, both ways, over what really travels."""

from __future__ import annotations

import hashlib
import json
from urllib.parse import parse_qs, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.mango.signature import sign, verify

KEY, SALT = "qwerty123", "0987654321asdfgh"

BODIES = [
    "{}",
    '{"command_id":"cmd.1","from":{"extension":"1234"},"to_number":"74955404444"}',
    '{ "entry_id" : "232wc3e3w3s222",  "seq" : 1 }',
    '{"call_abonent_info":"\\u0410\\u043d\\u043d\\u0430"}',
    '{"call_abonent_info":"Анна"}',
    '{"entry_id":"MToxMDA+/w=="}',
    "",
]


def by_the_book(body: str) -> str:
    """sha256(vpbx_api_key + json + vpbx_api_salt), by another road than the product's."""
    digest = hashlib.new("sha256")
    digest.update("".join((KEY, body, SALT)).encode("utf-8"))
    return digest.hexdigest()


@pytest.mark.parametrize("body", BODIES)
def test_the_signature_is_the_digest_of_key_json_and_salt(body: str) -> None:
    assert sign(KEY, body, SALT) == by_the_book(body)
    assert verify(KEY, body, SALT, by_the_book(body))


def test_a_known_digest() -> None:
    # printf '%s' 'qwerty123{"a":1}salt' | sha256sum
    assert sign("qwerty123", '{"a":1}', "salt") == "68ab64c1a477304702ce26e7965929a90627b857487df29fbf854113e0a09a53"


@pytest.mark.parametrize("body", BODIES)
def test_what_a_form_carried_verifies_as_it_was_signed(body: str) -> None:
    form = urlencode({"vpbx_api_key": KEY, "sign": by_the_book(body), "json": body})

    fields = {name: values[0] for name, values in parse_qs(form, keep_blank_values=True).items()}

    assert verify(fields["vpbx_api_key"], fields["json"], SALT, fields["sign"])


def test_a_plus_that_was_not_escaped_is_a_space_and_no_longer_what_was_signed() -> None:
    body = '{"entry_id":"MToxMDA+/w=="}'
    form = f"vpbx_api_key={KEY}&sign={by_the_book(body)}&json={body}"

    assert not verify(KEY, parse_qs(form)["json"][0], SALT, by_the_book(body))
    assert verify(KEY, parse_qs(form.replace("+", "%2B"))["json"][0], SALT, by_the_book(body))


@pytest.mark.parametrize(
    "spelled_anew",
    [lambda body: json.dumps(json.loads(body)), lambda body: body.replace('":', '": '), lambda body: body + " "],
)
def test_json_that_was_parsed_and_written_again_is_another(spelled_anew: object) -> None:
    body = '{"b":"\\u0410","a":1}'

    assert not verify(KEY, spelled_anew(body), SALT, by_the_book(body))  # type: ignore[operator]


def test_bytes_that_are_no_utf8_are_signed_as_they_came() -> None:
    raw = b'{"name":"\xff\xfe"}'
    presented = hashlib.sha256(KEY.encode() + raw + SALT.encode()).hexdigest()

    assert verify(KEY, raw, SALT, presented)
    assert verify(KEY, raw.decode("utf-8", "surrogateescape"), SALT, presented)


@pytest.mark.parametrize(
    "presented",
    ["", "0" * 64, "not hex", "ключ", "\ud800", by_the_book("{}")[:-1], by_the_book("{}") + "0", by_the_book("{ }")],
)
def test_any_other_signature_is_wrong(presented: str) -> None:
    assert not verify(KEY, "{}", SALT, presented)


def test_upper_case_hex_is_the_same_digest() -> None:
    assert verify(KEY, "{}", SALT, f" {by_the_book('{}').upper()}\n")


def test_text_that_cannot_be_written_is_not_signed() -> None:
    assert not verify(KEY, '{"a":"\ud800"}', SALT, "0" * 64)


def test_without_a_salt_nothing_is_signed() -> None:
    assert not verify(KEY, "{}", "", sign(KEY, "{}", ""))


@given(st.text(), st.text(max_size=40), st.text(min_size=1, max_size=40))
def test_nobody_signs_with_another_salt(body: str, salt: str, other: str) -> None:
    try:
        presented = sign(KEY, body, salt + other)
    except UnicodeEncodeError:
        return

    assert not verify(KEY, body, salt, presented)
    assert verify(KEY, body, salt + other, presented)
