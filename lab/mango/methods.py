"""The methods of Mango's API: what each takes, does and answers. Pure but for the switchboard. `METHODS` has them all.

All are POST under /vpbx/ with a signed `json`. Commands answer at once and bring their result later by a webhook.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from lab.mango.live import OK, Command, Switchboard
from lab.mango.product import Employee, Product
from lab.mango.statistics import COLUMNS, KNOWN_COLUMNS, LONGEST_PERIOD, PAGE_SIZES, chunks, csv, ended, moment

Fields = Mapping[str, Any]

WRONG_SIGN, MISSING, WRONG_FORMAT, WRONG_KEY, NO_RECORDING, NOT_SUBSCRIBED = 3102, 3103, 3104, 3105, 3320, 5008
KEPT_SECONDS = 60.0
"""Prepared statistics are kept a minute at least (3.4): here, no longer."""


class Refused(Exception):
    """An answer with a code and no data. A 3xxx is an invalid request: it costs."""

    def __init__(self, code: int, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


@dataclass(frozen=True)
class Answer:
    """`body` is JSON, or the text of a CSV. `result`: the webhook that follows a command, path and fields."""

    status: int = 200
    body: dict[str, Any] | str | None = None
    location: str = ""
    result: tuple[str, dict[str, Any]] | None = None


@dataclass
class Prepared:
    """Statistics that were asked for. `polls`: how often they are still not ready."""

    polls: int
    ready_at: float
    request: dict[str, Any]
    extended: bool


@dataclass
class Desk:
    """What methods work on: a product, its calls that are up, and what it has prepared or lent out."""

    product: Product
    switchboard: Switchboard
    prepared: dict[str, Prepared] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    """One-time links to recordings: the token in the address and the recording's id."""

    def lend(self, recording_id: str) -> str:
        """A one-time link. Raises Refused when there is no such file or it is not there yet."""
        product = self.product
        file = product.files.get(recording_id)
        if file is None or file.deleted:
            raise Refused(NO_RECORDING, "Запись разговора не найдена", status=404)
        if product.clock() < file.ready_at:
            raise Refused(0, "Not Found", status=404)
        token = secrets.token_urlsafe(24)
        self.tokens[token] = recording_id
        return f"{product.url}/files/{token}.mp3"


Handler = Callable[[Desk, Fields], Answer]
METHODS: dict[str, Handler] = {}


def method(path: str) -> Callable[[Handler], Handler]:
    def register(handle: Handler) -> Handler:
        assert path not in METHODS
        METHODS[path] = handle
        return handle

    return register


# --- commands ---------------------------------------------------------------------------------------------------------

_COMMANDS: dict[str, tuple[str, ...]] = {
    "callback": ("command_id", "from", "to_number"),
    "call/hangup": ("command_id", "call_id"),
    "call/hold/on": ("command_id", "call_id", "initiator"),
    "route": ("command_id", "call_id", "to_number"),
    "transfer": ("command_id", "call_id", "method", "to_number", "initiator"),
    "recording/start": ("command_id", "call_id", "call_party_number"),
}
"""What each must have."""


def _command(name: str) -> Handler:
    def handle(desk: Desk, fields: Fields) -> Answer:
        for needed in _COMMANDS[name]:
            if fields.get(needed) in (None, ""):
                raise Refused(MISSING, f"{needed}: В запросе отсутствует обязательный параметр")
        if name == "callback":
            _party(fields["from"])
        if name == "transfer" and fields["method"] not in ("blind", "hold"):
            raise Refused(WRONG_FORMAT, "method: blind, hold")
        for digits in ("to_number",) if name != "call/hangup" else ():
            if digits in fields and not _dialable(str(fields[digits])):
                raise Refused(WRONG_FORMAT, f"{digits}: Параметр передан в неправильном формате")
        command = Command(name, str(fields["command_id"]), dict(fields))
        code = desk.switchboard.command(command)
        desk.product.commands.append({"method": name, "result": code, **fields})
        done = {"command_id": command.command_id, "result": code}
        return Answer(body={"result": OK}, result=(f"result/{name}", done))

    return handle


def _party(value: Any) -> None:
    if not isinstance(value, Mapping):
        raise Refused(WRONG_FORMAT, "from: Параметр передан в неправильном формате")
    if not value.get("extension"):
        raise Refused(MISSING, "from.extension: В запросе отсутствует обязательный параметр")


def _dialable(number: str) -> bool:
    return number.startswith("sip:") or number.removeprefix("+").isdecimal()


