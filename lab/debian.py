"""Programs out of Debian's packages, without root and without touching the machine's own apt or dpkg.

Two ways. `closure` fetches packages of any suite together with everything they depend on, down to libc, into a folder
that needs nothing of this machine. `overlay` fetches from the suite this machine runs only what it lacks; its programs
run with `LD_LIBRARY_PATH`. Packages are unpacked, never installed: no maintainer script runs.

apt works here with a configuration and state of its own: an empty dpkg status is what makes it fetch libc and all; a
copy of this machine's status is what makes it fetch only the rest. Of the machine's apt it takes the mirror and how to
reach it (proxy, certificates), so no mirror is named here. Signatures are always checked; the expiry of a Release file
is not, because a mirror that stands still must not stop anybody's tests.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lab.cache import Progress, Say, made, say_on_stderr
from lab.errors import MissingTool, NotFetched

FORMAT = 1
"""Raise it when what `unpack` leaves behind changes: every folder is then made anew."""

DPKG_STATUS = Path("/var/lib/dpkg/status")
KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)
TRIPLETS = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}
NOT_NEEDED = ("doc", "man", "info", "locale", "lintian", "bug", "doc-base")

Finish = Callable[[Path, Path], None]
"""Called with the folder as it is and the place it will have: what maintainer scripts would have done, and a trial."""


@dataclass(frozen=True)
class Source:
    """One line of a sources list: the mirror's address and a suite."""

    uri: str
    suite: str


def closure(
    name: str, packages: Sequence[str], suites: Sequence[str], finish: Finish, say: Say = say_on_stderr
) -> Path:
    """`packages` of the first of `suites` that has them, and all they depend on, unpacked into the cache as `name`."""

    def make(part: Path) -> None:
        progress = Progress(name, say)
        problems = []
        for suite in suites:
            try:
                _fill(part, packages, [Source(_mirror(), suite)], "", progress)
                finish(part, part.with_name(name))
            except NotFetched as problem:
                problems.append(f"{suite}: {problem}")
                _empty(part)
            else:
                progress.note(f"installed from {suite} in {progress.seconds:.0f} s")
                return
        raise NotFetched(f"{name} cannot be installed. " + " ".join(problems))

    return made(name, f"{FORMAT} closure of {' '.join(packages)} in {' '.join(suites)}", make, say)


def overlay(name: str, packages: Sequence[str], say: Say = say_on_stderr) -> Path:
    """What this machine lacks to run `packages` of its own suite, unpacked into the cache as `name`."""

    def make(part: Path) -> None:
        progress = Progress(name, say)
        if not DPKG_STATUS.exists():
            raise MissingTool(f"{DPKG_STATUS} is missing: {name} can only be installed by itself on Debian")
        _fill(part, packages, _own_sources(), DPKG_STATUS.read_text(errors="replace"), progress)
        progress.note(f"installed in {progress.seconds:.0f} s")

    return made(name, f"{FORMAT} overlay of {' '.join(packages)} over {_codename()}", make, say)


def library_path(root: Path) -> str:
    """The folders of `root` that hold shared libraries, as LD_LIBRARY_PATH or an RPATH wants them."""
    return f"{root / 'usr' / 'lib' / triplet()}:{root / 'usr' / 'lib'}"


def environment(overlaid: Path) -> dict[str, str]:
    """What programs of an overlay need to find its libraries; some are in folders of their own (pulseaudio)."""
    main = overlaid / "usr" / "lib" / triplet()
    private = sorted({library.parent for library in main.glob("*/lib*.so*")})
    folders = [library_path(overlaid), *map(str, private)]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(folders)}


def triplet() -> str:
    """The machine's name in library folders. Raises MissingTool where the lab was never made to work."""
    architecture = _output("dpkg", "--print-architecture").strip()
    try:
        return TRIPLETS[architecture]
    except KeyError:
        raise MissingTool(f"the lab runs on {' and '.join(TRIPLETS)}; this machine is {architecture}") from None


# --- asking the machine's apt ---------------------------------------------------------------------------------------


def _codename() -> str:
    release = Path("/etc/os-release")
    found = re.search(r"^VERSION_CODENAME=\"?([a-z]+)", release.read_text() if release.exists() else "", re.MULTILINE)
    return found.group(1) if found else ""


def _own_sources() -> list[Source]:
    """This machine's own Debian suite, its updates and security. `--print-uris` needs no list fetched before."""
    codename = _codename()
    with tempfile.TemporaryDirectory(prefix="bridge-apt-") as state:
        (Path(state) / "lists" / "partial").mkdir(parents=True)
        listed = _output("apt-get", "-o", f"Dir::State={state}", "--print-uris", "update")
    found = re.findall(r"^'(https?://[^']+?)/dists/([^'/]+(?:/updates)?)/InRelease'", listed, re.MULTILINE)
    wanted = {codename, f"{codename}-updates", f"{codename}-security"} if codename else set()
    sources = [Source(uri, suite) for uri, suite in found if suite in wanted]
    if not any(source.suite == codename for source in sources):
        raise MissingTool(
            f"apt on this machine names no mirror of its own suite ({codename or 'not a Debian'}): "
            "the lab takes Asterisk from Debian's packages; add the mirror to /etc/apt/sources.list.d"
        )
    return sources


