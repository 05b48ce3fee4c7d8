"""The command line as a person meets it: words, exit codes, nothing on stdout but the result."""

from __future__ import annotations

import asyncio
import json
import os
import re
import stat
import sys
import time
from pathlib import Path

import pytest

from bridge.db.pool import Pool
from lab.company import Company
from lab.mango import Emulator, Faults, Product, scenarios
from lab.service import free_port

COMMANDS = ["serve", "demo", "apply", "export", "check", "replay", "record", "mango", "deliveries"]
COMPANY = """
[[enterprise]]
number = "0367"
name = "June"
  [[enterprise.pbx]]
  name = "office"
  ami = { host = "127.0.0.1", port = PORT, username = "bridge", secret = { env = "OFFICE_SECRET" } }
"""


class Shell:
    """Runs `asterisk-bridge …`: (exit code, stdout, stderr)."""

    def __init__(self, home: Path, database_url: str) -> None:
        self.home = home
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("BRIDGE_", "LC_", "LANG"))},
            "HOME": str(home),
            "BRIDGE_DATA_DIR": str(home / "data"),
            "BRIDGE_DATABASE_URL": database_url,
            "BRIDGE_PUBLIC_URL": "https://bridge.june.example",
            "OFFICE_SECRET": "office-secret",
        }

    async def __call__(self, *arguments: str, **env: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "bridge.cli",
            *arguments,
            env={**self.env, **env},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    def company(self, port: int = 5038) -> str:
        path = self.home / "company.toml"
        path.write_text(COMPANY.replace("PORT", str(port)), encoding="utf-8")
        return str(path)


@pytest.fixture
def shell(tmp_path: Path, database_url: str) -> Shell:
    return Shell(tmp_path, database_url)


async def test_help_teaches_every_command(shell: Shell) -> None:
    code, out, err = await shell("--help")
    assert (code, err) == (0, "")
    for command in COMMANDS:
        assert re.search(rf"^  {command} ", out, re.MULTILINE), command
    assert "Exit codes: 0 done;" in out
    for command in COMMANDS:
        code, out, _ = await shell(command, "--help")
        assert code == 0
        assert f"asterisk-bridge {command}" in out or f"-m bridge.cli {command}" in out


async def test_help_needs_no_database_and_no_settings(shell: Shell) -> None:
    code, out, _ = await shell("--help", BRIDGE_DATABASE_URL="nonsense", BRIDGE_HTTP="nonsense")
    assert code == 0
    assert "apply" in out
    loaded = (
        "import sys, bridge.cli; print(*[name for name in ('asyncpg', 'starlette', 'httpx') if name in sys.modules])"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", loaded, stdout=asyncio.subprocess.PIPE, env=shell.env
    )
    assert (await process.communicate())[0].decode().strip() == ""


async def test_apply_makes_then_changes_nothing_then_exports(shell: Shell) -> None:
    code, out, err = await shell("apply", shell.company())
    assert (code, err) == (0, "")
    assert "enterprise[0367]: added" in out
    made = dict(re.findall(r'^(\S+) = "(\w+)"$', out, re.MULTILINE))
    assert list(made) == ["enterprise[0367].secret", "enterprise[0367].pbx[office].token"]
    assert await shell("apply", shell.company()) == (0, "nothing to change\n", "")
    code, out, err = await shell("export")
    assert (code, err) == (0, "")
    assert 'number = "0367"' in out
    assert not [secret for secret in ("office-secret", *made.values()) if secret in out]


async def test_export_with_secrets_goes_to_a_file_of_its_owner(shell: Shell, tmp_path: Path) -> None:
    await shell("apply", shell.company())
    code, out, _ = await shell("export", "--secrets", "-o", str(tmp_path / "backup.toml"))
    assert (code, out) == (0, "")
    assert 'secret = "office-secret"' in (tmp_path / "backup.toml").read_text()
    assert stat.S_IMODE((tmp_path / "backup.toml").stat().st_mode) == 0o600
    assert (await shell("apply", str(tmp_path / "backup.toml")))[1] == "nothing to change\n"
    code, _, err = await shell("export", "-o", str(tmp_path / "absent" / "x.toml"))
    assert code == 2
    assert err.startswith("error: --output: ")


async def test_wrong_file_is_refused_with_a_line_for_each_key(shell: Shell, tmp_path: Path, pool: Pool) -> None:
    (tmp_path / "wrong.toml").write_text('[[enterprise]]\nnumber = "0367"\nregion = "XX"\nfallbak = "150"\n')
    code, out, err = await shell("apply", str(tmp_path / "wrong.toml"))
    assert (code, out) == (2, "")
    assert [line.split(":")[1].strip() for line in err.splitlines()] == [
        "enterprise[0367].fallbak",
        "enterprise[0367].region",
    ]
    assert await pool.fetchval("select count(*) from enterprises") == 0


@pytest.mark.parametrize(
    ("arguments", "env", "words"),
    [
        (("export",), {"BRIDGE_HTTP": "x"}, "error: BRIDGE_HTTP: "),
        (("apply", "absent.toml"), {}, "error: absent.toml: cannot be read"),
        (("serve", "--roles", "pbx,phone"), {}, "error: --roles: found 'pbx,phone'; allowed: pbx, http, worker"),
        (("record", "office", "-o", "x"), {}, "error: PBX: 'office' is none of those there are"),
        (("deliveries", "resend"), {}, "name the IDS of dead letters, or give --all"),
        (("replay", "absent.ami.txt", "--rules", "absent.toml"), {}, "absent.toml"),
        (("nonsense",), {}, "No such command 'nonsense'"),
    ],
)
async def test_wrong_input_is_exit_code_2_and_no_traceback(
    shell: Shell, arguments: tuple[str, ...], env: dict[str, str], words: str
) -> None:
    code, out, err = await shell(*arguments, **env)
    assert (code, out) == (2, "")
    assert words in err
    assert "Traceback" not in err


async def test_database_that_is_away_is_exit_code_1(shell: Shell) -> None:
    code, out, err = await shell("export", BRIDGE_DATABASE_URL=f"postgresql://u:hunter2@127.0.0.1:{free_port()}/b")
    assert (code, out) == (1, "")
    assert err.startswith("error: No connection to the database at postgresql://u@127.0.0.1:")
    assert "hunter2" not in err
    assert len(err.splitlines()) == 1


async def test_check_finds_the_absent_pbx(shell: Shell) -> None:
    code, out, err = await shell("check")
    assert (code, err) == (0, "")
    await shell("apply", shell.company(free_port()))
    code, out, err = await shell("check", "--timeout", "2")
    assert (code, err) == (1, "")
    assert "✗ PBX 0367/office: login: " in out


async def test_replay_prints_json_lines_and_nothing_else(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text('region = "RU"\n')
    booted = b"Asterisk Call Manager/11.0.0\r\nEvent: FullyBooted\r\nStatus: Fully Booted\r\n\r\n"
    (tmp_path / "quiet.ami.txt").write_bytes(booted)
    (tmp_path / "no.ami.txt").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    rules = ("--rules", str(tmp_path / "rules.toml"))
    assert await shell("replay", str(tmp_path / "quiet.ami.txt"), *rules) == (0, "", "")
    code, out, err = await shell("replay", str(tmp_path / "no.ami.txt"), *rules)
    assert (code, out) == (2, "")
    assert "no.ami.txt" in err


async def test_dead_letters_are_listed_and_sent_again(shell: Shell, pool: Pool) -> None:
    await shell("apply", shell.company())
    assert await shell("deliveries", "list") == (0, "", "no dead letters\n")
    account = await pool.fetchval(
        "insert into crm_accounts (enterprise_number, integration_type) values ('0367', 'retailcrm') returning id"
    )
    number = await pool.fetchval(
        """
        insert into deliveries (account_id, enterprise_number, integration_type, external_id, kind, call, state,
                                attempts, reason, done_at)
        values ($1, '0367', 'retailcrm', 'office:1.0', 'record', $2, 'dead', 40, 'no answer', now()) returning id
        """,
        account,
        {"client_number": "+79161234567"},
    )
    code, out, _ = await shell("deliveries", "list", "--enterprise", "0367")
    assert code == 0
    fields = out.rstrip("\n").split("\t")
    assert fields[:1] + fields[2:] == [
        str(number), "0367", "retailcrm", "office:1.0", "record", "+79161234567", "40 attempts", "no answer"
    ]  # fmt: skip
    assert (await shell("deliveries", "list", "--enterprise", "0368"))[1] == ""
    code, out, err = await shell("deliveries", "resend", str(number), "999999")
    assert (code, out) == (0, "queued again: 1\n")
    assert "1 of the ids are no dead letters" in err
    assert await pool.fetchval("select state from deliveries") == "pending"


async def test_reader_that_goes_away_is_no_error(shell: Shell) -> None:
    await shell("apply", shell.company())
    process = await asyncio.create_subprocess_shell(
        f"{sys.executable} -m bridge.cli export | true", env=shell.env, stderr=asyncio.subprocess.PIPE
    )
    assert (await process.communicate())[1] == b""


async def test_record_of_a_real_asterisk(shell: Shell, company: Company, tmp_path: Path) -> None:
    pbx = company.pbx
    text = COMPANY.replace("127.0.0.1", pbx.host).replace("PORT", "5038").replace('"bridge"', f'"{pbx.bridge_user}"')
    (tmp_path / "company.toml").write_text(text)
    await shell("apply", str(tmp_path / "company.toml"), OFFICE_SECRET=pbx.bridge_secret)
    transcript = tmp_path / "office.ami.txt"
    code, out, err = await shell("record", "0367:office", "-o", str(transcript), "--seconds", "1")
    assert (code, out) == (0, "")
    assert "bytes in" in err
    assert transcript.read_bytes().startswith(b"Asterisk Call Manager/")
    assert pbx.bridge_secret.encode() not in transcript.read_bytes()
    (tmp_path / "rules.toml").write_text('trunks = ["PJSIP/trunk"]\n')
    code, out, _ = await shell("replay", str(transcript), "--rules", str(tmp_path / "rules.toml"))
    assert code == 0
    assert [json.loads(line)["call_id"] for line in out.splitlines()] == []


CLOUD = """
[[enterprise]]
number = "0412"
  [enterprise.integrations.mango]
  enabled = true
  products = [ { api_key = "key-of-july", api_salt = "SALT" } ]
"""


@pytest.mark.parametrize("salt", ["salt-of-july", "salt-9182"])
async def test_mangos_history_is_compared(shell: Shell, tmp_path: Path, pool: Pool, salt: str) -> None:
    july = Product("july", faults=Faults(polls=0))
    july.hire("170", "Anna")
    scenarios.inbound_answered(july, "79161234567", at=time.time() - 300, by="170")
    file = tmp_path / "cloud.toml"
    file.write_text(CLOUD.replace("SALT", salt))
    assert (await shell("apply", str(file)))[0] == 0
    async with Emulator(july) as exchange:
        env = {"MANGO_API_URL": exchange.api_url, "BRIDGE_CRM_HOSTS": "127.0.0.1"}
        code, out, err = await shell(
            "mango",
            "reconcile",
            "0412",
            "--since",
            time.strftime("%Y-%m-%d", time.localtime(time.time() - 86400)),
            **env,
        )
        if salt == "salt-9182":
            assert (code, "failed: " in out, salt in out + err) == (1, True, False)
            return
        assert code == 0, err
        assert re.fullmatch(r"product [0-9a-f]{32}: 1 calls, news of 1\n", out)
        assert await pool.fetchval("select state from mango_webhooks") == "new"

        code, _, err = await shell("mango", "reconcile", "0367", **env)
        assert (code, "not configured" in err) == (1, True)
