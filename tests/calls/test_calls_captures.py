"""Golden transcripts: real Asterisk event streams, and the calls that people made in them."""

from __future__ import annotations

import call_streams as streams
import pytest

from bridge.replay import replay


@pytest.mark.parametrize("name", streams.names())
def test_a_recorded_stream_gives_the_calls_that_were_made(name: str) -> None:
    found = list(replay(streams.stream(name), streams.RULES))

    assert streams.differences(found, streams.expected(name)) == []
