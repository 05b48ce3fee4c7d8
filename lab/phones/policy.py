"""What phones do by themselves with calls that nobody expects."""

from __future__ import annotations

from lab.errors import CallProblem
from lab.phones.incoming import Incoming
from lab.phones.phone import Policy


def answers(after: float = 0.0, talk: float | None = None) -> Policy:
    """Picks up `after` seconds of ringing; hangs up after `talk` seconds, or leaves that to the other side."""

    async def policy(call: Incoming) -> None:
        call.ring()
        if not await _ended_within(call, after):
            await call.answer()
            if talk is not None and not await _ended_within(call, talk):
                await call.hang_up()

    return policy


def refuses(status: int = 486) -> Policy:
    async def policy(call: Incoming) -> None:
        call.refuse(status)

    return policy


def rings() -> Policy:
    """Nobody is at the phone."""

    async def policy(call: Incoming) -> None:
        call.ring()

    return policy


async def _ended_within(call: Incoming, seconds: float) -> bool:
    """A person's patience, cut short by the other side."""
    if seconds <= 0:
        return call.state == "ended"
    try:
        await call.ended(timeout=seconds)
    except CallProblem:
        return False
    return True
