"""Whose call it is: the phone's that answered, else the line's city's, else the default's; never the first one's."""

from __future__ import annotations

import pytest

from bridge.mango.operators import Employee, Operator, Operators

ANNA = Employee(
    extensions=("150", "250"),
    city="Москва",
    addresses={"sip:Anna@June.mangosip.ru": "150", "79161110000": "250"},
)
BORIS = Employee(extensions=("151",), city="Казань", addresses={"sip:boris@june.mangosip.ru": "151"})
VERA = Employee(extensions=("152",), city="казань ")
LINES = {
    "+74951000001": "Москва",
    "88431000002": "Казань",
    "+78121000003": "Санкт-Петербург",
    "sip:line00000@tech.mangosip.ru": " москва",
    "+74951000004": "",
}
OFFICE = Operators([ANNA, BORIS, VERA], LINES)
WITH_DEFAULT = Operators([ANNA, BORIS, VERA], LINES, default="150")


@pytest.mark.parametrize(
    ("extension", "address", "line", "expected"),
    [
        ("151", "sip:anna@june.mangosip.ru", "74951000001", ("151", "extension")),
        ("999", None, "74951000001", ("999", "extension")),
        (None, "sip:anna@june.mangosip.ru", "88431000002", ("150", "address")),
        (None, "SIP:ANNA@JUNE.MANGOSIP.RU;transport=udp", None, ("150", "address")),
        (None, "8 916 111-00-00", None, ("250", "address")),
        (None, "sip:nobody@june.mangosip.ru", "74951000001", ("150", "city")),
        (None, None, "84951000001", ("150", "city")),
        (None, None, "sip:LINE00000@tech.mangosip.ru", ("150", "city")),
        (None, None, "78431000002", None),
        (None, None, "78121000003", None),
        (None, None, "74951000004", None),
        (None, None, "74959999999", None),
        (None, None, None, None),
        ("", "", "", None),
    ],
)
def test_whose_a_call_is(
    extension: str | None, address: str | None, line: str | None, expected: tuple[str, str] | None
) -> None:
    found = OFFICE.choose(extension, address, line)

    assert (found and (found.extension, found.reason)) == expected
    with_default = WITH_DEFAULT.choose(extension, address, line)
    assert with_default == (found or Operator(extension="150", reason="default"))


def test_a_city_with_two_operators_is_nobodys() -> None:
    assert OFFICE.choose(None, None, "+78431000002") is None
    assert Operators([BORIS], LINES).choose(None, None, "+78431000002") == Operator(extension="151", reason="city")


def test_a_phone_that_two_people_share_answers_for_neither() -> None:
    shared = {"sip:desk@june.mangosip.ru": "150"}
    also = {"sip:desk@june.mangosip.ru": "151"}

    office = Operators([Employee(extensions=("150",), addresses=shared), Employee(extensions=("151",), addresses=also)])

    assert office.at("sip:desk@june.mangosip.ru") is None


def test_without_people_nobody_is_guessed() -> None:
    assert Operators().choose(None, "sip:anna@june.mangosip.ru", "74951000001") is None
    assert Operators(default="").choose(None, None, None) is None


def test_an_operator_without_a_phone_takes_no_calls() -> None:
    office = Operators([Employee(extensions=(), city="Москва"), ANNA], LINES)

    assert office.choose(None, None, "+74951000001") == Operator(extension="150", reason="city")


def test_lines_and_phones_are_read_by_the_enterprises_country() -> None:
    minsk = Operators([Employee(extensions=("170",), city="Минск")], {"8017 200-00-00": "Минск"}, region="BY")

    assert minsk.choose(None, None, "375172000000") == Operator(extension="170", reason="city")
