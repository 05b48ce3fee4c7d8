"""From the text of an apply file to what it declares, with every error at once, each naming its place in the file.

A place is written as people point at it: `enterprise[0367].pbx[office].ami.port`; an entry without its name by its
position from 1. Secrets may stand elsewhere: `{ env = "NAME" }`, `{ file = "path" }` (relative to the apply file).
"""

from __future__ import annotations

import difflib
import re
import tomllib
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct, UnsetType
from msgspec.structs import fields

from bridge.apply.declared import File, Mango, MangoProduct
from bridge.errors import BadInput

T = TypeVar("T", bound=Struct)
_NAMES = ("number", "name", "email")  # what an entry of a list is called by
_CONTROL = re.compile(r"[\0\r\n]")


class WrongFile(BadInput):
    """The apply file is wrong; nothing was changed."""

    code = "WRONG_FILE"

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems), problems=problems)
        self.problems = problems


def read(path: Path, env: Mapping[str, str]) -> File:
    """What the file declares. Raises WrongFile with all that is wrong with it."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise WrongFile([f"{path}: cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise WrongFile([f"{path}: is not UTF-8: {error.reason} at byte {error.start}"]) from error
    return parse(text, env, path.parent)


def parse(text: str, env: Mapping[str, str], folder: Path) -> File:
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise WrongFile([f"not TOML: {error}"]) from error
    reader = _Reader(env, folder)
    declared = reader.struct(File, content, "")
    if reader.problems or declared is None:
        raise WrongFile(reader.problems)
    return declared


class _Reader:
    def __init__(self, env: Mapping[str, str], folder: Path) -> None:
        self._env = env
        self._folder = folder
        self.problems: list[str] = []

    def struct(self, kind: type[T], table: Any, place: str) -> T | None:
        """None when something in it is wrong; the problems say what."""
        if not isinstance(table, dict):
            self._wrong(place, "is not a table", table, "a table")
            return None
        if kind is Mango:
            table = self._flat_product(table, place)
        hints = get_type_hints(kind, include_extras=True)
        known = {info.name: info for info in fields(kind)}
        before = len(self.problems)
        for name in table:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                meant = f"; did you mean {close[0]}?" if close else f"; allowed: {', '.join(known)}"
                self.problems.append(f"{_join(place, name)}: there is no such key{meant}")
        values: dict[str, Any] = {}
        for name, info in known.items():
            if name in table:
                values[name] = self._value(_declared(hints[name]), table[name], _join(place, name))
            elif info.required:
                allowed = _allowed(_declared(hints[name]))
                self.problems.append(f"{_join(place, name)}: is absent{f'; allowed: {allowed}' if allowed else ''}")
        return kind(**values) if len(self.problems) == before else None

    def _value(self, kind: Any, value: Any, place: str) -> Any:
        if isinstance(kind, type) and issubclass(kind, Struct):
            return self.struct(kind, value, place)
        if get_origin(kind) is list:
            return self._list(get_args(kind)[0], value, place)
        base, secret = _base(kind), _secret(kind)
        if get_origin(base) is dict:
            return self._table(kind, value, place)
        if secret and isinstance(value, dict):
            value = self._elsewhere(value, place)
            if value is None:
                return None
        try:
            # strict: "5038" is no port and 1 is no flag
            value = msgspec.convert(value, kind if base is not bool else bool)
            if isinstance(value, str) and _CONTROL.search(value):
                raise ValueError("holds a NUL or a line break")
            for meta in kind.__metadata__:
                if (meta.extra or {}).get("check"):
                    meta.extra["check"](value)
        except msgspec.ValidationError as error:
            self._wrong(place, f"is wrong: {str(error).lower().replace('`', '')}", value, _allowed(kind), secret)
        except ValueError as error:
            self._wrong(place, str(error), value, _allowed(kind), secret)
        return value

    def _list(self, kind: Any, value: Any, place: str) -> list[Any]:
        if not isinstance(value, list):
            each = _allowed(kind)
            self._wrong(place, "is not a list", value, f"a list; each: {each}" if each else "a list of tables")
            return []
        return [self._value(kind, entry, f"{place}[{_called(entry, i)}]") for i, entry in enumerate(value, 1)]

    def _table(self, kind: Any, value: Any, place: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            self._wrong(place, "is not a table", value, _allowed(kind))
            return {}
        of_key, of_value = get_args(_base(kind))
        return {
            self._value(of_key, name, f"{place}.{name}"): self._value(of_value, entry, f"{place}.{name}")
            for name, entry in value.items()
        }

    def _elsewhere(self, value: dict[str, Any], place: str) -> str | None:
        """The secret that { env = … } or { file = … } points at."""
        match value:
            case {"env": str(name), **rest} if not rest:
                if not self._env.get(name):
                    self.problems.append(f"{place}: the environment variable {name} is not set")
                return self._env.get(name) or None
            case {"file": str(name), **rest} if not rest:
                try:
                    text = self._folder.joinpath(name).read_text(encoding="utf-8").strip()
                except (OSError, UnicodeDecodeError) as error:
                    reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
                    self.problems.append(f"{place}: the file {name} cannot be read: {reason}")
                    return None
                if not text:
                    self.problems.append(f"{place}: the file {name} is empty")
                return text or None
            case _:
                # The keys only: somebody may have written the secret itself into the table.
                self.problems.append(
                    f'{place}: is a table of {", ".join(value) or "nothing"}; allowed: text, {{ env = "NAME" }} or '
                    '{ file = "path" }'
                )
                return None

    def _flat_product(self, table: dict[str, Any], place: str) -> dict[str, Any]:
        """A single product may be written without its list."""
        flat = {info.name for info in fields(MangoProduct)} & table.keys()
        if not flat:
            return table
        if "products" in table:
            self.problems.append(
                f"{place}: {', '.join(sorted(flat))} beside products; allowed: products, or a single one written flat"
            )
        rest = {name: value for name, value in table.items() if name not in flat}
        return {"products": [{name: table[name] for name in flat}], **rest}

    def _wrong(self, place: str, why: str, value: Any, allowed: str, secret: bool = False) -> None:
        found = f"a {type(value).__name__} of {len(str(value))} characters" if secret else _shown(value)
        self.problems.append(f"{place or 'the file'}: {why}; found {found}; allowed: {allowed}")


def _shown(value: Any) -> str:
    """Of a table or a list the outside only: secrets may be in it."""
    if isinstance(value, dict):
        return f"a table of {', '.join(map(str, value)) or 'nothing'}"[:120]
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return repr(value)[:120]


def _declared(hint: Any) -> Any:
    """The type of a field without its UNSET alternative."""
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = (alternative for alternative in get_args(hint) if alternative is not UnsetType)
    return hint


def _base(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _metas(kind: Any) -> tuple[Meta, ...]:
    return tuple(kind.__metadata__) if get_origin(kind) is Annotated else ()


def _allowed(kind: Any) -> str:
    if get_origin(kind) is list:
        inner = _allowed(get_args(kind)[0])
        return f"a list; each: {inner}" if inner else "a list of tables"
    return next((meta.extra["allowed"] for meta in _metas(kind) if meta.extra), "")


def _secret(kind: Any) -> bool:
    return any((meta.extra or {}).get("secret") for meta in _metas(kind))


def _join(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _called(entry: Any, position: int) -> str:
    if isinstance(entry, dict):
        for name in _NAMES:
            if isinstance(entry.get(name), str) and re.fullmatch(r"[\w@.+-]{1,64}", entry[name]):
                return str(entry[name])
    return str(position)