for _name in _COMMANDS:
    method(f"commands/{_name}")(_command(_name))


# --- recordings -------------------------------------------------------------------------------------------------------


@method("queries/recording/post")
def recording(desk: Desk, fields: Fields) -> Answer:
    """302 with a link that is good once."""
    for needed in ("recording_id", "action"):
        if not fields.get(needed):
            raise Refused(MISSING, f"{needed}: В запросе отсутствует обязательный параметр")
    if fields["action"] not in ("download", "play"):
        raise Refused(WRONG_FORMAT, "action: download, play")
    return Answer(302, location=desk.lend(str(fields["recording_id"])))


# --- statistics -------------------------------------------------------------------------------------------------------


@method("stats/request")
def basic(desk: Desk, fields: Fields) -> Answer:
    since, until = _whole(fields, "date_from"), _whole(fields, "date_to")
    columns = str(fields.get("fields") or COLUMNS).replace(" ", "").split(",")
    if unknown := [column for column in columns if column not in KNOWN_COLUMNS]:
        raise Refused(WRONG_FORMAT, f"fields: {', '.join(unknown)}")
    _period(since, until)
    if ("from" in fields or "to" in fields) and "call_party" in fields:
        raise Refused(WRONG_FORMAT, "call_party: cannot be used with from, to")
    key = _prepare(desk, {"since": since, "until": until, "columns": columns}, extended=False)
    told = {"key": key} | ({"request_id": fields["request_id"]} if fields.get("request_id") else {})
    return Answer(body={"key": key}, result=("result/stats", told))


@method("stats/result")
def basic_result(desk: Desk, fields: Fields) -> Answer:
    """204: not ready; 404: no such key, or too old a one; else CSV."""
    prepared = _asked_for(desk, fields, extended=False)
    if prepared is None:
        raise Refused(0, "Not Found", status=404)
    if prepared.polls > 0:
        prepared.polls -= 1
        return Answer(204)
    period = prepared.request
    found = ended(desk.product, period["since"], period["until"], desk.product.clock())
    return Answer(body=csv(found, period["columns"]))


@method("stats/calls/request")
def extended(desk: Desk, fields: Fields) -> Answer:
    zone = ZoneInfo(desk.product.timezone)
    for needed in ("start_date", "end_date", "limit", "offset"):
        if fields.get(needed) in (None, ""):
            raise Refused(MISSING, f"{needed}: В запросе отсутствует обязательный параметр")
    try:
        since, until = moment(str(fields["start_date"]), zone), moment(str(fields["end_date"]), zone)
    except ValueError as problem:
        raise Refused(WRONG_FORMAT, str(problem)) from None
    _period(since, until)
    limit, offset = _whole(fields, "limit"), _whole(fields, "offset")
    if limit not in PAGE_SIZES:
        raise Refused(WRONG_FORMAT, f"limit: {limit}; {', '.join(map(str, sorted(PAGE_SIZES)))}")
    if fields.get("search_string") and len(str(fields["search_string"])) < 3:
        raise Refused(WRONG_FORMAT, "search_string: at least 3 characters")
    wanted = {name: fields[name] for name in ("context_type", "context_status") if fields.get(name) is not None}
    request = {"since": since, "until": until, "limit": limit, "offset": offset, "wanted": wanted}
    return Answer(body={"key": _prepare(desk, request, extended=True)})


@method("stats/calls/result")
def extended_result(desk: Desk, fields: Fields) -> Answer:
    prepared = _asked_for(desk, fields, extended=True)
    if prepared is None:
        return Answer(body={"result": OK, "status": "not-found", "data": []})
    if prepared.polls > 0:
        prepared.polls -= 1
        return Answer(body={"result": OK, "status": "work", "data": []})
    if desk.product.faults.stats_error:
        return Answer(body={"result": OK, "status": "error", "data": []})
    request = prepared.request
    found = ended(desk.product, request["since"], request["until"], desk.product.clock())
    page = found[request["offset"] : request["offset"] + request["limit"]]
    days = chunks(page, ZoneInfo(desk.product.timezone))
    for day in days:
        day["list"] = [call for call in day["list"] if _is_wanted(call, request["wanted"])]
    return Answer(body={"result": OK, "status": "complete", "data": days})


