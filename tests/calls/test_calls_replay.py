"""`replay`: files in, JSON Lines out, wrong files and wrong rules refused by name."""

from __future__ import annotations

import io
import json
from pathlib import Path

import call_streams as streams
import pytest

from bridge import rules
from bridge.errors import BadInput
from bridge.replay import replay, run

RULES = """
region = "RU"
extensions = '^1\\d\\d$'
trunks = ["PJSIP/trunk"]
click_to_call_contexts = ["inoffice"]
"""

CONTRACT = {
    "call_id", "direction", "client_number", "line", "status", "extensions", "answered_by", "answered_first",
    "started_at", "wait_seconds", "talk_seconds", "ended_by", "transfers", "holds", "queue", "recording", "legs",
    "deliveries",
}  # fmt: skip


@pytest.fixture
def rules_file(tmp_path: Path) -> str:
    path = tmp_path / "rules.toml"
    path.write_text(RULES)
    return str(path)


def capture(name: str) -> str:
    return str(streams.CAPTURES / f"{name}.ami.txt")


def test_each_call_is_a_line_in_the_order_of_the_files_and_of_their_start(rules_file: str) -> None:
    out, err = io.StringIO(), io.StringIO()

    code = run([capture("q_two_calls.v22"), capture("k3_internal.v22")], rules_file, out, err)

    calls = [json.loads(line) for line in out.getvalue().splitlines()]
    assert (code, err.getvalue()) == (0, "")
    assert [call["client_number"] for call in calls] == ["+79161234567", "+74957654321", None]
    assert all(set(call) == CONTRACT for call in calls)
    assert calls[0]["started_at"] == "2026-11-21T02:10:56Z"


def test_files_are_independent_of_each_other(rules_file: str) -> None:
    out = io.StringIO()

    run([capture("a_inbound_answered.v22")] * 2, rules_file, out, io.StringIO())

    first, second = out.getvalue().splitlines()
    assert first == second


def test_a_pbx_with_its_own_clock_gives_milliseconds() -> None:
    (call,) = replay(streams.stream("d12_c2c_transfer-timestamps.v22"), streams.RULES)

    assert call["started_at"].startswith("2026-11-21T04:24:20.")
    assert call["started_at"].endswith("Z")


def test_a_call_that_has_not_ended_is_active_with_what_is_known_of_it() -> None:
    data = streams.stream("a_inbound_answered.v22")
    cut = data[: data.index(b"Event: HangupRequest")]

    (call,) = replay(cut, streams.RULES)

    assert (call["status"], call["answered_by"], call["talk_seconds"], call["ended_by"]) == (
        "active",
        "150",
        None,
        None,
    )


def test_a_stream_whose_line_ends_were_changed_on_the_way_is_read_all_the_same() -> None:
    data = streams.stream("a_inbound_answered.v22")

    assert list(replay(data.replace(b"\r\n", b"\n"), streams.RULES)) == list(replay(data, streams.RULES))


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00\xff" * 500, b'{"t": 0.2, "msg": []}\n' * 50, b"Name: value\r\n\r\nOther: value\r\n\r\n", b"Event: Ne"],
    ids=["empty", "binary", "json lines", "headers of something else", "half a frame"],
)
def test_what_is_no_event_stream_is_refused_and_the_others_are_replayed(
    content: bytes, rules_file: str, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.txt"
    wrong.write_bytes(content)
    out, err = io.StringIO(), io.StringIO()

    code = run([str(wrong), capture("k3_internal.v22")], rules_file, out, err)

    assert code == 2
    assert err.getvalue().startswith(f"{wrong}: it is not an event stream")
    assert len(out.getvalue().splitlines()) == 1


def test_a_file_that_is_not_there_is_named(rules_file: str, tmp_path: Path) -> None:
    err = io.StringIO()

    assert run([str(tmp_path / "absent")], rules_file, io.StringIO(), err) == 2
    assert "absent: it cannot be read: No such file" in err.getvalue()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("region = 'Russia'", "region: found 'Russia'; allowed is an ISO 3166 country"),
        ("region = 7", "region: found 7"),
        ("extensions = '(1'", "extensions: found '(1'; allowed is a regular expression; this one is none"),
        ("extensions = ['150']", "extensions: found ['150']"),
        ("trunks = 'PJSIP/trunk'", "trunks: found 'PJSIP/trunk'; allowed is a list of channel names"),
        ("trunks = ['PJSIP/a', 'trunk']", "trunks[1]: found 'trunk'"),
        ("click_to_call_contexts = ['a b']", "click_to_call_contexts[0]: found 'a b'"),
        ("trunk = ['PJSIP/trunk']", "trunk: found 'trunk'; allowed is one of region, extensions, trunks"),
        ("region = ", "it is not TOML"),
    ],
)
def test_a_wrong_rule_is_refused_with_its_key_what_was_found_and_what_is_allowed(
    line: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(line)
    out, err = io.StringIO(), io.StringIO()

    assert run([capture("k3_internal.v22")], str(path), out, err) == 2
    assert message in err.getvalue()
    assert out.getvalue() == ""


def test_rules_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="it cannot be read"):
        rules.load(tmp_path / "absent.toml")


def test_the_rules_of_a_pbx(rules_file: str) -> None:
    assert rules.load(rules_file) == streams.RULES
