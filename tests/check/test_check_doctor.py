"""`check`: every broken thing is found, said in plain words with what to do, and hides no other."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from moto.server import ThreadedMotoServer

from bridge.ami import doctor
from bridge.apply import apply
from bridge.apply.reading import parse
from bridge.check import here, outside, run
from bridge.configuration import Enterprise, Line, Pbx
from bridge.db.pool import Pool, connect
from bridge.secrets import Vault
from bridge.settings import Settings
from lab.company import Company
from lab.retailcrm import Account, Emulator, Faults
from lab.service import free_port

KEY = "a secret key of at least thirty-two characters"


@pytest.fixture
def env(database_url: str, tmp_path: Path) -> dict[str, str]:
    return {
        "HOME": str(tmp_path),
        "BRIDGE_DATA_DIR": str(tmp_path / "data"),
        "BRIDGE_DATABASE_URL": database_url,
        "BRIDGE_SECRET_KEY": KEY,
        "BRIDGE_PUBLIC_URL": "https://bridge.june.example",
        "BRIDGE_CRM_HOSTS": "127.0.0.1",
        "LANG": "C.UTF-8",
    }


@pytest.fixture
async def crm() -> AsyncIterator[Emulator]:
    async with Emulator(Account("june", {"good-key": frozenset()})) as crm:
        crm.account("june").keys["full-key"] = Account("x").keys["key-of-x"]
        yield crm


async def examine(env: dict[str, str], **changes: str) -> tuple[bool, str]:
    lines: list[str] = []
    well = await run({**env, **changes}, lines.append, timeout=1.0)
    return well, "\n".join(lines)


async def configure(pool: Pool, *, key: str = KEY, pbx: str = "", crm: str = "") -> None:
    text = f"[[enterprise]]\nnumber = '0367'\n{pbx}\n{crm}\n"
    async with pool.acquire() as connection:
        await apply(connection, Vault([key]), parse(text, {}, Path()), trusted=("127.0.0.1",))


def pbx_at(port: int, name: str = "office", host: str = "127.0.0.1", **fields: Any) -> str:
    ami = {"host": host, "port": port, "username": "bridge", "secret": "s3cret", **fields}
    inner = ", ".join(f"{field} = {value if isinstance(value, int) else repr(value)}" for field, value in ami.items())
    return f"[[enterprise.pbx]]\nname = '{name}'\nami = {{ {inner} }}\n"


def crm_at(url: str, key: str = "full-key") -> str:
    return f"[enterprise.integrations.retailcrm]\ndomain = '{url}'\napi_key = '{key}'\n"


async def test_new_deployment_is_told_what_comes_next(env: dict[str, str]) -> None:
    well, said = await examine(env)
    assert well
    assert "✓ settings: They are valid." in said
    assert "✓ database: Postgres " in said
    assert "✓ database: tables: They are up to date." in said
    assert "! PBX: None is configured." in said


async def test_embedded_database_is_not_made_by_looking(env: dict[str, str], tmp_path: Path) -> None:
    well, said = await examine(env, BRIDGE_DATABASE_URL="")
    assert well
    assert "✓ database: There is none yet" in said
    assert not (tmp_path / "data").exists()


async def test_wrong_settings_hide_nothing_else(env: dict[str, str]) -> None:
    well, said = await examine(env, BRIDGE_HTTP="x", S3_ENDPOINT="x", BRIDGE_LOG_LEVEL="loud")
    assert not well
    for name in ("BRIDGE_HTTP", "S3_ENDPOINT", "BRIDGE_LOG_LEVEL"):
        assert f"✗ settings: {name}: " in said
    assert "✓ database: tables: They are up to date." in said


def test_settings_that_work_but_should_not_be_so(env: dict[str, str]) -> None:
    s3 = {"S3_BUCKET_NAME": "b", "S3_ACCESS_KEY_ID": "i", "S3_SECRET_ACCESS_KEY": "k"}
    changes = {"TEST_MODE": "true", "BRIDGE_PUBLIC_URL": "", **s3, "S3_ENDPOINT": "https://s3.selcdn.ru"}

    found = list(here.settings(Settings.load({**env, **changes})))

    assert {finding.level for finding in found} == {"warning"}
    assert {finding.place.removeprefix("settings: ") for finding in found} == {
        "TEST_MODE",
        "BRIDGE_PUBLIC_URL",
        "S3_ENDPOINT",
        "S3_REGION",
    }


async def test_database_that_is_away_or_refuses(env: dict[str, str], database_url: str) -> None:
    away = f"postgresql://bridge:hunter2@127.0.0.1:{free_port()}/bridge"
    well, said = await examine(env, BRIDGE_DATABASE_URL=away)
    assert not well
    assert "✗ database: No connection to the database at postgresql://bridge@127.0.0.1" in said
    assert "hunter2" not in said
    well, said = await examine(env, BRIDGE_DATABASE_URL=database_url.replace("/test_", "/nothing_like_test_"))
    assert not well
    assert "has no such database" in said


async def test_database_that_hangs(env: dict[str, str]) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        began = time.monotonic()
        well, said = await examine(env, BRIDGE_DATABASE_URL=f"postgresql://bridge@127.0.0.1:{port}/bridge")
    assert not well
    assert "did not answer in time" in said
    assert time.monotonic() - began < 10


async def test_database_newer_than_the_service(env: dict[str, str], pool: Pool) -> None:
    await pool.execute("insert into schema_migrations (number, name, sha256) values (9999, 'tomorrow', 'x')")
    well, said = await examine(env)
    assert not well
    assert "✗ database: tables: The database is newer than this bridge: it has migration 9999 tomorrow" in said


async def test_empty_database(env: dict[str, str], empty_database_url: str) -> None:
    well, said = await examine(env, BRIDGE_DATABASE_URL=empty_database_url)
    assert well
    assert "✓ database: tables: There are none yet" in said


async def test_database_in_which_no_tables_may_be_made(env: dict[str, str], empty_database_url: str) -> None:
    owner = await connect(empty_database_url)
    try:
        await owner.execute("drop schema public")
    finally:
        await owner.close()
    well, said = await examine(env, BRIDGE_DATABASE_URL=empty_database_url)
    assert not well
    assert "✗ database: tables: There are none yet, and this user may not make them." in said


async def test_database_that_may_not_be_written_to(env: dict[str, str], pool: Pool) -> None:
    name = await pool.fetchval("select current_database()")
    await pool.execute(f'alter database "{name}" set default_transaction_read_only = on')
    well, said = await examine(env)
    assert not well
    assert "✗ database: It cannot be written to: cannot execute CREATE TABLE AS in a read-only transaction." in said


async def test_full_disk_and_data_directory_in_the_way(
    env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    well, said = await examine(env, BRIDGE_DATA_DIR=str(tmp_path / "file"), BRIDGE_LOG_DIR=str(tmp_path / "logs"))
    assert not well
    assert f"✗ data directory: {tmp_path / 'file'} cannot be written to." in said
    assert "✓ log directory: " in said
    monkeypatch.setattr("bridge.check.here.TOO_LITTLE", 1 << 60)
    monkeypatch.setattr("bridge.check.here.LITTLE", 1 << 60)
    well, said = await examine(env)
    assert not well
    assert "✗ data directory: " in said
    assert "→ Make room: a full disk stops the database." in said


async def test_silent_and_absent_pbxs_hide_no_working_crm(env: dict[str, str], pool: Pool, crm: Emulator) -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    async with server:
        await configure(
            pool,
            pbx=pbx_at(free_port(), "absent") + pbx_at(server.sockets[0].getsockname()[1], "nonsense"),
            crm=crm_at(crm.account("june").url),
        )
        well, said = await examine(env)
    assert not well
    assert "✗ PBX 0367/absent: login: 127.0.0.1:" in said
    assert "✗ PBX 0367/nonsense: login: " in said
    assert "✓ RetailCRM 0367: 127.0.0.1 accepts the key, and it has the rights that are needed." in said
    assert "s3cret" not in said
    assert "full-key" not in said


@pytest.mark.parametrize(
    ("key", "faults", "words"),
    [
        ("good-key", Faults(), "The API key lacks customer_read, integration_read, integration_write, telephony_read"),
        ("bad-key", Faults(), 'Wrong "apiKey" value.'),
        ("full-key", Faults(hang=True), "no answer within 1 s"),
        ("full-key", Faults(status=502), "HTTP 502"),
    ],
)
async def test_crm_in_trouble(
    env: dict[str, str], pool: Pool, crm: Emulator, key: str, faults: Faults, words: str
) -> None:
    crm.account("june").faults = faults
    await configure(pool, crm=crm_at(crm.account("june").url, key))
    well, said = await examine(env)
    assert not well
    assert f"✗ RetailCRM 0367: {words}" in said
    assert not crm.account("june").keys_in_urls


async def test_crm_at_an_address_that_is_not_trusted_any_more(env: dict[str, str], pool: Pool, crm: Emulator) -> None:
    await configure(pool, crm=crm_at(crm.account("june").url))
    well, said = await examine(env, BRIDGE_CRM_HOSTS="")
    assert not well
    assert "✗ RetailCRM 0367: domain: 'http://127.0.0.1:" in said
    assert not crm.account("june").requests


async def test_integration_that_is_off_is_not_asked(env: dict[str, str], pool: Pool, crm: Emulator) -> None:
    await configure(pool, crm=crm_at(crm.account("june").url) + "enabled = false\n")
    well, said = await examine(env)
    assert well
    assert "✓ RetailCRM 0367: It is switched off." in said
    assert not crm.account("june").requests


async def test_secrets_of_another_key(env: dict[str, str], pool: Pool, crm: Emulator) -> None:
    await configure(
        pool, key="another key of at least thirty-two", pbx=pbx_at(free_port()), crm=crm_at(crm.account("june").url)
    )
    well, said = await examine(env)
    assert not well
    for place in ("PBX 0367/office", "RetailCRM 0367"):
        assert f"✗ {place}: A secret was sealed with a key that is not in BRIDGE_SECRET_KEY." in said
    assert not crm.account("june").requests


async def test_in_russian(env: dict[str, str], pool: Pool, crm: Emulator) -> None:
    await configure(pool, pbx=pbx_at(free_port()), crm=crm_at(crm.account("june").url, "good-key"))
    well, said = await examine(env, LANG="ru_RU.UTF-8", BRIDGE_PUBLIC_URL="")
    assert not well
    assert "✓ настройки: Все верны." in said
    assert "! настройки: BRIDGE_PUBLIC_URL: Не задан" in said
    assert "✓ база данных: таблицы: В порядке." in said
    assert "✗ АТС 0367/office: вход: 127.0.0.1:" in said
    assert "→ Проверьте enabled, bindaddr и port в manager.conf" in said
    assert "✗ RetailCRM 0367: У ключа API нет прав: customer_read" in said


@pytest.mark.parametrize(("smart_redirect", "level"), [("off", "warning"), ("name", "error"), ("route", "error")])
async def test_a_hook_that_is_missing_is_a_fault_where_a_line_needs_it(
    monkeypatch: pytest.MonkeyPatch, smart_redirect: str, level: str
) -> None:
    async def examine(*_: Any, **__: Any) -> list[doctor.Finding]:
        return [doctor.Finding("warning", f"context {doctor.HOOK}", "The dialplan has no such context.")]

    monkeypatch.setattr(doctor, "examine", examine)
    line = Line(number="+74951000001", smart_redirect=smart_redirect)
    enterprise = Enterprise(number="0367", line={line.number: line})

    (finding,) = await outside.pbx(enterprise, Pbx(name="office"), 1.0)

    assert (finding.level, finding.place) == (level, "PBX 0367/office: context bridge-route")


async def test_real_asterisk_with_the_least_rights(env: dict[str, str], pool: Pool, company: Company) -> None:
    at = company.pbx
    ami = pbx_at(5038, host=at.host, username=at.bridge_user, secret=at.bridge_secret)
    ari = f"ari = {{ url = 'http://{at.host}:8088/ari', username = '{at.ari_user}', password = '{at.ari_password}' }}\n"
    wrong = pbx_at(5038, "wrong", host=at.host, username=at.bridge_user, secret="guess") + ari.replace(
        at.ari_password, "guess"
    )
    await configure(pool, pbx=ami + ari + "click_to_call_contexts = ['inoffice', 'nowhere']\n" + wrong)
    lines: list[str] = []
    well = await run(env, lines.append, timeout=5.0)
    said = "\n".join(lines)
    assert not well
    assert f"✓ PBX 0367/office: login: {at.bridge_user} is logged in to Asterisk " in said
    assert "✓ PBX 0367/office: events: Events of calls arrive." in said
    assert "✓ PBX 0367/office: context bridge-route: The dialplan has it" in said
    assert "✓ PBX 0367/office: ARI: Asterisk " in said
    assert "✗ PBX 0367/office: context nowhere: click_to_call_contexts names it" in said
    assert "✗ PBX 0367/wrong: login: Asterisk refused the login of " in said
    assert "✗ PBX 0367/wrong: ARI: " in said
    assert len([line for line in lines if line.startswith("✗")]) == 3, said


# --- where recordings are kept --------------------------------------------------------------------------------------

LISTED = "<ListBucketResult><Name>calls</Name><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>"


@contextlib.asynccontextmanager
async def storage(status: int, body: str) -> AsyncIterator[dict[str, str]]:
    """Settings of an object storage that answers everything so."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 {status} Said\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write((head + body).encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield s3_at(server.sockets[0].getsockname()[1])


