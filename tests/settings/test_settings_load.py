"""Settings: where they come from, what they become, and how a wrong one is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bridge.errors import SettingsError
from bridge.settings import ALL_ROLES, Address, Settings
from bridge.settings.declaration import declarations
from bridge.settings.example import example

HOME = {"HOME": "/home/anna"}


def problems(env: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        Settings.load({**HOME, **env})
    found: list[str] = caught.value.details["problems"]
    assert caught.value.message == "\n".join(found)
    return found


def test_without_anything_everything_has_a_default() -> None:
    settings = Settings.load(HOME)
    assert settings.database_url is None
    assert settings.data_dir == Path("/home/anna/.local/share/asterisk-bridge")
    assert (settings.http, settings.agi) == (Address("127.0.0.1", 8000), Address("127.0.0.1", 4573))
    assert (settings.roles, settings.test_mode, settings.crm_hosts) == (ALL_ROLES, False, ())


def test_data_is_kept_where_xdg_says() -> None:
    assert Settings.load({**HOME, "XDG_DATA_HOME": "/srv/share"}).data_dir == Path("/srv/share/asterisk-bridge")
    assert Settings.load({**HOME, "BRIDGE_DATA_DIR": "~/bridge"}).data_dir == Path("/home/anna/bridge")


def test_values_have_their_types() -> None:
    settings = Settings.load(
        {
            **HOME,
            "BRIDGE_HTTP": "[::1]:0",
            "BRIDGE_ROLES": "pbx, worker",
            "BRIDGE_CRM_HOSTS": "crm.local,127.0.0.1",
            "BRIDGE_SECRET_KEY": f"{'n' * 32},{'o' * 40}",
            "BRIDGE_ROUTE_DEADLINE_MS": "500",
            "BRIDGE_LOG_DIR": "/var/log/bridge",
            "TEST_MODE": "true",
        }
    )
    assert settings.http == Address("::1", 0)
    assert settings.roles == ("pbx", "worker")
    assert settings.crm_hosts == ("crm.local", "127.0.0.1")
    assert settings.secret_key == ("n" * 32, "o" * 40)
    assert settings.route_deadline_ms == 500
    assert settings.log_dir == Path("/var/log/bridge")
    assert settings.test_mode is True


@pytest.mark.parametrize("value", ["1", "true", "True", "0", "false"])
def test_truth_in_words(value: str) -> None:
    assert Settings.load({**HOME, "TEST_MODE": value}).test_mode is (value.lower() in ("1", "true"))


@pytest.mark.parametrize(
    ("legacy", "value", "field", "expected"),
    [
        ("DATABASE_URL", "postgresql://u:p@db/bridge", "database_url", "postgresql://u:p@db/bridge"),
        ("JWT_SECRET", "j" * 32, "secret_key", ("j" * 32,)),
        ("PORT", "5003", "http", Address("127.0.0.1", 5003)),
        ("CORS_ORIGIN", "http://localhost:3000", "cors_origins", ("http://localhost:3000",)),
        ("MANGO_API_URL", "https://app.mango-office.ru/vpbx", "mango_api_url", "https://app.mango-office.ru/vpbx"),
        ("MANGO_WEBHOOK_URL", "/hook", "mango_webhook_url", "/hook"),
        ("AMOCRM_DOMAIN", "june.amocrm.ru", "amocrm_domain", "june.amocrm.ru"),
        ("REALTIME_SERVICE_URL", "http://realtime:5009", "realtime_service_url", "http://realtime:5009"),
        ("WEBHOOK_TOKEN", "token", "webhook_token", "token"),
    ],
)
def test_names_of_the_source_documents(legacy: str, value: str, field: str, expected: Any) -> None:
    assert getattr(Settings.load({**HOME, legacy: value}), field) == expected


def test_both_spellings_of_mangos_credentials() -> None:
    for prefix in ("MANGO", "MANGO_OFFICE"):
        settings = Settings.load({**HOME, f"{prefix}_API_KEY": "key", f"{prefix}_API_SALT": "salt"})
        assert (settings.mango_api_key, settings.mango_api_salt) == ("key", "salt")


def test_our_name_wins_over_the_old_one_and_empty_counts_as_absent() -> None:
    env = {**HOME, "PORT": "5003", "BRIDGE_HTTP": "0.0.0.0:9000"}
    assert Settings.load(env).http == Address("0.0.0.0", 9000)  # noqa: S104
    assert Settings.load({**env, "BRIDGE_HTTP": ""}).http == Address("127.0.0.1", 5003)


def test_environment_then_file_of_a_secret_then_toml(tmp_path: Path) -> None:
    toml = tmp_path / "bridge.toml"
    toml.write_text(
        'BRIDGE_HTTP = "127.0.0.1:1"\nBRIDGE_AGI = "127.0.0.1:2"\nBRIDGE_CRM_HOSTS = ["a.local", "b.local"]\n'
        "BRIDGE_ROUTE_DEADLINE_MS = 300\nTEST_MODE = true\n",
    )
    secret = tmp_path / "key"
    secret.write_text("k" * 32 + "\n")
    env = {**HOME, "BRIDGE_CONFIG": str(toml), "BRIDGE_AGI": "127.0.0.1:3", "BRIDGE_SECRET_KEY_FILE": str(secret)}
    settings = Settings.load(env)
    assert (settings.http.port, settings.agi.port) == (1, 3)
    assert settings.secret_key == ("k" * 32,)
    assert settings.crm_hosts == ("a.local", "b.local")
    assert (settings.route_deadline_ms, settings.test_mode) == (300, True)


def test_options_of_the_command_line_win() -> None:
    assert Settings.load({**HOME, "BRIDGE_ROLES": "nonsense"}, roles=("http",)).roles == ("http",)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BRIDGE_DATABASE_URL", "mysql://u:hunter2hunter2@db/bridge"),
        ("BRIDGE_HTTP", "8000"),
        ("BRIDGE_HTTP", "127.0.0.1:http"),
        ("BRIDGE_AGI", "127.0.0.1:65536"),
        ("BRIDGE_PUBLIC_URL", "bridge.example.com"),
        ("BRIDGE_PUBLIC_URL", "ftp://bridge.example.com"),
        ("BRIDGE_SECRET_KEY", "your-secret"),
        ("BRIDGE_SECRET_KEY", "k" * 32 + ",short"),
        ("BRIDGE_ROLES", "pbx,phone"),
        ("BRIDGE_CRM_HOSTS", "http://crm.local"),
        ("BRIDGE_CRM_HOSTS", "crm.local:8080"),
        ("BRIDGE_CRM_HOSTS", "*.crm.local"),
        ("BRIDGE_CORS_ORIGINS", "https://crm.example.com/page"),
        ("BRIDGE_ROUTE_DEADLINE_MS", "0"),
        ("BRIDGE_ROUTE_DEADLINE_MS", "fast"),
        ("BRIDGE_LOG_LEVEL", "loud"),
        ("TEST_MODE", "maybe"),
        ("PORT", "tcp://10.0.0.1:80"),
        ("S3_ENDPOINT", "s3.example.com"),
        ("AMOCRM_DOMAIN", "https://june.amocrm.ru"),
        ("BRIDGE_LOG_DIR", "/var\0log"),
    ],
)
def test_wrong_value_is_named_with_what_is_allowed(name: str, value: str) -> None:
    (problem,) = problems({name: value})
    assert problem.startswith(f"{name}: ")
    assert "; found " in problem
    assert "; allowed: " in problem


def test_value_of_a_secret_is_never_told() -> None:
    for name in ("BRIDGE_DATABASE_URL", "BRIDGE_SECRET_KEY", "JWT_SECRET"):
        (problem,) = problems({name: "hunter2"})
        assert "hunter2" not in problem
        assert "found a value of 7 characters" in problem
    found = problems({"BRIDGE_ADMIN_PASSWORD": "hunter2"})
    assert "hunter2" not in "\n".join(found)


def test_all_problems_are_told_at_once() -> None:
    found = problems({"BRIDGE_HTTP": "x", "BRIDGE_LOG_LEVEL": "x", "BRIDGE_ADMIN_EMAIL": "x"})
    assert [problem.split(":")[0] for problem in found] == ["BRIDGE_HTTP", "BRIDGE_ADMIN_EMAIL", "BRIDGE_LOG_LEVEL"]


@pytest.mark.parametrize(
    ("env", "names"),
    [
        ({"BRIDGE_ADMIN_EMAIL": "root@june.example"}, "BRIDGE_ADMIN_PASSWORD"),
        ({"BRIDGE_ADMIN_PASSWORD": "long enough"}, "BRIDGE_ADMIN_EMAIL"),
        ({"S3_BUCKET_NAME": "recordings"}, "S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY"),
        ({"MANGO_API_KEY": "key"}, "MANGO_API_KEY, MANGO_API_SALT"),
        ({"BRIDGE_AGI": "127.0.0.1:8000"}, "BRIDGE_AGI"),
    ],
)
def test_settings_that_need_each_other(env: dict[str, str], names: str) -> None:
    (problem,) = problems(env)
    assert problem.startswith(f"{names}: ")


def test_misspelt_variable_is_a_mistake_and_a_foreign_one_is_not() -> None:
    (problem,) = problems({"BRIDGE_DATBASE_URL": "postgresql://db/bridge"})
    assert problem == "BRIDGE_DATBASE_URL: there is no such setting; did you mean BRIDGE_DATABASE_URL?"
    Settings.load({**HOME, "BRIDGE_SERVICE_HOST": "10.0.0.1", "BRIDGE_PORT": "tcp://10.0.0.1:80"})


def test_unknown_key_of_the_toml_file_is_refused(tmp_path: Path) -> None:
    toml = tmp_path / "bridge.toml"
    toml.write_text('BRIDGE_HTPP = "127.0.0.1:1"\n')
    (problem,) = problems({"BRIDGE_CONFIG": str(toml)})
    assert problem == f"BRIDGE_HTPP (in {toml}): there is no such setting; did you mean BRIDGE_HTTP?"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("= =")
    (unreadable,) = problems({"BRIDGE_CONFIG": str(tmp_path / "absent.toml")})
    (not_toml,) = problems({"BRIDGE_CONFIG": str(broken)})
    (no_secret,) = problems({"BRIDGE_SECRET_KEY_FILE": str(tmp_path / "absent")})
    assert "cannot be read: No such file" in unreadable
    assert "is not TOML" in not_toml
    assert no_secret.startswith("BRIDGE_SECRET_KEY_FILE: ")


def test_secret_given_twice(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k" * 32)
    env = {"BRIDGE_SECRET_KEY": "s" * 32, "BRIDGE_SECRET_KEY_FILE": str(tmp_path / "key")}
    (problem,) = problems(env)
    assert problem == "BRIDGE_SECRET_KEY: is set twice, also by BRIDGE_SECRET_KEY_FILE; allowed: one of them"


def test_example_file_is_in_step_with_the_types() -> None:
    written = Path(__file__).parents[2].joinpath(".env.example").read_text(encoding="utf-8")
    assert written == example(declarations(Settings)), "run: python -m bridge.settings > .env.example"


def test_example_file_names_every_setting_and_its_defaults_are_valid() -> None:
    text = example(declarations(Settings))
    env = dict(line[1:].split("=", 1) for line in text.splitlines() if line.startswith("#") and line[1:2].isupper())
    assert set(env) == {setting.name for setting in declarations(Settings)}
    assert Settings.load({**HOME, **env}) == Settings.load(HOME)
