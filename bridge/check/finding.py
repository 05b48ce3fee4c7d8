"""What the doctor says of one thing."""

from __future__ import annotations

from typing import Literal

import msgspec

Level = Literal["ok", "warning", "error"]


class Finding(msgspec.Struct, frozen=True):
    """`place` is what was looked at ("database", "PBX 0367/office: login"), `advice` what to do, if anything.

    All words are English; `bridge.check.russian` knows each of them.
    """

    level: Level
    place: str
    said: str
    advice: str = ""
