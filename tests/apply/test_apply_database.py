"""`apply` on a real database: made, changed, left alone, pruned, refused whole, and written back by `export`."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from bridge.apply import Report, WrongFile, apply
from bridge.apply.reading import parse
from bridge.configuration import State
from bridge.db import configuration, credentials
from bridge.db.pool import Pool
from bridge.export import export
from bridge.passwords import password_matches
from bridge.secrets import Vault

VAULT = Vault(["a key of at least thirty-two characters"])
COMPANY = r"""
[[enterprise]]
number = "0367"
name = "June"
region = "RU"
timezone = "Europe/Moscow"
secret = "enterprise-secret"
fallback = "150"
recordings_days = 90

  [[enterprise.pbx]]
  name = "office"
  ami = { host = "127.0.0.1", port = 5039, username = "bridge", secret = "ami-secret", tls = false }
  ari = { url = "http://127.0.0.1:8088/ari", username = "bridge", password = "ari-password" }
  extensions = '^1\d\d$'
  trunks = ["PJSIP/trunk"]
  click_to_call_contexts = ["inoffice"]
  dialplan = "mngr{extension}_{line}_1"
  recordings = "/var/spool/asterisk/monitor"
  token = "pbx-token"

  [[enterprise.user]]
  email = "Anna@june.example"
  first_name = "Анна"
  last_name = "Иванова"
  role = "administrator"
  city = "Москва"
  password = "correct horse"
  extensions = ["150", "151"]

  [[enterprise.user]]
  email = "boris@june.example"
  extensions = ["152"]

  [[enterprise.line]]
  number = "8 (495) 100-00-01"
  smart_redirect = "route"
  rk = "РК1"
  city = "Москва"

  [[enterprise.line]]
  number = "0001001"

  [enterprise.integrations.retailcrm]
  domain = "https://june.retailcrm.ru"
  api_key = "retailcrm-key"
  client_id = "retailcrm-client-id"
  user_extensions = { "19" = "150", "18" = "151" }

  [enterprise.integrations.mango]
  enabled = false
  default_operator = "150"
  api_key = "mango-key"
  api_salt = "mango-salt"
  api_id = "17"

  [enterprise.integrations.amocrm]
  subdomain = "june.amocrm.ru"
  client_id = "amo-id"
  client_secret = "amo-secret"
