"""Whose call it is. Pure.

Mango names the phone that answered by its short number, by its SIP address, or not at all. Then the line tells: it
belongs to a city, and the calls of that city to its operator. Where a city has several, or none, it is the configured
default's, else nobody's: the first in a list is nobody's operator.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from bridge.calls.numbers import e164

Reason = Literal["extension", "address", "city", "default"]


class Employee(msgspec.Struct, frozen=True, kw_only=True):
    """`extensions` are one person's, the main one first; `addresses` are SIP URIs and numbers of that person's phones,
    by the extension that rings them."""

    extensions: tuple[str, ...]
    city: str = ""
    addresses: Mapping[str, str] = {}


class Operator(msgspec.Struct, frozen=True, kw_only=True):
    extension: str
    reason: Reason


class Operators:
    """The people of one enterprise. `cities`: of each line, as `phones` has it; `region`: how numbers are read."""

    def __init__(
        self,
        employees: Iterable[Employee] = (),
        cities: Mapping[str, str] | None = None,
        default: str | None = None,
        region: str = "RU",
    ) -> None:
        self._region = region
        self._default = default or None
        self._at: dict[str, str | None] = {}
        of_city: defaultdict[str, list[str]] = defaultdict(list)
        for employee in employees:
            for address, extension in employee.addresses.items():
                key = self._key(address)
                # a phone that two people share answers for neither
                self._at[key] = extension if self._at.get(key, extension) == extension else None
            if employee.city.strip() and employee.extensions:
                of_city[_city(employee.city)].append(employee.extensions[0])
        only = {city: found[0] for city, found in of_city.items() if len(found) == 1}
        self._of_line = {
            self._key(line): only[_city(city)] for line, city in (cities or {}).items() if _city(city) in only
        }

    def at(self, address: str | None) -> str | None:
        """The extension whose phone has this SIP URI or number."""
        return self._at.get(self._key(address)) if address else None

    def choose(self, extension: str | None, address: str | None, line: str | None) -> Operator | None:
        """Whose a call is, by the phone that answered (its short number, its address), else by the line."""
        if extension:
            return Operator(extension=extension, reason="extension")
        found = self.at(address)
        if found:
            return Operator(extension=found, reason="address")
        found = self._of_line.get(self._key(line)) if line else None
        if found:
            return Operator(extension=found, reason="city")
        return Operator(extension=self._default, reason="default") if self._default else None

    def _key(self, address: str) -> str:
        """One form for the spellings of a number or a SIP URI."""
        return e164(address, self._region) or address.strip().lower().removeprefix("sip:").partition(";")[0]


def _city(name: str) -> str:
    return " ".join(name.split()).casefold().replace("ё", "е")
