"""What is wrong only when things are seen together: in the file, and in what the deployment knows after it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from msgspec import UNSET

from bridge import configuration as state
from bridge.apply import declared
from bridge.calls.extensions import belongs
from bridge.errors import BadInput

JudgeDomain = Callable[[str], Any]  # raises BadInput for an address that integrations may not call


def of_file(file: declared.File) -> Iterator[str]:
    """Entries that are there twice."""
    yield from _twice("enterprise", "number", [enterprise.number for enterprise in file.enterprise])
    emails = [(user.email.lower(), enterprise.number) for enterprise in file.enterprise for user in enterprise.user]
    for email in _repeated([email for email, _ in emails]):
        where = ", ".join(f"enterprise[{number}]" for known, number in emails if known == email)
        yield f"user[{email}].email: is there twice ({where}); allowed: once in the whole file"
    for enterprise in file.enterprise:
        place = f"enterprise[{enterprise.number}]"
        yield from _twice(f"{place}.pbx", "name", [pbx.name for pbx in enterprise.pbx])
        yield from _extensions_of_two(enterprise, place)
        for kind in ("retailcrm", "amocrm"):
            integration = getattr(enterprise.integrations, kind, UNSET)
            mapping = getattr(integration, "user_extensions", UNSET)
            if mapping is not UNSET:
                yield from _of_two_crm_users(mapping, f"{place}.integrations.{kind}.user_extensions")


def of_result(file: declared.File, result: state.State, judge_domain: JudgeDomain) -> Iterator[str]:
    """What cannot work. Only enterprises of the file are looked at: others are not its business."""
    for given in file.enterprise:
        enterprise = result.enterprise[given.number]
        place = f"enterprise[{given.number}]"
        known = _Extensions(enterprise)
        yield from _lines(given, enterprise, place)
        if enterprise.fallback.isdecimal() and given.fallback is not UNSET and not known(enterprise.fallback):
            yield f"{place}.fallback: {known.unknown(enterprise.fallback)}"
        if given.integrations is not UNSET:
            yield from _integrations(given.integrations, enterprise, f"{place}.integrations", judge_domain)


def warnings(file: declared.File, result: state.State) -> Iterator[str]:
    """What may be meant, and is more often a mistake."""
    for given in file.enterprise:
        enterprise = result.enterprise[given.number]
        known = _Extensions(enterprise)
        for user in given.user:
            for extension in user.extensions or []:
                if enterprise.pbx and not known.on_a_pbx(extension):
                    yield (
                        f"enterprise[{given.number}].user[{user.email}].extensions: {extension} does not fit "
                        f"{known.rules}, so the PBX's calls to it are taken for calls outside"
                    )


def _integrations(
    given: declared.Integrations, enterprise: state.Enterprise, place: str, judge_domain: JudgeDomain
) -> Iterator[str]:
    known = _Extensions(enterprise)
    for kind in ("retailcrm", "amocrm", "mango"):
        if getattr(given, kind) is UNSET:
            continue
        integration = enterprise.integrations[kind]
        needed = {
            "retailcrm": ("domain", "api_key"),
            "amocrm": ("subdomain", "client_id", "client_secret"),
            "mango": ("products",),
        }[kind]
        for name in needed:
            if integration.get("enabled") and not integration.get(name):
                yield f"{place}.{kind}.{name}: is absent; an enabled integration needs it"
        for user, extension in (integration.get("user_extensions") or {}).items():
            if extension is not None and not known(extension):
                yield f"{place}.{kind}.user_extensions.{user}: {known.unknown(extension)}"
        operator = integration.get("default_operator")
        if operator and not known(operator):
            yield f"{place}.{kind}.default_operator: {known.unknown(operator)}"
    if given.retailcrm is not UNSET and given.retailcrm.domain is not UNSET:
        try:
            judge_domain(given.retailcrm.domain)
        except BadInput as wrong:
            yield f"{place}.retailcrm.{wrong.message}"


class _Extensions:
    """Extensions an enterprise has: those its users hold, and whatever the rule of one of its PBXs takes.

    Nothing is unknown to an enterprise without a PBX: whatever has the extensions is not described yet."""

    def __init__(self, enterprise: state.Enterprise) -> None:
        self._held = {extension for extension, owner in enterprise.extension.items() if owner is not None}
        self._rules = [pbx.extensions for pbx in enterprise.pbx.values()]

    def __call__(self, extension: str) -> bool:
        return not self._rules or extension in self._held or self.on_a_pbx(extension)

    def on_a_pbx(self, extension: str) -> bool:
        return belongs(extension, self._rules)

    @property
    def rules(self) -> str:
        return " or ".join(repr(rule) for rule in self._rules)

    def unknown(self, extension: str) -> str:
        return f"{extension} is nobody's extension; allowed: an extension of a user, or one that fits {self.rules}"


def _lines(given: declared.Enterprise, enterprise: state.Enterprise, place: str) -> Iterator[str]:
    numbers: list[str] = []
    for line in given.line:
        try:
            numbers.append(declared.line_number(line.number, enterprise.region))
        except ValueError:
            continue  # told where it was read
    yield from _twice(f"{place}.line", "number", numbers)


def _extensions_of_two(enterprise: declared.Enterprise, place: str) -> Iterator[str]:
    owners: dict[str, list[str]] = {}
    for user in enterprise.user:
        for extension in user.extensions or []:
            owners.setdefault(extension, []).append(user.email)
    for extension, emails in owners.items():
        if len(emails) > 1:
            yield f"{place}.user[{emails[-1]}].extensions: {extension} is also {emails[0]}'s; allowed: one user each"


def _of_two_crm_users(mapping: dict[str, str], place: str) -> Iterator[str]:
    owners: dict[str, str] = {}
    for user, extension in mapping.items():
        if extension in owners:
            yield f"{place}.{user}: {extension} is also user {owners[extension]}'s; allowed: one CRM user each"
        owners[extension] = user


def _twice(place: str, key: str, values: list[str]) -> Iterator[str]:
    for value in _repeated(values):
        yield f"{place}[{value}].{key}: is there {values.count(value)} times; allowed: once"


def _repeated(values: Iterable[str]) -> list[str]:
    listed = list(values)
    return sorted({value for value in listed if listed.count(value) > 1})
