"""The log: where lines go, and what must never be in them."""

from __future__ import annotations

import io
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from bridge import logs
from bridge.errors import SettingsError
from bridge.settings import Settings


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Both logging systems are the process's: put them back as they were."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_lines_from_both_logging_systems() -> None:
    stream = io.StringIO()
    logs.configure(Settings(), stream)
    structlog.get_logger("bridge.ami").info("pbx_up", pbx="office", at=1.5)
    logging.getLogger("asyncpg").warning("slow query")
    first, second = lines(stream)
    assert (first["event"], first["pbx"], first["level"], first["logger"]) == ("pbx_up", "office", "info", "bridge.ami")
    assert (second["event"], second["level"], second["logger"]) == ("slow query", "warning", "asyncpg")
    assert first["timestamp"].endswith("Z")


def test_readable_lines_on_a_terminal() -> None:
    stream = Terminal()
    logs.configure(Settings(), stream)
    structlog.get_logger("bridge").warning("pbx_down", pbx="office", ami_secret="hunter2")
    text = stream.getvalue()
    assert "pbx_down" in text
    assert not text.startswith("{")
    assert "hunter2" not in text


def test_combined_and_error_files_survive_rotation(tmp_path: Path) -> None:
    logs.configure(Settings(log_dir=tmp_path / "logs"), io.StringIO())
    log = structlog.get_logger("bridge")
    log.info("one")
    (tmp_path / "logs/combined.log").rename(tmp_path / "logs/combined.log.1")
    log.error("two")
    rotated = (tmp_path / "logs/combined.log.1").read_text().splitlines()
    combined = (tmp_path / "logs/combined.log").read_text().splitlines()
    errors = (tmp_path / "logs/error.log").read_text().splitlines()
    assert [json.loads(line)["event"] for line in rotated] == ["one"]
    assert [json.loads(line)["event"] for line in combined] == ["two"]
    assert [json.loads(line)["event"] for line in errors] == ["two"]


def test_both_files_are_there_from_the_start(tmp_path: Path) -> None:
    logs.configure(Settings(log_dir=tmp_path / "deep" / "logs"), io.StringIO())
    assert sorted(path.name for path in (tmp_path / "deep" / "logs").iterdir()) == ["combined.log", "error.log"]


def test_log_directory_that_cannot_be_made_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file in the way")
    with pytest.raises(SettingsError, match=r"BRIDGE_LOG_DIR: .*cannot be written: Not a directory; allowed"):
        logs.configure(Settings(log_dir=tmp_path / "taken" / "logs"), io.StringIO())


def test_log_directory_that_vanishes_costs_only_its_lines(tmp_path: Path) -> None:
    stream = io.StringIO()
    logs.configure(Settings(log_dir=tmp_path / "logs"), stream)
    shutil.rmtree(tmp_path / "logs")
    log = structlog.get_logger("bridge")
    for _ in range(3):
        log.info("still_here")
    text = stream.getvalue()
    assert text.count("still_here") == 3
    assert text.count("combined.log cannot be written: ") == 1


def test_test_mode_marks_every_line() -> None:
    stream = io.StringIO()
    logs.configure(Settings(test_mode=True), stream)
    structlog.get_logger("bridge").info("call_ended")
    logging.getLogger("uvicorn").warning("started")
    assert [line["event"] for line in lines(stream)] == ["[TEST MODE] call_ended", "[TEST MODE] started"]


def test_level_of_the_setting() -> None:
    stream = io.StringIO()
    logs.configure(Settings(log_level="warning"), stream)
    structlog.get_logger("bridge").info("quiet")
    structlog.get_logger("bridge").warning("loud")
    assert [line["event"] for line in lines(stream)] == ["loud"]


def test_secrets_are_hidden_wherever_they_stand() -> None:
    stream = io.StringIO()
    logs.configure(Settings(), stream)
    structlog.get_logger("bridge").info(
        "crm_request",
        api_key="hunter2",
        headers={"X-API-KEY": "hunter2", "Authorization": "Bearer hunter2", "Accept": "json"},
        products=[{"api_salt": "hunter2", "api_id": "17"}],
        url="https://june.retailcrm.ru/api/credentials?apiKey=hunter2&limit=20",
        database="postgresql://bridge:hunter2@db:5432/bridge",
        call_id="1758798777.27",
    )
    logging.getLogger("library").warning("GET /retailcrm/make-call?clientId=hunter2&code=150 token: hunter2")
    assert "hunter2" not in stream.getvalue()
    first, second = lines(stream)
    assert first["headers"]["Accept"] == "json"
    assert first["products"] == [{"api_salt": "***", "api_id": "17"}]
    assert first["url"].endswith("?apiKey=***&limit=20")
    assert first["database"] == "postgresql://***@db:5432/bridge"
    assert first["call_id"] == "1758798777.27"
    assert "code=150" in second["event"]


def test_secret_in_a_traceback_is_hidden_too() -> None:
    stream = io.StringIO()
    logs.configure(Settings(), stream)
    try:
        raise RuntimeError("cannot connect to postgresql://bridge:hunter2@db/bridge")
    except RuntimeError:
        structlog.get_logger("bridge").exception("database_down")
    assert "RuntimeError" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()


def test_what_json_does_not_know_is_shown_as_text() -> None:
    stream = io.StringIO()
    logs.configure(Settings(), stream)
    structlog.get_logger("bridge").info("odd", thing=object, when={1, 2})
    assert lines(stream)[0]["event"] == "odd"
