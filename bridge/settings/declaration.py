"""How a setting is declared: a field of a struct, annotated with its meaning, what is allowed, and its names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, get_type_hints

from msgspec import Meta, Struct
from msgspec.structs import FieldInfo, fields


class Address(Struct, frozen=True):
    """Where a server listens. Port 0 takes a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Setting:
    """What the annotations of a field of `Settings` say of it."""

    field: str
    name: str  # the environment variable
    legacy: tuple[str, ...]
    secret: bool
    type: Any
    default: Any
    meaning: str
    allowed: str
    group: str
    check: Callable[[str], None] | None

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.legacy)


def about(
    meaning: str,
    allowed: str = "text",
    *,
    name: str = "",
    legacy: str = "",
    secret: bool = False,
    group: str = "Service",
    check: Callable[[str], None] | None = None,
) -> Meta:
    """The annotation of a setting. `name`: where it is not BRIDGE_ and the field's; `legacy`: other names, with spaces.

    `check` raises ValueError for a text (each part of a list) that the type alone would let through.
    """
    extra = {"allowed": allowed, "legacy": tuple(legacy.split()), "name": name, "secret": secret, "group": group}
    return Meta(description=meaning, extra={**extra, "check": check})


def declarations(struct: type[Struct]) -> list[Setting]:
    hints = get_type_hints(struct, include_extras=True)
    return [_declaration(info, hints[info.name]) for info in fields(struct)]


def _declaration(info: FieldInfo, annotated: Any) -> Setting:
    about = next(meta for meta in annotated.__metadata__ if meta.extra is not None)
    bounds = [meta for meta in annotated.__metadata__ if meta.extra is None]
    kind = Annotated[annotated.__origin__, bounds[0]] if bounds else annotated.__origin__
    extra = about.extra
    return Setting(
        field=info.name,
        name=extra["name"] or f"BRIDGE_{info.name.upper()}",
        legacy=extra["legacy"],
        secret=extra["secret"],
        type=kind,
        default=info.default,
        meaning=about.description or "",
        allowed=extra["allowed"],
        group=extra["group"],
        check=extra["check"],
    )
