"""Rows into HTML: the templates in each language, and how times, durations and numbers are shown."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from importlib import resources
from typing import Any
from zoneinfo import ZoneInfo

import phonenumbers
from jinja2 import Environment, PackageLoader, StrictUndefined

from bridge.http.words import LANGUAGES, Language, translator

STATIC: dict[str, bytes] = {
    entry.name: entry.read_bytes() for entry in resources.files("bridge.http").joinpath("static").iterdir()
}

_CRMS = {"retailcrm": "RetailCRM", "amocrm": "amoCRM"}


def render(language: Language, template: str, **values: Any) -> str:
    """A template in a language. Every value is escaped unless a template made it."""
    return _environments[language].get_template(template).render(values)


def static_url(name: str) -> str:
    """The address of one of our files; it changes with the content, so browsers may keep it for ever."""
    return f"/static/{name}?{sha256(STATIC[name]).hexdigest()[:12]}"


def clock_time(moment: datetime, zone: ZoneInfo) -> str:
    return moment.astimezone(zone).strftime("%H:%M:%S")


def date(moment: datetime, zone: ZoneInfo) -> str:
    return moment.astimezone(zone).strftime("%d.%m.%Y")


def duration(seconds: int | None) -> str:
    """m:ss or h:mm:ss; a dash for what is not known."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(max(0, seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@lru_cache(maxsize=10_000)
def phone(number: str) -> str:
    """+7 916 123-45-67 for E.164; anything else as it is."""
    if not number.startswith("+"):
        return number
    try:
        return phonenumbers.format_number(phonenumbers.parse(number), phonenumbers.PhoneNumberFormat.INTERNATIONAL)
    except phonenumbers.NumberParseException:
        return number


def crm(integration_type: str) -> str:
    """A CRM as its makers write it."""
    return _CRMS.get(integration_type, integration_type)


def call_state(call: Mapping[str, Any]) -> str:
    """The word for how a call is or how it ended."""
    if call["result"] != "active":
        return str(call["result"])
    if call["is_on_hold"]:
        return "on hold"
    return "talking" if call["answered_at"] else "ringing"


def _environment(language: Language) -> Environment:
    environment = Environment(
        loader=PackageLoader("bridge.http", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals.update(
        _=translator(language), language=language, languages=LANGUAGES, static=static_url, call_state=call_state
    )
    environment.filters.update(clock=clock_time, date=date, duration=duration, phone=phone, crm=crm)
    return environment


_environments: dict[Language, Environment] = {language: _environment(language) for language in LANGUAGES}
