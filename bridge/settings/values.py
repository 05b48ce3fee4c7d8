"""From a setting's raw value to its typed one, and what a type alone would let through."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from bridge.settings.declaration import Address, Setting

SECRET_KEY_LENGTH = 32  # characters; HS256 wants a key of 256 bits (RFC 7518 §3.2)


def parse(setting: Setting, name: str, raw: Any, env: Mapping[str, str]) -> Any:
    """Raises ValueError with why the value is not allowed."""
    if isinstance(raw, str) and ("\0" in raw or "\n" in raw):
        raise ValueError("holds a NUL or a line break")
    if name.removesuffix("_FILE") == "PORT":
        raw = f"127.0.0.1:{raw}"
    if setting.type is Address:
        return _address(raw)
    if setting.type in (Path, Path | None):
        return _expanded(raw, env)
    if isinstance(raw, str) and str(setting.type).startswith("tuple"):
        raw = [part.strip() for part in raw.split(",") if part.strip()]
    try:
        value = msgspec.convert(raw, setting.type, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(str(error).partition(" - at ")[0].lower().replace("`", "")) from error
    if setting.check is not None:
        for part in value if isinstance(value, tuple) else (value,):
            setting.check(part)
    return value


def _address(raw: Any) -> Address:
    name, _, port = str(raw).rpartition(":")
    if not name or not port.isdecimal() or int(port) > 65535:
        raise ValueError("not an address with a port from 0 to 65535")
    host(name)
    return Address(name.strip("[]"), int(port))


def _expanded(raw: Any, env: Mapping[str, str]) -> Path:
    if not isinstance(raw, str):
        raise ValueError("not a path")
    if raw == "~" or raw.startswith("~/"):
        return Path(env.get("HOME") or Path.home(), raw[2:])
    return Path(raw).absolute()


def default_data_dir(env: Mapping[str, str]) -> Path:
    share = env.get("XDG_DATA_HOME") or str(_expanded("~/.local/share", env))
    return Path(share, "asterisk-bridge")


def problem(setting: Setting, name: str, raw: Any, why: str) -> str:
    found = f"a value of {len(str(raw))} characters" if setting.secret else repr(raw)
    return f"{name}: {why}; found {found}; allowed: {setting.allowed}"


# --- checks: each raises ValueError with why ------------------------------------------------------------------------


def http_url(value: str) -> None:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError("not such an address")


def database_url(value: str) -> None:
    if urlsplit(value).scheme not in ("postgresql", "postgres"):
        raise ValueError("not the address of a Postgres database")


def secret_key(value: str) -> None:
    if len(value) < SECRET_KEY_LENGTH:
        raise ValueError(f"a key of {len(value)} characters is too short")


def origin(value: str) -> None:
    parts = urlsplit(value)
    if value != f"{parts.scheme}://{parts.netloc}" or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{value!r} is not an origin")


def network(value: str) -> None:
    ipaddress.ip_network(value, strict=False)


def host(value: str) -> None:
    if "/" in value or "@" in value or "*" in value or urlsplit(f"//{value}").hostname != value.lower().strip("[]"):
        raise ValueError(f"{value!r} is not a host")


def email(value: str) -> None:
    name, at, host = value.partition("@")
    if not (name and at and ("." in host.strip(".") or host == "localhost")) or " " in value:
        raise ValueError("not an e-mail address")


def path(value: str) -> None:
    if not value.startswith("/"):
        raise ValueError("does not begin with /")
