"""Byte ranges, by the letter of RFC 9110 §14."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bridge.http.ranges import NotSatisfiable, known, span, still

ETAG = '"5d41402abc4b2a76"'
MODIFIED = datetime(2026, 11, 21, 2, 8, 13, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (None, None),
        ("bytes=0-", (0, 1000)),
        ("bytes=0-0", (0, 1)),
        ("bytes=0-499", (0, 500)),
        ("bytes=500-999", (500, 1000)),
        ("bytes=500-5000", (500, 1000)),
        ("bytes=-1", (999, 1000)),
        ("bytes=-500", (500, 1000)),
        ("bytes=-5000", (0, 1000)),
        ("Bytes = 10-19", (10, 20)),
        ("bytes=999-", (999, 1000)),
        # what is no range of bytes, or more than one, asks for the whole
        ("bytes=0-1,5-6", None),
        ("bytes=500-100", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes=", None),
        ("bytes", None),
        ("items=0-5", None),
        ("bytes=--5", None),
        ("bytes=٣-٥", None),
        ("bytes=0-" + "9" * 5000, None),
    ],
)
def test_what_a_range_asks_for(header: str | None, wanted: tuple[int, int] | None) -> None:
    assert span(header, 1000) == wanted


@pytest.mark.parametrize("header", ["bytes=1000-", "bytes=1000-2000", "bytes=5000-", "bytes=-0"])
def test_ranges_of_which_nothing_is_there(header: str) -> None:
    with pytest.raises(NotSatisfiable):
        span(header, 1000)


@pytest.mark.parametrize(
    ("if_range", "holds"),
    [
        (None, True),
        (ETAG, True),
        ('"another"', False),
        (f"W/{ETAG}", False),
        ("Sat, 21 Nov 2026 02:08:13 GMT", True),
        ("Sat, 21 Nov 2026 02:08:12 GMT", False),
        ("yesterday", False),
        ("Sat, 21 Nov 2026 02:08:13", False),
        ("", False),
    ],
)
def test_a_part_is_sent_only_of_what_the_asker_has_a_part_of(if_range: str | None, holds: bool) -> None:
    assert still(if_range, ETAG, MODIFIED) is holds


@pytest.mark.parametrize(
    ("if_none_match", "holds"),
    [(None, False), ("*", True), (ETAG, True), (f'"other", W/{ETAG}', True), ('"other"', False), ("", False)],
)
def test_what_the_asker_has_already_is_not_sent(if_none_match: str | None, holds: bool) -> None:
    assert known(if_none_match, ETAG) is holds
