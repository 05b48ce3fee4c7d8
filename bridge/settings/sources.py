"""Where a setting's raw value comes from: the environment, a file it names, the TOML file of BRIDGE_CONFIG."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bridge.settings.declaration import Setting


def config_file(env: Mapping[str, str], declared: Sequence[Setting], problems: list[str]) -> dict[str, Any]:
    path = env.get("BRIDGE_CONFIG", "")
    if not path:
        return {}
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        problems.append(f"BRIDGE_CONFIG: {path} cannot be read: {error.strerror}")
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"BRIDGE_CONFIG: {path} is not TOML: {error}")
        return {}
    known = [name for setting in declared for name in setting.names]
    for name in [name for name in content if name not in known]:
        problems.append(f"{name} (in {path}): there is no such setting{_did_you_mean(name, known)}")
        del content[name]
    return content


def misspelt(env: Mapping[str, str], declared: Sequence[Setting], problems: list[str]) -> None:
    """A variable that is nearly one of ours is a mistake; other BRIDGE_ variables may be anybody's."""
    known = [setting.name for setting in declared]
    allowed = {name for setting in declared for name in setting.names} | {"BRIDGE_CONFIG"}
    for name in env:
        plain = name.removesuffix("_FILE")
        if name.startswith("BRIDGE_") and name not in allowed and plain not in allowed:
            meant = _did_you_mean(plain, [*known, "BRIDGE_CONFIG"], cutoff=0.85)
            if meant:
                problems.append(f"{name}: there is no such setting{meant}")


def _did_you_mean(name: str, known: list[str], cutoff: float = 0.6) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=cutoff)
    return f"; did you mean {close[0]}?" if close else ""


def find(setting: Setting, env: Mapping[str, str], file: Mapping[str, Any], problems: list[str]) -> tuple[str, Any]:
    """The name under which the setting was found, and its raw value; None when it is absent."""
    for name in setting.names:
        value, path = env.get(name, ""), env.get(f"{name}_FILE", "")
        if value and path:
            problems.append(f"{name}: is set twice, also by {name}_FILE; allowed: one of them")
            return name, None
        if value:
            return name, value
        if path:
            try:
                return f"{name}_FILE", Path(path).read_text(encoding="utf-8").strip() or None
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
                problems.append(f"{name}_FILE: {path} cannot be read: {reason}")
                return name, None
    for name in setting.names:
        if file.get(name) not in (None, ""):
            return name, file[name]
    return setting.name, None