def _is_wanted(call: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """A filter is a value, or (of directions) a list of them."""
    return all(
        call[name] in [int(one) for one in (value if isinstance(value, list) else [value])]
        for name, value in wanted.items()
    )


def _prepare(desk: Desk, request: dict[str, Any], *, extended: bool) -> str:
    key = secrets.token_urlsafe(16) + "=="
    desk.prepared[key] = Prepared(desk.product.faults.polls, desk.product.clock(), request, extended)
    return key


def _asked_for(desk: Desk, fields: Fields, *, extended: bool) -> Prepared | None:
    if not fields.get("key"):
        raise Refused(MISSING, "key: В запросе отсутствует обязательный параметр")
    found = desk.prepared.get(str(fields["key"]))
    if found is None or found.extended != extended or desk.product.clock() > found.ready_at + KEPT_SECONDS:
        return None
    return found


def _whole(fields: Fields, name: str) -> int:
    value = fields.get(name)
    if value in (None, ""):
        raise Refused(MISSING, f"{name}: В запросе отсутствует обязательный параметр")
    if isinstance(value, bool) or not str(value).isdecimal():
        raise Refused(WRONG_FORMAT, f"{name}: Параметр передан в неправильном формате")
    return int(str(value))


def _period(since: float, until: float) -> None:
    if not 0 <= until - since <= LONGEST_PERIOD:
        raise Refused(WRONG_FORMAT, "a period is a month at most")


# --- who and what there is --------------------------------------------------------------------------------------------


@method("config/users/request")
def users(desk: Desk, fields: Fields) -> Answer:
    """Without `ext_fields` there are no user_ids, SIP accounts and groups in it."""
    wanted = fields.get("ext_fields") or []
    if not isinstance(wanted, list):
        raise Refused(WRONG_FORMAT, "ext_fields: an array")
    extension = str(fields.get("extension") or "")
    chosen = [one for one in desk.product.employees if extension in ("", one.extension)]
    return Answer(body={"users": [_user(desk.product, one, wanted) for one in chosen]})


def _user(product: Product, employee: Employee, wanted: list[str]) -> dict[str, Any]:
    general: dict[str, Any] = {
        "name": employee.name,
        "email": f"user{employee.extension}@{product.name}.example",
        "department": employee.department,
        "position": "",
    }
    numbers = [*employee.sips, *([employee.mobile] if employee.mobile else [])]
    telephony: dict[str, Any] = {
        "extension": employee.extension,
        "outgoingline": product.line,
        "numbers": [
            {
                "number": number,
                "protocol": "sip" if number.startswith("sip:") else "tel",
                "order": order,
                "wait_sec": 60,
                "status": "on",
            }
            for order, number in enumerate(numbers)
        ],
    }
    user = {"general": general, "telephony": telephony}
    if "general.user_id" in wanted:
        general["user_id"] = employee.user_id
    if "general.sips" in wanted:
        general["sips"] = [{"number": sip} for sip in employee.sips]
    if "telephony.line_id" in wanted:
        telephony["line_id"] = product.lines[0].line_id
    if "groups" in wanted:
        user["groups"] = [group.group_id for group in product.groups if employee.extension in group.members]  # type: ignore[assignment]
    return user


@method("groups")
def groups(desk: Desk, _fields: Fields) -> Answer:
    product = desk.product
    return Answer(
        body={
            "groups": [
                {
                    "group_id": group.group_id,
                    "name": group.name,
                    "description": "",
                    "extension": group.extension,
                    "dial_alg_group": 1,
                    "operators": [{"id": product.at(one).user_id, "priority": 1} for one in group.members],
                }
                for group in product.groups
            ]
        }
    )


@method("incominglines")
def lines(desk: Desk, _fields: Fields) -> Answer:
    return Answer(
        body={
            "result": OK,
            "lines": [
                {"line_id": line.line_id, "number": line.number, "name": line.name, "comment": "", "region": ""}
                for line in desk.product.lines
            ],
        }
    )


@method("trunks/numbers")
def trunks(_desk: Desk, _fields: Fields) -> Answer:
    return Answer(body={"result": OK, "trunk_numbers": []})


@method("sips")
def sips(desk: Desk, _fields: Fields) -> Answer:
    return Answer(
        body={
            "result": OK,
            "data": [
                {"user_id": one.user_id, "number": sip, "status": "on"}
                for one in desk.product.employees
                for sip in one.sips
            ],
        }
    )


@method("account/balance")
def balance(desk: Desk, _fields: Fields) -> Answer:
    return Answer(body={"result": OK, "balance": desk.product.balance, "currency": "RUB"})
