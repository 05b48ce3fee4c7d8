"""Names on phones and the answer of getcustomerdata: byte for byte, and safe whatever a customer is called."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.routing import customer_data, dialplan, display_name
from bridge.routing.display import MAX_BYTES

anything = st.text(max_size=200)
nasty = st.text(alphabet=st.sampled_from(',"\\\n\r\0\t\u2028\u202e\u037e\u1fefА a|é${}'), max_size=60)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Roe Ann | A1 1", "Roe Ann | A1 1"),
        ("Иванов, Пётр", "Иванов Пётр"),
        ('ООО "Ромашка"', "ООО Ромашка"),
        ("O'Brien", "O’Brien"),
        ("a\\b\r\nc\td\0e", "a b c d e"),
        ("  two   spaces  ", "two spaces"),
        ("\u202egnp.exe", "gnp.exe"),
        ("${SHELL(id)}", "SHELL(id)"),
        ('"Ann" <150>', "Ann 150"),
        ("\ud800", ""),
        (",", ""),
        ("e\u0301", "é"),
    ],
)
def test_a_name_as_phones_show_it(name: str, shown: str):
    assert display_name(name) == shown


@pytest.mark.parametrize("letter", ["a", "Ж", "語", "😀"])
def test_a_long_name_is_cut_between_letters(letter: str):
    shown = display_name(letter * 200)
    assert set(shown) == {letter}
    assert MAX_BYTES - 3 <= len(shown.encode()) <= MAX_BYTES


@given(anything | nasty)
def test_no_name_can_break_a_dialplan(name: str):
    shown = display_name(name)
    assert not set(shown) & set(",\"'`\\${}[];<>")
    assert all(unicodedata.category(letter)[0] not in "CZ" or letter == " " for letter in shown)
    assert len(shown.encode()) <= MAX_BYTES
    assert shown == shown.strip() == display_name(shown)


def as_the_macro_reads(body: bytes) -> tuple[str, str]:
    """The older dialplan's parser: nine characters go, the separator becomes a comma, quotes go, cut at commas."""
    name, plan = body.decode()[9:-1].replace(',"DialPlan":', ",").replace('"', "").split(",")
    return name, plan


@given(anything | nasty, st.none() | st.from_regex(r"mngr[0-9]{1,4}_[0-9]{7}_1", fullmatch=True))
def test_the_answer_survives_the_positional_parser(name: str, plan: str | None):
    body = customer_data(name, plan)
    assert as_the_macro_reads(body) == (display_name(name), plan or "null")
    assert list(json.loads(body)) == ["Name", "DialPlan"]


def test_the_answer_byte_for_byte():
    assert (
        customer_data("Roe Ann | A1 1", "mngr31_0001001_1")
        == b'{"Name":"Roe Ann | A1 1","DialPlan":"mngr31_0001001_1"}'
    )
    assert customer_data("", None) == b'{"Name":"","DialPlan":null}'
    assert customer_data("Анна", None) == '{"Name":"Анна","DialPlan":null}'.encode()


@pytest.mark.parametrize(
    ("template", "extension", "line", "context"),
    [
        ("mngr{extension}_{line}_1", "31", "0001001", "mngr31_0001001_1"),
        ("to-{extension}", "150", "anything, even this", "to-150"),
        ("mngr{extension}_{line}_1", None, "0001001", None),
        ("", "150", "0001001", None),
        ("mngr{extension}_{line}_1", "150", "a,b", None),
        ("mngr{extension}_{line}_1", "150", "x\ny", None),
        ("mngr{extension}_{line}_1", "150", "1" * 80, None),
        ("{extension.__class__}", "150", "1", None),
    ],
)
def test_the_context_comes_from_the_pbxs_template(template: str, extension: str | None, line: str, context: str | None):
    assert dialplan(template, extension, line) == context
