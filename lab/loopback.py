"""Addresses of a lab's own: a /24 of the loopback network, claimed so that several labs run at once.

Linux answers on all of 127.0.0.0/8 without configuration. The claim is a bound socket: the kernel lets one process hold
it, whoever runs it, and gives it back however that process ends.
"""

from __future__ import annotations

import random
import socket
from types import TracebackType

from lab.errors import LabError

GUARD_PORT = 5059
NEEDED = ((5038, socket.SOCK_STREAM), (8088, socket.SOCK_STREAM), (5060, socket.SOCK_DGRAM))
"""AMI, HTTP and SIP, which must be free as well: an Asterisk may have outlived the lab that started it."""


class Network:
    """127.x.y.0/24. `release` gives it back."""

    def __init__(self, prefix: str, guard: socket.socket) -> None:
        self.prefix = prefix
        self._guard = guard

    @classmethod
    def claim(cls) -> Network:
        """Raises LabError when none can be had."""
        # at random: two labs that start together do not race for the same one
        for _ in range(1000):
            prefix = f"127.{random.randrange(32, 224)}.{random.randrange(0, 256)}"
            guard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                guard.bind((f"{prefix}.254", GUARD_PORT))
            except OSError:
                guard.close()
                continue
            network = cls(prefix, guard)
            if network.is_free():
                return network
            guard.close()
        raise LabError("no free loopback network: is 127.0.0.0/8 on `lo`?")

    @property
    def asterisk(self) -> str:
        return f"{self.prefix}.1"

    @property
    def provider(self) -> str:
        return f"{self.prefix}.9"

    @property
    def load(self) -> str:
        """The load generator, which calls in."""
        return f"{self.prefix}.10"

    @property
    def answering(self) -> str:
        """What the load generator's calls are connected to."""
        return f"{self.prefix}.11"

    def phone(self, extension: str) -> str:
        """The address of an extension's phone: its number is the last octet."""
        number = int(extension)
        if not 100 <= number < 254:
            raise LabError(f"extension {extension} has no address: the lab's are 100 to 253")
        return f"{self.prefix}.{number}"

    def is_free(self) -> bool:
        """Whether nobody listens where Asterisk will."""
        for port, kind in NEEDED:
            with socket.socket(socket.AF_INET, kind) as probe:
                if kind == socket.SOCK_STREAM:  # connections of a stopped one that linger do not count
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((self.asterisk, port))
                except OSError:
                    return False
        return True

    def release(self) -> None:
        self._guard.close()

    def __enter__(self) -> Network:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()
