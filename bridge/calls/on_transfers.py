"""A client is handed over: transferred, parked and fetched, picked up."""

from __future__ import annotations

from bridge.calls.events import AttendedTransfer, BlindTransfer, Parked, Pickup, Unparked
from bridge.calls.model import Transfer, TransferKind
from bridge.calls.state import Channel, Conversation
from bridge.calls.switchboard import Switchboard, handles


@handles(BlindTransfer)
def blind(board: Switchboard, event: BlindTransfer, at: float | None) -> None:
    giver = board.see(event.transferer, at)
    conversation = board.groups.of(event.transferer.uniqueid)
    # AMI's BlindTransfer of the client's own channel sends the *extension* on: nobody was given away
    if not event.success or giver is None or conversation is None or giver.side == "trunk":
        return
    if giver.uniqueid not in conversation.gave_away:
        conversation.gave_away.append(giver.uniqueid)
    client = board.see(event.transferee, at) if event.transferee is not None else None
    if client is not None and client.parked:
        return
    _transferred(board, conversation, "blind", giver, _named(board, event.exten), giver.uniqueid, at)


@handles(AttendedTransfer)
def attended(board: Switchboard, event: AttendedTransfer, at: float | None) -> None:
    first, second = board.see(event.first, at), board.see(event.second, at)
    if not event.success or first is None or second is None:
        return
    groups = board.groups
    target = board.see(event.target, at) if event.target is not None else None
    transferee = board.see(event.transferee, at) if event.transferee is not None else None
    for other in (second, transferee, target):
        if other is not None:
            groups.connect(first, other)
    conversation = groups.of(first.uniqueid)
    if conversation is None or first.side == "trunk":
        return
    to = (_party(board, target) if target else None) or _named(board, second.exten)
    _transferred(board, conversation, "attended", first, to, f"{first.uniqueid} {second.uniqueid}", at)
    board.reconnect(conversation, at)
    others = groups.of(second.uniqueid)
    if others is not None and others is not conversation and transferee is not None:
        # two clients who both called in, given to each other: each call was transferred
        _transferred(
            board, others, "attended", second, _party(board, transferee), f"{second.uniqueid} {first.uniqueid}", at
        )


def _transferred(
    board: Switchboard,
    conversation: Conversation,
    kind: TransferKind,
    giver: Channel,
    to: str | None,
    key: str,
    at: float | None,
) -> None:
    if key not in conversation.transfer_keys:
        conversation.transfer_keys.append(key)
        conversation.transfers.append(Transfer(kind=kind, from_=giver.extension, to=to, at=at))
    board.touch(conversation)


def _named(board: Switchboard, exten: str) -> str | None:
    """Where a transfer goes, as people name it."""
    return exten if board.parties.is_extension(exten) else board.parties.outside(exten) or exten or None


def _party(board: Switchboard, channel: Channel) -> str | None:
    return channel.extension if channel.side == "extension" else _named(board, channel.presented or channel.number)


@handles(Pickup)
def picked_up(board: Switchboard, event: Pickup, at: float | None) -> None:
    channel, target = board.see(event.channel, at), board.see(event.target, at)
    if channel is not None and target is not None:
        board.groups.connect(target, channel)
        board.reconnect(board.groups.of(target.uniqueid), at)


@handles(Parked)
def parked(board: Switchboard, event: Parked, at: float | None) -> None:
    """Parking is no transfer: a phone parks by transferring to the car park's number. Either event may come first."""
    parkee = board.see(event.parkee, at)
    conversation = board.groups.of(event.parkee.uniqueid)
    if parkee is None or conversation is None or parkee.parked:
        return
    parkee.parked = True
    if conversation.transfers and conversation.transfers[-1].kind == "blind":
        conversation.transfers.pop()
    board.touch(conversation)


@handles(Unparked)
def unparked(board: Switchboard, event: Unparked, at: float | None) -> None:
    parkee = board.see(event.parkee, at)
    retriever = board.see(event.retriever, at) if event.retriever is not None else None
    if parkee is not None:
        parkee.parked = False
    if parkee is not None and retriever is not None:
        board.groups.connect(parkee, retriever)
        board.reconnect(board.groups.of(parkee.uniqueid), at)
