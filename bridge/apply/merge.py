"""What the deployment knows once a file is applied: pure. Nothing absent from the file is touched, unless pruned.

A key that is present is set whole (a list of extensions, a table of CRM users); entries of `[[…]]` are told apart by
their number, name or e-mail, and integrations by their key. `prune` removes the entries that the file does not have.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from bridge import configuration as state
from bridge.apply import declared

Made = list[tuple[str, str]]  # place of a secret that was made, and the secret


class Merge:
    """`hashes` maps an e-mail in small letters to the hash of the password the file gives."""

    def __init__(
        self,
        old: state.State,
        hashes: Mapping[str, str],
        *,
        prune: bool = False,
        make: Callable[[int], str] = secrets.token_hex,
    ) -> None:
        self.new = state.copy(old)
        self.made: Made = []
        self.problems: list[str] = []
        self._hashes = hashes
        self._prune = prune
        self._make = make

    def file(self, file: declared.File) -> None:
        for enterprise in file.enterprise:
            self._enterprise(enterprise)
        if self._prune:
            self._keep(self.new.enterprise, {enterprise.number for enterprise in file.enterprise})

    def _enterprise(self, given: declared.Enterprise) -> None:
        number = given.number
        place = f"enterprise[{number}]"
        target = self.new.enterprise.setdefault(number, state.Enterprise(number=number))
        _set(target, given, "name", "region", "timezone", "secret", "fallback", "active", "recordings_days")
        if not target.secret:
            target.secret = self._made(f"{place}.secret", 24)
        for pbx in given.pbx:
            self._pbx(target, pbx, f"{place}.pbx[{pbx.name}]")
        for user in given.user:
            self._user(target, user, f"{place}.user[{user.email}]")
        for line in given.line:
            self._line(target, line, f"{place}.line[{line.number}]")
        if given.integrations is not UNSET:
            self._integrations(target, given.integrations, f"{place}.integrations")
        if self._prune:
            self._keep(target.pbx, {pbx.name for pbx in given.pbx})
            kept = {user.email.lower() for user in given.user}
            self._keep(target.user, kept)
            self._keep(target.line, {self._number(target, line, "") for line in given.line})
            for extension in [known for known, owner in target.extension.items() if owner not in kept]:
                del target.extension[extension]
            self._keep(target.integrations, set(_present(given.integrations)))

    def _pbx(self, enterprise: state.Enterprise, given: declared.Pbx, place: str) -> None:
        target = enterprise.pbx.setdefault(given.name, state.Pbx(name=given.name))
        _set(
            target,
            given,
            "extensions",
            "trunks",
            "click_to_call_contexts",
            "endpoint",
            "outgoing",
            "dialplan",
            "recordings",
            "token",
        )
        for name, value in _present(given.ami).items():
            setattr(target, f"ami_{name}", value)
        for name, value in _present(given.ari).items():
            setattr(target, f"ari_{name}", value)
        if not target.ami_secret:
            self.problems.append(f"{place}.ami.secret: is absent, and none is known yet")
        if target.ari_url and not target.ari_password:
            self.problems.append(f"{place}.ari.password: is absent, and none is known yet")
        if not target.token:
            target.token = self._made(f"{place}.token", 32)

    def _user(self, enterprise: state.Enterprise, given: declared.User, place: str) -> None:
        email = given.email.lower()
        if email in self.new.emails and self.new.emails[email] != enterprise.number:
            self.problems.append(
                f"{place}.email: is in use outside of this enterprise; allowed: an address of their own"
            )
            return
        self.new.emails[email] = enterprise.number
        target = enterprise.user.setdefault(email, state.User(email=given.email))
        _set(target, given, "email", "first_name", "last_name", "patronymic", "role", "city")
        if email in self._hashes:
            target.password_hash = self._hashes[email]
        if given.extensions is not UNSET:
            for extension in [known for known, owner in enterprise.extension.items() if owner == email]:
                enterprise.extension[extension] = None
            enterprise.extension.update(dict.fromkeys(given.extensions, email))

    def _line(self, enterprise: state.Enterprise, given: declared.Line, place: str) -> None:
        number = self._number(enterprise, given, place)
        target = enterprise.line.setdefault(number, state.Line(number=number))
        _set(target, given, "smart_redirect", "rk", "city")

    def _number(self, enterprise: state.Enterprise, given: declared.Line, place: str) -> str:
        try:
            return declared.line_number(given.number, enterprise.region)
        except ValueError as wrong:
            if place:
                self.problems.append(f"{place}.number: {wrong}; found {given.number!r}")
            return given.number

    def _integrations(self, enterprise: state.Enterprise, given: declared.Integrations, place: str) -> None:
        for kind, integration in _present(given).items():
            target = enterprise.integrations.setdefault(kind, {"enabled": True})
            target.update(msgspec.to_builtins(_present(integration)))
            if kind == "retailcrm" and not target.get("client_id"):
                target["client_id"] = self._made(f"{place}.retailcrm.client_id", 32)

    def _made(self, place: str, octets: int) -> str:
        secret = self._make(octets)
        self.made.append((place, secret))
        return secret

    @staticmethod
    def _keep(entries: dict[str, Any], kept: set[str]) -> None:
        for name in [name for name in entries if name not in kept]:
            del entries[name]


def _present(given: Any) -> dict[str, Any]:
    """The fields that the file has."""
    if given is UNSET:
        return {}
    return {name: value for name in given.__struct_fields__ if (value := getattr(given, name)) is not UNSET}


def _set(target: Struct, given: Struct, *names: str) -> None:
    for name in names:
        if (value := getattr(given, name)) is not UNSET:
            setattr(target, name, value)
