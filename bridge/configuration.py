"""What a deployment knows, whole and with its secrets opened: what `apply` compares with and `export` writes out."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct


class Pbx(Struct, kw_only=True):
    name: str
    ami_host: str = ""
    ami_port: int = 5038
    ami_username: str = ""
    ami_secret: str = ""
    ami_tls: bool = False
    ari_url: str | None = None
    ari_username: str | None = None
    ari_password: str | None = None
    extensions: str = r"^\d{2,5}$"
    trunks: list[str] = []
    click_to_call_contexts: list[str] = []
    endpoint: str = "PJSIP/{extension}"
    outgoing: str = "{digits}"
    dialplan: str = ""
    recordings: str = ""
    token: str = ""


class User(Struct, kw_only=True):
    """`email` is the key, whatever its capitals."""

    email: str
    first_name: str = ""
    last_name: str = ""
    patronymic: str = ""
    role: str = "operator"
    city: str = ""
    password_hash: str | None = None


class Line(Struct, kw_only=True):
    number: str
    smart_redirect: str = "off"
    rk: str = ""
    city: str = ""


class Enterprise(Struct, kw_only=True):
    """`extensions` maps an extension to its user's e-mail in small letters, or None while it is free;
    `recordings_days`: how long recordings are kept, 0 for ever."""

    number: str
    name: str = ""
    region: str = "RU"
    timezone: str = "Europe/Moscow"
    secret: str = ""
    fallback: str = "continue"
    active: bool = True
    recordings_days: int = 0
    pbx: dict[str, Pbx] = {}
    user: dict[str, User] = {}
    line: dict[str, Line] = {}
    extension: dict[str, str | None] = {}
    integrations: dict[str, dict[str, Any]] = {}


class State(Struct, kw_only=True):
    """`emails`: whose each e-mail is, None for people of the deployment; an e-mail is in use once."""

    enterprise: dict[str, Enterprise] = {}
    emails: dict[str, str | None] = {}


COLLECTIONS = frozenset({"enterprise", "pbx", "user", "line", "extension"})
SECRETS = frozenset(
    {
        "secret",
        "token",
        "ami_secret",
        "ari_password",
        "password_hash",
        "api_key",
        "api_salt",
        "client_id",
        "client_secret",
        "access_token",
        "refresh_token",
        "products",
    }
)
_SHOWN_AS = {"ami_": "ami.", "ari_": "ari."}


def copy(state: State) -> State:
    return msgspec.convert(msgspec.to_builtins(state), State)


def differences(old: State, new: State) -> list[str]:
    """A line for each thing that changes: where, from what, to what. Values of secrets are not told."""
    before = {"enterprise": msgspec.to_builtins(old.enterprise)}
    after = {"enterprise": msgspec.to_builtins(new.enterprise)}
    return list(_compared("", before, after))


def _compared(place: str, old: dict[str, Any], new: dict[str, Any], entries: bool = False) -> list[str]:
    lines: list[str] = []
    for name in [*old, *(name for name in new if name not in old)]:
        where = f"{place}[{name}]" if entries else f"{place}.{_shown(name)}" if place else name
        if name not in new:
            lines.append(f"{where}: removed")
        elif name not in old:
            value = new[name]
            told = "added" if name in SECRETS or isinstance(value, dict) else _text(value)
            lines.append(f"{where}: {told}")
            if isinstance(value, dict) and not entries:
                lines += _compared(where, {}, value, name in COLLECTIONS)
        elif old[name] == new[name]:
            continue
        elif isinstance(old[name], dict) and isinstance(new[name], dict):
            lines += _compared(where, old[name], new[name], name in COLLECTIONS)
        elif name in SECRETS:
            lines.append(f"{where}: changed")
        else:
            lines.append(f"{where}: {_text(old[name])} → {_text(new[name])}")
    return lines


def _shown(name: str) -> str:
    for prefix, shown in _SHOWN_AS.items():
        if name.startswith(prefix):
            return shown + name.removeprefix(prefix)
    return name


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, list):
        return "[" + ", ".join(map(_text, value)) + "]"
    return str(value) if not isinstance(value, bool) else str(value).lower()
