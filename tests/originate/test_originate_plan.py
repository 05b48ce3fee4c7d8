"""A click, judged without I/O: whose phone, which PBX, what is dialled, and what can never reach Asterisk."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.calls.click import Click, PbxDialing, originate, plan
from bridge.errors import BadInput

OFFICE = PbxDialing(name="office", extensions=r"^1\d\d$", contexts=("inoffice", "other"))
BRANCH = PbxDialing(
    name="branch",
    extensions=r"^2\d\d$",
    contexts=("phones",),
    endpoint="SIP/{extension}",
    outgoing="9{digits}",
)


def test_a_click_rings_the_extension_and_enters_its_context_at_the_number() -> None:
    click = plan([OFFICE, BRANCH], extension="150", phone="+79031112233")
    assert click == Click(pbx="office", extension="150", channel="PJSIP/150", context="inoffice", number="79031112233")


def test_the_pbx_is_the_one_whose_rule_takes_the_extension_and_dials_its_own_way() -> None:
    click = plan([OFFICE, BRANCH], extension="201", phone="+79031112233")
    assert (click.pbx, click.channel, click.context, click.number) == ("branch", "SIP/201", "phones", "979031112233")


@pytest.mark.parametrize(
    ("phone", "region", "number"),
    [
        ("8 (903) 111-22-33", "RU", "79031112233"),
        ("79031112233", "RU", "79031112233"),
        (" 79031112233", "RU", "79031112233"),  # an unescaped plus of a query string
        ("+375 29 000‑00‑01", "RU", "375290000001"),
        ("80291234567", "BY", "375291234567"),
        ("151", "RU", "151"),
        ("0 8 0", "RU", "080"),
        ("123456789012", "RU", "123456789012"),  # no known number: as it was given
    ],
)
def test_a_number_is_dialled_in_one_form_however_it_is_written(phone: str, region: str, number: str) -> None:
    assert plan([OFFICE], extension="150", phone=phone, region=region).number == number


def test_short_numbers_take_no_prefix() -> None:
    assert plan([BRANCH], extension="201", phone="202").number == "202"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"extension": "999"}, "code"),
        ({"extension": ""}, "code"),
        ({"extension": "150\r\nAction: Command"}, "code"),
        ({"extension": "150&PJSIP/trunk"}, "code"),
        ({"phone": ""}, "phone"),
        ({"phone": "12"}, "phone"),
        ({"phone": "1" * 16}, "phone"),
        ({"phone": "7903111223x"}, "phone"),
        ({"phone": "+7903\r\nAction: Originate"}, "phone"),
        ({"phone": "7903,1,Application"}, "phone"),
        ({"phone": "++79031112233"}, "phone"),
        ({"phone": "150"}, "phone"),
        ({"external_phone": "abc"}, "externalPhone"),
        ({"phone": "7903111\n2233"}, "phone"),
        ({"external_phone": "7495\n"}, "externalPhone"),
    ],
)
def test_what_cannot_be_is_refused_by_name(changes: dict[str, str], field: str) -> None:
    asked = {"extension": "150", "phone": "+79031112233", **changes}
    with pytest.raises(BadInput) as refused:
        plan([OFFICE], **asked)
    assert refused.value.details["field"] == field


def test_a_pbx_without_a_context_says_what_to_set() -> None:
    with pytest.raises(BadInput, match="click_to_call_contexts"):
        plan([PbxDialing(name="office", extensions=r"\d+")], extension="150", phone="+79031112233")


def test_the_action_carries_our_channel_id_and_shows_the_manager_who_will_be_called() -> None:
    click = plan([OFFICE], extension="150", phone="+79031112233", external_phone="+74951000001")
    assert originate(click, "bridge-1", 30) == {
        "Action": "Originate",
        "Channel": "PJSIP/150",
        "Context": "inoffice",
        "Exten": "79031112233",
        "Priority": "1",
        "CallerID": '"79031112233" <150>',
        "Timeout": "30000",
        "ChannelId": "bridge-1",
        "Variable": ["__BRIDGE_CLICK=bridge-1", "__BRIDGE_LINE=+74951000001"],
        "Async": "true",
    }


@given(st.text(max_size=20), st.text(max_size=30), st.text(max_size=20) | st.none())
def test_nothing_but_digits_reaches_the_pbx(extension: str, phone: str, line: str | None) -> None:
    wide = PbxDialing(name="office", extensions=r"[\s\S]*", contexts=("inoffice",))
    try:
        click = plan([wide], extension=extension, phone=phone, external_phone=line)
    except BadInput:
        return
    assert re.fullmatch(r"[0-9]{3,15}", click.number)
    assert re.fullmatch(r"PJSIP/[0-9A-Za-z_.*#-]{1,32}", click.channel)
    assert click.external_phone is None or re.fullmatch(r"\+?[0-9]{3,15}", click.external_phone)
