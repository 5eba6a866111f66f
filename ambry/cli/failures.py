"""What an error is on the command line: one line on stderr, and a documented exit code."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from contextvars import ContextVar
from itertools import pairwise, takewhile
from typing import Any, NoReturn

import click
from click import ClickException

from ambry.cli.output import complain, printable
from ambry.cli.wording import in_options
from ambry.errors import (
    AccessDenied,
    AccountNotFound,
    AmbryError,
    BlobGone,
    BlobNotFound,
    ChecksumMismatch,
    ConfigInvalid,
    ContainerNotFound,
    DataCorrupt,
    InvalidRequest,
    KeyNotFound,
    RetentionLocked,
    Unauthenticated,
    UploadGone,
    UploadNotFound,
)
from ambry.ml.held_back import HeldBack
from ambry.os_errors import text_of
from ambry.shown_urls import shown_place, shown_sentence

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_NOT_FOUND = 3
EXIT_GONE = 4
EXIT_UNAVAILABLE = 5
EXIT_CHECKSUM = 6
EXIT_DENIED = 7
EXIT_HELD_BACK = 8
EXIT_INCOMPLETE = 9
EXIT_INTERRUPTED = 130
EXIT_CODES = {
    0: "ok",
    EXIT_FAILURE: "failure",
    EXIT_USAGE: "usage",
    EXIT_NOT_FOUND: "not found",
    EXIT_GONE: "gone (deleted or expired)",
    EXIT_UNAVAILABLE: "unavailable (try again)",
    EXIT_CHECKSUM: "checksum mismatch",
    EXIT_DENIED: "not allowed (no key, or none that may)",
    EXIT_HELD_BACK: "held back (a check speaks against it)",
    EXIT_INCOMPLETE: "not everything was checked (a library is not installed)",
    EXIT_INTERRUPTED: "interrupted",
}
"""All of them, and what each means. Of several failures in one command the first one's counts."""


def describe(error: Exception) -> str:
    """One line: what happened, what to do next, and the request id; nothing that opens a URL which somebody gave."""
    if isinstance(error, AmbryError):
        text = in_options(error.message) or type(error).__name__
        notes = [f"request {error.request_id}"] if error.request_id else []
        if error.attempts > 1:
            notes.append(f"{error.attempts} attempts")
        if error.retry_after_s:
            notes.append(f"try again in {error.retry_after_s:g} s")
        text += f" ({', '.join(notes)})" if notes else ""
    else:
        text = text_of(error)
    return printable(shown_sentence(" ".join("; ".join((text, *notes_of(error))).split())))


def notes_of(error: BaseException) -> list[str]:
    """What was added to an error on its way, as what a download left."""
    return [in_options(note) for note in getattr(error, "__notes__", ())]


def tell_notes(error: BaseException) -> None:
    """Of an interruption: what it left. An error is told with its notes."""
    for note in notes_of(error):
        click.echo(f"ambry: {printable(note)}", err=True)


def exit_code(error: Exception) -> int:
    """The documented exit code of an error."""
    if isinstance(error, BlobGone | UploadGone):
        return EXIT_GONE
    if isinstance(error, BlobNotFound | UploadNotFound | AccountNotFound | ContainerNotFound | KeyNotFound):
        return EXIT_NOT_FOUND
    if isinstance(error, ChecksumMismatch | DataCorrupt):
        return EXIT_CHECKSUM
    if isinstance(error, Unauthenticated | AccessDenied) and not isinstance(error, RetentionLocked):
        return EXIT_DENIED
    if isinstance(error, AmbryError) and error.retriable:
        return EXIT_UNAVAILABLE
    if isinstance(error, HeldBack):
        return EXIT_HELD_BACK
    if isinstance(error, InvalidRequest | ConfigInvalid) and error.status in (400, 416):
        return EXIT_USAGE
    return EXIT_FAILURE


_in_json: ContextVar[bool] = ContextVar("ambry_errors_in_json", default=False)


def speak_json(args: Sequence[str]) -> None:
    """Whether errors of a command are lines of JSON: where it was asked for JSON, also if nobody could understand the rest."""
    said = list(takewhile(lambda arg: arg != "--", args))
    _in_json.set("--json" in said or "--output=json" in said or ("--output", "json") in pairwise(said))


def report_usage(error: ClickException) -> int:
    """Print what click refused, without what opens a URL that stood there; its exit code."""
    if _in_json.get():
        message = shown_sentence(error.format_message())
        told = {"error": type(error).__name__, "message": message, "exit_code": error.exit_code}
        click.echo(json.dumps(told), err=True)
    else:
        error.show(shown := io.StringIO())
        click.echo(shown_sentence(shown.getvalue()), err=True, nl=False)
    return error.exit_code


def as_fields(error: Exception, subject: str = "") -> dict[str, Any]:
    """An error as JSON has it."""
    told: dict[str, Any] = {"error": type(error).__name__, "message": describe(error), "exit_code": exit_code(error)}
    if subject:
        told["subject"] = shown_place(subject)
    if isinstance(error, AmbryError):
        told["message"] = shown_sentence(in_options(error.message)) or type(error).__name__
        told |= {"status": error.status, "retryable": error.retriable}
        more = {
            "request_id": error.request_id,
            "endpoint": error.endpoint,
            "attempts": error.attempts,
            "retry_after_s": error.retry_after_s,
        }
        told |= {name: value for name, value in more.items() if value}
    return told


def report(error: Exception, subject: str = "") -> int:
    """Print an error on stderr, with what it is about if that is not empty and not said already; its exit code."""
    if _in_json.get():
        complain(json.dumps(as_fields(error, subject)))
        return exit_code(error)
    text, about = describe(error), f"{printable(shown_place(subject))}: "
    complain(f"ambry: {about if subject and not text.startswith(about) else ''}{text}")
    return exit_code(error)


def fail(error: Exception) -> NoReturn:
    sys.exit(report(error))


def report_one(error: Exception, subject: str, code: int) -> int:
    """Report the failure of one of several, named `subject` if that is not empty; the first one's exit code counts."""
    found = report(error, subject)
    return code or found


def report_left_out(path: str, why: str, code: int, *, failed: bool = True) -> int:
    """Tell what is not copied, or not compared, of all that is there; one that `failed` counts as a failure."""
    found = report(OSError(why), path)
    return (code or found) if failed else code
