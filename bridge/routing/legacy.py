"""The answer of `getcustomerdata`, which older dialplans ask over HTTP.

They take it apart by position: the first nine characters go, `","DialPlan":` becomes a comma, quotes go, the rest is
cut at commas. So it is compact JSON of exactly two keys in this order, `Name` always a string, and neither value holds
a comma, a quote, a backslash or a line break; a letter outside ASCII must not become a backslash escape.
"""

from __future__ import annotations

import re

import msgspec

from bridge.routing.display import display_name

_CONTEXT = re.compile(r"[0-9A-Za-z_+.-]{1,79}")


class CustomerData(msgspec.Struct, frozen=True, kw_only=True, rename={"name": "Name", "dialplan": "DialPlan"}):
    """`dialplan`: the context the call goes to, or None."""

    name: str
    dialplan: str | None


def customer_data(name: str, dialplan: str | None) -> bytes:
    """The body, byte for byte: `{"Name":"…","DialPlan":"mngr31_0001001_1"}`."""
    if dialplan is not None and not _CONTEXT.fullmatch(dialplan):
        dialplan = None
    return msgspec.json.encode(CustomerData(name=display_name(name), dialplan=dialplan))


def dialplan(template: str, extension: str | None, line: str) -> str | None:
    """The context made from a PBX's template ("mngr{extension}_{line}_1"), or None where there is nobody to go to.

    A `line` or `extension` that would not be part of a context's name gives None too: a caller must never be sent to
    a context that does not exist.
    """
    if not template or extension is None:
        return None
    context = template.replace("{extension}", extension).replace("{line}", line)
    return context if _CONTEXT.fullmatch(context) else None
