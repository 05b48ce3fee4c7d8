"""What has to be told of a call that was read anew. Pure."""

from __future__ import annotations

from bridge.calls.changes import changes_between
from bridge.calls.model import Call, Change, Notice
from bridge.calls.notices import notices


def tell(
    told: Call | None, call: Call, at: float | None, *, final: bool = True, due: float | None = None
) -> tuple[list[Change], list[Notice]]:
    """The changes since `told`, what was last told of the call, and what CRMs are owed for them. `at`: when.

    Three cases are not a live call's. One that was over when it was first heard of (its summary came first, or only
    Mango's history knows it) makes no phone ring any more: only its record is owed. One that was taken for an internal
    call until its late summary was never told of: its record is owed now. And the record of a call that is over cannot
    be taken back, so it waits until the call is `final`; `due`: when it was to be looked at again (`recorded`).
    """
    changes = changes_between(told, call, [], at)
    owed = notices(changes)
    if told is not None and told.status != "active":
        late = final and call.direction != "internal" and not recorded(told, due)
        return changes, [Notice(kind="record")] if late else []
    if call.status != "active" and not final:
        owed = [notice for notice in owed if notice.kind != "record"]
    if call.status != "active" and told is None:
        owed = [notice for notice in owed if notice.kind == "record"]
    return changes, owed


def recorded(told: Call | None, due: float | None) -> bool:
    """Whether CRMs have the record of a call that was last told as `told`: then there is nothing to wait for. While its
    record waits, a call that is over is `due` to be looked at again."""
    return told is not None and told.status != "active" and told.direction != "internal" and due is None
