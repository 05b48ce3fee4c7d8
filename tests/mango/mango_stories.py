"""Calls as Mango's webhooks tell them: the vendor's own scenarios (VPBX API, appendix), and others in their shape.

A story is a list of webhooks, (path, json as a mapping), in the order in which things happened. `T` is when it began.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from bridge.mango.decode import decode
from bridge.mango.events import MangoEvent
from bridge.mango.operators import Employee, Operators
from bridge.mango.reader import MangoRules, Reading, read

Webhook = tuple[str, dict[str, Any]]
Story = Callable[[], list[Webhook]]

T = 1_795_224_000
ENTRY = "MToxMDA5Njg3Nzo1MDY="
CLIENT = "79161234567"
LINE = "74951000001"

RULES = MangoRules(
    region="RU",
    operators=Operators(
        [
            Employee(extensions=("150",), city="Москва", addresses={"sip:anna@june.mangosip.ru": "150"}),
            Employee(extensions=("151",), city="Казань", addresses={"sip:boris@june.mangosip.ru": "151"}),
            Employee(extensions=("152",), city="Казань"),
        ],
        cities={"+74951000001": "Москва", "+78431000002": "Казань"},
    ),
)

STORIES: dict[str, Story] = {}


def story(make: Story) -> Story:
    STORIES[make.__name__] = make
    return make


def decoded(webhooks: Iterable[Webhook], received_at: float | None = None) -> list[MangoEvent]:
    return [decode(path, document, received_at) for path, document in webhooks]


def told(webhooks: Iterable[Webhook], rules: MangoRules = RULES, now: float | None = None) -> Reading:
    return read(decoded(webhooks), rules, now)


def phone(extension: str, **more: Any) -> dict[str, Any]:
    return {"extension": extension, "number": f"sip:user{extension}@june.mangosip.ru", **more}


def leg(call_id: str, seq: int, state: str, at: int, from_: dict[str, Any], to: dict[str, Any], **more: Any) -> Webhook:
    document = {
        "entry_id": ENTRY,
        "call_id": call_id,
        "timestamp": T + at,
        "seq": seq,
        "call_state": state,
        "location": "abonent",
        "from": from_,
        "to": to,
    }
    return "/events/call", document | more


def summary(direction: int, talk: int | None, end: int, **more: Any) -> Webhook:
    """`talk` and `end`: seconds after the beginning."""
    document = {
        "entry_id": ENTRY,
        "call_direction": direction,
        "from": {"number": CLIENT},
        "to": {},
        "line_number": LINE,
        "create_time": T,
        "forward_time": T if talk else 0,
        "talk_time": T + talk if talk is not None else 0,
        "end_time": T + end,
        "entry_result": int(talk is not None),
        "disconnect_reason": 1100 if talk is not None else 1111,
    }
    return "/events/summary", document | more


def in_menu(end: int) -> list[Webhook]:
    """The first seconds of an inbound call, in a voice menu."""
    at = {"from_": {"number": CLIENT}, "to": {"number": LINE, "line_number": LINE}, "location": "ivr"}
    return [
        leg("menu", 1, "Connected", 0, **at),
        leg("menu", 2, "Disconnected", end, **at, disconnect_reason=1100),
    ]


@story
def inbound_answered() -> list[Webhook]:
    ends: dict[str, Any] = {
        "from_": {"number": CLIENT, "taken_from_call_id": "menu"},
        "to": phone("150", line_number=LINE),
    }
    return [
        *in_menu(2),
        leg("a", 1, "Appeared", 2, **ends),
        leg("a", 2, "Connected", 5, **ends),
        leg("a", 3, "Disconnected", 35, **ends, disconnect_reason=1110),
        summary(1, 5, 35, to=phone("150")),
    ]


@story
def inbound_to_a_busy_phone() -> list[Webhook]:
    ends: dict[str, Any] = {"from_": {"number": CLIENT}, "to": phone("150", line_number=LINE)}
    return [
        leg("a", 1, "Appeared", 0, **ends),
        leg("a", 2, "Disconnected", 1, **ends, disconnect_reason=1121),
        summary(1, None, 1, to=phone("150"), disconnect_reason=1121),
    ]


@story
def inbound_given_up() -> list[Webhook]:
    ends: dict[str, Any] = {"from_": {"number": CLIENT}, "to": phone("150", line_number=LINE)}
    return [
        leg("a", 1, "Appeared", 0, **ends),
        leg("a", 2, "Disconnected", 9, **ends, disconnect_reason=1110),
        summary(1, None, 9, to=phone("150"), disconnect_reason=1110),
    ]


@story
def inbound_ended_in_the_menu() -> list[Webhook]:
    """The vendor's second example of a summary: a result of 1, and nobody talked."""
    return [*in_menu(14), summary(1, None, 14, forward_time=T + 2, entry_result=1, disconnect_reason=1170)]


