"""The log: readable lines on a terminal, JSON elsewhere, and combined.log and error.log where BRIDGE_LOG_DIR is set.

structlog and the standard library's loggers (uvicorn, asyncpg) end in the same handlers, so that one redaction holds
for both. The files are reopened when they are moved or removed, as logrotate does; a disk that is full costs lines of
the files, said once a minute on stderr, and nothing else.
"""

from __future__ import annotations

import logging
import logging.handlers
import math
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from bridge.errors import SettingsError
from bridge.settings import LogLevel, Settings

HIDDEN = "***"
_SECRET_KEY = re.compile(
    r"secret|passw|token|api[-_]?key|salt|authorization|cookie|credential|client[-_]?id$|database_url|auth_code",
    re.IGNORECASE,
)
_SECRET_IN_TEXT = re.compile(
    r"(?P<name>\b(?:api[-_]?key|client_?id|secret|password|passwd|token|x-api-key|authorization)\b[\"']?\s*[=:]\s*[\"']?(?:Bearer\s+)?)"
    r"[^\s&\"',;})]+",
    re.IGNORECASE,
)
_USERINFO = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)[^\s/@]+@", re.IGNORECASE)
_CHATTY = ("httpx", "httpcore", "asyncio", "uvicorn.error", "uvicorn.access", "panoramisk", "aioari", "aiohttp.access")


def redact(value: Any, key: str = "") -> Any:
    """`value` without secrets: what stands under a secret's name, in a URL's user part or query, is `***`."""
    if key and _SECRET_KEY.search(key) and value not in (None, "", False, True):
        return HIDDEN
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, Mapping):
        return {name: redact(inner, str(name)) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(inner) for inner in value]
    return value


def redact_text(text: str) -> str:
    return _USERINFO.sub(rf"\g<scheme>{HIDDEN}@", _SECRET_IN_TEXT.sub(rf"\g<name>{HIDDEN}", text))


def configure(settings: Settings, stream: TextIO | None = None) -> None:
    """Set both logging systems up, once per process. `stream` is stderr unless given.

    Raises SettingsError when the files of BRIDGE_LOG_DIR cannot be made."""
    stream = stream or sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    if settings.test_mode:
        shared.append(_test_mode)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    tty = stream.isatty()
    console = logging.StreamHandler(stream)
    console.setFormatter(_formatter(shared, _readable() if tty else _json()))
    handlers: list[logging.Handler] = [console]
    if settings.log_dir is not None:
        for name, level in (("combined.log", logging.NOTSET), ("error.log", logging.ERROR)):
            _make(settings.log_dir / name)
            file = LogFile(settings.log_dir / name, stream)
            file.setLevel(level)
            file.setFormatter(_formatter(shared, _json()))
            handlers.append(file)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(_level(settings.log_level))
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, _level(settings.log_level)))


def _make(path: Path) -> None:
    """At the start a log that cannot be written is a wrong setting; both files are there before there is a line."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
    except OSError as problem:
        raise SettingsError(
            f"BRIDGE_LOG_DIR: {path} cannot be written: {problem.strerror}; allowed: a directory that this user may "
            "write to"
        ) from problem


class LogFile(logging.handlers.WatchedFileHandler):
    """A log file that says once a minute, on the console, that it cannot be written, and gets on with life."""

    def __init__(self, path: Path, console: TextIO) -> None:
        super().__init__(path, encoding="utf-8", delay=True)
        self._console = console
        self._said_at = -math.inf

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)  # opening and reopening raise to whoever logs: only writing is guarded there
        except OSError:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 the standard library's name
        now = time.monotonic()
        if now - self._said_at >= 60.0:
            self._said_at = now
            self._console.write(f"{self.baseFilename} cannot be written: {sys.exc_info()[1]}\n")


def _level(name: LogLevel) -> int:
    return logging.getLevelNamesMapping()[name.upper()]


def _formatter(shared: list[Processor], last: list[Processor]) -> structlog.stdlib.ProcessorFormatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )


def _readable() -> list[Processor]:
    render = structlog.dev.ConsoleRenderer(colors=True, exception_formatter=structlog.dev.plain_traceback)
    return [structlog.processors.format_exc_info, _redact_event, render]


def _json() -> list[Processor]:
    return [structlog.processors.format_exc_info, _redact_event, _render_json]


def _render_json(_: WrappedLogger, __: str, event: EventDict) -> str:
    return msgspec.json.encode(event, enc_hook=repr).decode()


def _redact_event(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {name: redact(value, name) for name, value in event.items()}


def _test_mode(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    event["event"] = f"[TEST MODE] {event.get('event', '')}"
    return event
