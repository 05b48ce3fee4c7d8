"""The name of this process among all that share a database, and whether another one of this machine still lives.

Form: `host:boot:namespace:pid:start`. Boot id and pid namespace say where the pid means anything; the start time of the
process (clock ticks since boot, /proc/<pid>/stat field 22) tells it from a later one of the same pid.
"""

from __future__ import annotations

import functools
import os
import socket
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def name(pid: int | None = None) -> str:
    """Of the process `pid`, or this one. Raises OSError when there is no such process."""
    pid = os.getpid() if pid is None else pid
    return f"{_machine()}:{pid}:{_started(pid)}"


def is_dead(instance: str) -> bool:
    """Whether the instance ran here and its process is gone. False where that cannot be known."""
    try:
        machine, pid, _ = instance.rsplit(":", 2)
        if machine != _machine():
            return False
        return name(int(pid)) != instance
    except FileNotFoundError:
        return True
    except (ValueError, OSError):
        return False


@functools.cache
def _machine() -> str:
    boot = _BOOT.read_text().strip()[:8]
    return f"{socket.gethostname()}:{boot}:{os.stat('/proc/self/ns/pid').st_ino}"


def _started(pid: int) -> str:
    # the command's name, in parentheses, may hold spaces and parentheses itself
    after = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    if after[0] == "Z":  # ended, and not yet reaped by its parent
        raise FileNotFoundError(pid)
    return after[19]
