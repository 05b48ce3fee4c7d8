"""The recorded streams and what people did in them: each `NAME.ami.txt` has a `NAME.json` beside it.

The JSON says, by hand and not by the program, what the call records must hold: only the fields that the story tells.
Seconds are as they were measured beside Asterisk; the stream tells them to the whole second, so 1 s is allowed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bridge.calls.model import Rules

CAPTURES = Path(__file__).parent.parent / "captures"
RULES = Rules(region="RU", extensions=r"^1\d\d$", trunks=("PJSIP/trunk",), click_to_call_contexts=("inoffice",))
SECONDS = frozenset({"wait_seconds", "talk_seconds"})


def names() -> list[str]:
    """Every recorded stream: dropping a file into the folder makes a test."""
    return sorted(path.name.removesuffix(".ami.txt") for path in CAPTURES.glob("*.ami.txt"))


def stream(name: str) -> bytes:
    return (CAPTURES / f"{name}.ami.txt").read_bytes()


def expected(name: str) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = json.loads((CAPTURES / f"{name}.json").read_text())["calls"]
    return calls


def differences(
    found: list[dict[str, Any]], wanted: list[dict[str, Any]], *, without: frozenset[str] = frozenset()
) -> list[str]:
    """What is otherwise than it should be, in words; [] when all is well."""
    if len(found) != len(wanted):
        return [f"{len(found)} calls, not {len(wanted)}: {[call['call_id'] for call in found]}"]
    return [
        f"call {place} {key}: {call[key]!r}, not {value!r}"
        for place, (call, want) in enumerate(zip(found, wanted, strict=True))
        for key, value in want.items()
        if key not in without and not _fits(key, call[key], value)
    ]


def _fits(key: str, found: Any, wanted: Any) -> bool:
    if key in SECONDS and wanted is not None:
        return found is not None and abs(found - wanted) <= 1
    if key == "recording" and wanted is not None:
        return found is not None and found.endswith(wanted.lstrip("*"))
    return bool(found == wanted)
