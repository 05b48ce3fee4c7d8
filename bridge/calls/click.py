"""A click on a number: whose phone rings, on which PBX, and what it dials. Pure.

The manager's phone is rung first; its channel then enters the PBX's own dialplan at the client's number, as if the
manager had dialled it. So the trunk, the prefix and the recording stay the PBX's business, and the call is one outbound
call of that extension.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import msgspec

from bridge.calls.extensions import belongs
from bridge.calls.numbers import SHORTEST, e164
from bridge.errors import BadInput

Source = Literal["retailcrm", "makecallexternal", "api"]
Outcome = Literal[
    "answered",
    "busy",
    "no_answer",
    "cancelled",
    "failed",
    "incomplete",
    "refused",
    "unavailable",
    "unreachable",
    "unknown",
]

_PHONE = re.compile(r"\+?[0-9]{3,15}")
# What people and CRMs put between digits: spaces (not line breaks), brackets, hyphens and dashes, dots, slashes
_BETWEEN = re.compile(r"[ \u00a0\u2007\u2009\u202f().\-\u2010-\u2015/]+")


class PbxDialing(msgspec.Struct, frozen=True, kw_only=True):
    """What a click needs of one PBX, a row of `pbxs`.

    endpoint  how an extension is rung: "PJSIP/{extension}", "SIP/{extension}", "Local/{extension}@phones/n"
    outgoing  how a number is dialled in its context: "{digits}", "{e164}", "9{digits}"
    """

    name: str
    extensions: str
    contexts: tuple[str, ...] = ()
    endpoint: str = "PJSIP/{extension}"
    outgoing: str = "{digits}"


class Click(msgspec.Struct, frozen=True, kw_only=True):
    """What will be originated. `number` is what the context is entered at. At a cloud exchange (`pbx` is its name)
    there is neither channel nor context."""

    pbx: str
    extension: str
    channel: str
    context: str
    number: str
    external_phone: str | None = None


class ClickAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Said to whoever clicked. `repeated`: the same was asked moments ago and is under way."""

    status: Literal["queued"] = "queued"
    pbx: str
    extension: str
    phone: str
    repeated: bool = False


def plan(
    pbxs: Sequence[PbxDialing], *, extension: str, phone: str, external_phone: str | None = None, region: str = "RU"
) -> Click:
    """The click, all of it checked. Raises BadInput naming `code`, `phone` or `externalPhone`."""
    pbx = choose(pbxs, extension)
    if not pbx.contexts:
        raise BadInput(
            f"PBX {pbx.name} has no click_to_call_contexts: name the context its phones dial in",
            field="click_to_call_contexts",
        )
    dialled = phone_number(phone, region, "phone")
    if dialled == extension:
        raise BadInput(f"phone: extension {extension} cannot call itself", field="phone", found=phone)
    line = phone_number(external_phone, region, "externalPhone") if external_phone else None
    return Click(
        pbx=pbx.name,
        extension=extension,
        channel=pbx.endpoint.replace("{extension}", extension),
        context=pbx.contexts[0],
        number=_dialled(dialled, pbx.outgoing),
        external_phone=line,
    )


def plan_in_cloud(
    cloud: str, *, extension: str, phone: str, external_phone: str | None = None, region: str = "RU"
) -> Click:
    """A click of somebody whose phone is at a cloud exchange, which finds phone and trunk itself. Raises BadInput."""
    dialled = phone_number(phone, region, "phone")
    if dialled == extension:
        raise BadInput(f"phone: extension {extension} cannot call itself", field="phone", found=phone)
    line = phone_number(external_phone, region, "externalPhone") if external_phone else None
    return Click(
        pbx=cloud,
        extension=extension,
        channel="",
        context="",
        number=dialled.removeprefix("+"),
        external_phone=line,
    )


def choose(pbxs: Sequence[PbxDialing], extension: str) -> PbxDialing:
    """The first PBX whose rule takes `extension`. Raises BadInput."""
    for pbx in pbxs:
        if belongs(extension, [pbx.extensions]):
            return pbx
    raise BadInput(
        f"code: {extension[:32]!r} is not an extension of this enterprise",
        field="code",
        found=extension[:32],
        allowed=[pbx.extensions for pbx in pbxs],
    )


def phone_number(text: str, region: str, field: str) -> str:
    """`text` as E.164, or its digits alone where it is short or no known number. Raises BadInput naming `field`.

    A leading space is the "+" of a query string that was not escaped."""
    plus = "+" if text.startswith(" ") and not text.startswith(" +") else ""
    bare = plus + _BETWEEN.sub("", text)
    if not _PHONE.fullmatch(bare):
        raise BadInput(f"{field}: no phone number found", field=field, found=text[:40], allowed="^\\+?\\d{3,15}$")
    digits = bare.removeprefix("+")
    if len(digits) < SHORTEST:
        return digits
    return e164(bare, region) or digits


def originate(click: Click, channel_id: str, ring_seconds: float) -> dict[str, str | list[str]]:
    """The AMI action. The phone shows the number about to be called as the name, and its own number stays the caller's
    on the way out: a provider refuses calls that pretend to come from the client."""
    variables = [f"__BRIDGE_CLICK={channel_id}"]
    if click.external_phone is not None:
        variables.append(f"__BRIDGE_LINE={click.external_phone}")
    return {
        "Action": "Originate",
        "Channel": click.channel,
        "Context": click.context,
        "Exten": click.number,
        "Priority": "1",
        "CallerID": f'"{click.number}" <{click.extension}>',
        "Timeout": str(int(ring_seconds * 1000)),
        "ChannelId": channel_id,
        "Variable": variables,
        "Async": "true",
    }


def _dialled(number: str, outgoing: str) -> str:
    if not number.startswith("+"):
        return number
    return outgoing.replace("{e164}", number).replace("{digits}", number[1:])
