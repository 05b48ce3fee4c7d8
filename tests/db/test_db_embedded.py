"""The Postgres we bring along: shared, stopped when nobody is left, whole after every kind of death."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from db_waiting import until

from bridge.db.embedded import EmbeddedPostgres
from bridge.errors import DatabaseProblem

USER = Path(__file__).parent / "embedded_user.py"
_MEMORY = Path("/dev/shm")  # noqa: S108 - a disk in memory


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Below a directory that only we may enter. Whatever runs there is stopped afterwards."""
    parent = Path(tempfile.mkdtemp(prefix="bridge-embedded-", dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None))
    yield parent / "data"
    EmbeddedPostgres(parent / "data").stop()
    shutil.rmtree(parent)


class User:
    """Another process with a use of the server."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said = ""

    async def address(self) -> str:
        assert self.process.stdout is not None
        self.said = (await asyncio.wait_for(self.process.stdout.readline(), 60)).decode().strip()
        return self.said

    async def end(self, how: int | None = None) -> None:
        """By SIGKILL, or by itself."""
        if how is not None:
            self.process.send_signal(how)
        elif self.process.stdin is not None:
            self.process.stdin.close()
        await asyncio.wait_for(self.process.wait(), 10)


@contextlib.asynccontextmanager
async def using(data_dir: Path, *options: str, prefix: tuple[str, ...] = ()) -> AsyncIterator[User]:
    process = await asyncio.create_subprocess_exec(
        *prefix,
        sys.executable,
        str(USER),
        str(data_dir),
        *options,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    user = User(process)
    try:
        yield user
    finally:
        if process.returncode is None:
            await user.end(signal.SIGKILL)


def unprivileged(data_dir: Path, mode: int) -> tuple[str, ...]:
    """The words that run a command as a user without rights, whose `data_dir` is, with that mode."""
    data_dir.mkdir()
    data_dir.chmod(mode)
    if os.geteuid() != 0:
        return ()
    data_dir.parent.chmod(0o755)
    os.chown(data_dir, 65534, 65534)
    return ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


def postmaster(data_dir: Path) -> int | None:
    """Its process id while the server runs."""
    try:
        return int((data_dir / "postgres/data/postmaster.pid").read_text().splitlines()[0])
    except (FileNotFoundError, IndexError):
        return None


async def remember(url: str, word: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("create table if not exists words (word text)")
    await connection.execute("insert into words values ($1)", word)
    await connection.close()


async def remembered(url: str) -> list[str]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("select word from words")
    await connection.close()
    return [row["word"] for row in rows]


async def test_it_stays_while_somebody_uses_it_and_stops_when_the_last_is_killed(data_dir: Path) -> None:
    async with using(data_dir) as one, using(data_dir) as other, using(data_dir) as third:
        url = await one.address()
        assert await other.address() == await third.address() == url
        await remember(url, "kept")
        pid = postmaster(data_dir)
        await one.end(signal.SIGKILL)
        await other.end()
        assert await remembered(url) == ["kept"]
        assert postmaster(data_dir) == pid
        await third.end(signal.SIGKILL)
        await until(lambda: postmaster(data_dir) is None)

    async with using(data_dir) as again:
        assert await remembered(await again.address()) == ["kept"]


async def test_many_start_it_for_the_first_time_at_once(data_dir: Path) -> None:
    async with using(data_dir) as a, using(data_dir) as b, using(data_dir) as c, using(data_dir) as d:
        addresses = {await user.address() for user in (a, b, c, d)}

        assert len(addresses) == 1
        await remember(addresses.pop(), "one server")


async def test_it_comes_back_with_its_data_after_the_server_was_killed(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir)
    url = server.start()
    await remember(url, "kept")
    killed = postmaster(data_dir)
    assert killed is not None
    os.kill(killed, signal.SIGKILL)

    assert await asyncio.to_thread(server.start) == url
    assert await remembered(url) == ["kept"]
    assert postmaster(data_dir) != killed
    server.close()


async def test_a_pid_file_of_the_past_is_not_believed(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir)
    await remember(server.start(), "kept")
    pid_file = data_dir / "postgres/data/postmaster.pid"
    lines = pid_file.read_text().splitlines()
    server.stop()
    # The id now belongs to somebody else, as after a reboot.
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")

    assert await remembered(server.start()) == ["kept"]
    server.close()


async def test_the_address_is_written_for_its_owner_only(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir) as server:
        written = data_dir / "postgres.url"

        assert written.read_text() == server.start() + "\n"
        assert stat.S_IMODE(written.stat().st_mode) == 0o600


async def test_nobody_elses_permissions_change_and_nobody_else_gets_in(data_dir: Path) -> None:
    before = stat.S_IMODE(data_dir.parent.stat().st_mode)
    assert before == 0o700
    with EmbeddedPostgres(data_dir):
        assert stat.S_IMODE(data_dir.parent.stat().st_mode) == 0o700
        for private in ("postgres", "postgres/data", "postgres/socket"):
            assert stat.S_IMODE((data_dir / private).stat().st_mode) == 0o700
        assert (data_dir / "postgres/data").stat().st_uid == (os.geteuid() or (data_dir / "postgres").stat().st_uid)


async def test_it_listens_on_no_network(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir) as server:
        connection = await asyncpg.connect(server.start())
        assert await connection.fetchval("show listen_addresses") == ""
        assert await connection.fetchval("select lower('ЗВОНОК')") == "звонок"
        assert await connection.fetchval("show fsync") == "on"
        await connection.close()


@pytest.mark.parametrize("name", ["x" * 100, "with space, and quote'", "данные"])
async def test_nearly_any_path_will_do(data_dir: Path, name: str) -> None:
    inner = data_dir / name
    server = EmbeddedPostgres(inner)
    url = server.start()
    await remember(url, "kept")
    elsewhere = (inner / "postgres/socket").readlink()
    assert elsewhere.is_dir()
    server.close()
    await until(lambda: postmaster(inner) is None)
    await until(lambda: not elsewhere.exists())


async def test_it_tells_of_the_first_start_only(data_dir: Path) -> None:
    said: list[str] = []
    server = EmbeddedPostgres(data_dir, progress=said.append)
    server.start()
    server.stop()
    server.start()
    server.close()

    assert len(said) == 1
    assert str(data_dir) in said[0]


async def test_a_start_that_was_cut_short_begins_anew(data_dir: Path) -> None:
    half = data_dir / "postgres/data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")

    with EmbeddedPostgres(data_dir) as server:
        await remember(server.start(), "kept")
    assert not half.exists()


async def test_destroying_it_leaves_nothing(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir)
    server.start()
    pid = postmaster(data_dir)
    server.destroy()

    assert os.listdir(data_dir) == []
    assert not os.path.exists(f"/proc/{pid}/cwd")


async def test_a_fast_one_leaves_nothing_even_when_its_user_is_killed(data_dir: Path) -> None:
    async with using(data_dir, "fast") as user:
        await remember(await user.address(), "lost")
        await user.end(signal.SIGKILL)

    await until(lambda: not data_dir.exists())


async def test_an_unprivileged_user_needs_nothing_more(data_dir: Path) -> None:
    async with using(data_dir, prefix=unprivileged(data_dir, 0o700)) as user:
        await remember(await user.address(), "kept")
        await user.end(signal.SIGKILL)
        await until(lambda: postmaster(data_dir) is None)


# --- what goes wrong is said in plain words -------------------------------------------------------------------------


def test_a_data_directory_that_is_a_file(data_dir: Path) -> None:
    data_dir.write_text("not a directory")
    try:
        with pytest.raises(DatabaseProblem, match="BRIDGE_DATA_DIR") as raised:
            EmbeddedPostgres(data_dir).start()
        assert str(data_dir) in str(raised.value)
    finally:
        data_dir.unlink()


async def test_a_data_directory_that_may_not_be_written(data_dir: Path) -> None:
    async with using(data_dir, prefix=unprivileged(data_dir, 0o500)) as user:
        said = await user.address()
    os.chmod(data_dir, 0o700)

    assert said.startswith("problem: The embedded Postgres cannot use")
    assert "Permission denied" in said


@pytest.mark.parametrize("name", ['"', "$HOME", "`id`", "a\\b"])
def test_a_path_that_postgres_does_not_take(data_dir: Path, name: str) -> None:
    with pytest.raises(DatabaseProblem, match="BRIDGE_DATA_DIR is"):
        EmbeddedPostgres(data_dir / name).start()


def test_a_disk_with_no_room(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=30 * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)

    with pytest.raises(DatabaseProblem, match="has 30 MB free; the embedded Postgres needs 150 MB"):
        EmbeddedPostgres(data_dir).start()


@pytest.mark.parametrize(("version", "said"), [("9", "made by Postgres 9"), ("one", "not a version")])
def test_data_of_another_postgres(data_dir: Path, version: str, said: str) -> None:
    (data_dir / "postgres/data").mkdir(parents=True)
    (data_dir / "postgres/data/PG_VERSION").write_text(version + "\n")

    with pytest.raises(DatabaseProblem, match=said):
        EmbeddedPostgres(data_dir).start()
    shutil.rmtree(data_dir / "postgres")


def test_a_server_that_will_not_start_says_why(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir)
    server.start()
    server.stop()
    settings = data_dir / "postgres/data/postgresql.conf"
    whole = settings.read_text()
    settings.write_text(whole + "\nnonsense = on\n")

    with pytest.raises(DatabaseProblem, match="nonsense"):
        server.start()
    settings.write_text(whole)
    server.start()
    server.close()
