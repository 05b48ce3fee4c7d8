"""The secret key that is made when none is given."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bridge.errors import SettingsError
from bridge.settings import Settings
from bridge.settings.keys import secret_keys


def test_keys_of_the_setting_are_taken_as_they_are(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", secret_key=("n" * 32, "o" * 32))
    assert secret_keys(settings) == ("n" * 32, "o" * 32)
    assert not (tmp_path / "data").exists()


def test_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    (key,) = secret_keys(settings)
    assert len(key) == 64
    assert secret_keys(settings) == (key,)
    assert stat.S_IMODE((tmp_path / "data/secret.key").stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["secret.key"]


def test_instances_that_start_together_agree(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    with ThreadPoolExecutor(16) as pool:
        keys = set(pool.map(lambda _: secret_keys(settings), range(64)))
    assert len(keys) == 1


def test_damaged_key_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "secret.key").write_text("short")
    with pytest.raises(SettingsError, match=r"BRIDGE_SECRET_KEY.*secret\.key holds 5 characters"):
        secret_keys(Settings(data_dir=tmp_path))
    assert (tmp_path / "secret.key").read_text() == "short"


def test_data_directory_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file in the way")
    with pytest.raises(SettingsError, match=r"BRIDGE_SECRET_KEY: is absent, and .*secret\.key cannot be used"):
        secret_keys(Settings(data_dir=tmp_path / "data"))
