"""Two enterprises, what owes and links their recordings, and stores: a folder, and a real S3 server."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer
from recordings_office import KEY, S3, URL, Office, furnish

from bridge.db.pool import Pool
from bridge.recordings.journal import Recordings
from bridge.recordings.links import Links
from bridge.recordings.store import Bucket, Store

_numbers = itertools.count(1)


@pytest.fixture
def recordings() -> Recordings:
    return Recordings(Links([KEY], URL))


@pytest.fixture
async def office(pool: Pool, recordings: Recordings) -> Office:
    return await furnish(pool, recordings)


@pytest.fixture
def folder(tmp_path: Path) -> Store:
    return Store.in_folder(tmp_path / "recordings")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@pytest.fixture
def s3(s3_server: str) -> S3:
    name = f"recordings-{next(_numbers)}"
    made = S3(Bucket(name=name, key_id="key", secret="secret", region="ru-1", endpoint=s3_server), s3_server)
    made.make()
    return made