@story
def inbound_anonymous() -> list[Webhook]:
    ends: dict[str, Any] = {"from_": {}, "to": phone("150", line_number=LINE)}
    return [
        leg("a", 1, "Appeared", 0, **ends),
        leg("a", 2, "Connected", 4, **ends),
        leg("a", 3, "Disconnected", 20, **ends, disconnect_reason=1120),
        summary(1, 4, 20, to=phone("150"), **{"from": {}}),
    ]


@story
def off_hours() -> list[Webhook]:
    """No agent's leg was told of."""
    return [*in_menu(3), summary(1, None, 3, to={"extension": "150"}, disconnect_reason=1192)]


def _rings(extension: str) -> dict[str, Any]:
    return {
        "from_": {"number": CLIENT, "taken_from_call_id": "queue"},
        "to": phone(extension, line_number=LINE, acd_group="700"),
    }


@story
def group_answered() -> list[Webhook]:
    queue: dict[str, Any] = {
        "from_": {"number": CLIENT},
        "to": {"number": LINE, "line_number": LINE, "acd_group": 700},
        "location": "queue",
    }
    return [
        leg("queue", 1, "Appeared", 0, **queue),
        leg("a", 1, "Appeared", 1, **_rings("150")),
        leg("b", 1, "Appeared", 1, **_rings("151")),
        leg("c", 1, "Appeared", 1, **_rings("152")),
        leg("b", 2, "Disconnected", 2, **_rings("151"), disconnect_reason=1121),
        leg("c", 2, "Connected", 6, **_rings("152")),
        leg("queue", 2, "Disconnected", 6, **queue, disconnect_reason=1100),
        leg("a", 2, "Disconnected", 6, **_rings("150"), disconnect_reason=1183),
        leg("c", 3, "Disconnected", 66, **_rings("152"), disconnect_reason=1120),
        summary(1, 6, 66, to=phone("152")),
    ]


@story
def group_missed() -> list[Webhook]:
    """The summary of a group's missed call names the group, and no number."""
    return [
        leg("a", 1, "Appeared", 1, **_rings("150")),
        leg("b", 1, "Appeared", 1, **_rings("151")),
        leg("b", 2, "Disconnected", 2, **_rings("151"), disconnect_reason=1121),
        leg("a", 2, "Disconnected", 31, **_rings("150"), disconnect_reason=1111),
        summary(1, None, 31, to={"extension": "700"}, disconnect_reason=1160),
    ]


@story
def taken_over_while_it_rang() -> list[Webhook]:
    first: dict[str, Any] = {"from_": {"number": CLIENT}, "to": phone("150", line_number=LINE)}
    second: dict[str, Any] = {
        "from_": {"number": CLIENT, "taken_from_call_id": "a"},
        "to": phone("151", line_number=LINE),
    }
    return [
        leg("a", 1, "Appeared", 0, **first),
        leg("a", 2, "Disconnected", 5, **first, disconnect_reason=1182),
        leg("b", 1, "Connected", 5, **second),
        leg("b", 2, "Disconnected", 25, **second, disconnect_reason=1110),
        summary(1, 5, 25, to=phone("151")),
    ]


