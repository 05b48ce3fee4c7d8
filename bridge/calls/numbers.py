"""Telephone numbers as people, PBXs and CRMs write them, in one form: E.164 (`+79161234567`).

The region is the enterprise's own country. What the metadata calls merely *possible* is never believed: with region RU
the Belarusian 80291234567 is a possible Russian number, and with region BY 74951234567 a possible Belarusian one.
"""

from __future__ import annotations

import re
from functools import lru_cache

import phonenumbers

# Numbers this short are inside the office or a city's service (101, 112): no country has them in its plan
SHORTEST = 7

_SCHEME = re.compile(r"^\s*(?:sips?|tel):", re.IGNORECASE)
_PARAMETERS = re.compile(r"@.*|;(?!ext=).*", re.DOTALL)
_LETTERS = re.compile(r"[A-Za-z]")
_NOT_DIGITS = re.compile(r"\D")

# Where the national prefix is 8, PBXs glue a + before it: +8 495 123-45-67 is Moscow, not Vietnam
_PREFIX_8 = frozenset({"RU", "BY", "KZ"})
_GLUED_8 = re.compile(r"\+8\d{10}")


@lru_cache(maxsize=16_384)
def e164(text: str, region: str, others: tuple[str, ...] = ()) -> str | None:
    """The number in E.164, None where `text` is none: anonymous, an extension, a name.

    `region` and `others` are ISO countries; the first in which the number is valid wins, then its international form.
    """
    raw = _PARAMETERS.sub("", _SCHEME.sub("", text)).strip()
    if _LETTERS.search(raw.replace(";ext=", "")):
        return None
    compact = "+" * raw.startswith("+") + digits(raw.partition(";")[0])
    if len(compact.lstrip("+")) < SHORTEST:
        return None
    if _GLUED_8.fullmatch(compact) and region in _PREFIX_8:
        national = _valid(compact[1:], region)
        if national is not None:
            return national
    international = compact if compact.startswith("+") else "+" + compact
    for candidate, country in ((raw, region), (international, None), *((raw, other) for other in others)):
        number = _valid(candidate, country)
        if number is not None:
            return number
    return None


def digits(text: str) -> str:
    """The decimal digits of `text`, whatever the script they are written in."""
    return "".join(str(int(digit)) for digit in _NOT_DIGITS.sub("", text))


def _valid(text: str, region: str | None) -> str | None:
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(number):
        return None
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
