"""Input from outside into typed structs, or BadInput naming the parameter, what was found and what is allowed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec
import msgspec.inspect

from bridge.errors import BadInput

T = TypeVar("T")

_AT = re.compile(r" - at `(?:key in )?\$([^`]*)`$")
_NAMED = re.compile(r"field `([^`]+)`")
_SHOWN = 80
"""Characters of a wrong value that are repeated to whoever sent it."""


def parameters(kind: type[T], query: Iterable[tuple[str, str]], path: Mapping[str, str]) -> T:
    """The query string and the path's own parameters as a `kind`. Every name once, unknown names refused."""
    found: dict[str, str] = dict(path)
    for name, value in query:
        if name in found:
            raise BadInput(f"{name}: given more than once", field=name)
        if "\0" in value:
            raise BadInput(f"{name}: holds a NUL character", field=name)
        found[name] = value
    try:
        return msgspec.convert(found, kind, strict=False)
    except msgspec.ValidationError as error:
        raise _bad_input(error, kind, found) from None


def json_body(kind: type[T], body: bytes) -> T:
    """The body as a `kind`. Wrong values are not repeated: they may be secrets."""
    try:
        value = msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise _bad_input(error, kind, {}) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"The body is not valid JSON: {error}", field="body") from None
    refuse_nul(msgspec.to_builtins(value))
    return value


def refuse_nul(value: Any, where: str = "body") -> None:
    """Postgres cannot hold NUL in text: such a string is refused at the door. `value` is made of JSON's own types."""
    if isinstance(value, str):
        if "\0" in value:
            raise BadInput(f"{where}: holds a NUL character", field=where)
    elif isinstance(value, dict):
        for name, item in value.items():
            refuse_nul(name, where)
            refuse_nul(item, f"{name}")
    elif isinstance(value, list):
        for item in value:
            refuse_nul(item, where)


def _bad_input(error: msgspec.ValidationError, kind: Any, found: Mapping[str, str]) -> BadInput:
    text = str(error)
    at = _AT.search(text)
    reason = text[: at.start()] if at else text
    named = _NAMED.search(reason)
    path = (at[1] if at else "").lstrip(".")
    details: dict[str, Any] = {}
    if named:
        field = f"{path}.{named[1]}" if path else named[1]
        if reason.startswith("Object contains unknown field"):
            reason = "unknown parameter"
            details["allowed"] = [item.encode_name for item in msgspec.structs.fields(kind)] if not path else None
        else:
            reason = "missing"
    else:
        field = path or "body"
        choices = _choices(kind, path) if reason.startswith("Invalid enum value") else []
        if choices:
            reason = f"must be one of {', '.join(map(str, choices))}"
            details["allowed"] = choices
        else:
            details["allowed"] = reason.split(", got ")[0].removeprefix("Expected ").replace("`", "")
    if field in found:
        details["found"] = found[field][:_SHOWN]
        reason = f"{reason}, found {details['found']!r}"
    return BadInput(f"{field}: {reason}", field=field, **{key: value for key, value in details.items() if value})


def _choices(kind: Any, field: str) -> list[Any]:
    """The values a field of the struct may have, when they can be counted."""
    declared = next((item.type for item in msgspec.structs.fields(kind) if item.encode_name == field), Any)
    info = msgspec.inspect.type_info(declared)
    kinds = info.types if isinstance(info, msgspec.inspect.UnionType) else (info,)
    return [value for each in kinds if isinstance(each, msgspec.inspect.LiteralType) for value in each.values]
