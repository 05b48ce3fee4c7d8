"""What each story is: the call, in the words of a table."""

from __future__ import annotations

from typing import Any

from mango_stories import LINE, T, Webhook, told

from bridge.calls.model import Call

NUMBER = "+79161234567"


def said(call: Call) -> dict[str, Any]:
    """A call in the words of the table below; times are seconds after the beginning."""
    return {
        "direction": call.direction,
        "client": call.client_number,
        "line": call.line,
        "status": call.status,
        "rang": " ".join(call.extensions),
        "first": call.answered_first,
        "last": call.answered_by,
        "started": None if call.started_at is None else call.started_at - T,
        "answered": None if call.answered_at is None else call.answered_at - T,
        "ended": None if call.ended_at is None else call.ended_at - T,
        "wait": call.wait_seconds,
        "talk": call.talk_seconds,
        "by": call.ended_by,
        "transfers": [(each.kind, each.from_, each.to) for each in call.transfers],
        "holds": call.holds,
        "queue": call.queue,
        "recording": call.recording,
    }


INBOUND: dict[str, Any] = {
    "direction": "inbound", "client": NUMBER, "line": LINE, "status": "answered", "rang": "150", "first": "150",
    "last": "150", "started": 0, "transfers": [], "holds": 0, "queue": None, "recording": None,
}  # fmt: skip
MISSED = INBOUND | {"status": "missed", "first": None, "last": None, "answered": None, "talk": 0}
OUTBOUND = INBOUND | {"direction": "outbound"}
UNANSWERED = MISSED | {"direction": "outbound"}

EXPECTED: dict[str, dict[str, Any]] = {
    "inbound_answered": INBOUND | {"answered": 5, "ended": 35, "wait": 5, "talk": 30, "by": "client"},
    "inbound_to_a_busy_phone": MISSED | {"status": "busy", "ended": 1, "wait": 1, "by": "system"},
    "inbound_given_up": MISSED | {"ended": 9, "wait": 9, "by": "client"},
    "inbound_ended_in_the_menu": MISSED | {"rang": "", "ended": 14, "wait": 14, "by": "system"},
    "inbound_anonymous": INBOUND
    | {"client": None, "answered": 4, "ended": 20, "wait": 4, "talk": 16, "by": "extension"},
    "off_hours": MISSED | {"rang": "", "ended": 3, "wait": 3, "by": "system"},
    "group_answered": INBOUND
    | {"rang": "150 151 152", "first": "152", "last": "152", "answered": 6, "ended": 66, "wait": 6, "talk": 60,
       "by": "extension", "queue": "700"},
    "group_missed": MISSED | {"rang": "150 151", "ended": 31, "wait": 31, "by": "system", "queue": "700"},
    "taken_over_while_it_rang": INBOUND
    | {"rang": "150 151", "first": "151", "last": "151", "answered": 5, "ended": 25, "wait": 5, "talk": 20,
       "by": "client"},
    "routed_by_command": INBOUND | {"answered": 12, "ended": 32, "wait": 12, "talk": 20, "by": "extension"},
    "outbound_answered": OUTBOUND | {"answered": 12, "ended": 32, "wait": 12, "talk": 20, "by": "client"},
    "outbound_unanswered": UNANSWERED | {"status": "no_answer", "ended": 30, "wait": 30, "by": None},
    "callback_answered": OUTBOUND | {"answered": 9, "ended": 69, "wait": 9, "talk": 60, "by": "extension"},
    "callback_refused": UNANSWERED | {"status": "busy", "ended": 8, "wait": 8, "by": "system"},
    "callback_without_marks": OUTBOUND | {"answered": 9, "ended": 69, "wait": 9, "talk": 60, "by": "extension"},
    "callback_that_our_phone_did_not_take": UNANSWERED
    | {"status": "cancelled", "ended": 30, "wait": 30, "by": "system"},
    "callback_for_a_missed_group_call": OUTBOUND
    | {"answered": 9, "ended": 69, "wait": 9, "talk": 60, "by": "client"},
    "consultative_transfer": INBOUND
    | {"rang": "150 151", "last": "151", "answered": 7, "ended": 57, "wait": 7, "talk": 50, "by": "client", "holds": 1,
       "transfers": [("attended", "150", "151")]},
    "consultation_without_transfer": INBOUND
    | {"rang": "150 151", "answered": 7, "ended": 50, "wait": 7, "talk": 43, "by": "client", "holds": 1},
    "blind_transfer": INBOUND
    | {"rang": "150 151", "last": "151", "answered": 7, "ended": 67, "wait": 7, "talk": 60, "by": "client", "holds": 1,
       "transfers": [("blind", "150", "151")]},
    "blind_transfer_given_up": INBOUND
    | {"rang": "150 151", "answered": 7, "ended": 47, "wait": 7, "talk": 40, "by": "client", "holds": 1,
       "transfers": [("blind", "150", "151")]},
    "blind_transfer_that_came_back": INBOUND
    | {"rang": "150 151", "answered": 7, "ended": 60, "wait": 7, "talk": 53, "by": "client",
       "transfers": [("blind", "150", "151"), ("blind", "151", "150")]},
    "transferred_by_command": INBOUND
    | {"rang": "150 151", "last": "151", "answered": 7, "ended": 45, "wait": 7, "talk": 38, "by": "client", "holds": 1,
       "transfers": [("attended", "150", "151")]},
    "transferred_and_given_up": INBOUND
    | {"rang": "150 151", "answered": 7, "ended": 40, "wait": 7, "talk": 33, "by": "client",
       "transfers": [("blind", "150", "151")]},
    "outbound_transferred_to_a_mobile": OUTBOUND
    | {"answered": 5, "ended": 61, "wait": 5, "talk": 56, "by": "extension",
       "transfers": [("blind", "150", "+79261112233")]},
    "held_by_both_sides": INBOUND | {"answered": 3, "ended": 40, "wait": 3, "talk": 37, "by": "client", "holds": 2},
    "internal_answered": INBOUND
    | {"direction": "internal", "client": None, "line": None, "rang": "151", "first": "151", "last": "151",
       "answered": 3, "ended": 30, "wait": 3, "talk": 27, "by": "extension"},
    "recorded": INBOUND
    | {"answered": 5, "ended": 35, "wait": 5, "talk": 30, "by": "client", "recording": "MToxMDA+/w=="},
    "digits_in_the_menu": INBOUND | {"answered": 5, "ended": 35, "wait": 5, "talk": 30, "by": "client"},
    "flat_answered": INBOUND
    | {"line": "+" + LINE, "answered": 6, "ended": 126, "wait": 6, "talk": 120, "by": None,
       "recording": "https://files.example/1.mp3"},
    "flat_busy": MISSED
    | {"line": "+" + LINE, "status": "busy", "rang": "", "ended": 2, "wait": 2, "by": "system"},
    "flat_outbound": OUTBOUND
    | {"line": "+" + LINE, "answered": 6, "ended": 66, "wait": 6, "talk": 60, "by": None},
    "history_alone": INBOUND
    | {"rang": "150 151", "first": "151", "last": "151", "answered": 6, "ended": 66, "wait": 6, "talk": 60,
       "by": "client", "queue": "Продажи", "recording": "MToxMDA+/w=="},
    "basic_history_alone": INBOUND
    | {"answered": 5, "ended": 35, "wait": 5, "talk": 30, "by": "client", "recording": "MToxMDA+/w=="},
}  # fmt: skip


def live(webhooks: list[Webhook], **more: Any) -> Call:
    reading = told(webhooks, **more)
    assert reading.call is not None
    assert reading.call.status == "active"
    assert not reading.settled
    return reading.call
