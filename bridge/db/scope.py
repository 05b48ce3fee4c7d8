"""Which rows a reader may see, as conditions of SQL: every query for people goes through here."""

from __future__ import annotations

from typing import Any

import msgspec


class Scope(msgspec.Struct, frozen=True):
    """Rows of one enterprise (None: of all), and of one person (None: everyone's)."""

    enterprise_number: str | None
    user_id: int | None = None


class Where:
    """Conditions joined by `and`, their values numbered as asyncpg wants them. `{}` in a condition is the next value.

    Conditions are constants of the code; what comes from outside is always a value."""

    def __init__(self) -> None:
        self._conditions: list[str] = []
        self.values: list[Any] = []

    def add(self, condition: str, *values: Any) -> None:
        places = []
        for value in values:
            self.values.append(value)
            places.append("$" + str(len(self.values)))
        self._conditions.append(condition.format(*places))

    def value(self, value: Any) -> str:
        """The place of one more value, for use outside of the conditions (limit, offset)."""
        self.values.append(value)
        return "$" + str(len(self.values))

    def select(self, what: str, rest: str = "") -> str:
        """A statement: `what` up to `where`, the conditions, `rest`."""
        return " where ".join((what, " and ".join(self._conditions) or "true")) + rest


# The sub-queries ask nothing of `c`, so that they are answered once and not for every call.
OF_PERSON = """(
    c.enterprise_number = (select u.enterprise_number from users u where u.id = {0}) and (
        c.assigned_user_id = {0} or c.answered_by_user_id = {0} or c.extensions && array(
            select p.phone_number from user_internal_phones p where p.user_id = {0})))"""


def add_person(where: Where, user_id: int) -> None:
    """Calls `c` that are this person's: his enterprise's that he was assigned, he answered, or that rang his phones."""
    where.add(OF_PERSON, user_id)


def calls_within(scope: Scope) -> Where:
    """The conditions on calls `c` for a reader's scope."""
    where = Where()
    if scope.enterprise_number is not None:
        where.add("c.enterprise_number = {}", scope.enterprise_number)
    if scope.user_id is not None:
        add_person(where, scope.user_id)
    return where
