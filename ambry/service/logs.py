"""Structured logs on standard error: JSON lines, or coloured text when a person is watching.

One line per event: the event in lower case, then pairs. Ids whole, never blob content, never a secret.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TextIO, cast

import msgspec

from ambry.errors import ConfigInvalid
from ambry.service.log_file import LogFile

_loaded = "rich" in sys.modules
if not _loaded:
    # structlog's tools for people load it where they find it: 4 MB and 0.07 s of every server, for tracebacks that none shows.
    sys.modules["rich"] = cast(Any, None)
import structlog  # noqa: E402

if not _loaded:
    del sys.modules["rich"]

Level = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "text"]
Logger = structlog.typing.FilteringBoundLogger


HELD_S = 0.1
HELD_BYTES_MAX = 32 << 10
"""How long lines of `Bulk` may wait, and how many of them."""

_file: LogFile | None = None
"""What the standard output and error of this process go to, since `configure`."""


_encode_line = msgspec.json.Encoder().encode


class Bulk:
    """Lines of which there may be thousands a second: cheap to make, and written many at a time.

    What a process that is killed had not written of them, those of the last HELD_S or of its last turn, is lost; all others
    stand in their order.
    """

    def __init__(self, sink: _Sink, bound: Mapping[str, Any], event: str) -> None:
        self._sink = sink
        self._start = _encode_line({**bound, "event": event, "level": "info"})[:-1] + b","

    def info(self, pairs: dict[str, Any], *, this_turn: bool = False) -> None:
        """One line, at level info; with all that waits before this turn of the event loop ends, or soon. `pairs` is taken over.

        None of them may have a name that stands in every line.
        """
        pairs["timestamp"] = datetime.now(UTC)
        self._sink.hold(self._start + _encode_line(pairs)[1:] + b"\n", this_turn=this_turn)


_debugs = False


def debugs() -> bool:
    """Whether lines of level debug are wanted: to be asked where there would be thousands a second."""
    return _debugs


_bulk: tuple[_Sink, dict[str, Any]] | None = None
"""Where lines go and what stands in all of them; None where they are no JSON or not wanted."""


def bulk(event: str) -> Bulk | None:
    """For lines of an event that is frequent; None where lines of level info are not wanted, or are not JSON."""
    return None if _bulk is None else Bulk(*_bulk, event)


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
    global _file, _bulk, _debugs
    if file is not None:
        file.open()
    _file = file
    out = stream or sys.stderr
    sink = _Sink(out, file)
    atexit.register(sink.write_held)
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
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, sink)),
        cache_logger_on_first_use=True,
    )
    _debugs = level.lower() == "debug"
    _bulk = None if text or level.lower() not in ("debug", "info") else (sink, bound)
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
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._ends_turn = False
        self.lost = 0

    def hold(self, line: bytes, *, this_turn: bool) -> None:
        """Write a line with the next that is written, or when there are many, or at the end of this turn or HELD_S later."""
        if this_turn:
            if not self._ends_turn:
                self._ends_turn = True
                asyncio.get_running_loop().call_soon(self._end_turn)
        elif not self._held:
            asyncio.get_running_loop().call_later(HELD_S, self.write_held)
        self._held.append(line)
        self._held_bytes += len(line)
        if self._held_bytes > HELD_BYTES_MAX:
            self.write_held()

    def _end_turn(self) -> None:
        self._ends_turn = False
        self.write_held()

    def write_held(self) -> None:
        if self._held:
            self.write("")
            self.flush()

    def write(self, text: str) -> int:
        if self._held:
            held, self._held, self._held_bytes = self._held, [], 0
            text = f"{b''.join(held).decode()}{text}"
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
