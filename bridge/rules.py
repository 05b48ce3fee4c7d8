"""RULES.toml: what is known of a PBX, read strictly. A wrong key, type, pattern or region is refused by name."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import phonenumbers

from bridge.calls.model import Rules
from bridge.errors import BadInput

_CHANNEL = re.compile(r"[A-Za-z0-9]+/\S+")


def load(path: str | Path) -> Rules:
    """The rules in a file. Raises BadInput with the key, what was found and what is allowed."""
    try:
        text = Path(path).read_bytes().decode()
        found = tomllib.loads(text)
    except OSError as error:
        raise BadInput(f"{path}: it cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path}: it is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{path}: it is not TOML: {error}") from None
    return check(found)


def check(found: Mapping[str, Any]) -> Rules:
    """The rules of a table as TOML gives it. What is absent has its default. Raises BadInput."""
    for key in found:
        if key not in _KEYS:
            raise _bad(key, key, "one of " + ", ".join(_KEYS))
    return Rules(**{key: _KEYS[key](key, value) for key, value in found.items()})


def _bad(key: str, value: object, allowed: str) -> BadInput:
    return BadInput(f"{key}: found {value!r}; allowed is {allowed}", field=key, found=repr(value), allowed=allowed)


def _region(key: str, value: object) -> str:
    if not isinstance(value, str) or value not in phonenumbers.SUPPORTED_REGIONS:
        raise _bad(key, value, "an ISO 3166 country of two capitals, such as 'RU'")
    return value


def _pattern(key: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise _bad(key, value, r"a regular expression, such as '^1\d\d$'")
    try:
        re.compile(value)
    except re.error as error:
        raise _bad(key, value, f"a regular expression; this one is none: {error}") from None
    return value


def _trunks(key: str, value: object) -> tuple[str, ...]:
    return _texts(key, value, _CHANNEL, "channel names up to the final '-', such as 'PJSIP/trunk'")


def _contexts(key: str, value: object) -> tuple[str, ...]:
    return _texts(key, value, re.compile(r"\S+"), "names of dialplan contexts, such as 'inoffice'")


def _texts(key: str, value: object, pattern: re.Pattern[str], allowed: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise _bad(key, value, f"a list of {allowed}")
    for index, item in enumerate(value):
        if not isinstance(item, str) or not pattern.fullmatch(item):
            raise _bad(f"{key}[{index}]", item, allowed)
    return tuple(value)


_KEYS: dict[str, Callable[[str, object], Any]] = {
    "region": _region,
    "extensions": _pattern,
    "trunks": _trunks,
    "click_to_call_contexts": _contexts,
}
