"""A wrong apply file is refused whole: every wrong key by its place, with what was found and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.apply import rules
from bridge.apply.reading import WrongFile, parse, read

MINIMAL = """
[[enterprise]]
number = "0367"
  [[enterprise.pbx]]
  name = "office"
  ami = { host = "127.0.0.1", username = "bridge", secret = "ami-secret" }
"""


def problems(text: str, env: dict[str, str] | None = None, folder: Path = Path()) -> list[str]:
    with pytest.raises(WrongFile) as caught:
        parse(text, env or {}, folder)
    assert caught.value.message == "\n".join(caught.value.problems)
    return caught.value.problems


def one(text: str) -> str:
    (problem,) = problems(text)
    return problem


def enterprise(line: str) -> str:
    return f'[[enterprise]]\nnumber = "0367"\n{line}\n'


def pbx(line: str) -> str:
    return f"{MINIMAL}  {line}\n"


@pytest.mark.parametrize(
    ("text", "place", "allowed"),
    [
        ("[[enterprise]]\nname = 'June'", "enterprise[June].number: is absent", "1 to 32 letters"),
        ("[[enterprise]]\nnumber = 367", "enterprise[1].number: is wrong", "1 to 32 letters"),
        ("[[enterprise]]\nnumber = '0 367'", "enterprise[1].number: has another form", "1 to 32 letters"),
        ("enterprise = 'June'", "enterprise: is not a list", "a list of tables"),
        ("[enterprise]\nnumber = '0367'", "enterprise: is not a list", "a list of tables"),
        (enterprise("region = 'RUS'"), "enterprise[0367].region: is no such country", "ISO code"),
        (enterprise("region = 'ru'"), "enterprise[0367].region: is no such country", "ISO code"),
        (enterprise("timezone = 'Europe/Moskow'"), "enterprise[0367].timezone: is no such time zone", "IANA"),
        (enterprise("timezone = 'Europe'"), "enterprise[0367].timezone: is no such time zone", "IANA"),
        (enterprise("timezone = '../etc/passwd'"), "enterprise[0367].timezone: is no such time zone", "IANA"),
        (enterprise("fallback = 'queue:'"), "enterprise[0367].fallback: has another form", "queue:NAME or continue"),
        (enterprise("recordings_days = -1"), "enterprise[0367].recordings_days: is wrong", "0: for ever"),
        (enterprise("recordings_days = '30'"), "enterprise[0367].recordings_days: is wrong", "0 to 36500 days"),
        (pbx("recordings = 'monitor'"), "enterprise[0367].pbx[office].recordings: has another form", "from the root"),
        (enterprise("active = 1"), "enterprise[0367].active: is wrong", "true, false"),
        (enterprise('name = "a\\u0000b"'), "enterprise[0367].name: holds a NUL or a line break", "one line"),
        (enterprise("secret = ''"), "enterprise[0367].secret: is 0 characters long", "1 to 1024"),
        (enterprise("secret = 'sealed:gAAA'"), "enterprise[0367].secret: is sealed", "1 to 1024"),
        (pbx("extensions = '^1\\d\\d('"), "enterprise[0367].pbx[office].extensions: is no regular expression", "200"),
        (pbx("trunks = 'PJSIP/trunk'"), "enterprise[0367].pbx[office].trunks: is not a list", "PJSIP/trunk"),
        (pbx("trunks = ['trunk']"), "enterprise[0367].pbx[office].trunks[1]: has another form", "PJSIP/trunk"),
        (pbx("endpoint = 'PJSIP/150'"), "enterprise[0367].pbx[office].endpoint: has another form", "{extension}"),
        (pbx("outgoing = '9'"), "enterprise[0367].pbx[office].outgoing: has another form", "{digits}"),
        (pbx("dialplan = 'mngr{ext}_1'"), "enterprise[0367].pbx[office].dialplan: has another form", "{line}"),
        (pbx("ari = { url = 'localhost', username = 'a' }"), "enterprise[0367].pbx[office].ari.url", "http://"),
        (
            pbx("click_to_call_contexts = ['in,office']"),
            "enterprise[0367].pbx[office].click_to_call_contexts[1]: has another form",
            "a dialplan context",
        ),
        (
            MINIMAL.replace('"bridge"', '"bri\\ndge"'),
            "enterprise[0367].pbx[office].ami.username: holds a NUL",
            "1 to 128",
        ),
        (
            MINIMAL.replace("username", "port = 70000, username"),
            "enterprise[0367].pbx[office].ami.port: is wrong",
            "1 to 65535",
        ),
        (MINIMAL.replace('"ami-secret"', "7"), "enterprise[0367].pbx[office].ami.secret: is wrong", "one line"),
        (
            enterprise("[[enterprise.user]]\nemail = 'anna@june'"),
            "enterprise[0367].user[anna@june].email: is no e-mail address",
            "anna@june.example",
        ),
        (
            enterprise("[[enterprise.user]]\nemail = 'anna@june.example'\nrole = 'boss'"),
            "enterprise[0367].user[anna@june.example].role: is wrong",
            "operator, administrator, service",
        ),
        (
            enterprise("[[enterprise.line]]\nnumber = 'line one'"),
            "enterprise[0367].line[1].number: is no telephone number",
            "+74951000001",
        ),
        (
            enterprise("[[enterprise.line]]\nnumber = '+74951000001'\nsmart_redirect = 'on'"),
            "enterprise[0367].line[+74951000001].smart_redirect: is wrong",
            "off, name, route",
        ),
        (
            enterprise("[enterprise.integrations.retailcrm]\nuser_extensions = { anna = '150' }"),
            "enterprise[0367].integrations.retailcrm.user_extensions.anna: has another form",
            "the CRM's number of a user",
        ),
        (
            enterprise("[enterprise.integrations.mango]\napi_key = 'key'"),
            "enterprise[0367].integrations.mango.products[1].api_salt: is absent",
            "1 to 1024",
        ),
    ],
)
def test_each_wrong_value_is_named(text: str, place: str, allowed: str) -> None:
    problem = one(text)
    assert problem.startswith(place)
    assert allowed in problem.partition("; allowed: ")[2]


def test_all_problems_are_told_at_once() -> None:
    text = "[[enterprise]]\nnumber = '0367'\nregion = 'XX'\n[[enterprise.pbx]]\nname = 'a b'\n"
    assert [problem.split(":")[0] for problem in problems(text)] == [
        "enterprise[0367].region",
        "enterprise[0367].pbx[1].name",
        "enterprise[0367].pbx[1].ami",
    ]


def test_unknown_key_and_what_was_meant() -> None:
    assert one(enterprise("fallbak = '150'")).endswith("there is no such key; did you mean fallback?")
    assert "allowed: number, name, region" in one(enterprise("xyz = 1"))
    assert one("enterprises = []") == "enterprises: there is no such key; did you mean enterprise?"
    assert "integrations.bitrix: there is no such key" in one(enterprise("[enterprise.integrations.bitrix]"))


def test_secret_is_never_told() -> None:
    for text in (
        enterprise("secret = ['hunter2']"),
        enterprise("secret = { env = 'A', hunter2 = 1 }").replace("hunter2 = 1", "value = 'hunter2'"),
        enterprise('secret = "hunter2\\nhunter2"'),
    ):
        assert "hunter2" not in one(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "[enterprise]\nnumber = '0367'\nsecret = 'hunter2'",
            "enterprise: is not a list; found a table of number, secret",
        ),
        (
            enterprise("[enterprise.pbx]\nname = 'office'\nami = { secret = 'hunter2' }"),
            "pbx: is not a list; found a table of name, ami",
        ),
        (enterprise("integrations = ['hunter2']"), "integrations: is not a table; found a list of 1"),
        (
            enterprise("[[enterprise.name]]\nsecret = 'hunter2'"),
            "name: is wrong: expected str, got array; found a list",
        ),
    ],
)
def test_what_stands_in_the_wrong_shape_is_told_without_what_is_in_it(text: str, found: str) -> None:
    assert found in one(text)
    assert "hunter2" not in one(text)


def test_secrets_from_the_environment_and_from_files(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-file\n", encoding="utf-8")
    text = enterprise(
        "secret = { env = 'JUNE_SECRET' }\n[enterprise.integrations.retailcrm]\napi_key = { file = 'key' }"
    )
    (declared,) = parse(text, {"JUNE_SECRET": "from-env"}, tmp_path).enterprise
    assert declared.secret == "from-env"
    assert declared.integrations
    assert declared.integrations.retailcrm
    assert declared.integrations.retailcrm.api_key == "from-file"


def test_secret_that_is_not_where_it_should_be(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    for source, words in (
        ("{ env = 'NOWHERE' }", "the environment variable NOWHERE is not set"),
        ("{ file = 'absent' }", "the file absent cannot be read: No such file or directory"),
        ("{ file = 'empty' }", "the file empty is empty"),
        ("{ env = 'A', file = 'b' }", "is a table of env, file"),
        ("{ vault = 'x' }", "is a table of vault"),
    ):
        (problem,) = problems(enterprise(f"secret = {source}"), {}, tmp_path)
        assert problem.startswith(f"enterprise[0367].secret: {words}"), problem


def test_single_mango_product_may_be_written_flat() -> None:
    text = enterprise("[enterprise.integrations.mango]\napi_key = 'k'\napi_salt = 's'\napi_id = '17'")
    (declared,) = parse(text, {}, Path()).enterprise
    assert declared.integrations
    assert declared.integrations.mango
    assert declared.integrations.mango.products
    assert [(product.api_key, product.api_id) for product in declared.integrations.mango.products] == [("k", "17")]
    both = text + "products = [{ api_key = 'k', api_salt = 's' }]\n"
    assert "api_id, api_key, api_salt beside products" in one(both)


def test_file_that_is_no_toml_or_not_there(tmp_path: Path) -> None:
    assert one("= =").startswith("not TOML: ")
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b"# \xff")
    for path, words in (
        (tmp_path / "absent.toml", "cannot be read"),
        (latin, "is not UTF-8"),
        (tmp_path, "cannot be read"),
    ):
        with pytest.raises(WrongFile, match=words):
            read(path, {})


# --- what is wrong only together ----------------------------------------------------------------------------------


def together(text: str) -> list[str]:
    return list(rules.of_file(parse(text, {}, Path())))


def test_entries_that_are_there_twice() -> None:
    assert together("[[enterprise]]\nnumber = '1'\n[[enterprise]]\nnumber = '1'\n") == [
        "enterprise[1].number: is there 2 times; allowed: once"
    ]
    second = '  [[enterprise.pbx]]\n  name = "office"\n  ami = { host = "b", username = "bridge", secret = "s" }\n'
    assert together(MINIMAL + second) == ["enterprise[0367].pbx[office].name: is there 2 times; allowed: once"]


def test_one_email_in_two_enterprises() -> None:
    user = "[[enterprise.user]]\nemail = '{}'\n"
    text = "".join(
        f"[[enterprise]]\nnumber = '{number}'\n{user.format(email)}"
        for number, email in (("1", "anna@june.example"), ("2", "Anna@June.example"))
    )
    assert together(text) == [
        "user[anna@june.example].email: is there twice (enterprise[1], enterprise[2]); allowed: once in the whole file"
    ]


def test_extension_of_two_users() -> None:
    users = "".join(
        f"[[enterprise.user]]\nemail = '{name}@june.example'\nextensions = ['150']\n" for name in ("a", "b")
    )
    assert together(enterprise(users)) == [
        "enterprise[0367].user[b@june.example].extensions: 150 is also a@june.example's; allowed: one user each"
    ]


def test_extension_of_two_crm_users() -> None:
    text = enterprise("[enterprise.integrations.retailcrm]\nuser_extensions = { '19' = '150', '18' = '150' }")
    assert together(text) == [
        "enterprise[0367].integrations.retailcrm.user_extensions.18: 150 is also user 19's; allowed: one CRM user each"
    ]