@story
def routed_by_command() -> list[Webhook]:
    """The vendor's scenario of `commands/route`."""
    ends: dict[str, Any] = {
        "from_": {"number": CLIENT, "taken_from_call_id": "menu"},
        "to": {"extension": "150", "number": "sip:anna@june.mangosip.ru", "line_number": LINE},
        "command_id": "c111",
    }
    return [
        *in_menu(1),
        leg("a", 1, "Appeared", 1, **ends),
        ("/vpbx/result/route", {"command_id": "c111", "result": "1000"}),
        leg("a", 2, "Connected", 12, **ends),
        leg("a", 3, "Disconnected", 32, **ends, disconnect_reason="1120"),
        summary(1, 12, 32, to=phone("150")),
    ]


@story
def outbound_answered() -> list[Webhook]:
    """The vendor's first scenario; the number of the caller is told late."""
    client = {"number": CLIENT}
    return [
        leg("a", 1, "Appeared", 0, {"extension": "150"}, client),
        leg("a", 2, "Connected", 12, phone("150"), client),
        leg("a", 3, "Disconnected", 32, phone("150"), client, disconnect_reason="1120"),
        _outbound_summary(12, 32),
    ]


def _outbound_summary(talk: int | None, end: int, **more: Any) -> Webhook:
    return summary(2, talk, end, to={"number": CLIENT}, forward_time=T, **{"from": phone("150")}, **more)


@story
def outbound_unanswered() -> list[Webhook]:
    client = {"number": CLIENT}
    return [
        leg("a", 1, "Appeared", 0, phone("150"), client),
        leg("a", 2, "Disconnected", 30, phone("150"), client, disconnect_reason=1111),
        _outbound_summary(None, 30, disconnect_reason=1100),
    ]


def _our_half(**marks: Any) -> list[Webhook]:
    first: dict[str, Any] = {"from_": {"number": CLIENT}, "to": phone("150"), **marks}
    return [
        leg("first", 1, "Appeared", 0, **first),
        leg("first", 2, "Connected", 2, **first),
        leg("first", 3, "Disconnected", 4, **first, disconnect_reason="1000"),
    ]


def _to_client(seq: int, state: str, at: int, **more: Any) -> Webhook:
    return leg("second", seq, state, at, phone("150", taken_from_call_id="first"), {"number": CLIENT}, **more)


MARKS: dict[str, Any] = {"command_id": "cmd.1", "callback_initiator": "API"}


@story
def callback_answered() -> list[Webhook]:
    return [
        *_our_half(**MARKS),
        ("/result/callback", {"command_id": "cmd.1", "result": 1000}),
        _to_client(1, "Appeared", 5, **MARKS),
        _to_client(2, "Connected", 9, **MARKS),
        _to_client(3, "Disconnected", 69, **MARKS, disconnect_reason=1110),
        _outbound_summary(9, 69),
    ]


@story
def callback_refused() -> list[Webhook]:
    """The vendor's second scenario: the far side rejects."""
    return [
        *_our_half(**MARKS),
        _to_client(1, "Appeared", 5, **MARKS),
        _to_client(2, "Disconnected", 8, **MARKS, disconnect_reason="1124"),
        _outbound_summary(None, 8, disconnect_reason=1124),
    ]


@story
def callback_without_marks() -> list[Webhook]:
    """An order from the cabinet, as older accounts tell it: only its two legs show what it is."""
    return [
        *_our_half(),
        _to_client(1, "Appeared", 5),
        _to_client(2, "Connected", 9),
        _to_client(3, "Disconnected", 69, disconnect_reason=1110),
        _outbound_summary(9, 69),
    ]


@story
def callback_that_our_phone_did_not_take() -> list[Webhook]:
    first: dict[str, Any] = {"from_": {"number": CLIENT}, "to": phone("150"), **MARKS}
    return [
        leg("first", 1, "Appeared", 0, **first),
        leg("first", 2, "Disconnected", 30, **first, disconnect_reason=1111),
        _outbound_summary(None, 30, disconnect_reason=1111),
    ]


@story
def callback_for_a_missed_group_call() -> list[Webhook]:
    marks = {"callback_initiator": "MissGroup\u0421allCallback", "task_id": 1549362305}
    return [
        *_our_half(**marks),
        _to_client(1, "Appeared", 5, **marks),
        _to_client(2, "Connected", 9, **marks),
        _to_client(3, "Disconnected", 69, **marks, disconnect_reason=1120),
        _outbound_summary(9, 69),
    ]


