"""The apply file that a deployment's state would be made from: TOML that people read. Pure.

Without secrets unless they are asked for; applied to the deployment it came from, such a file changes nothing, because
what is absent is left alone. Passwords are hashes and never leave.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from bridge.configuration import Enterprise, Line, Pbx, State, User
from bridge.secrets import SEALED

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_REGULAR_EXPRESSION = re.compile(r"[^'\0-\x1f\x7f]*\\[^'\0-\x1f\x7f]*")
# What of an integration a person declares; tokens and marks that the service keeps there are its own.
_INTEGRATIONS: Mapping[str, tuple[str, ...]] = {
    "retailcrm": ("enabled", "domain", "api_key", "client_id", "timezone", "site", "user_extensions"),
    "mango": ("enabled", "default_operator", "products"),
    "amocrm": ("enabled", "subdomain", "client_id", "client_secret", "user_extensions"),
}
_SECRET_OF_INTEGRATION = {"retailcrm": {"api_key", "client_id"}, "mango": {"products"}, "amocrm": {"client_secret"}}


def export(state: State, *, secrets: bool = False) -> str:
    """The file's text. With `secrets` it opens every door of the deployment."""
    return (
        "\n".join(line for enterprise in state.enterprise.values() for line in _enterprise(enterprise, secrets)) + "\n"
    )


def _enterprise(enterprise: Enterprise, secrets: bool) -> Iterator[str]:
    yield "[[enterprise]]"
    yield from _keys(
        number=enterprise.number,
        name=enterprise.name,
        region=enterprise.region,
        timezone=enterprise.timezone,
        secret=enterprise.secret if secrets else "",
        fallback=enterprise.fallback,
        active=None if enterprise.active else False,
        recordings_days=enterprise.recordings_days or None,
    )
    for pbx in enterprise.pbx.values():
        yield from ("", "  [[enterprise.pbx]]", *_indented(_pbx(pbx, secrets)))
    for email, user in enterprise.user.items():
        extensions = [extension for extension, owner in enterprise.extension.items() if owner == email]
        yield from ("", "  [[enterprise.user]]", *_indented(_user(user, extensions)))
    for line in enterprise.line.values():
        yield from ("", "  [[enterprise.line]]", *_indented(_line(line)))
    for kind, names in _INTEGRATIONS.items():
        if (integration := enterprise.integrations.get(kind)) is not None:
            shown = {name: integration.get(name) for name in names}
            if not secrets:
                shown = {name: value for name, value in shown.items() if name not in _SECRET_OF_INTEGRATION[kind]}
            yield from ("", f"  [enterprise.integrations.{kind}]", *_indented(_keys(**shown)))
    yield ""


def _pbx(pbx: Pbx, secrets: bool) -> Iterator[str]:
    ami = {
        "host": pbx.ami_host,
        "port": pbx.ami_port,
        "username": pbx.ami_username,
        "secret": pbx.ami_secret if secrets else "",
        "tls": pbx.ami_tls,
    }
    ari = {"url": pbx.ari_url, "username": pbx.ari_username, "password": pbx.ari_password if secrets else ""}
    default = Pbx(name=pbx.name)
    yield from _keys(
        name=pbx.name,
        ami=ami,
        ari=ari if pbx.ari_url else None,
        extensions=pbx.extensions,
        trunks=pbx.trunks,
        click_to_call_contexts=pbx.click_to_call_contexts,
        endpoint=pbx.endpoint if pbx.endpoint != default.endpoint else None,
        outgoing=pbx.outgoing if pbx.outgoing != default.outgoing else None,
        dialplan=pbx.dialplan,
        recordings=pbx.recordings,
        token=pbx.token if secrets else "",
    )


def _user(user: User, extensions: list[str]) -> Iterator[str]:
    yield from _keys(
        email=user.email,
        first_name=user.first_name,
        last_name=user.last_name,
        patronymic=user.patronymic,
        role=user.role,
        city=user.city,
    )
    yield f"extensions = {_toml(extensions)}"


def _line(line: Line) -> Iterator[str]:
    yield from _keys(number=line.number, smart_redirect=line.smart_redirect, rk=line.rk, city=line.city)


def _keys(**values: Any) -> Iterator[str]:
    """A line for each key that has a value; empty texts and lists are what an absent key means."""
    for name, value in values.items():
        if _worth_it(value):
            yield f"{name} = {_toml(value)}"


def _worth_it(value: Any) -> bool:
    """A secret that this service has no key for is left out, as all secrets may be."""
    return value not in (None, "", [], {}) and not (isinstance(value, str) and value.startswith(SEALED))


def _indented(lines: Iterator[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)


def _toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case str() if _REGULAR_EXPRESSION.fullmatch(value):
            return f"'{value}'"  # literal: backslashes as they are
        case str():
            # JSON's escapes are TOML's, but for DEL, which TOML wants escaped and JSON does not
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case list() | tuple():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case dict():
            inner = ", ".join(
                f"{_key(name)} = {_toml(entry)}" for name, entry in value.items() if entry not in (None, "")
            )
            return "{ " + inner + " }" if inner else "{}"
        case _:
            raise TypeError(f"{type(value).__name__} has no TOML form here")


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) and not name.isdecimal() else _toml(name)
