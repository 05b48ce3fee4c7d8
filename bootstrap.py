#!/usr/bin/env python3
"""Makes .venv, with everything the project needs at the locked versions, from nothing but Python 3.11 or later.

Standard library only. A second run with nothing changed takes milliseconds. The installer (uv) is put into .tools by
whatever this machine has: pip, or, on a Debian without pip, the pip that Debian ships as a package, fetched by apt
into a folder of its own. No root, nothing outside this folder is changed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
TOOLS = HERE / ".tools"
STAMP = VENV / ".made-from"
UV = "uv==0.13.8"


def say(text: str) -> None:
    print(f"bootstrap: {text}", file=sys.stderr, flush=True)


def fail(text: str) -> None:
    raise SystemExit(f"bootstrap: {text}")


def inputs() -> str:
    """What the environment is made from; a change of any of it makes it anew."""
    seen = hashlib.sha256(sys.version.encode())
    for name in ("requirements.lock", "setup.cfg", "pyproject.toml", "bootstrap.py"):
        seen.update((HERE / name).read_bytes())
    return seen.hexdigest()


def run(*command: str | Path, **env: str) -> None:
    done = subprocess.run([str(part) for part in command], env={**os.environ, **env}, check=False)
    if done.returncode:
        fail(f"failed with exit code {done.returncode}: {' '.join(str(part) for part in command)}")


def works(*command: str) -> bool:
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0


def debian_pip() -> Path:
    """Debian's own pip, as the wheel that its package python3-pip-whl carries: a wheel of pip runs as it lies."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        fail("this Python has no pip, and there is no apt-get to fetch one: install pip (or uv) for it and run again")
    say("no pip here: fetching the one of Debian's package python3-pip-whl")
    state = TOOLS / "apt"
    for folder in ("lists/partial", "cache/archives/partial"):
        (state / folder).mkdir(parents=True, exist_ok=True)
    settings = {
        "Dir::State::lists": f"{state}/lists",
        "Dir::Cache": f"{state}/cache",
        "Acquire::Check-Valid-Until": "false",  # the release file of a mirror that stands still "expires"
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "1",
    }
    apt = ["apt-get", "-qq", *(word for name, value in settings.items() for word in ("-o", f"{name}={value}"))]
    run(*apt, "update")
    subprocess.run([*apt, "download", "python3-pip-whl"], cwd=state, check=True)
    for package in state.glob("python3-pip-whl_*.deb"):
        run("dpkg-deb", "-x", package, state / "root")
    wheels = sorted((state / "root/usr/share/python-wheels").glob("pip-*.whl"))
    if not wheels:
        fail("Debian's python3-pip-whl holds no pip: install pip for this Python and run again")
    return wheels[-1]


def installer() -> str:
    """The path of uv."""
    own = TOOLS / "bin" / "uv"
    if own.exists():
        return str(own)
    if found := shutil.which("uv"):
        return found
    pip = ["-m", "pip"] if works(sys.executable, "-m", "pip", "--version") else [str(debian_pip() / "pip")]
    say("installing the installer (uv)")
    run(sys.executable, *pip, "install", "--quiet", "--no-warn-script-location", "--disable-pip-version-check",
        "--target", TOOLS, UV, PIP_ROOT_USER_ACTION="ignore")  # fmt: skip
    if not own.exists():
        fail(f"{UV} did not bring {own}")
    return str(own)


def main() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - this file is what an older Python would run
        fail(f"Python 3.11 or later is needed, this is {sysconfig.get_python_version()}")
    wanted = inputs()
    if STAMP.exists() and STAMP.read_text() == wanted:
        return
    began = time.monotonic()
    uv = installer()
    quiet = {"UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never"} if not sys.stderr.isatty() else {}
    say(f"making {VENV.name} with the locked packages")
    run(uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, VENV, **quiet)
    target = {"VIRTUAL_ENV": str(VENV), **quiet}
    run(uv, "pip", "sync", "--quiet", "--require-hashes", HERE / "requirements.lock", **target)
    run(uv, "pip", "install", "--quiet", "--no-deps", "--editable", HERE, **target)
    STAMP.write_text(wanted)
    say(f"ready in {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