def _first_talk(hold: bool, end: int) -> list[Webhook]:
    ends: dict[str, Any] = {"from_": {"number": CLIENT}, "to": phone("150", line_number=LINE)}
    held = [leg("a", 3, "OnHold", 17, ends["from_"], {**ends["to"], "hold_initiator": True})] if hold else []
    return [
        leg("a", 1, "Appeared", 0, **ends),
        leg("a", 2, "Connected", 7, **ends),
        *held,
        leg("a", 4 if hold else 3, "Disconnected", end, **ends, disconnect_reason="1120"),
    ]


@story
def consultative_transfer() -> list[Webhook]:
    """The vendor's scenario: the client takes the consulting employee's place by a second Connected on one leg."""
    consulting = phone("150", taken_from_call_id="a")
    client = {"number": CLIENT, "taken_from_call_id": "a"}
    to = phone("151")
    return [
        *_first_talk(True, 37),
        leg("b", 1, "Appeared", 27, consulting, to, transfer="consultative"),
        leg("b", 2, "Connected", 30, consulting, to, transfer="consultative"),
        leg("b", 3, "Connected", 37, client, to, transfer="blind"),
        leg("b", 4, "Disconnected", 57, client, to, disconnect_reason="1110"),
        summary(1, 7, 57, to=phone("150")),
    ]


@story
def consultation_without_transfer() -> list[Webhook]:
    consulting = phone("150", taken_from_call_id="a")
    to = phone("151")
    ends: dict[str, Any] = {"from_": {"number": CLIENT}, "to": phone("150", line_number=LINE)}
    return [
        leg("a", 1, "Appeared", 0, **ends),
        leg("a", 2, "Connected", 7, **ends),
        leg("a", 3, "OnHold", 17, ends["from_"], {**ends["to"], "hold_initiator": True}),
        leg("b", 1, "Appeared", 17, consulting, to, transfer="consultative"),
        leg("b", 2, "Connected", 20, consulting, to, transfer="consultative"),
        leg("b", 3, "Disconnected", 30, consulting, to, disconnect_reason=1110),
        leg("a", 4, "Connected", 30, **ends),
        leg("a", 5, "Disconnected", 50, **ends, disconnect_reason=1110),
        summary(1, 7, 50, to=phone("150")),
    ]


@story
def blind_transfer() -> list[Webhook]:
    """The vendor's scenario: the client takes the employee's place while the colleague's phone still rings."""
    client = {"number": CLIENT, "taken_from_call_id": "a"}
    return [
        *_first_talk(True, 37),
        leg("b", 1, "Appeared", 27, phone("150"), phone("151")),
        leg("b", 2, "Appeared", 37, client, phone("151")),
        leg("b", 3, "Connected", 47, client, phone("151")),
        leg("b", 4, "Disconnected", 67, client, phone("151"), disconnect_reason=1110),
        summary(1, 7, 67, to=phone("150")),
    ]


@story
def blind_transfer_given_up() -> list[Webhook]:
    """The client hangs up while the colleague's phone rings."""
    client = {"number": CLIENT, "taken_from_call_id": "a"}
    return [
        *_first_talk(True, 37),
        leg("b", 1, "Appeared", 27, phone("150"), phone("151")),
        leg("b", 2, "Appeared", 37, client, phone("151")),
        leg("b", 3, "Disconnected", 47, client, phone("151"), disconnect_reason=1110),
        summary(1, 7, 47, to=phone("150")),
    ]


@story
def blind_transfer_that_came_back() -> list[Webhook]:
    to_boris = {"number": CLIENT, "taken_from_call_id": "a"}
    back = {"number": CLIENT, "taken_from_call_id": "b"}
    return [
        *_first_talk(False, 20),
        leg("b", 1, "Appeared", 20, to_boris, phone("151"), transfer="blind"),
        leg("b", 2, "Disconnected", 40, to_boris, phone("151"), transfer="blind", disconnect_reason=1111),
        leg("c", 1, "Appeared", 40, back, phone("150"), transfer="return_blind"),
        leg("c", 2, "Connected", 44, back, phone("150"), transfer="return_blind"),
        leg("c", 3, "Disconnected", 60, back, phone("150"), transfer="return_blind", disconnect_reason=1110),
        summary(1, 7, 60, to=phone("150")),
    ]


