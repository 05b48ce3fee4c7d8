"""What makes a service degraded besides its PBXs: unreadable secrets, broken integrations, unwritten calls, no room."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge import troubles
from bridge.http.services import Trouble
from bridge.troubles import Troubles, Unwritten


def asked(**sources: object) -> list[Trouble]:
    nothing = {"secrets": dict, "integrations": dict, "unwritten": tuple, "folder": None}
    return Troubles(**{**nothing, **sources})()  # type: ignore[arg-type]


def test_a_service_that_has_all_it_needs_has_no_troubles(tmp_path: Path) -> None:
    assert asked(folder=tmp_path) == []


def test_each_trouble_says_whose_it_is_and_why() -> None:
    found = asked(
        secrets=lambda: {"0367": ["enterprises.secret of enterprise 0367 was sealed with another key"]},
        integrations=lambda: {"0400": {"retailcrm": "domain: missing"}},
        unwritten=lambda: [Unwritten("0367", "office", "DiskFullError: could not extend file")],
    )

    assert found == [
        Trouble(text="enterprises.secret of enterprise 0367 was sealed with another key", enterprise_number="0367"),
        Trouble(text="retailcrm of enterprise 0400: domain: missing", enterprise_number="0400"),
        Trouble(
            text="PBX office of enterprise 0367: its calls wait to be written: DiskFullError: could not extend file",
            enterprise_number="0367",
        ),
    ]


def test_a_disk_with_too_little_room_is_the_deployments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(troubles, "TOO_LITTLE", 1 << 60)

    (found,) = asked(folder=tmp_path / "not made yet")

    assert found.enterprise_number is None
    assert str(tmp_path) in found.text
