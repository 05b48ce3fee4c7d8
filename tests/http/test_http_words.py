"""The pages' words: all of them in both languages."""

from __future__ import annotations

import re
from importlib import resources
from typing import get_args

import pytest

from bridge.calls.model import Direction, Result
from bridge.http.api.deliveries import DeliveryItem, State
from bridge.http.render import duration, phone
from bridge.http.words import ENGLISH, RUSSIAN, Language, preferred, translator

TEMPLATES = {entry.name: entry.read_text() for entry in resources.files("bridge.http").joinpath("templates").iterdir()}


@pytest.mark.parametrize("template", sorted(TEMPLATES))
def test_every_word_of_a_template_is_in_the_catalogue(template: str) -> None:
    used = set(re.findall(r'_\([\'"]([^\'"~]+)[\'"]\)', TEMPLATES[template]))

    assert used <= set(RUSSIAN)


def test_every_state_has_a_russian_word() -> None:
    kinds = get_args(DeliveryItem.__annotations__["kind"]) or ("ringing", "dialing", "hangup", "record")
    states = {*get_args(Result), *get_args(State), *get_args(Direction), *(f"notice {kind}" for kind in kinds)}

    assert states - {"active"} <= set(RUSSIAN)


def test_the_catalogue_holds_nothing_that_is_not_used() -> None:
    text = "\n".join(TEMPLATES.values())
    literal = {word for word in RUSSIAN if f'"{word}"' in text or f"'{word}'" in text}
    states = {*get_args(Result), *get_args(State), *get_args(Direction), "ringing", "talking", "on hold"}
    errors = {"The email or the password is wrong", "Too many attempts: try again in a few minutes"}
    notices = {word for word in RUSSIAN if word.startswith("notice ")}
    recordings = {f"recording {state}" for state in ("waiting", "fetching", "failed")}

    assert recordings <= set(RUSSIAN)
    assert set(RUSSIAN) <= literal | states | errors | notices | recordings
    assert set(ENGLISH) <= set(RUSSIAN)


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("ru", "ru"),
        ("ru-RU,ru;q=0.9,en-US;q=0.8", "ru"),
        ("de,en;q=0.2,ru;q=0.7", "ru"),
        ("en, ru", "en"),
        ("ru;q=0, en;q=0.1", "en"),
        ("ru;q=x", "en"),
        ("*", "en"),
        ("," * 10_000, "en"),
    ],
)
def test_the_browsers_wish_is_followed(header: str, language: Language) -> None:
    assert preferred(header) == language


def test_unknown_words_stay_as_they_are() -> None:
    assert translator("ru")("retailcrm") == "retailcrm"


def test_numbers_and_durations_are_made_readable() -> None:
    assert [duration(seconds) for seconds in (None, -1, 0, 61, 3600)] == ["–", "0:00", "0:00", "1:01", "1:00:00"]
    assert [phone(text) for text in ("+79161234567", "150", "+", "+999")] == ["+7 916 123-45-67", "150", "+", "+999"]