@story
def transferred_by_command() -> list[Webhook]:
    """`commands/transfer`: the second leg carries the command's id, and no leg that it was taken from until the end."""
    client = {"number": CLIENT, "taken_from_call_id": "a"}
    mark = {"command_id": "c7"}
    return [
        *_first_talk(True, 25),
        leg("b", 1, "Appeared", 18, phone("150"), phone("151"), **mark),
        ("/result/transfer", {"command_id": "c7", "result": 1000}),
        leg("b", 2, "Connected", 21, phone("150"), phone("151"), **mark),
        leg("b", 3, "Connected", 25, client, phone("151"), **mark, transfer="consultative"),
        leg("b", 4, "Disconnected", 45, client, phone("151"), **mark, disconnect_reason=1110),
        summary(1, 7, 45, to=phone("151")),
    ]


@story
def transferred_and_given_up() -> list[Webhook]:
    to_boris = {"number": CLIENT, "taken_from_call_id": "a"}
    return [
        *_first_talk(False, 20),
        leg("b", 1, "Appeared", 20, to_boris, phone("151"), transfer="blind"),
        leg("b", 2, "Disconnected", 40, to_boris, phone("151"), transfer="blind", disconnect_reason=1110),
        summary(1, 7, 40, to=phone("150")),
    ]


@story
def outbound_transferred_to_a_mobile() -> list[Webhook]:
    client = {"number": CLIENT}
    given = {"number": CLIENT, "taken_from_call_id": "a"}
    mobile = {"number": "79261112233"}
    return [
        leg("a", 1, "Appeared", 0, phone("150"), client),
        leg("a", 2, "Connected", 5, phone("150"), client),
        leg("a", 3, "Disconnected", 25, phone("150"), {**client, "was_transferred": True}, disconnect_reason=1110),
        leg("b", 1, "Appeared", 25, given, mobile, transfer="blind"),
        leg("b", 2, "Connected", 31, given, mobile, transfer="blind"),
        leg("b", 3, "Disconnected", 61, given, mobile, transfer="blind", disconnect_reason=1120),
        _outbound_summary(5, 61),
    ]


@story
def held_by_both_sides() -> list[Webhook]:
    client, anna = {"number": CLIENT}, phone("150", line_number=LINE)
    return [
        leg("a", 1, "Appeared", 0, client, anna),
        leg("a", 2, "Connected", 3, client, anna),
        leg("a", 3, "OnHold", 10, client, {**anna, "hold_initiator": True}),
        leg("a", 4, "Connected", 15, client, anna),
        leg("a", 5, "OnHold", 20, {**client, "hold_initiator": True}, anna),
        leg("a", 6, "Connected", 25, client, anna),
        leg("a", 7, "OnHold", 30, client, anna),
        leg("a", 8, "Connected", 31, client, anna),
        leg("a", 9, "Disconnected", 40, client, anna, disconnect_reason=1110),
        summary(1, 3, 40, to=anna),
    ]


@story
def internal_answered() -> list[Webhook]:
    ends: dict[str, Any] = {"from_": phone("150"), "to": phone("151")}
    path, document = summary(0, 3, 30, to=phone("151"))
    document["from"] = phone("150")
    del document["line_number"]
    return [
        leg("a", 1, "Appeared", 0, **ends),
        leg("a", 2, "Connected", 3, **ends),
        leg("a", 3, "Disconnected", 30, **ends, disconnect_reason=1120),
        (path, document),
    ]


@story
def recorded() -> list[Webhook]:
    recording = {"recording_id": "MToxMDA+/w==", "entry_id": ENTRY, "call_id": "a", "extension": "150"}
    return [
        *inbound_answered(),
        ("/events/recording", recording | {"recording_state": "Started", "seq": 1, "timestamp": T + 5}),
        (
            "/events/recording",
            recording
            | {
                "recording_state": "Completed",
                "seq": 2,
                "timestamp": T + 35,
                "completion_code": "1000",
                "recipient": "Cloud",
            },
        ),
        (
            "/events/record/added",
            {
                "entry_id": ENTRY,
                "recording_id": "MToxMDA+/w==",
                "product_id": 400001,
                "user_id": -1,
                "timestamp": T + 38,
            },
        ),
    ]


