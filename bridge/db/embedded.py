"""The Postgres that the bridge brings with it: used when no BRIDGE_DATABASE_URL is given.

Theory of operation. Below `$BRIDGE_DATA_DIR/postgres` lie the cluster (`data`), its logs and three lock files.

- `users.lock`: every process that uses the server holds it *shared*. The kernel lets go of it when the process ends,
  even by SIGKILL.
- A detached reaper waits to hold `users.lock` *exclusively*: it can once the last user is gone, and then it stops the
  server. One reaper is enough; `reaper.lock` makes the surplus ones leave.
- `start.lock`: held exclusively while somebody looks whether the server runs and starts it.

A `postmaster.pid` that a dead server left is removed only when no live process works in the cluster's directory:
process ids are used again, and a zombie keeps its own. The server listens on a unix socket in a directory of mode
0700, and nowhere else.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO
from urllib.parse import quote

import structlog

from bridge.db import wheel
from bridge.errors import DatabaseProblem

log = structlog.get_logger(__name__)

USER = "bridge"
DATABASE = "bridge"
PORT = 5432

# sockaddr_un holds 107 bytes; the socket's own name takes 16.
_SOCKET_DIRECTORY_LIMIT = 88
_FIRST_START_BYTES = 150 * 1024 * 1024  # cluster 40 MB, first WAL segments, the copied binaries
_START_SECONDS = 90.0

_SETTINGS = """\
listen_addresses = ''
port = {port}
unix_socket_directories = '{sockets}'
unix_socket_permissions = 0700
max_connections = 200
timezone = 'UTC'
log_timezone = 'UTC'
"""
_DURABLE = """\
logging_collector = on
log_directory = '../log'
log_filename = 'postgres-%a.log'
log_rotation_age = 1d
log_rotation_size = 0
log_truncate_on_rotation = on
"""
_FAST = """\
fsync = off
synchronous_commit = off
full_page_writes = off
wal_level = minimal
max_wal_senders = 0
autovacuum = off
jit = off
"""

_TELLING = re.compile(r"^(?!pg_ctl:).*(FATAL|PANIC|ERROR|error:|could not|unrecognized|invalid)")

# pg_ctl puts the path between double quotes in a shell's command.
_NOT_IN_PATHS = re.compile(r'["$`\\\n]')

# The builtin locale sorts and lowers the same way on every host.
_INITDB = (
    "--encoding=UTF8",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--locale=C",
    "--auth-local=trust",
    "--auth-host=reject",
    "--no-sync",
    "--no-instructions",
)

# $1 home, $2 what to remove afterwards (may be empty), the rest runs pg_ctl. The locks are taken on descriptors: they
# last as long as the shell does; pg_ctl finds no server when somebody stopped it before: that is what we wanted.
_REAPER = """\
exec 8<"$1/reaper.lock" 9<"$1/users.lock" || exit 0
home=$1; remove=$2; shift 2
flock -w 10 8 || exit 0
flock -x 9
"$@" -D "$home/data" -m fast -w stop
elsewhere=$(readlink "$home/socket") && rmdir "$elsewhere"
[ -z "$remove" ] || rm -rf "$remove"
"""


class EmbeddedPostgres:
    """One process's use of the server in `data_dir`.

    `start()` gives its address; `close()` ends the use, and the last one's end stops the server. With `fast` the server
    is for tests: nothing is synced to disk, and all of `data_dir` is removed at the end.
    """

    def __init__(self, data_dir: Path, *, fast: bool = False, progress: Callable[[str], None] | None = None) -> None:
        self.data_dir = data_dir.absolute()
        self.home = self.data_dir / "postgres"
        self.data = self.home / "data"
        self._fast = fast
        self._progress = progress or (lambda text: log.info("embedded_postgres", doing=text))
        self._use: int | None = None  # descriptor of users.lock, locked

    def start(self) -> str:
        """The address of the server; starts it where it does not run, creates the cluster where there is none.

        May be called again: when the server has died, it lives afterwards. Blocks; raises DatabaseProblem.
        """
        used = self._use is not None
        try:
            with self._plainly():
                return self._start()
        except BaseException:
            if not used:
                self.close()
            raise

    def _start(self) -> str:
        run = wheel.runner(self.home, self._prepare())
        self._hold(run)
        with self._locked("start.lock"):
            if not (self.data / "PG_VERSION").exists():
                self._create(run)
                self._own(run)
            if not self._answers(run):
                self._launch(run)
            address = self._address()
            url_file = self.data_dir / "postgres.url"
            if not url_file.exists() or url_file.read_text() != address + "\n":
                _write_private(url_file, address + "\n")
        self._reap_when_unused(run)
        return address

    def close(self) -> None:
        """End this process's use. The server stops when nobody else uses it."""
        if self._use is not None:
            os.close(self._use)
            self._use = None

    def stop(self) -> None:
        """Stop the server now, whoever uses it. Blocks until it is down."""
        with self._plainly():
            if (self.data / "PG_VERSION").exists():
                run = wheel.runner(self.home, self._version())
                with self._locked("start.lock"), self._output() as output:
                    run.run("pg_ctl", "-D", str(self.data), "-m", "fast", "-w", "stop", output=output)
            self.close()

    def destroy(self) -> None:
        """Stop the server and remove its data."""
        self.stop()
        shutil.rmtree(self.home, ignore_errors=True)
        (self.data_dir / "postgres.url").unlink(missing_ok=True)

    def __enter__(self) -> EmbeddedPostgres:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- the directory ------------------------------------------------------------------------------------------

    def _prepare(self) -> int:
        """Make the directories; the version of Postgres that the cluster is of, or will be."""
        if _NOT_IN_PATHS.search(str(self.data_dir)):
            raise DatabaseProblem(
                f"BRIDGE_DATA_DIR is {str(self.data_dir)!r}; Postgres takes no path with a quotation mark, $, ` or \\."
            )
        # Others may pass through (Postgres must, when we are root), not look into it.
        self.data_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
        self.home.mkdir(mode=0o700, exist_ok=True)
        (self.home / "log").mkdir(mode=0o700, exist_ok=True)
        if (self.data / "PG_VERSION").exists():
            return self._version()
        free = shutil.disk_usage(self.home).free
        if free < _FIRST_START_BYTES:
            raise DatabaseProblem(
                f"The disk of {self.data_dir} has {free // 2**20} MB free; the embedded Postgres needs "
                f"{_FIRST_START_BYTES // 2**20} MB to begin: free some space or choose another BRIDGE_DATA_DIR."
            )
        return wheel.NEWEST

    def _version(self) -> int:
        text = (self.data / "PG_VERSION").read_text().strip()
        if not text.isdigit():
            raise DatabaseProblem(
                f"{self.data / 'PG_VERSION'} holds {text!r}, not a version: not the data of a Postgres."
            )
        return int(text)

    def _hold(self, run: wheel.Runner) -> None:
        for name in ("users.lock", "reaper.lock"):
            os.close(_open(self.home / name, os.O_CREAT | os.O_RDWR))
        if self._use is None:
            use = _open(self.home / "users.lock", os.O_RDONLY)
            fcntl.flock(use, fcntl.LOCK_SH)  # waits for a reaper that is just stopping the server
            self._use = use
        if (self.data / "PG_VERSION").exists():
            self._own(run)

    def _own(self, run: wheel.Runner) -> None:
        """As root: what the server's user needs is that user's."""
        if run.uid is None:
            return
        if self.data.exists() and self.data.stat().st_uid != run.uid:
            wheel.give(self.home, run.uid, deep=True)
        for path in (self.home, self.home / "log"):
            wheel.give(path, run.uid)

    def _create(self, run: wheel.Runner) -> None:
        self._progress(f"preparing the embedded Postgres in {self.home} (the first start takes a few seconds)")
        fresh = self.home / "data.new"  # renamed when whole: a start that was cut short begins anew
        shutil.rmtree(fresh, ignore_errors=True)
        maker = run
        if run.uid is not None:
            maker = run._replace(uid=wheel.initdb_uid())
            wheel.give(self.home, wheel.initdb_uid())
        with self._output() as output, tempfile.TemporaryFile() as statement:
            code = maker.run("initdb", "-D", str(fresh), "-U", USER, *_INITDB, output=output)
            if code == 0:
                statement.write(f"create database {DATABASE};\n".encode())
                statement.seek(0)
                code = maker.run("postgres", "--single", "-D", str(fresh), "template1", output=output, stdin=statement)
            if code != 0:
                raise self._explain("create", output)
        if not self._fast:
            os.sync()
        with open(fresh / "postgresql.conf", "a") as settings:
            settings.write("\ninclude_if_exists = '../bridge.conf'\n")
        fresh.rename(self.data)

    # --- the server ---------------------------------------------------------------------------------------------

    def _sockets(self) -> Path | None:
        """The directory of the socket: `socket` here, or where it points to when the path here is too long."""
        here = self.home / "socket"
        if here.is_symlink():
            return here.readlink()
        return here if here.is_dir() else None

    def _answers(self, run: wheel.Runner) -> bool:
        """Whether the server takes connections. One that is starting or recovering is waited for."""
        sockets = self._sockets()
        if sockets is None:
            return False
        deadline = time.monotonic() + _START_SECONDS
        with self._output() as output:
            while True:
                # 0 accepts, 1 rejects (starting, stopping), 2 no answer. Without -U it looks for an account of ours.
                code = run.run("pg_isready", f"-h{sockets}", f"-p{PORT}", f"-U{USER}", "-t3", output=output)
                if code != 1 or time.monotonic() > deadline:
                    return code == 0
                time.sleep(0.05)

    def _launch(self, run: wheel.Runner) -> None:
        deadline = time.monotonic() + _START_SECONDS
        # What is left of a killed server sees its postmaster gone and leaves soon; two would destroy the data.
        while (self.data / "postmaster.pid").exists() and _somebody_works_in(self.data):
            if time.monotonic() > deadline:
                raise DatabaseProblem(f"A Postgres works in {self.data} and does not answer: see {self.home / 'log'}.")
            time.sleep(0.02)
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        sockets = self._new_socket_directory(run)
        settings = _SETTINGS.format(port=PORT, sockets=sockets) + (_FAST if self._fast else _DURABLE)
        _write_private(self.home / "bridge.conf", settings)
        self._own(run)
        if run.uid is not None:
            wheel.give(self.home / "bridge.conf", run.uid)
        with self._output() as output:
            code = run.run("pg_ctl", "-D", str(self.data), "-w", "-t", str(int(_START_SECONDS)), "start", output=output)
            if code != 0:
                raise self._explain("start", output)

    def _new_socket_directory(self, run: wheel.Runner) -> Path:
        here = chosen = self.home / "socket"
        if len(os.fsencode(here)) > _SOCKET_DIRECTORY_LIMIT or not re.fullmatch(r"[\w./-]+", str(here), re.ASCII):
            chosen = Path(tempfile.mkdtemp(prefix="bridge-pg-"))
            with contextlib.suppress(OSError):
                here.readlink().rmdir()
            here.unlink(missing_ok=True)
            here.symlink_to(chosen)
        chosen.mkdir(mode=0o700, exist_ok=True)
        for left in chosen.glob(".s.PGSQL.*"):
            left.unlink()  # of the dead server; its lock names a process id, as postmaster.pid does
        if run.uid is not None:
            wheel.give(chosen, run.uid)
        return chosen

    def _address(self) -> str:
        return f"postgresql://{USER}@/{DATABASE}?host={quote(str(self._sockets()), safe='/')}&port={PORT}"

    def _reap_when_unused(self, run: wheel.Runner) -> None:
        shell = shutil.which("sh", path=wheel.environment()["PATH"]) or "/bin/sh"
        remove = str(self.data_dir) if self._fast else ""
        reaper = subprocess.Popen(
            [shell, "-c", _REAPER, "reaper", str(self.home), remove, *run.command("pg_ctl")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=wheel.environment(),
            start_new_session=True,
        )
        reaper.returncode = 0  # it outlives us: nobody waits for it

    # --- what went wrong ----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _plainly(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as problem:
            raise DatabaseProblem(f"The embedded Postgres needs {problem.filename}, which is not there.") from problem
        except OSError as problem:
            where = problem.filename or self.data_dir
            raise DatabaseProblem(
                f"The embedded Postgres cannot use {where}: {problem.strerror}. Make {self.data_dir} a directory that "
                "this user may write to, choose another BRIDGE_DATA_DIR, or set BRIDGE_DATABASE_URL."
            ) from problem
        except subprocess.TimeoutExpired as problem:
            raise DatabaseProblem(
                f"The embedded Postgres in {self.home} did not answer in time: {problem}"
            ) from problem

    def _explain(self, doing: str, output: IO[bytes]) -> DatabaseProblem:
        """Postgres's own last words, and what they mean where we know."""
        output.seek(0)
        text = output.read().decode(errors="replace")
        logs = sorted((self.home / "log").glob("*.log"), key=lambda path: path.stat().st_mtime)
        if doing == "start" and logs:
            text += logs[-1].read_text(errors="replace")[-4000:]
        said = [
            re.sub(r"^\S+ \S+ UTC \[\d+\] ", "", line.strip()) for line in text.splitlines() if _TELLING.search(line)
        ]
        reason = "; ".join(said[-2:]) or (text.strip().splitlines() or ["it said nothing"])[-1]
        if "No space left on device" in text:
            reason = f"the disk that holds {self.home} is full: free some space"
        elif "Permission denied" in text:
            reason = f"{self.home} is not this user's: {reason}"
        return DatabaseProblem(f"The embedded Postgres did not {doing}: {reason}")

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        with open(_open(self.home / name, os.O_CREAT | os.O_RDWR), "rb+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def _output(self) -> Iterator[IO[bytes]]:
        with tempfile.TemporaryFile() as output:
            yield output


def _somebody_works_in(folder: Path) -> bool:
    """Whether a live process has `folder` as its working directory, as all of a Postgres have. Zombies have none."""
    wanted = os.stat(folder)
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                found = os.stat(f"/proc/{name}/cwd")
                if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                    return True
    return False


def _write_private(path: Path, text: str) -> None:
    """Whole or not at all, and for our eyes."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with open(_open(fresh, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), "w") as file:
        file.write(text)
    fresh.rename(path)


def _open(path: Path, flags: int) -> int:
    """Never through a link: as root we write where another user's id, the server's, may write too."""
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
