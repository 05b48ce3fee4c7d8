"""A stored recording over ARI, as a stream: `GET /recordings/stored/{name}/file`, which aioari would hold in memory.

Asterisk serves what is below `<astspooldir>/recording`, by its name without the extension; a folder in the name is
written with %2F. It finds only files of formats it knows. (22.10, 16.28. HEAD it answers with half an answer.)
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote

import aiohttp
from yarl import URL

from bridge.errors import AriError

_PIECE = 256 * 1024


class StoredFile:
    """`size` in bytes, None when Asterisk does not say. Reading the chunks raises AriError where they break off."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.size = response.content_length

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._response.content.iter_chunked(_PIECE):
                yield chunk
        except (aiohttp.ClientError, OSError, TimeoutError) as problem:
            raise AriError(0, f"The PBX broke off: {problem or type(problem).__name__}.") from problem


@asynccontextmanager
async def stored_recording(
    url: str, username: str, password: str, name: str, *, timeout: float = 10.0
) -> AsyncIterator[StoredFile]:
    """`url` as in `http://127.0.0.1:8088/ari`; `timeout`: seconds to connect, and of silence. Raises AriError."""
    target = URL(f"{url.rstrip('/')}/recordings/stored/{quote(name, safe='')}/file", encoded=True)
    login = base64.b64encode(f"{username}:{password}".encode()).decode()
    limits = aiohttp.ClientTimeout(total=None, connect=timeout, sock_connect=timeout, sock_read=timeout)
    async with aiohttp.ClientSession(headers={"Authorization": f"Basic {login}"}, timeout=limits) as session:
        try:
            response = await session.get(target, allow_redirects=False)
        except (aiohttp.ClientError, OSError, TimeoutError) as problem:
            raise AriError(0, f"{url} cannot be reached: {problem or type(problem).__name__}.") from problem
        async with response:
            if response.status != 200:
                raise AriError(response.status, f"{response.status} for {name}.")
            yield StoredFile(response)
