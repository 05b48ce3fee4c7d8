"""Numbers as they really arrive, and the one form they get."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.calls.numbers import e164


@pytest.mark.parametrize(
    ("text", "region", "number"),
    [
        ("79161234567", "RU", "+79161234567"),
        ("+79161234567", "RU", "+79161234567"),
        ("89161234567", "RU", "+79161234567"),
        ("9161234567", "RU", "+79161234567"),
        ("8 (916) 123-45-67", "RU", "+79161234567"),
        ("80291234567", "BY", "+375291234567"),
        ("8017 200-00-00", "BY", "+375172000000"),
        # another country's numbers, told by an enterprise's own region
        ("74951234567", "BY", "+74951234567"),
        ("79161234567", "BY", "+79161234567"),
        ("375291234567", "RU", "+375291234567"),
        ("810375291234567", "RU", "+375291234567"),
        ("810375291234567", "BY", "+375291234567"),
        ("87012345678", "RU", "+77012345678"),
        # a PBX glued a + before the national 8
        ("+84951234567", "RU", "+74951234567"),
        # where 8 is no national prefix it is Vietnam
        ("+84951234567", "DE", "+84951234567"),
        ("sip:+79161234567@10.0.0.1", "RU", "+79161234567"),
        ("tel:+7-916-123-45-67;phone-context=x", "RU", "+79161234567"),
        ("8 916 123-45-67 доб. 12", "RU", "+79161234567"),
        ("79161234567;ext=12", "RU", "+79161234567"),
        ("７９１６１２３４５６７", "RU", "+79161234567"),
    ],
)
def test_a_number_has_one_form(text: str, region: str, number: str) -> None:
    assert e164(text, region) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "anonymous",
        "150",
        "112",
        "trunk",
        "sip:anonymous@anonymous.invalid",
        "s",
        "+",
        "000000000000",
        "1-800-FLOWERS",
    ],
)
def test_what_is_no_number_of_the_world_has_none(text: str) -> None:
    assert e164(text, "RU") is None


def test_another_region_of_the_enterprise_is_tried_last() -> None:
    assert e164("80291234567", "RU") is None
    assert e164("80291234567", "RU", ("BY",)) == "+375291234567"


@given(st.text(max_size=40), st.sampled_from(["RU", "BY", "KZ", "DE", "ZZ", ""]))
def test_anything_at_all_is_a_number_or_none(text: str, region: str) -> None:
    number = e164(text, region)

    assert number is None or (number[0] == "+" and number[1:].isdigit())


@given(st.integers(9_000_000_000, 9_999_999_999))
def test_a_normal_form_is_its_own_normal_form(national: int) -> None:
    number = e164(str(national), "RU")

    assert number is None or e164(number, "RU") == number
