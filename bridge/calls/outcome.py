"""What the facts of a conversation mean: the call as a person sees it. A pure function, asked after each event."""

from __future__ import annotations

from typing import NamedTuple

from bridge.calls.model import Call, Direction, EndedBy, Leg, Result
from bridge.calls.numbers import digits
from bridge.calls.parties import Parties
from bridge.calls.state import Channel, Conversation, Talk
from bridge.calls.timeline import Clock

# Q.850 causes that Asterisk gives an unanswered leg whose device was reached and let ring: normal clearing, no user
# responding, no answer, answered elsewhere, timer expired (and none at all). Others are refusals of the way there.
_RANG_OUT = frozenset({None, 0, 16, 18, 19, 26, 102})
_BUSY = 17


def call_of(conversation: Conversation, parties: Parties, zone: int | None) -> Call | None:
    """The call; None while nobody can say whether it is one: Asterisk rings a phone for a reason not yet seen."""
    direction = _direction(conversation, parties)
    initiator = conversation.initiator()
    if direction is None or initiator is None:
        return None
    client = None if direction == "internal" else conversation.client()
    talks = [talk for talk in conversation.talks if talk.with_client or client is None]
    over = conversation.over
    subject = client if direction == "inbound" and client else initiator
    status = _status(conversation, direction, talks) if over else "active"
    answered = bool(talks) or status == "answered"

    whole = over and status != "incomplete"
    last_line = client if client is not None and client.up else subject
    clock = Clock(conversation, zone)
    times = _times(clock, talks, subject, last_line if whole else None, answered=answered)
    wait, talk = times.spans()
    if zone is None and wait is None:
        # without the PBX's zone local times are no times, but their differences hold
        local = Clock(conversation, None, local=True)
        wait, talk = _times(local, talks, subject, last_line if whole else None, answered=answered).spans()
    phones = [talk for talk in talks if talk.extension is not None]
    last = _last(phones)
    return Call(
        call_id=conversation.told.call_id if conversation.told else (client or initiator).first_linkedid,
        direction=direction,
        client_number=_client_number(conversation, parties, direction, client),
        client_name=(client.caller_name or None) if client and direction == "inbound" else None,
        line=_line(direction, client),
        status=status,
        extensions=_extensions(conversation, direction),
        answered_by=last.extension if last else None,
        answered_first=phones[0].extension if phones else None,
        started_at=times.started,
        answered_at=times.answered,
        ended_at=times.ended,
        wait_seconds=wait,
        talk_seconds=talk if answered else (0 if whole else None),
        ended_by=_ended_by(conversation, direction, client, bool(talks)) if whole else None,
        transfers=list(conversation.transfers),
        holds=conversation.holds,
        on_hold=not over and _on_hold(conversation, talks),
        queue=conversation.queue,
        recording=conversation.recording if answered else None,
        legs=[_leg(channel, clock) for channel in conversation.channels.values() if channel.real],
    )


class _Times(NamedTuple):
    started: float | None
    answered: float | None
    ended: float | None
    talked: bool

    def spans(self) -> tuple[int | None, int | None]:
        """Whole seconds waited until the answer, or in vain until the end, and talked."""
        waited_until = self.answered if self.talked else self.ended
        return _between(self.started, waited_until), _between(self.answered, self.ended)


def _times(clock: Clock, talks: list[Talk], subject: Channel, last: Channel | None, *, answered: bool) -> _Times:
    answered_at = None
    if answered:
        # nobody of ours: a conference, an announcement, a call that only Asterisk makes
        answered_at = clock.connected(talks[0]) if talks else clock.up(subject)
    return _Times(clock.started(subject), answered_at, clock.ended(last) if last else None, answered)


def _between(start: float | None, end: float | None) -> int | None:
    return None if start is None or end is None else max(0, round(end - start))


# --- who and where --------------------------------------------------------------------------------------------------


def _direction(conversation: Conversation, parties: Parties) -> Direction | None:
    if conversation.inbound() is not None:
        return "inbound"
    if conversation.client() is not None:
        return "outbound"
    initiator = conversation.initiator()
    if initiator is None:
        return "outbound" if parties.outside(conversation.target) else None
    first = next(iter(conversation.channels.values()))
    if conversation.gone and first.side == "local" and first.originated and first.context in parties.click_to_call:
        return "outbound"  # nobody says whom it was to reach, but where it began says what it was
    wanted = conversation.target if initiator.dialled else initiator.exten
    if parties.outside(wanted):
        return "outbound"
    if not initiator.dialled or parties.inside(wanted) or len(conversation.talks) > 0:
        return "internal"
    return None


def _client_number(
    conversation: Conversation, parties: Parties, direction: Direction, client: Channel | None
) -> str | None:
    if direction == "internal":
        return None
    if direction == "inbound":
        written = [client.number, client.presented] if client else []
    else:
        initiator = conversation.initiator()
        written = [client.dial_string, client.presented] if client else []
        written += [conversation.target, initiator.exten if initiator else ""]
    for text in written:
        number = parties.outside(text)
        if number is not None:
            return number
    # a city's service (112), or a number of no country's plan: better as it was dialled than not at all
    return next((plain for text in written if (plain := _plain(text)) is not None), None)


