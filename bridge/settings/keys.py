"""The keys that sign sessions and encrypt stored secrets: those of BRIDGE_SECRET_KEY, or one made once and kept."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

from bridge.errors import SettingsError
from bridge.settings import Settings
from bridge.settings.values import SECRET_KEY_LENGTH

FILE = "secret.key"


def secret_keys(settings: Settings) -> tuple[str, ...]:
    """The keys, newest first. Without BRIDGE_SECRET_KEY: the one in `data_dir`/secret.key, made when it is absent.

    Instances that share the directory and start at once agree on one key. Raises SettingsError naming the file when it
    cannot be read or made, or holds no key: a new one in its place would make every stored secret unreadable.
    """
    if settings.secret_key:
        return settings.secret_key
    path = settings.data_dir / FILE
    try:
        if not path.exists():
            _make(path)
        key = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SettingsError(f"BRIDGE_SECRET_KEY: is absent, and {path} cannot be used: {reason}") from error
    if len(key) < SECRET_KEY_LENGTH:
        raise SettingsError(
            f"BRIDGE_SECRET_KEY: is absent, and {path} holds {len(key)} characters; allowed: "
            f"at least {SECRET_KEY_LENGTH}. Restore the file from a back-up, or remove it to begin with a new key"
        )
    return (key,)


def _make(path: Path) -> None:
    """Whole or not at all, readable by the owner only; whoever links first has made the key."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".secret-")
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(48) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(name, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(name)
