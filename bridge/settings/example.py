"""The text of .env.example, from the declarations: it cannot fall behind them."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

from bridge.settings.declaration import Setting


def example(declared: Sequence[Setting]) -> str:
    """The text of .env.example: every setting with its meaning and default, commented out."""
    lines = [
        "# Settings of Asterisk Bridge: all have defaults, none is required. Made by `python -m bridge.settings`.",
        "# Any of them may be NAME_FILE=path instead, or stand in the TOML file that BRIDGE_CONFIG names.",
    ]
    group = ""
    for setting in declared:
        if setting.group != group:
            group = setting.group
            lines += ["", f"# --- {group} ---"]
        lines += ["", *wrap(setting.meaning, 118, initial_indent="# ", subsequent_indent="# ")]
        lines.append(f"# Allowed: {setting.allowed}.")
        if setting.legacy:
            lines.append(f"# Also accepted as {', '.join(setting.legacy)}.")
        default = setting.default
        if isinstance(default, tuple):
            default = ",".join(default)
        elif isinstance(default, bool):
            default = str(default).lower()
        lines.append(f"#{setting.name}={'' if default is None else default}")
    return "\n".join(lines) + "\n"
