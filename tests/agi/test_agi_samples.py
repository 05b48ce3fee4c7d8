"""What administrators are given: the least rights that suffice, and filters that keep nothing from the bridge."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bridge.ami.manager import EVENT_CLASSES
from bridge.ami.translate import WANTED
from bridge.routing.model import Reason
from bridge.routing.reasons import _WORDS

DIALPLAN = Path(__file__).parents[2] / "dialplan"
RECORDING = b"Event: VarSet\r\nChannel: PJSIP/trunk-1\r\nVariable: MIXMONITOR_FILENAME\r\nValue: /x.wav\r\n"


@pytest.fixture(params=["asterisk-16", "asterisk-22"])
def manager_conf(request: pytest.FixtureRequest) -> str:
    return (DIALPLAN / request.param / "manager.conf").read_text()


def lines(text: str, key: str) -> list[str]:
    return re.findall(rf"^{key}\s*=\s*(.*?)\s*(?:;.*)?$", text, re.MULTILINE)


def passes(text: str, event: str) -> bool:
    """As manager.c judges with excluding filters alone: an event passes unless one matches anywhere in its text."""
    return not any(re.search(expression[1:], event) for expression in lines(text, "eventfilter"))


def test_every_event_the_bridge_reads_leaves_the_pbx(manager_conf: str) -> None:
    kept_back = [
        name.decode()
        for name in WANTED
        if name != b"VarSet" and not passes(manager_conf, f"Event: {name.decode()}\r\n")
    ]
    assert kept_back == []


def test_of_all_variables_only_the_recordings_name_does(manager_conf: str) -> None:
    assert passes(manager_conf, RECORDING.decode())
    for variable in ("DIALSTATUS", "MACRO_DEPTH", "BRIDGEPEER", "~HASH~SIP_CAUSE~"):
        assert not passes(manager_conf, RECORDING.decode().replace("MIXMONITOR_FILENAME", variable))
    assert not passes(manager_conf, "Event: Newexten\r\n")


def test_the_rights_are_those_the_link_asks_for_and_no_more(manager_conf: str) -> None:
    (read,), (write,) = lines(manager_conf, "read"), lines(manager_conf, "write")
    assert set(read.split(",")) == set(EVENT_CLASSES.split(","))
    assert set(write.split(",")) == {"call", "originate", "reporting"}


@pytest.mark.parametrize("language", ["README.md", "README.ru.md"])
def test_every_reason_is_explained(language: str) -> None:
    text = (DIALPLAN / language).read_text()
    missing = [reason for reason in _WORDS if f"`{reason}`" not in text and reason != "unknown_enterprise"]
    assert missing == []
    assert set(_WORDS) == set(Reason.__args__)  # type: ignore[attr-defined]