def _plain(text: str) -> str | None:
    """The digits of what is written like a number: `112@trunk`, `+123`; not of names that hold one."""
    head = text.partition("@")[0]
    return digits(head) or None if head and not any(character.isalpha() for character in head) else None


def _line(direction: Direction, client: Channel | None) -> str | None:
    """What the client dialled."""
    if direction != "inbound" or client is None or client.exten == "s":
        return None
    return client.exten or None


def _extensions(conversation: Conversation, direction: Direction) -> list[str]:
    """In the order in which they were called: who rings a millisecond before whom is chance."""
    rang = sorted(conversation.rang, key=conversation.rang.__getitem__)
    if direction != "outbound":
        return rang
    dialler = _dialler(conversation)
    return ([dialler] if dialler else []) + [extension for extension in rang if extension != dialler]


def _dialler(conversation: Conversation) -> str | None:
    """The extension whose call an outbound call is."""
    ours = [channel for channel in conversation.channels.values() if channel.side == "extension"]
    first = next((channel for channel in ours if not channel.consulting), ours[0] if ours else None)
    return first.extension if first else None


def _leg(channel: Channel, clock: Clock) -> Leg:
    return Leg(
        uniqueid=channel.uniqueid,
        channel=channel.first_name,
        role="extension" if channel.side == "extension" else "client",
        extension=channel.extension,
        number=channel.number or None,
        started_at=clock.started(channel),
        answered_at=clock.up(channel) if channel.up else None,
        ended_at=clock.ended(channel) if channel.ended else None,
        cause=channel.cause,
        dial_status=channel.dial_status,
    )


# --- how it went ----------------------------------------------------------------------------------------------------


def _last(talks: list[Talk]) -> Talk | None:
    """Who talked last: whoever still talks, else whoever stopped last; of several, who began last."""
    return max(enumerate(talks), key=lambda item: (item[1].closed or _FOREVER, item[0]))[1] if talks else None


_FOREVER = 1 << 62


def _status(conversation: Conversation, direction: Direction, talks: list[Talk]) -> Result:
    client = conversation.client() if direction != "internal" else None
    subject = client or conversation.initiator()
    if conversation.unseen or (subject is not None and subject.adopted and not talks):
        return "incomplete"
    if talks:
        return "answered"
    legs = _tried(conversation, direction)
    if direction == "inbound":
        busy = legs and all(_fate(leg) == "busy" for leg in legs) and conversation.queue is None
        gave_up = client is not None and client.uniqueid in conversation.asked
        return "busy" if busy and not gave_up else "missed"
    if subject is not None and subject.up and not legs and conversation.queue is None:
        return "answered"
    return _unanswered(conversation, legs)


def _tried(conversation: Conversation, direction: Direction) -> list[Channel]:
    """The legs that were to answer: the client's line in an outbound call, else phones."""
    wanted = "trunk" if direction == "outbound" else "extension"
    caller = conversation.initiator()
    return [leg for leg in conversation.main() if leg.side == wanted and leg.dialled and leg is not caller]


def _fate(leg: Channel) -> Result:
    if leg.dial_status == "BUSY" or leg.cause == _BUSY:
        return "busy"
    if leg.dial_status == "CANCEL":
        return "cancelled"
    if leg.dial_status in ("CONGESTION", "CHANUNAVAIL") or leg.cause not in _RANG_OUT:
        return "failed"
    return "no_answer"


def _unanswered(conversation: Conversation, legs: list[Channel]) -> Result:
    """Of an outbound or internal call: who or what kept it from being answered."""
    caller = conversation.initiator()
    gave_up = caller is not None and caller.uniqueid in conversation.asked
    if caller is not None and caller.dialled and not caller.up:
        return "cancelled"  # the phone that was to make the call never answered
    fates = [_fate(leg) for leg in legs]
    if "cancelled" in fates or (gave_up and not legs):
        return "cancelled"
    if "busy" in fates:
        return "busy"
    return "no_answer" if "no_answer" in fates else "failed"


def _on_hold(conversation: Conversation, talks: list[Talk]) -> bool:
    talking = {talk.uniqueid for talk in talks if talk.closed is None}
    return any(channel.holding for channel in conversation.channels.values() if channel.uniqueid in talking)


def _ended_by(conversation: Conversation, direction: Direction, client: Channel | None, talked: bool) -> EndedBy | None:
    """Who hung up, of those who talked at the end; of an unanswered call, whether its caller gave up."""
    if not conversation.full:
        return None
    sides: dict[str, EndedBy] = {}
    caller = conversation.initiator()
    if talked:
        partners = {uniqueid for uniqueid in conversation.partners if uniqueid not in conversation.gave_away}
        sides |= dict.fromkeys(partners, "extension")
    if caller is not None and (not talked or client is None):
        sides[caller.uniqueid] = "extension"
    if client is not None and (talked or direction == "inbound"):
        sides[client.uniqueid] = "client"
    return next((sides[uniqueid] for uniqueid in conversation.asked if uniqueid in sides), "system")
