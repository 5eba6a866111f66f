"""Events of a service that a client runs: one a line, whoever reads it."""

from __future__ import annotations

import io
import json
import logging

import pytest

from ambry.cli.service_log import log_to


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError("no space left")


def log_of(stream: io.StringIO, request: pytest.FixtureRequest, level: int = logging.INFO) -> logging.Logger:
    name = f"ambry-{request.node.name}"
    log_to(stream, name, level)
    return logging.getLogger(f"{name}.below")


def test_an_event_is_a_line_of_json(request: pytest.FixtureRequest) -> None:
    stream = io.StringIO()
    log_of(stream, request).info("followed", extra={"place": "fraud@champion", "version": "1.1.0"})
    said = json.loads(stream.getvalue())
    assert said.pop("timestamp").endswith("Z")
    assert said == {"event": "followed", "level": "info", "place": "fraud@champion", "version": "1.1.0"}


def test_people_read_text_and_no_control_characters(request: pytest.FixtureRequest) -> None:
    stream = Terminal()
    log_of(stream, request).warning("failed", extra={"error": "torn\x1b[2J"})
    assert " [warning] failed error=torn" in stream.getvalue() and "\x1b" not in stream.getvalue()


def test_whoever_wants_quiet_hears_warnings_and_a_full_disk_stops_nothing(request: pytest.FixtureRequest) -> None:
    stream = io.StringIO()
    log_of(stream, request, logging.WARNING).info("followed")
    assert stream.getvalue() == ""
    log_of(Full(), request).warning("failed")


def test_an_error_is_told_in_the_words_of_the_command_line() -> None:
    """The log of `ambry serve` said trust=True, which is --trust there."""
    stream = io.StringIO()
    log_to(stream, "ambry.words", logging.INFO)
    logging.getLogger("ambry.words").warning("failed", extra={"error": "it runs code; say trust=True if you trust it"})
    assert json.loads(stream.getvalue())["error"] == "it runs code; say --trust if you trust it"
