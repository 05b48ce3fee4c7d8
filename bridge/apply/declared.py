"""What an apply file may declare. Keys that are absent are UNSET: what they stand for is left as it is.

Each field's type carries what is allowed in words; `bridge.apply.reading` checks a file against these types.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import phonenumbers
from msgspec import UNSET, Meta, Struct, UnsetType

from bridge.calls.numbers import e164
from bridge.passwords import LONGEST, SHORTEST
from bridge.secrets import SEALED

LONGEST_LINE_NAME = 9  # digits by which a PBX may know a line; from ten on it is a telephone number


def rule(allowed: str, check: Callable[[Any], None] | None = None, *, secret: bool = False) -> Meta:
    """`allowed` in words; `check` raises ValueError with why a value of the right type is not."""
    return Meta(extra={"allowed": allowed, "check": check, "secret": secret})


def _matches(pattern: str) -> Callable[[str], None]:
    compiled = re.compile(pattern)

    def check(value: str) -> None:
        if not compiled.fullmatch(value):
            raise ValueError("has another form")

    return check


def _region(value: str) -> None:
    if value not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError("is no such country")


def _timezone(value: str) -> None:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError) as unknown:  # a folder of the database is an OSError
        raise ValueError("is no such time zone") from unknown


def _regular_expression(value: str) -> None:
    if len(value) > 200:
        raise ValueError(f"is {len(value)} characters long")
    try:
        re.compile(value)
    except re.error as wrong:
        raise ValueError(f"is no regular expression: {wrong}") from wrong


def _email(value: str) -> None:
    name, _, host = value.partition("@")
    if not re.fullmatch(r"[^\s@<>\",;:]{1,64}", name) or not re.fullmatch(r"localhost|[^\s@.]+(\.[^\s@.]+)+", host):
        raise ValueError("is no e-mail address")


def _web_address(value: str) -> None:
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError as wrong:
        raise ValueError("is no such address") from wrong
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError("is no such address")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("holds more than scheme, host, port and path")


def _host(value: str) -> None:
    if not re.fullmatch(r"[0-9A-Za-z_.:-]{1,253}", value):
        raise ValueError("is no host")


def _secret(value: str) -> None:
    if not 1 <= len(value) <= 1024:
        raise ValueError(f"is {len(value)} characters long")
    if value.startswith(SEALED):
        raise ValueError("is sealed: it opens nothing outside of the database it is from")


def _password(value: str) -> None:
    if not SHORTEST <= len(value) <= LONGEST:
        raise ValueError(f"is {len(value)} characters long")


def _number(value: str) -> None:
    """A line's number: digits, with + where it is international. What is long enough to be a number must be one."""
    if not re.fullmatch(r"\+?[\d\s().-]{1,24}", value) or not any(map(str.isdigit, value)):
        raise ValueError("is no telephone number")


EnterpriseNumber = Annotated[
    str, rule("1 to 32 letters, digits, hyphens, underscores", _matches(r"[0-9A-Za-z_-]{1,32}"))
]
PbxName = Annotated[str, rule("1 to 64 letters, digits, dots, hyphens, underscores", _matches(r"[0-9A-Za-z_.-]{1,64}"))]
Text = Annotated[str, rule("one line of text")]
Word = Annotated[str, rule("1 to 128 characters without spaces", _matches(r"\S{1,128}"))]
Secret = Annotated[
    str,
    rule('text, { env = "NAME" } or { file = "path" }; 1 to 1024 characters, one line', _secret, secret=True),
]
Password = Annotated[
    str,
    rule(
        f'text, {{ env = "NAME" }} or {{ file = "path" }}; {SHORTEST} to {LONGEST} characters', _password, secret=True
    ),
]
Region = Annotated[str, rule("a country's ISO code in capitals, such as RU", _region)]
Timezone = Annotated[str, rule("a name of the IANA time zones, such as Europe/Moscow", _timezone)]
RegularExpression = Annotated[str, rule("a regular expression of at most 200 characters", _regular_expression)]
Email = Annotated[str, rule("an e-mail address such as anna@june.example", _email)]
WebAddress = Annotated[str, rule("an address such as http://127.0.0.1:8088/ari", _web_address)]
Host = Annotated[str, rule("a host's name or address", _host)]
Port = Annotated[int, rule("1 to 65535"), Meta(ge=1, le=65535)]
Flag = Annotated[bool, rule("true, false")]
Extension = Annotated[str, rule("an extension such as 150", _matches(r"[0-9A-Za-z_.*#-]{1,32}"))]
Number = Annotated[str, rule("a telephone number such as +74951000001, or the digits the PBX knows a line by", _number)]
Fallback = Annotated[
    str,
    rule("an extension, queue:NAME or continue", _matches(r"continue|queue:[0-9A-Za-z_.-]{1,64}|[0-9*#]{1,32}")),
]
Endpoint = Annotated[
    str,
    rule("a channel such as PJSIP/{extension}", _matches(r"[A-Za-z0-9]+/[^{},&|\s]*\{extension\}[^{},&|\s]*")),
]
Outgoing = Annotated[str, rule("{digits} or {e164} after a prefix", _matches(r"[0-9*#+w]*\{(digits|e164)\}"))]
Trunk = Annotated[str, rule("a channel's name up to the final hyphen, such as PJSIP/trunk", _matches(r"\w+/\S{1,100}"))]
Context = Annotated[str, rule("a dialplan context", _matches(r"[0-9A-Za-z_.-]{1,79}"))]
Template = Annotated[
    str,
    rule("a context's name with {extension} and {line}", _matches(r"(?:[0-9A-Za-z_+.-]|\{extension\}|\{line\}){0,79}")),
]
CrmUser = Annotated[str, rule("the CRM's number of a user", _matches(r"\d{1,18}"))]
Folder = Annotated[
    str, rule("the path of a folder on this host from the root on; empty: over ARI", _matches(r"|/[^\0\r\n]{0,1023}"))
]
Days = Annotated[int, rule("0 to 36500 days; 0: for ever"), Meta(ge=0, le=36500)]
UserExtensions = Annotated[dict[CrmUser, Extension], rule('a table of CRM user to extension, such as { "19" = "150" }')]
Role = Annotated[Literal["operator", "administrator", "service"], rule("operator, administrator, service")]
SmartRedirect = Annotated[Literal["off", "name", "route"], rule("off, name, route")]


