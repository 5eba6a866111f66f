"""Structured logs on standard error: JSON lines, or coloured text when a person is watching.

One line per event: the event in lower case, then pairs. Ids whole, never blob content, never a secret.
"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TextIO, cast

import msgspec
import structlog

from ambry.errors import ConfigInvalid
from ambry.service.log_file import LogFile

Level = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "text"]
Logger = structlog.typing.FilteringBoundLogger


_file: LogFile | None = None
"""What the standard output and error of this process go to, since `configure`."""


class LogSection(msgspec.Struct, frozen=True):
    """The [log] section of a server's configuration."""

    level: Level = "info"
    format: LogFormat = "auto"
    file: str = ""
    file_bytes_max: int = 64 << 20
    files_kept: int = 4


def configure_from(section: LogSection, **bound: Any) -> None:
    """As `configure`, by the configuration of a server. Raises ConfigInvalid when the file cannot be used."""
    file: LogFile | None = None
    if section.file:
        if section.file_bytes_max < 1 << 16 or section.files_kept < 1:
            raise ConfigInvalid("log.file_bytes_max must be at least 65536, log.files_kept at least 1")
        file = LogFile(Path(section.file), max_bytes=section.file_bytes_max, keep=section.files_kept)
    try:
        configure(level=section.level, format=section.format, file=file, **bound)
    except OSError as cause:
        raise ConfigInvalid(f"log.file: cannot write {section.file}: {cause.strerror}") from cause


def configure(
    *,
    level: str = "info",
    format: LogFormat = "auto",
    stream: TextIO | None = None,
    file: LogFile | None = None,
    **bound: Any,
) -> None:
    """Set up logging for this process; `bound` pairs (the process's name, its datacenter) stand in every line.

    With `file` standard output and error go there from now on. Raises OSError when it cannot be opened.
    """
    global _file
    if file is not None:
        file.open()
    _file = file
    out = stream or sys.stderr
    text = format == "text" or (format == "auto" and out.isatty())
    renderer: Any
    if text:
        renderer = structlog.dev.ConsoleRenderer(colors=out.isatty())
    else:
        renderer = structlog.processors.JSONRenderer(serializer=_encode)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, _Sink(out, file))),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**bound)
    # Libraries log the standard way: their lines become events of ours, or a log would not be one event per line.
    logging.basicConfig(handlers=[_Bridge()], level=logging.WARNING, force=True)


class _Sink:
    """Where lines go. A log that cannot be written, on a full disk say, must never stop the work that it tells of."""

    def __init__(self, stream: TextIO, file: LogFile | None) -> None:
        self._stream = stream
        self._file = file
        self._written = 0
        self.lost = 0

    def write(self, text: str) -> int:
        try:
            self._written += len(text)
            return self._stream.write(text)
        except (OSError, ValueError):
            self.lost += 1
            return 0

    def flush(self) -> None:
        """Called behind every line."""
        try:
            self._stream.flush()
            if self._file is not None:
                written, self._written = self._written, 0
                self._file.wrote(written)
        except (OSError, ValueError):
            self.lost += 1


class _Bridge(logging.Handler):
    """What aiohttp and asyncio log, as structured events.

    aiohttp logs a traceback for every connection that broke and every request that was no HTTP: the one is our own doing
    and has its line already (frontend/http/access_log.py), the other is the client's.
    """

    def emit(self, record: logging.LogRecord) -> None:
        log = get_logger(library=record.name)
        message = record.getMessage()
        cause = record.exc_info[1] if record.exc_info else None
        if isinstance(cause, ConnectionError):
            log.debug("connection broke", message=message, error=f"{type(cause).__name__}: {cause}")
        elif cause is not None and 400 <= getattr(cause, "code", 0) < 500:
            log.info("malformed request", message=message, error=f"{type(cause).__name__}: {cause}")
        else:
            write = log.error if record.levelno >= logging.ERROR else log.warning
            write("library message", message=message, exc_info=record.exc_info)


def tell(line: str) -> None:
    """A last word before the process ends: on standard error, and to whoever started it where that is a log file by now."""
    print(line, file=sys.stderr, flush=True)
    if _file is not None:
        with suppress(OSError):
            _file.tell(line)


def get_logger(**bound: Any) -> Logger:
    """A logger whose lines all carry `bound`."""
    return structlog.get_logger(**bound)  # type: ignore[no-any-return]


def _encode(value: Any, default: Any = None, **_: Any) -> str:
    return msgspec.json.encode(value, enc_hook=default or str).decode()
