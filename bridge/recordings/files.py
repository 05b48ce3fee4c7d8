"""Recordings by the names of their files: where one is below a PBX's folder of recordings, and a source that reads it.

A name comes from the PBX's event stream, where a dialplan may have put what a caller sent. It leads to a file below the
folder or nowhere: no `..`, no symbolic link on the way, nothing but ordinary files.
"""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bridge.errors import RecordingFailed, RecordingNotYet
from bridge.recordings.port import Stream

_PIECE = 256 * 1024
_STILL = 2.0
"""Seconds a file must not have changed for."""

_FOLDERS = ("/recording/", "/monitor/")
"""What Asterisk calls the folders below its spool: the path up to them is the PBX's own business."""


def below(reference: str, folder: str = "") -> tuple[str, ...]:
    """The parts of the path of a recording below the PBX's folder of recordings. Pure.

    `reference`: a path as MixMonitor has it, or a name below the folder. Raises RecordingFailed, finally, for one that
    leads elsewhere."""
    path = reference
    if folder and path.startswith(folder.rstrip("/") + "/"):
        path = path[len(folder.rstrip("/")) :]
    elif path.startswith("/"):
        begins = max((path.rfind(name) + len(name) for name in _FOLDERS if name in path), default=0)
        if not begins:
            raise RecordingFailed("The PBX has written it outside of its folder of recordings.", final=True)
        path = path[begins:]
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    if not parts or any(part == ".." or "\0" in part for part in parts):
        raise RecordingFailed("Its name leads out of the folder of recordings.", final=True)
    return parts


@asynccontextmanager
async def open_file(folder: Path, reference: str) -> AsyncIterator[Stream]:
    """A source of one folder. Raises RecordingFailed, RecordingNotYet."""
    parts = below(reference, str(folder))
    handle = await asyncio.to_thread(_open, folder, parts)
    try:
        before = os.fstat(handle)
        if time.time() - before.st_mtime < _STILL:
            raise RecordingNotYet("The file is still being written.", retry_after=_STILL)
        yield Stream(_chunks(handle, before), size=before.st_size)
    finally:
        os.close(handle)


async def _chunks(handle: int, before: os.stat_result) -> AsyncIterator[bytes]:
    at = 0
    try:
        while chunk := await asyncio.to_thread(os.pread, handle, _PIECE, at):
            at += len(chunk)
            yield chunk
        after = os.fstat(handle)
    except OSError as problem:
        raise RecordingFailed(f"The file cannot be read: {problem.strerror}.") from problem
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise RecordingFailed("The file was changed while it was read.")


def _open(folder: Path, parts: tuple[str, ...]) -> int:
    """A descriptor of the file. Each step is taken from the folder before it, and none through a link."""
    try:
        at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as problem:
        raise RecordingFailed(f"The folder {folder} cannot be opened: {problem.strerror}.") from problem
    name = "/".join(parts)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = inner
        # O_NONBLOCK: a pipe in the place of a file must not be waited for
        handle = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
    except FileNotFoundError as problem:
        raise RecordingNotYet(f"The folder {folder} has no {name}.") from problem
    except (OSError, ValueError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else str(problem)
        raise RecordingFailed(f"{name} cannot be opened: {reason}.") from problem
    finally:
        os.close(at)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise RecordingFailed(f"{name} is no file.", final=True)
    return handle
