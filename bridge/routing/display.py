"""A customer's name as a phone may show it and any dialplan may carry it.

The dialplans that ask over HTTP cut the answer at commas and quotes: a customer whose name held a comma once sent an
office's callers to a context that did not exist, for days. What a name may hold is therefore narrow, and no exception
is made for newer dialplans: one name for every phone.
"""

from __future__ import annotations

import unicodedata

MAX_BYTES = 79
"""Asterisk keeps an extension, and old channel drivers a name, in 80 bytes with the terminating NUL."""

# Comma, quotes, backslash: the positional parser of the older dialplans. $ {} [] ; <>: the dialplan's own syntax and
# the caller-id format "Name" <number>. The apostrophe of O'Brien becomes the typographic one, which quotes nothing.
_REPLACED = str.maketrans({"'": "’", "`": "’", '"': "", **dict.fromkeys(",\\${}[];<>", " ")})


def display_name(text: str) -> str:
    """`text` without anything a dialplan could stumble over, at most `MAX_BYTES` of UTF-8; may be ""."""
    normal = unicodedata.normalize("NFC", text).translate(_REPLACED)
    visible = "".join(_shown(character) for character in normal)
    return _cut(" ".join(visible.split()))


def _shown(character: str) -> str:
    # C*: control, format (bidi overrides), surrogate, private, unassigned; Z*: every kind of space and line separator
    return " " if unicodedata.category(character)[0] in "CZ" else character


def _cut(name: str) -> str:
    encoded = name.encode()
    if len(encoded) <= MAX_BYTES:
        return name
    return encoded[:MAX_BYTES].decode(errors="ignore").rstrip()