def _mirror() -> str:
    """The mirror that has every suite: the one this machine's own suite comes from."""
    codename = _codename()
    return next(source.uri for source in _own_sources() if source.suite == codename)


def _keyring() -> Path:
    for keyring in KEYRINGS:
        if keyring.exists():
            return keyring
    raise MissingTool(f"{KEYRINGS[0]} is missing: install the package debian-archive-keyring")


# --- fetching -------------------------------------------------------------------------------------------------------


def _fill(root: Path, packages: Sequence[str], sources: Sequence[Source], status: str, progress: Progress) -> None:
    for tool in ("apt-get", "apt-config", "dpkg-deb", "dpkg", "tar"):
        if shutil.which(tool) is None:
            raise MissingTool(f"{tool} was not found: the lab unpacks Debian's packages and needs a Debian machine")
    with tempfile.TemporaryDirectory(prefix="apt-", dir=root.parent) as folder:
        apt = _Apt(Path(folder), sources, status)
        progress.note(f"fetching {', '.join(packages)} ({sources[0].suite})")
        apt.run(["update"], progress, "fetching the list of packages")
        apt.run(["install", "--yes", "--download-only", *packages], progress, "fetching packages")
        archives = sorted(apt.archives.glob("*.deb"))
        unpack(archives, root, progress)


class _Apt:
    """apt-get with its own configuration, sources, lists, cache and dpkg status under `base`."""

    def __init__(self, base: Path, sources: Sequence[Source], status: str) -> None:
        self.archives = base / "cache" / "archives"
        (base / "state" / "lists" / "partial").mkdir(parents=True)
        (self.archives / "partial").mkdir(parents=True)
        (base / "status").write_text(status)
        signed = f"[signed-by={_keyring()}]"
        (base / "sources.list").write_text("".join(f"deb {signed} {s.uri} {s.suite} main\n" for s in sources))
        reach = re.findall(r"^Acquire::.*;$", _output("apt-config", "dump"), re.MULTILINE)
        own = {
            "Dir::State": base / "state",
            "Dir::State::status": base / "status",
            "Dir::Cache": base / "cache",
            "Dir::Etc::main": "/dev/null",
            "Dir::Etc::parts": "/dev/null",
            "Dir::Etc::sourcelist": base / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Acquire::Check-Valid-Until": "false",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            "Acquire::http::Timeout": "30",
            "APT::Install-Recommends": "false",
            # the folder is ours alone; apt's own unprivileged user could not write into it
            "APT::Sandbox::User": "root",
        }
        # apt reads the file of APT_CONFIG before all others, so it also decides that there are no others: a hook of
        # the machine's (an image's "clean the cache after each update") must not run because of us
        self._config = base / "apt.conf"
        self._config.write_text("\n".join(reach) + "\n" + "".join(f'{key} "{value}";\n' for key, value in own.items()))

    def run(self, command: Sequence[str], progress: Progress, doing: str) -> None:
        reading, writing = os.pipe()
        with os.fdopen(reading, errors="replace") as status, tempfile.TemporaryFile("w+") as said:
            try:
                process = subprocess.Popen(
                    ["apt-get", "-q", "-o", f"APT::Status-Fd={writing}", *command],
                    env={
                        **os.environ,
                        "APT_CONFIG": str(self._config),
                        "LC_ALL": "C",
                        "DEBIAN_FRONTEND": "noninteractive",
                    },
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    pass_fds=[writing],
                )
            finally:
                os.close(writing)
            for line in status:
                done = re.match(r"dlstatus:\d+:([\d.]+):", line)
                if done:
                    progress.step(f"{doing}, {float(done.group(1)):.0f} %")
            failed = process.wait() != 0
            said.seek(0)
            complaints = re.findall(r"^[EW]: .*$", said.read(), re.MULTILINE)
        # `update` reports a list it could not fetch as a warning and success: then nothing can be installed from it
        if failed or (command[0] == "update" and complaints):
            raise NotFetched(" ".join(complaints[:3]) or f"apt-get {command[0]} failed")


# --- unpacking ------------------------------------------------------------------------------------------------------


def unpack(archives: Sequence[Path], root: Path, progress: Progress) -> None:
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for number, _ in enumerate(pool.map(lambda archive: _unpack_one(archive, root), archives), 1):
            progress.step(f"unpacking, {number} of {len(archives)} packages")


def _unpack_one(archive: Path, root: Path) -> None:
    """Like `dpkg -x`, which however replaces the /bin and /lib links by the folders that older packages ship."""
    reading = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE)
    unpacking = subprocess.run(
        [
            *("tar", "--extract", "--keep-directory-symlink", "--no-same-owner", "--no-same-permissions"),
            *(f"--exclude=./usr/share/{name}" for name in NOT_NEEDED),
            *("--directory", root),
        ],
        stdin=reading.stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if reading.stdout is not None:
        reading.stdout.close()
    if reading.wait() != 0 or unpacking.returncode != 0:
        raise NotFetched(f"{archive.name} cannot be unpacked: {unpacking.stderr.strip()[-300:] or 'damaged'}")


def _empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        raise MissingTool(f"{command[0]} was not found: the lab needs a Debian machine") from None
    except subprocess.CalledProcessError as failed:
        raise MissingTool(f"{' '.join(command)} failed: {failed.stderr.strip()[-300:]}") from None
