"""What an extension is: whatever the rule of the PBX takes, and never more than one phone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

# A rule may be as wide as `.*`; what reaches Dial(PJSIP/…) must still name one phone and no second one ("150&…", "x@y")
_ONE_PHONE = re.compile(r"[0-9A-Za-z_.*#-]{1,32}")


def belongs(extension: str, rules: Iterable[str]) -> bool:
    """Whether one of `rules` (a PBX's `extensions`, a regular expression) takes the whole of `extension`."""
    if not _ONE_PHONE.fullmatch(extension):
        return False
    return any(rule is not None and rule.fullmatch(extension) for rule in map(_compiled, rules))


def exactly(extensions: Iterable[str]) -> str:
    """The rule that takes these and no others."""
    return "|".join(f"(?:{re.escape(each)})" for each in sorted(extensions))


@lru_cache(maxsize=4096)
def _compiled(rule: str) -> re.Pattern[str] | None:
    """None for a rule that is no regular expression: such a rule takes nothing."""
    try:
        return re.compile(rule, re.ASCII)
    except re.error:
        return None