@story
def digits_in_the_menu() -> list[Webhook]:
    pressed = {
        "seq": 3,
        "dtmf": "12*",
        "timestamp": str(T + 1),
        "call_id": "menu",
        "entry_id": ENTRY,
        "location": "ivr.2",
        "initiator": CLIENT,
    }
    return [("/events/dtmf", pressed), *inbound_answered()]


def flat(status: str, at: int, **more: Any) -> Webhook:
    document = {
        "call_id": "flat-1",
        "from": "+" + CLIENT,
        "to": "+" + LINE,
        "direction": "in",
        "status": status,
        "timestamp": T + at,
        "entry_id": ENTRY,
        "line_number": "+" + LINE,
        "vpbx_api_id": "400001",
        "vpbx_api_key": "key",
    }
    return "flat", document | more


@story
def flat_answered() -> list[Webhook]:
    return [
        flat("start", 0),
        flat("answer", 6),
        flat("end", 126, duration=120, record_url="https://files.example/1.mp3"),
    ]


@story
def flat_busy() -> list[Webhook]:
    return [flat("start", 0), flat("end", 2, duration=0, disconnect_reason="busy")]


@story
def flat_outbound() -> list[Webhook]:
    ends = {"direction": "out", "from": "150", "to": "+" + CLIENT}
    return [flat("start", 0, **ends), flat("answer", 6, **ends), flat("end", 66, duration=60, **ends)]


def whole_row(**more: Any) -> Webhook:
    """A call of extended statistics: a group's, and answered."""
    document = {
        "entry_id": ENTRY,
        "context_type": 1,
        "context_status": 1,
        "caller_id": None,
        "caller_name": "",
        "caller_number": CLIENT,
        "called_number": LINE,
        "context_start_time": T,
        "duration": 66,
        "talk_duration": 60,
        "context_init_type": 0,
        "recall_status": 2,
        "context_calls": [
            {
                "call_type": "group",
                "call_abonent_id": 10000700,
                "call_abonent_info": "Продажи",
                "call_abonent_number": None,
                "call_start_time": T + 1,
                "call_answer_time": T + 6,
                "call_end_time": T + 66,
                "talk_duration": 60,
                "call_end_reason": 1110,
                "recording_id": ["MToxMDA+/w=="],
                "members": [
                    {
                        "call_type": "user",
                        "call_abonent_id": 300043164,
                        "call_abonent_extension": "150",
                        "call_abonent_number": "sip:anna@june.mangosip.ru",
                        "call_start_time": T + 1,
                        "call_answer_time": None,
                        "call_end_time": T + 6,
                        "call_end_reason": 1183,
                        "external_call_id": "a",
                        "recording_id": [],
                    },
                    {
                        "call_type": "user",
                        "call_abonent_id": 300043165,
                        "call_abonent_number": "sip:boris@june.mangosip.ru",
                        "call_start_time": T + 1,
                        "call_answer_time": T + 6,
                        "call_end_time": T + 66,
                        "talk_duration": 60,
                        "call_end_reason": 1110,
                        "external_call_id": "b",
                        "recording_id": ["MToxMDA+/w=="],
                    },
                ],
            }
        ],
    }
    return "statistics", document | more


@story
def history_alone() -> list[Webhook]:
    return [whole_row()]


def basic_row(**more: Any) -> Webhook:
    """A row of basic statistics, its columns by name: texts all."""
    document = {
        "entry_id": ENTRY,
        "records": "[MToxMDA+/w==]",
        "start": str(T),
        "finish": str(T + 35),
        "answer": str(T + 5),
        "from_extension": "",
        "from_number": CLIENT,
        "to_extension": "150",
        "to_number": "sip:anna@june.mangosip.ru",
        "disconnect_reason": "1110",
        "line_number": LINE,
        "location": "abonent",
        "create": str(T),
    }
    return "statistics", document | more


@story
def basic_history_alone() -> list[Webhook]:
    return [basic_row()]


def without(webhooks: Sequence[Webhook], kind: str) -> list[Webhook]:
    return [webhook for webhook in webhooks if webhook[0] != kind]
