"""What the lab installs once and keeps: folders under `$BRIDGE_CACHE`, else `~/.cache/asterisk-bridge`.

A folder is made beside its place and renamed into it, under a lock: several processes may ask for the same one, a
killed one leaves nothing half made, and whoever finds it there uses it without asking anything of the network.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

Say = Callable[[str], None]
"""Where a line of progress goes."""

STAMP = ".made-from"


def say_on_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def folder() -> Path:
    chosen = os.environ.get("BRIDGE_CACHE")
    base = Path(chosen) if chosen else Path.home() / ".cache" / "asterisk-bridge"
    return base.absolute()


def made(name: str, recipe: str, make: Callable[[Path], None], say: Say = say_on_stderr) -> Path:
    """The folder `name`, made by `make(part)` unless it is there already from the same `recipe`.

    `recipe` is any text that changes when the content must. `make` fills a folder that is not yet in its final place.
    """
    final = folder() / name
    stamp = f"{recipe}\nat {final}\n"
    if _is_from(final, stamp):
        return final
    with _lock(name, say):
        if _is_from(final, stamp):
            return final
        part, old = final.with_name(f"{name}.part"), final.with_name(f"{name}.old")
        for leftover in (part, old):
            shutil.rmtree(leftover, ignore_errors=True)
        part.mkdir(parents=True)
        make(part)
        (part / STAMP).write_text(stamp)
        if final.exists():
            final.rename(old)
        part.rename(final)
        shutil.rmtree(old, ignore_errors=True)
    return final


def _is_from(final: Path, stamp: str) -> bool:
    try:
        return (final / STAMP).read_text() == stamp
    except OSError:
        return False


@contextmanager
def _lock(name: str, say: Say) -> Iterator[None]:
    folder().mkdir(parents=True, exist_ok=True)
    with (folder() / f"{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{name}: another process is installing it, waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Progress:
    """Speaks at most every two seconds, so that nobody wonders and nobody is flooded."""

    EVERY = 2.0

    def __init__(self, name: str, say: Say) -> None:
        self._name = name
        self._say = say
        self._next = time.monotonic() + self.EVERY
        self._started = time.monotonic()

    def step(self, doing: str) -> None:
        """Something went on a little: said only when it is time again."""
        if time.monotonic() >= self._next:
            self.note(doing)

    def note(self, line: str) -> None:
        """Something worth saying at once."""
        self._say(f"{self._name}: {line}")
        self._next = time.monotonic() + self.EVERY

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started
