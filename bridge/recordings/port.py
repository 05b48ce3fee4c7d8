"""The port behind which every source of recordings stands: a PBX's REST interface, a folder, Mango Office, a link.

A source is asked for one recording by the reference that was owed (`journal.Recordings.owe`), and answers with a
stream, or says no by one of these (bridge.errors):

RecordingGone     it does not exist any more, or never will
RecordingNotYet   it is expected, not there yet; ask again in `retry_after` seconds
RecordingFailed   the source did not do its part; the same may work later, unless `final`
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """One recording as its source knows it. `age`: seconds since it became due."""

    enterprise_number: str
    pbx_name: str
    call_id: str
    reference: str
    age: float = 0.0


class Stream:
    """A recording's bytes as they come. `size` in bytes, None when the source does not say beforehand."""

    def __init__(self, chunks: AsyncIterator[bytes], *, size: int | None = None) -> None:
        self.chunks = chunks
        self.size = size


class Source(Protocol):
    """One kind of source, for every enterprise."""

    def open(self, wanted: Wanted) -> AbstractAsyncContextManager[Stream]:
        """The stream, closed by leaving the context. Opening and reading raise the errors above, and nothing else."""
