"""What an error is on the command line: one line on stderr, and a documented exit code."""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from ambry.cli.output import printable
from ambry.cli.wording import in_options
from ambry.errors import (
    AccountNotFound,
    AmbryError,
    BlobGone,
    BlobNotFound,
    ChecksumMismatch,
    ConfigInvalid,
    ContainerNotFound,
    DataCorrupt,
    InvalidRequest,
    UploadGone,
    UploadNotFound,
)

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_NOT_FOUND = 3
EXIT_GONE = 4
EXIT_UNAVAILABLE = 5
EXIT_CHECKSUM = 6
EXIT_INTERRUPTED = 130


def describe(error: Exception) -> str:
    """One line: what happened, what to do next, and the request id."""
    if isinstance(error, AmbryError):
        text = in_options(error.message) or type(error).__name__
        notes = [f"request {error.request_id}"] if error.request_id else []
        if error.attempts > 1:
            notes.append(f"{error.attempts} attempts")
        if error.retry_after_s:
            notes.append(f"try again in {error.retry_after_s:g} s")
        text += f" ({', '.join(notes)})" if notes else ""
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    else:
        text = str(error) or type(error).__name__
    return " ".join(text.split())


def exit_code(error: Exception) -> int:
    """The documented exit code of an error."""
    if isinstance(error, BlobGone | UploadGone):
        return EXIT_GONE
    if isinstance(error, BlobNotFound | UploadNotFound | AccountNotFound | ContainerNotFound):
        return EXIT_NOT_FOUND
    if isinstance(error, ChecksumMismatch | DataCorrupt):
        return EXIT_CHECKSUM
    if isinstance(error, AmbryError) and error.retriable:
        return EXIT_UNAVAILABLE
    if isinstance(error, InvalidRequest | ConfigInvalid) and error.status in (400, 416):
        return EXIT_USAGE
    return EXIT_FAILURE


def report(error: Exception, subject: str = "") -> int:
    """Print an error on stderr, with what it is about if that is not empty and not said already; its exit code."""
    text, about = describe(error), f"{printable(subject)}: "
    click.echo(f"ambry: {about if subject and not text.startswith(about) else ''}{text}", err=True)
    return exit_code(error)


def fail(error: Exception) -> NoReturn:
    sys.exit(report(error))


def report_one(error: Exception, subject: str, code: int) -> int:
    """Report the failure of one of several, named `subject` if that is not empty; the first one's exit code counts."""
    found = report(error, subject)
    return code or found
