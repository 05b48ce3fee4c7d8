"""E-mail addresses by which people sign in: those of a machine's own are addresses too."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.apply.reading import WrongFile, parse
from bridge.errors import SettingsError
from bridge.settings import Settings

GOOD = ["admin@bridge.example", "admin@localhost", "a.b+c@mail.june.example"]
BAD = ["admin", "admin@", "@localhost", "admin@office", "ad min@june.example"]


def settings(address: str) -> Settings:
    return Settings.load({"BRIDGE_ADMIN_EMAIL": address, "BRIDGE_ADMIN_PASSWORD": "long enough"})


def user(address: str) -> str:
    file = parse(f"[[enterprise]]\nnumber = '0367'\n[[enterprise.user]]\nemail = '{address}'\n", {}, Path())
    return str(file.enterprise[0].user[0].email)


@pytest.mark.parametrize("address", GOOD)
def test_an_address_is_taken_everywhere(address: str) -> None:
    assert settings(address).admin_email == address
    assert user(address) == address


@pytest.mark.parametrize("address", BAD)
def test_what_is_none_is_refused_everywhere(address: str) -> None:
    with pytest.raises(SettingsError, match="BRIDGE_ADMIN_EMAIL: not an e-mail address"):
        settings(address)
    with pytest.raises(WrongFile, match="email: is no e-mail address"):
        user(address)