"""
SECRETS = (
    "enterprise-secret",
    "ami-secret",
    "ari-password",
    "pbx-token",
    "retailcrm-key",
    "mango-key",
    "mango-salt",
    "amo-secret",
)


async def put(pool: Pool, text: str, **options: Any) -> Report:
    async with pool.acquire() as connection:
        return await apply(connection, VAULT, parse(text, {}, Path()), **options)


async def refuse(pool: Pool, text: str, **options: Any) -> list[str]:
    before = await known(pool)
    with pytest.raises(WrongFile) as caught:
        await put(pool, text, **options)
    assert await known(pool) == before, "a wrong file changes nothing"
    return caught.value.problems


async def known(pool: Pool) -> State:
    async with pool.acquire() as connection:
        return await configuration.read(connection, VAULT)


async def test_everything_declared_is_there(pool: Pool) -> None:
    await put(pool, COMPANY)
    june = (await known(pool)).enterprise["0367"]
    assert (june.name, june.fallback, june.secret) == ("June", "150", "enterprise-secret")
    office = june.pbx["office"]
    assert (office.ami_port, office.ami_secret, office.ari_password) == (5039, "ami-secret", "ari-password")
    assert (office.trunks, office.extensions, office.token) == (["PJSIP/trunk"], r"^1\d\d$", "pbx-token")
    assert (june.recordings_days, office.recordings) == (90, "/var/spool/asterisk/monitor")
    assert june.extension == {"150": "anna@june.example", "151": "anna@june.example", "152": "boris@june.example"}
    assert (june.line["+74951000001"].smart_redirect, june.line["0001001"].smart_redirect) == ("route", "off")
    assert june.integrations["retailcrm"]["enabled"] is True
    assert june.integrations["mango"]["products"] == [
        {"api_key": "mango-key", "api_salt": "mango-salt", "api_id": "17"}
    ]
    assert password_matches(june.user["anna@june.example"].password_hash, "correct horse")


async def test_secrets_are_sealed_at_rest_and_open_their_doors_at_once(pool: Pool) -> None:
    await put(pool, COMPANY)
    rows = [str(dict(row)) for table in ("enterprises", "pbxs") for row in await pool.fetch(f"table {table}")]
    assert not [secret for secret in (*SECRETS, "retailcrm-client-id") if secret in "".join(rows)]
    async with pool.acquire() as connection:
        assert await credentials.find(connection, "enterprise", "enterprise-secret") == ("0367", "")
        assert await credentials.find(connection, "retailcrm", "retailcrm-client-id") == ("0367", "")
        assert await credentials.find(connection, "pbx", "pbx-token") == ("0367", "office")
    digest = hashlib.sha256(b"pbx-token").digest()
    assert await pool.fetchval("select count(*) from credentials where digest = $1", digest) == 1


async def test_second_time_changes_nothing(pool: Pool) -> None:
    first = await put(pool, COMPANY)
    rows = await pool.fetch("select xmin::text, * from enterprises")
    second = await put(pool, COMPANY)
    assert first.changes
    assert (second.changes, second.made) == ([], [])
    assert await pool.fetch("select xmin::text, * from enterprises") == rows


async def test_what_a_file_leaves_out_is_left_alone(pool: Pool) -> None:
    await put(pool, COMPANY)
    before = await known(pool)
    report = await put(pool, "[[enterprise]]\nnumber = '0367'\nname = 'July'\n")
    assert report.changes == ["enterprise[0367].name: June → July"]
    before.enterprise["0367"].name = "July"
    assert await known(pool) == before


async def test_changes_are_told_and_secrets_are_not(pool: Pool) -> None:
    await put(pool, COMPANY)
    changed = (
        COMPANY.replace("5039", "5040").replace('"ami-secret"', '"new-secret"').replace('["152"]', '["152", "153"]')
    )
    changed = changed.replace('"19" = "150", ', "").replace("mango-salt", "other-salt")
    report = await put(pool, changed)
    assert sorted(report.changes) == [
        "enterprise[0367].extension[153]: boris@june.example",
        "enterprise[0367].integrations.mango.products: changed",
        "enterprise[0367].integrations.retailcrm.user_extensions.19: removed",
        "enterprise[0367].pbx[office].ami.port: 5039 → 5040",
        "enterprise[0367].pbx[office].ami.secret: changed",
    ]


async def test_extension_that_is_given_away_changes_hands(pool: Pool) -> None:
    await put(pool, COMPANY)
    await put(
        pool, "[[enterprise]]\nnumber = '0367'\n[[enterprise.user]]\nemail = 'boris@june.example'\nextensions = ['150']"
    )
    june = (await known(pool)).enterprise["0367"]
    assert june.extension == {"150": "boris@june.example", "151": "anna@june.example", "152": None}


async def test_password_is_hashed_again_only_when_it_is_another(pool: Pool) -> None:
    await put(pool, COMPANY)
    old = (await known(pool)).enterprise["0367"].user["anna@june.example"].password_hash
    report = await put(pool, COMPANY.replace("correct horse", "battery staple"))
    new = (await known(pool)).enterprise["0367"].user["anna@june.example"].password_hash
    assert report.changes == ["enterprise[0367].user[anna@june.example].password_hash: changed"]
    assert old != new
    assert password_matches(new, "battery staple")


async def test_credentials_left_out_are_made_once(pool: Pool) -> None:
    bare = "\n".join(line for line in COMPANY.splitlines() if not line.strip().startswith(("secret =", "token =")))
    bare = bare.replace('client_id = "retailcrm-client-id"', "")
    report = await put(pool, bare)
    made = dict(report.made)
    assert list(made) == [
        "enterprise[0367].secret",
        "enterprise[0367].pbx[office].token",
        "enterprise[0367].integrations.retailcrm.client_id",
    ]
    assert len(made["enterprise[0367].integrations.retailcrm.client_id"]) == 64
    assert (await put(pool, bare)).made == []
    async with pool.acquire() as connection:
        found = await credentials.find(connection, "pbx", made["enterprise[0367].pbx[office].token"])
    assert found == ("0367", "office")


async def test_dry_run_tells_and_does_not(pool: Pool) -> None:
    report = await put(pool, COMPANY, dry_run=True)
    assert "enterprise[0367]: added" in report.changes
    assert (await known(pool)).enterprise == {}


async def test_prune_removes_what_the_file_does_not_have(pool: Pool) -> None:
    await put(pool, COMPANY + "\n[[enterprise]]\nnumber = '0368'\n")
    rest = COMPANY[: COMPANY.index('  [[enterprise.user]]\n  email = "boris')]
    await put(pool, rest)
    assert len((await known(pool)).enterprise) == 2
    report = await put(pool, rest, prune=True)
    state = await known(pool)
    june = state.enterprise["0367"]
    assert list(state.enterprise) == ["0367"]
    assert (list(june.user), list(june.line), list(june.integrations)) == (["anna@june.example"], [], [])
    assert june.extension == {"150": "anna@june.example", "151": "anna@june.example"}
    assert "enterprise[0368]: removed" in report.changes
    assert "enterprise[0367].user[boris@june.example]: removed" in report.changes


async def test_people_of_the_deployment_are_nobodys_to_prune_or_take(pool: Pool) -> None:
    await pool.execute("insert into users (email, role) values ('root@june.example', 'administrator')")
    await put(pool, COMPANY, prune=True)
    assert await pool.fetchval("select count(*) from users where email = 'root@june.example'") == 1
    problems = await refuse(pool, "[[enterprise]]\nnumber = '0367'\n[[enterprise.user]]\nemail = 'Root@june.example'\n")
    assert problems == [
        "enterprise[0367].user[Root@june.example].email: is in use outside of this enterprise; "
        "allowed: an address of their own"
    ]


async def test_export_gives_the_same_deployment_back(pool: Pool, empty_database_url: str) -> None:
    await put(pool, COMPANY)
    state = await known(pool)
    text = export(state, secrets=True)
    assert (await put(pool, text)).changes == []
    await pool.execute("delete from enterprises")
    await put(pool, text)
    again = await known(pool)
    for enterprise in (*state.enterprise.values(), *again.enterprise.values()):
        for user in enterprise.user.values():
            user.password_hash = None  # never exported
    assert again == state


async def test_export_without_secrets_has_none_and_changes_nothing(pool: Pool) -> None:
    await put(pool, COMPANY)
    text = export(await known(pool))
    assert not [secret for secret in (*SECRETS, "retailcrm-client-id", "correct horse") if secret in text]
    report = await put(pool, text)
    assert (report.changes, report.made) == ([], [])


@pytest.mark.parametrize("odd", ['"', "\\", "'", "\x7f", "]]", "#", "é", "{x = 1}", "a'b\\d"])
async def test_odd_text_survives_export(pool: Pool, odd: str) -> None:
    await put(pool, COMPANY)
    state = await known(pool)
    state.enterprise["0367"].name = odd
    state.enterprise["0367"].pbx["office"].ami_secret = odd * 8
    (declared,) = parse(export(state, secrets=True), {}, Path()).enterprise
    assert (declared.name, declared.pbx[0].ami.secret) == (odd, odd * 8)


async def test_new_pbx_needs_its_secret(pool: Pool) -> None:
    text = "[[enterprise]]\nnumber = '1'\n[[enterprise.pbx]]\nname = 'p'\nami = { host = 'h', username = 'u' }\n"
    assert await refuse(pool, text) == ["enterprise[1].pbx[p].ami.secret: is absent, and none is known yet"]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"19" = "150"', '"19" = "999"', "enterprise[0367].integrations.retailcrm.user_extensions.19: 999 is nobody's"),
        (
            'default_operator = "150"',
            'default_operator = "999"',
            "enterprise[0367].integrations.mango.default_operator",
        ),
        ('fallback = "150"', 'fallback = "999"', "enterprise[0367].fallback: 999 is nobody's extension"),
        ('"8 (495) 100-00-01"', '"+7495"', "enterprise[0367].line[+7495].number: is no valid number of RU"),
        ('"0001001"', '"+7 495 100 00 01"', "enterprise[0367].line[+74951000001].number: is there 2 times"),
        ("https://june.retailcrm.ru", "http://june.retailcrm.ru", "enterprise[0367].integrations.retailcrm.domain"),
        ("https://june.retailcrm.ru", "https://127.0.0.1", "enterprise[0367].integrations.retailcrm.domain"),
        (
            "https://june.retailcrm.ru",
            "https://retailcrm.ru.evil.example",
            "enterprise[0367].integrations.retailcrm.domain",
        ),
        ('  api_key = "retailcrm-key"\n', "", "enterprise[0367].integrations.retailcrm.api_key: is absent"),
        ('password = "correct horse"', 'password = ""', "enterprise[0367].user[Anna@june.example].password"),
    ],
)
async def test_what_cannot_work_is_refused_whole(pool: Pool, old: str, new: str, problem: str) -> None:
    assert old in COMPANY
    (found,) = await refuse(pool, COMPANY.replace(old, new))
    assert found.startswith(problem), found


async def test_credential_that_another_enterprise_has(pool: Pool) -> None:
    await put(pool, COMPANY)
    (problem,) = await refuse(pool, "[[enterprise]]\nnumber = '0368'\nsecret = 'enterprise-secret'\n")
    assert problem.startswith("enterprise[0368]: its enterprise credential")


async def test_trusted_hosts_may_be_on_the_spot(pool: Pool) -> None:
    text = COMPANY.replace("https://june.retailcrm.ru", "http://127.0.0.1:8071")
    await put(pool, text, trusted=("127.0.0.1",))
    assert (await known(pool)).enterprise["0367"].integrations["retailcrm"]["domain"] == "http://127.0.0.1:8071"


async def test_extension_no_pbx_knows_is_warned_about(pool: Pool) -> None:
    report = await put(pool, COMPANY.replace('extensions = ["152"]', 'extensions = ["252"]'))
    (warning,) = report.warnings
    assert warning.startswith("enterprise[0367].user[boris@june.example].extensions: 252 does not fit")


async def test_secret_sealed_with_a_lost_key_can_be_entered_again_and_is_else_left(pool: Pool) -> None:
    async with pool.acquire() as connection:
        await apply(connection, Vault(["a lost key of thirty-two characters."]), parse(COMPANY, {}, Path()))
    sealed = await pool.fetchval("select ami_secret from pbxs")
    await put(pool, "[[enterprise]]\nnumber = '0367'\nname = 'July'\n")
    assert await pool.fetchval("select ami_secret from pbxs") == sealed
    await put(pool, COMPANY)
    assert (await known(pool)).enterprise["0367"].pbx["office"].ami_secret == "ami-secret"
    assert "sealed:" not in export(await known(pool), secrets=True)


async def test_line_without_an_enterprise_belongs_to_the_only_one(pool: Pool) -> None:
    await put(pool, "[[enterprise]]\nnumber = '0367'\n")
    await pool.execute("insert into phones (number, rk, city) values ('+74951000001', 'РК1', 'Москва')")
    report = await put(
        pool, "[[enterprise]]\nnumber = '0367'\n[[enterprise.line]]\nnumber = '+74951000001'\nrk = 'РК2'\n"
    )
    assert report.changes == ["enterprise[0367].line[+74951000001].rk: РК1 → РК2"]
    row = await pool.fetchrow("select enterprise_number, rk, city from phones")
    assert tuple(row) == ("0367", "РК2", "Москва")


async def test_two_at_once_come_one_after_the_other(pool: Pool) -> None:
    texts = [COMPANY.replace('name = "June"', f'name = "June {number}"') for number in range(4)]
    await asyncio.gather(*(put(pool, text) for text in texts))
    assert (await known(pool)).enterprise["0367"].name in {f"June {number}" for number in range(4)}
    assert await pool.fetchval("select count(*) from pbxs") == 1


async def test_running_instances_are_told(pool: Pool, database_url: str) -> None:
    heard: list[tuple[str, str]] = []
    both = asyncio.Event()

    def listen(_: object, __: int, channel: str, payload: object) -> None:
        heard.append((channel, str(payload)))
        if {"bridge_integrations", "bridge_config"} <= {channel for channel, _ in heard}:
            both.set()

    listener = await asyncpg.connect(database_url)
    try:
        for channel in ("bridge_integrations", "bridge_config"):
            await listener.add_listener(channel, listen)
        await put(pool, COMPANY)
        async with asyncio.timeout(1.0):
            await both.wait()
    finally:
        await listener.close()
