"""The Russian words fit the English ones: as many places, and nobody's message left untranslated."""

from __future__ import annotations

import inspect
import re
import string

import pytest

from bridge.ami import doctor
from bridge.check import cloud, here, outside, russian, storage

TABLES = {**russian._PLACES, **russian._SENTENCES}


@pytest.mark.parametrize("english", TABLES)
def test_each_translation_has_the_places_of_its_original(english: str) -> None:
    filled = TABLES[english].format(*(f"<{index}>" for index in range(english.count("{}"))))
    assert len(re.findall(r"<\d>", filled)) == english.count("{}")
    assert russian.knows(english.replace("{}", "x"))


def sentences(module: object) -> list[str]:
    """String literals of a module that are sentences; in the places of f-strings the first text of their expression."""

    def value(place: re.Match[str]) -> str:
        text = re.search(r"'([^']+)'", place[0])
        return text[1] if text else "x"

    source = re.sub(r'"""[\s\S]*?"""', "", inspect.getsource(module))  # type: ignore[arg-type]
    literals = re.findall(r'(?<![\w"])f?"([A-Z][^"\n]{12,}?\.)"', source)
    return [re.sub(r"\{[^{}]*(\{[^{}]*\})?[^{}]*\}", value, literal) for literal in literals]


@pytest.mark.parametrize("module", [here, outside, cloud, storage, doctor])
def test_every_sentence_the_doctor_says_is_known(module: object) -> None:
    said = sentences(module)
    assert said
    said += [f"Missing: {loss}." for _, loss in doctor.NEEDED.values()]
    said += [
        f"More than the bridge needs: whoever has its secret could {power}." for _, power in doctor.TOO_MUCH.values()
    ]
    open_ended = {"Missing: x.", "More than the bridge needs: whoever has its secret could x."}
    assert [sentence for sentence in said if sentence not in open_ended and not russian.knows(sentence)] == []


@pytest.mark.parametrize(
    ("env", "wanted"),
    [
        ({"LANG": "ru_RU.UTF-8"}, True),
        ({"LANG": "en_US.UTF-8"}, False),
        ({"LANG": "ru_RU.UTF-8", "LC_ALL": "C"}, False),
        ({"LANG": "en_US.UTF-8", "LANGUAGE": "ru:en"}, True),
        ({}, False),
    ],
)
def test_language_as_the_system_says(env: dict[str, str], wanted: bool) -> None:
    assert russian.wanted(env) is wanted


def test_tables_are_formats() -> None:
    for text in TABLES.values():
        assert list(string.Formatter().parse(text))