class Ami(Struct, kw_only=True):
    host: Host
    username: Word
    port: Port | UnsetType = UNSET
    secret: Secret | UnsetType = UNSET
    tls: Flag | UnsetType = UNSET


class Ari(Struct, kw_only=True):
    url: WebAddress
    username: Word
    password: Secret | UnsetType = UNSET


class Pbx(Struct, kw_only=True):
    name: PbxName
    ami: Ami
    ari: Ari | UnsetType = UNSET
    extensions: RegularExpression | UnsetType = UNSET
    trunks: list[Trunk] | UnsetType = UNSET
    click_to_call_contexts: list[Context] | UnsetType = UNSET
    endpoint: Endpoint | UnsetType = UNSET
    outgoing: Outgoing | UnsetType = UNSET
    dialplan: Template | UnsetType = UNSET
    recordings: Folder | UnsetType = UNSET
    token: Secret | UnsetType = UNSET


class User(Struct, kw_only=True):
    email: Email
    first_name: Text | UnsetType = UNSET
    last_name: Text | UnsetType = UNSET
    patronymic: Text | UnsetType = UNSET
    role: Role | UnsetType = UNSET
    city: Text | UnsetType = UNSET
    password: Password | UnsetType = UNSET
    extensions: list[Extension] | UnsetType = UNSET


class Line(Struct, kw_only=True):
    number: Number
    smart_redirect: SmartRedirect | UnsetType = UNSET
    rk: Text | UnsetType = UNSET
    city: Text | UnsetType = UNSET


class Retailcrm(Struct, kw_only=True):
    enabled: Flag | UnsetType = UNSET
    domain: WebAddress | UnsetType = UNSET
    api_key: Secret | UnsetType = UNSET
    client_id: Secret | UnsetType = UNSET
    user_extensions: UserExtensions | UnsetType = UNSET
    timezone: Timezone | UnsetType = UNSET
    site: Word | UnsetType = UNSET


class MangoProduct(Struct, kw_only=True):
    api_key: Secret
    api_salt: Secret
    api_id: Word | UnsetType = UNSET


class Mango(Struct, kw_only=True):
    enabled: Flag | UnsetType = UNSET
    default_operator: Extension | UnsetType = UNSET
    products: list[MangoProduct] | UnsetType = UNSET


class Amocrm(Struct, kw_only=True):
    enabled: Flag | UnsetType = UNSET
    subdomain: Host | UnsetType = UNSET
    client_id: Word | UnsetType = UNSET
    client_secret: Secret | UnsetType = UNSET
    user_extensions: UserExtensions | UnsetType = UNSET


class Integrations(Struct, kw_only=True):
    retailcrm: Retailcrm | UnsetType = UNSET
    mango: Mango | UnsetType = UNSET
    amocrm: Amocrm | UnsetType = UNSET


class Enterprise(Struct, kw_only=True):
    number: EnterpriseNumber
    name: Text | UnsetType = UNSET
    region: Region | UnsetType = UNSET
    timezone: Timezone | UnsetType = UNSET
    secret: Secret | UnsetType = UNSET
    fallback: Fallback | UnsetType = UNSET
    active: Flag | UnsetType = UNSET
    recordings_days: Days | UnsetType = UNSET
    pbx: list[Pbx] = []
    user: list[User] = []
    line: list[Line] = []
    integrations: Integrations | UnsetType = UNSET


class File(Struct, kw_only=True):
    enterprise: list[Enterprise] = []


def line_number(written: str, region: str) -> str:
    """How a line's number is kept: E.164, or as written where it is only the PBX's name for it. Raises ValueError."""
    compact = re.sub(r"[^\d+]", "", written)
    if len(compact) <= LONGEST_LINE_NAME and not compact.startswith("+"):
        return compact
    number = e164(written, region)
    if number is None:
        raise ValueError(f"is no valid number of {region} or of another country")
    return number
