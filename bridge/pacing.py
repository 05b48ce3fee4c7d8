"""How fast an account outside may be asked things, and when it must be left alone. Pure: time is an argument.

Theory of operation. The rate is GCRA: `tat` is when the next message would be due if all came at exactly the allowed
rate; a message may come early by what the burst tolerates. The breaker counts failures in a row. At `threshold` it
opens; when `open_until` has passed it is half open, and exactly one caller may try (`probe_until` is that caller's
time, after which another may). A success closes it; a failed probe opens it for twice as long, up to `longest`.

Where instances share an account its state is a row, and times are seconds since the epoch by the database's clock.
"""

from __future__ import annotations

import msgspec


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """What an account may be sent: a sustained rate, and how many at once after a pause."""

    per_second: float
    burst: int


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """When the breaker opens and for how long. `retry_after_limit`: the longest pause it may ask of us."""

    threshold: int = 5
    shortest: float = 5.0
    longest: float = 60.0
    probe: float = 10.0
    retry_after_limit: float = 3600.0


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an account: whether something may be sent."""

    tat: float = 0.0
    failures: int = 0
    open_until: float | None = None
    probe_until: float | None = None


def room(state: Limits, now: float, rate: Rate, wanted: int, patience: float) -> tuple[int, float]:
    """How many of `wanted` may be sent, none waiting over `patience` seconds; if none, seconds until asking again."""
    if state.open_until is not None:
        if state.open_until > now:
            return 0, state.open_until - now
        if state.probe_until is not None and state.probe_until > now:
            return 0, state.probe_until - now
        wanted = min(wanted, 1)
    allowed = sum(wait <= patience for wait in _waits(state.tat, now, rate, wanted))
    return allowed, 0.0 if allowed else _waits(state.tat, now, rate, 1)[0] - patience


def spend(state: Limits, now: float, rate: Rate, count: int, policy: Policy) -> tuple[Limits, list[float]]:
    """Take `count` places (no more than `room` gave): the new state, and how long each has to wait for its place."""
    waits = _waits(state.tat, now, rate, count)
    tat = max(state.tat, now) + count / rate.per_second
    probing = state.open_until is not None and count > 0
    return (
        Limits(
            tat=tat,
            failures=state.failures,
            open_until=state.open_until,
            probe_until=now + policy.probe if probing else state.probe_until,
        ),
        waits,
    )


def failed(state: Limits, now: float, policy: Policy, luck: float, retry_after: float | None = None) -> Limits:
    """The account could not be told something. `luck` in [0, 1) spreads the re-opening of many accounts.

    Failures that come back while the breaker is open were sent before it opened: they tell nothing new.
    """
    tat = state.tat
    if retry_after is not None:
        tat = max(tat, now + min(max(retry_after, 0.0), policy.retry_after_limit))
    if state.open_until is not None and state.open_until > now:
        return msgspec.structs.replace(state, tat=tat)
    failures = state.failures + 1
    open_until = None
    if failures >= policy.threshold:
        # Bounded before the power: an account that is down for a week must not overflow a float.
        doublings = min(failures - policy.threshold, 30)
        open_until = now + min(policy.longest, policy.shortest * 2.0**doublings) * (1 - luck / 2)
    return Limits(tat=tat, failures=failures, open_until=open_until, probe_until=None)


def backoff(attempt: int, luck: float, *, first: float = 1.0, longest: float = 3600.0) -> float:
    """Seconds before the next try after `attempt` (from 1) failed: full jitter, so `luck` in [0, 1) times the bound."""
    return luck * min(longest, first * 2.0 ** min(attempt - 1, 30))


def _waits(tat: float, now: float, rate: Rate, count: int) -> list[float]:
    interval = 1 / rate.per_second
    early = (rate.burst - 1) * interval
    due = max(tat, now)
    return [max(0.0, due + n * interval - early - now) for n in range(count)]
