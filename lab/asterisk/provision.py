"""A real Asterisk, from Debian's packages, that runs from the cache as an ordinary program of any user.

The binary and its modules come with the C library they were built for, whatever this machine has: a copy of the binary
is given that library's loader and search path. The search path must be the older DT_RPATH, which modules' own
libraries are found by too. Paths that Asterisk reports (recordings) are then real paths.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import debian
from lab.cache import Say, say_on_stderr
from lab.errors import NotFetched

SUITES = {22: ("sid", "testing"), 16: ("bullseye",)}
"""Where Debian has each version. Another version may take its place in a moving suite: what was unpacked is asked."""

PACKAGES = ("asterisk", "asterisk-moh-opsound-gsm", "patchelf")


@dataclass(frozen=True)
class Installation:
    """One unpacked Asterisk: `binary` runs as it is, `modules` and `data` are what its configuration must name."""

    version: int
    root: Path

    @property
    def binary(self) -> Path:
        return self.root / "usr" / "sbin" / "asterisk-here"

    @property
    def modules(self) -> Path:
        multiarch = self.root / "usr" / "lib" / debian.triplet() / "asterisk" / "modules"
        return multiarch if multiarch.is_dir() else self.root / "usr" / "lib" / "asterisk" / "modules"

    @property
    def data(self) -> Path:
        return self.root / "usr" / "share" / "asterisk"


def provision(version: int, say: Say = say_on_stderr) -> Installation:
    """Asterisk 22 or 16, installed if it is not: some ten seconds the first time, none after. Blocks."""
    if version not in SUITES:
        raise ValueError(f"version is {version}; the lab has Asterisk {' and '.join(map(str, SUITES))}")

    def finish(part: Path, final: Path) -> None:
        _make_runnable(part, final, version)

    return Installation(version, debian.closure(f"asterisk-{version}", PACKAGES, SUITES[version], finish, say))


async def provision_all(versions: Sequence[int] = (22, 16), say: Say = say_on_stderr) -> list[Installation]:
    """Several versions, side by side."""
    return await asyncio.gather(*(asyncio.to_thread(provision, version, say) for version in versions))


def _make_runnable(part: Path, final: Path, version: int) -> None:
    loader = _loader(part)
    run_here = [str(loader), "--library-path", debian.library_path(part)]
    program, copy = part / "usr" / "sbin" / "asterisk", part / "usr" / "sbin" / "asterisk-here"
    reported = subprocess.run([*run_here, str(program), "-V"], capture_output=True, text=True, check=False)
    if not re.match(rf"Asterisk {version}\.", reported.stdout):
        raise NotFetched(f"wanted Asterisk {version}, unpacked {(reported.stdout or reported.stderr).strip()!r}.")
    copy.write_bytes(program.read_bytes())
    copy.chmod(0o755)
    subprocess.run(
        [
            *(*run_here, str(part / "usr" / "bin" / "patchelf")),
            *("--set-interpreter", str(final / loader.relative_to(part))),
            *("--force-rpath", "--set-rpath", debian.library_path(final), str(copy)),
        ],
        check=True,
    )
    # an alternatives link that a maintainer script makes
    sounds = part / "usr" / "share" / "asterisk" / "sounds" / "en"
    if not sounds.exists():
        sounds.symlink_to("en_US_f_Allison")


def _loader(root: Path) -> Path:
    """The dynamic loader as a file: the link in lib64 is absolute and would lead to this machine's own."""
    folder = root / "usr" / "lib" / debian.triplet()
    for pattern in ("ld-linux-*.so.*", "ld-2.*.so"):
        for found in sorted(folder.glob(pattern)):
            if not found.is_symlink():
                return found
    raise NotFetched(f"no dynamic loader in {folder}")
