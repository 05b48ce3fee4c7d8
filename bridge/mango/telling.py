"""What has to be told of a call that was read anew. Pure."""

from __future__ import annotations

from bridge.calls.changes import changes_between
from bridge.calls.model import Call, Change, Notice
from bridge.calls.notices import notices


def tell(told: Call | None, call: Call, at: float | None) -> tuple[list[Change], list[Notice]]:
    """The changes since `told`, what was last told of the call, and what CRMs are owed for them. `at`: when.

    Two cases are not a live call's. One that was over when it was first heard of (its summary came first, or only
    Mango's history knows it) makes no phone ring any more: only its record is owed. And one that was taken for an
    internal call until its late summary was never told of: its record is owed now.
    """
    changes = changes_between(told, call, [], at)
    if told is None and call.status != "active":
        return changes, [notice for notice in notices(changes) if notice.kind == "record"]
    if told is not None and told.status != "active" and told.direction == "internal" and call.direction != "internal":
        return changes, [Notice(kind="record")]
    return changes, notices(changes)
