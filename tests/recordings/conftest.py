"""Two enterprises with a call each, and what owes and links their recordings."""

from __future__ import annotations

import pytest
from recordings_office import KEY, URL, Office, furnish

from bridge.db.pool import Pool
from bridge.recordings.journal import Recordings
from bridge.recordings.links import Links


@pytest.fixture
def recordings() -> Recordings:
    return Recordings(Links([KEY], URL))


@pytest.fixture
async def office(pool: Pool, recordings: Recordings) -> Office:
    return await furnish(pool, recordings)