def s3_at(port: int) -> dict[str, str]:
    return {
        "S3_ENDPOINT": f"http://127.0.0.1:{port}",
        "S3_REGION": "ru-1",
        "S3_BUCKET_NAME": "calls",
        "S3_ACCESS_KEY_ID": "AKEXAMPLE",
        "S3_SECRET_ACCESS_KEY": "the key of the bucket",
    }


@pytest.mark.parametrize(
    ("status", "body", "sign", "expected"),
    [
        (200, LISTED, "✗", "The bucket calls at http://127.0.0.1:{} can be listed, but not written, read and emptied"),
        (404, "<Error><Code>NoSuchBucket</Code></Error>", "✗", "http://127.0.0.1:{} has no bucket calls."),
        (403, "<Error><Code>SignatureDoesNotMatch</Code></Error>", "✗", "refused the keys: SignatureDoesNotMatch."),
        (403, "<Error><Code>AccessDenied</Code></Error>", "✗", "refused the keys: AccessDenied."),
        (500, "oops", "✗", "http://127.0.0.1:{} answered 500."),
        (200, "<html>", "✗", "http://127.0.0.1:{} does not answer as S3 does."),
    ],
)
async def test_storage_of_recordings(env: dict[str, str], status: int, body: str, sign: str, expected: str) -> None:
    async with storage(status, body) as s3:
        well, said = await examine(env, **s3)
    assert well is (sign == "✓")
    assert expected.format(s3["S3_ENDPOINT"].rpartition(":")[2]) in said
    assert f"{sign} S3: " in said
    assert "AKEXAMPLE" not in said
    assert "the key of the bucket" not in said


async def test_storage_that_works(env: dict[str, str]) -> None:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        settings = s3_at(server.get_host_and_port()[1])
        async with httpx.AsyncClient() as client:
            (await client.put(f"{settings['S3_ENDPOINT']}/calls")).raise_for_status()
        well, said = await examine(env, **settings)
        assert well, said
        assert f"✓ S3: The bucket calls at {settings['S3_ENDPOINT']} can be written and read." in said
        async with httpx.AsyncClient() as client:
            assert "<Key>" not in (await client.get(f"{settings['S3_ENDPOINT']}/calls")).text, "nothing is left there"
    finally:
        server.stop()


async def test_storage_where_nobody_listens(env: dict[str, str]) -> None:
    well, said = await examine(env, **s3_at(free_port()))
    assert not well
    assert "✗ S3: http://127.0.0.1:" in said


async def test_recordings_in_the_data_directory_need_no_storage(env: dict[str, str]) -> None:
    _, said = await examine(env)
    assert "S3" not in said
