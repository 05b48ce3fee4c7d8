"""Sound in RTP packets: an A-law tone, digits as telephone events, and what a listener makes of them. Pure.

RFC 3550 (header), RFC 3551 (payload type 8 is A-law, 8 kHz), RFC 4733 (events), ITU-T G.711.
"""

from __future__ import annotations

import math
import struct
from collections import deque
from collections.abc import Iterator
from itertools import pairwise

PACKET_SECONDS = 0.02
SAMPLES = 160
ALAW, EVENTS = 8, 101
DIGITS = "0123456789*#ABCD"

_HEADER = struct.Struct("!BBHII")
_EVENT = struct.Struct("!BBH")


def to_alaw(sample: int) -> int:
    """One 16-bit linear sample as A-law."""
    sign = 0x80 if sample >= 0 else 0
    magnitude = min(abs(sample), 32635)
    if magnitude >= 256:
        exponent = magnitude.bit_length() - 8
        code = (exponent << 4) | ((magnitude >> (exponent + 3)) & 0x0F)
    else:
        code = magnitude >> 4
    return (code | sign) ^ 0x55


def from_alaw(code: int) -> int:
    """The middle of the step that one A-law octet stands for."""
    code ^= 0x55
    exponent, mantissa = (code >> 4) & 0x07, code & 0x0F
    magnitude = (mantissa << 4) + 8 if exponent == 0 else ((mantissa << 4) + 0x108) << (exponent - 1)
    return magnitude if code & 0x80 else -magnitude


_LINEAR = tuple(from_alaw(code) for code in range(256))


def tone(hertz: int) -> bytes:
    """20 ms of a sine at -12 dB. `hertz` is a multiple of 50, so that packets join without a click."""
    if hertz % 50:
        raise ValueError(f"a tone of {hertz} Hz does not fit into packets of 20 ms")
    return bytes(to_alaw(int(8000 * math.sin(2 * math.pi * hertz * n / 8000))) for n in range(SAMPLES))


class Sender:
    """The outgoing half of a stream: numbers and stamps what is said."""

    def __init__(self, source: int, sequence: int) -> None:
        self._source = source
        self._sequence = sequence
        self._timestamp = 0

    def sound(self, payload: bytes) -> bytes:
        packet = self._packet(ALAW, payload, self._timestamp)
        self._timestamp += SAMPLES
        return packet

    def digit(self, digit: str, packets: int = 6) -> Iterator[bytes]:
        """One pressed key, a packet each 20 ms. The end is sent three times (RFC 4733 §2.5.1.4)."""
        event, began = DIGITS.index(digit), self._timestamp
        for number in range(1, packets + 3):
            ended = number >= packets
            body = _EVENT.pack(event, (0x80 if ended else 0) | 10, min(number, packets) * SAMPLES)
            yield self._packet(EVENTS, body, began, mark=number == 1)
        self._timestamp = began + packets * SAMPLES

    def _packet(self, kind: int, payload: bytes, timestamp: int, mark: bool = False) -> bytes:
        self._sequence = (self._sequence + 1) & 0xFFFF
        second = kind | (0x80 if mark else 0)
        return _HEADER.pack(0x80, second, self._sequence, timestamp & 0xFFFFFFFF, self._source) + payload


class Listener:
    """The incoming half: counts packets and tells what was heard in the last fifth of a second."""

    def __init__(self) -> None:
        self.packets = 0
        self.digits = ""
        self._recent: deque[bytes] = deque(maxlen=10)
        self._last_event = -1

    def receive(self, packet: bytes) -> None:
        if len(packet) < _HEADER.size:
            return
        _, second, _, timestamp, _ = _HEADER.unpack_from(packet)
        kind, payload = second & 0x7F, packet[_HEADER.size :]
        if kind == ALAW and payload:
            self.packets += 1
            self._recent.append(payload)
        elif kind == EVENTS and len(payload) >= _EVENT.size and timestamp != self._last_event:
            self._last_event = timestamp
            self.digits += DIGITS[payload[0] & 0x0F]

    def forget(self) -> None:
        """Begin to listen anew: who speaks may have changed."""
        self._recent.clear()

    @property
    def level(self) -> float:
        """Root mean square of the linear samples, 0 for silence; the phones' tones are at some 5600."""
        samples = self._samples()
        return math.sqrt(sum(s * s for s in samples) / len(samples)) if samples else 0.0

    @property
    def sounds(self) -> bool:
        """Whether anything but silence was heard; music on hold is quieter than the phones."""
        return self.level > 100

    @property
    def hertz(self) -> int | None:
        """The pitch, to the next 50 Hz, once enough of a tone was heard; None for silence."""
        samples = self._samples()
        if len(samples) < 5 * SAMPLES or not self.sounds:
            return None
        rises = sum(1 for before, after in pairwise(samples) if before < 0 <= after)
        return round(rises / (len(samples) / 8000) / 50) * 50

    def _samples(self) -> list[int]:
        return [_LINEAR[code] for payload in self._recent for code in payload]
