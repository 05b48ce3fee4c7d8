"""A headless Chromium that pages are tested in, driven by Playwright.

    browser = await playwright.chromium.launch(**launch_options())

The one on the PATH is used; where there is none, Debian's package is unpacked into the cache, without root.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TypedDict

from lab import debian
from lab.cache import Say, say_on_stderr

ON_PATH = ("chromium-headless-shell", "chromium")
PACKAGES = ("chromium-headless-shell", "fonts-dejavu-core")

ARGUMENTS = [
    # as root, and in most containers, Chromium cannot build its own sandbox; it opens the lab's own pages only
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    # without these every start asks the network for things no test needs
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


class LaunchOptions(TypedDict):
    executable_path: str
    args: list[str]
    env: dict[str, str | float | bool]


def launch_options(say: Say = say_on_stderr) -> LaunchOptions:
    """What Playwright's `chromium.launch` takes. Installs Chromium where there is none; blocks while it does."""
    path, environment = program(say)
    return LaunchOptions(executable_path=path, args=list(ARGUMENTS), env={**environment})


def program(say: Say = say_on_stderr) -> tuple[str, dict[str, str]]:
    """The path of Chromium and the environment it needs."""
    for name in ON_PATH:
        if found := shutil.which(name):
            return found, dict(os.environ)
    root = debian.overlay("chromium", PACKAGES, say)
    return str(root / "usr" / "lib" / "chromium" / "chromium-headless-shell"), _environment(root)


def _environment(root: Path) -> dict[str, str]:
    environment = debian.environment(root)
    # fontconfig looks for fonts under XDG_DATA_HOME besides the system's own folder, which may hold none
    environment["XDG_DATA_HOME"] = str(root / "usr" / "share")
    own = root / "etc" / "fonts"
    if own.is_dir() and not Path("/etc/fonts/fonts.conf").exists():
        environment["FONTCONFIG_PATH"] = str(own)
    return environment
