"""What makes this service do less than it should, PBXs aside: what /health says when it says `degraded`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from bridge.disk import MEGABYTE, TOO_LITTLE, free
from bridge.http.services import Trouble


class Unwritten(msgspec.Struct, frozen=True):
    """Calls of a PBX that the database does not take now, and why."""

    enterprise_number: str
    pbx: str
    problem: str


class Troubles:
    """Asked whenever somebody asks /health, so each source only looks at what it remembers.

    secrets       enterprise number -> secrets that no key opens
    integrations  enterprise number -> integration -> why it cannot work
    unwritten     PBXs whose calls wait
    folder        where the embedded database is; None where the database is somebody else's
    """

    def __init__(
        self,
        *,
        secrets: Callable[[], Mapping[str, Sequence[str]]],
        integrations: Callable[[], Mapping[str, Mapping[str, str]]],
        unwritten: Callable[[], Iterable[Unwritten]],
        folder: Path | None,
    ) -> None:
        self._secrets = secrets
        self._integrations = integrations
        self._unwritten = unwritten
        self._folder = folder

    def __call__(self) -> list[Trouble]:
        found = [
            Trouble(text=text, enterprise_number=number) for number, texts in self._secrets().items() for text in texts
        ]
        found += [
            Trouble(text=f"{kind} of enterprise {number}: {why}", enterprise_number=number)
            for number, integrations in self._integrations().items()
            for kind, why in integrations.items()
        ]
        found += [
            Trouble(
                text=f"PBX {each.pbx} of enterprise {each.enterprise_number}: its calls wait to be written: "
                f"{each.problem}",
                enterprise_number=each.enterprise_number,
            )
            for each in self._unwritten()
        ]
        if self._folder is not None and (left := free(self._folder)) < TOO_LITTLE:
            found.append(
                Trouble(text=f"The disk of {self._folder} has {left // MEGABYTE} MB free: the database will stop.")
            )
        return found
