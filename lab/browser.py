"""A headless Chromium that pages are tested in, driven by Playwright.

    async with opened() as browser:
        page = await browser.new_page()

The one on the PATH is used; where there is none, Debian's package is unpacked into the cache, without root. So is the
one library that Playwright's own node needs and a small Debian lacks.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from lab import debian
from lab.cache import Say, say_on_stderr

if TYPE_CHECKING:
    from playwright.async_api import Browser

ON_PATH = ("chromium-headless-shell", "chromium")
PACKAGES = ("chromium-headless-shell", "fonts-dejavu-core")

NODE = "PLAYWRIGHT_NODEJS_PATH"

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


@asynccontextmanager
async def opened(say: Say = say_on_stderr) -> AsyncIterator[Browser]:
    """A running Chromium; closed afterwards."""
    from playwright.async_api import async_playwright  # a tool of the tests: the demonstration does without

    options = await asyncio.to_thread(launch_options, say)
    # Playwright asks its environment which node to run, and nothing else
    os.environ[NODE] = str(await asyncio.to_thread(driver, say))
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(**options)
        try:
            yield browser
        finally:
            await browser.close()


def driver(say: Say = say_on_stderr) -> Path:
    """The node that Playwright runs: its own, through a script where that lacks a library."""
    from playwright._impl._driver import compute_driver_executable

    node = Path(compute_driver_executable()[0])
    if subprocess.run([node, "--version"], capture_output=True, check=False).returncode == 0:
        return node
    root = debian.overlay("playwright", ("libatomic1",), say)
    script = root / "node"
    fresh = root / f".node.{os.getpid()}"
    libraries = debian.environment(root)["LD_LIBRARY_PATH"]
    fresh.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={shlex.quote(libraries)} exec {shlex.quote(str(node))} "$@"\n')
    fresh.chmod(0o755)
    fresh.replace(script)  # others may be making it too
    return script


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
