"""What a RetailCRM account accepts and how it refuses: shapes of the form fields, enums per endpoint, error bodies.

Pure. The shapes follow RetailCRM's own SDKs (api-client-php `CallEvent`, `Call`, `IntegrationModule`; api-client-go
`types.go`); whatever they do not know is refused, because a live account would silently lose it or refuse it too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

S = TypeVar("S")

Phone = Annotated[str, Meta(pattern=r"^\+?\d{3,15}$")]
Text = Annotated[str, Meta(min_length=1, max_length=255)]
Seconds = Annotated[int, Meta(ge=0)]
CallType = Literal["in", "out"]
EventType = Literal["in", "out", "hangup"]
# The two enums differ by two letters: an event says "no answered", an upload "no answer".
HangupStatus = Literal["answered", "busy", "cancel", "failed", "no answered"]
UploadResult = Literal["answered", "busy", "failed", "no answer", "not allowed", "unknown"]
UserStatus = Literal["free", "busy", "dinner", "break"]

MAX_CALLS = 50
PAGE_SIZES = (20, 50, 100)
FORMAT_ERROR = "Errors in the entity format"


class Refused(Exception):
    """The account's answer to a request that is not right."""

    def __init__(self, status: int, message: str, errors: Mapping[str, str] | list[str] | None = None) -> None:
        self.status = status
        self.message = message
        self.errors = errors
        super().__init__(message)

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = {"success": False, "errorMsg": self.message}
        if self.errors:
            body["errors"] = self.errors
        return body


class _Shape(Struct, rename="camel", kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A JSON object with camelCase keys and none that the SDKs do not know."""


class Campaign(_Shape):
    name: str = ""
    code: str = ""


class WebAnalytics(_Shape):
    campaign: Campaign | None = None
    query_string: str = ""


class CallEvent(_Shape):
    """`event` of POST /api/v5/telephony/call/event."""

    phone: Phone
    type: EventType
    codes: list[Text] = []
    user_ids: list[int] = []
    site: Text | None = None
    hangup_status: HangupStatus | None = None
    external_phone: Text | None = None
    call_external_id: Text | None = None
    web_analytics_data: WebAnalytics | None = None

    def __post_init__(self) -> None:
        if not self.codes and not self.user_ids:
            raise ValueError("codes or userIds: at least one is required")
        if self.type == "hangup" and self.hangup_status is None:
            raise ValueError("hangupStatus: is required when type is hangup")
        if self.type != "hangup" and self.hangup_status is not None:
            raise ValueError("hangupStatus: only for type hangup")


class Source(_Shape):
    source: str = ""
    medium: str = ""
    campaign: str = ""
    keyword: str = ""
    content: str = ""


class UploadedCall(_Shape):
    """One item of `calls` of POST /api/v5/telephony/calls/upload. `date` is in the account's own time zone."""

    date: str
    type: CallType
    phone: Phone
    result: UploadResult
    code: Text | None = None
    user_id: int | None = None
    duration: Seconds | None = None
    duration_waiting: Seconds | None = None
    external_id: Text | None = None
    record_url: Text | None = None
    external_phone: Text | None = None
    site: Text | None = None
    source: Source | None = None
    client_id: Text | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", self.date):
            raise ValueError("date: This value is not a valid datetime (Y-m-d H:i:s)")
        datetime.strptime(self.date, "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 the account's zone is not part of the field
        if self.code is not None and self.user_id is not None:
            raise ValueError("code, userId: only one of them")
        if self.record_url is not None and urlsplit(self.record_url).scheme not in ("http", "https"):
            raise ValueError("recordUrl: This value is not a valid URL")


class AdditionalCode(_Shape):
    user_id: int | str  # the PHP SDK types it int, the Go SDK string
    code: Text


class ExternalPhone(_Shape):
    site_code: Text
    external_phone: Text


class Telephony(_Shape):
    """`integrations.telephony` of a module: a whole-object upsert, lists that are not sent are emptied."""

    make_call_url: str = ""
    change_user_status_url: str = ""
    allow_edit: bool = False
    input_event_supported: bool = False
    output_event_supported: bool = False
    hangup_event_supported: bool = False
    additional_codes: list[AdditionalCode] = []
    external_phones: list[ExternalPhone] = []


class Integrations(_Shape):
    telephony: Telephony | None = None
    delivery: dict[str, Any] | None = None
    store: dict[str, Any] | None = None
    recommendation: dict[str, Any] | None = None
    payment: dict[str, Any] | None = None
    embed_js: dict[str, Any] | None = None
    mg_transport: dict[str, Any] | None = None
    mg_bot: dict[str, Any] | None = None


class IntegrationModule(_Shape):
    """`integrationModule` of POST /api/v5/integration-modules/{code}/edit."""

    code: Text
    integration_code: Text = ""
    active: bool = True
    freeze: bool = False
    name: str = ""
    logo: str = ""
    native: bool = False
    base_url: str = ""
    actions: dict[str, str] = {}
    account_url: str = ""
    available_countries: list[str] = []
    client_id: Annotated[str, Meta(max_length=70)] = ""
    integrations: Integrations | None = None


def json_field(form: Mapping[str, Any], name: str, shape: type[S]) -> S:
    """The form field `name`, which must be a *string* holding JSON of `shape`."""
    value = form.get(name)
    if any(key.startswith(f"{name}[") for key in form) or (value is not None and not isinstance(value, str)):
        raise Refused(400, f'Input value "{name}" contains a non-scalar value')
    if value is None or value == "":
        raise Refused(400, f"Parameter '{name}' is missing")
    try:
        return msgspec.json.decode(value, type=shape)
    except msgspec.ValidationError as error:
        raise Refused(400, FORMAT_ERROR, _field_errors(str(error))) from error
    except msgspec.DecodeError as error:
        raise Refused(400, FORMAT_ERROR, {name: "This value should be valid JSON"}) from error


def _field_errors(message: str) -> dict[str, str]:
    """msgspec says "what - at `$[0].duration`"; the CRM answers a map of field to text."""
    text, _, where = message.partition(" - at `$")
    path = where.rstrip("`").lstrip(".")
    if not path and ": " in text:
        path, _, text = text.partition(": ")
    return {path or "entity": text}


def only(params: Mapping[str, Any], *allowed: str) -> None:
    """Refuse a query or form field that the method does not know."""
    for name in params:
        if name.split("[")[0] not in allowed:
            raise Refused(400, FORMAT_ERROR, {name: "This field was not expected"})


def flag(query: Mapping[str, str], name: str) -> bool:
    """A numeric boolean: 1 or 0, never "true" (a client that sends True is silently wrong on a live account)."""
    value = query.get(name, "0")
    if value not in ("0", "1"):
        raise Refused(400, FORMAT_ERROR, {name: "This value should be 0 or 1"})
    return value == "1"


def page_size(query: Mapping[str, str]) -> int:
    value = query.get("limit", "20")
    if value not in map(str, PAGE_SIZES):
        raise Refused(400, FORMAT_ERROR, {"limit": "The value you selected is not a valid choice"})
    return int(value)


def whole_number(query: Mapping[str, str], name: str, default: int) -> int:
    value = query.get(name, str(default))
    if not value.isdecimal() or int(value) < 1:
        raise Refused(400, FORMAT_ERROR, {name: "This value should be a positive number"})
    return int(value)
