"""The `ambry` command: its subcommands, loaded when used, and the one place where errors become exit codes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

import click

from ambry import __version__
from ambry.errors import (
    AmbryError,
    BlobGone,
    BlobNotFound,
    ChecksumMismatch,
    ConfigInvalid,
    DataCorrupt,
    InvalidRequest,
)

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_NOT_FOUND = 3
EXIT_GONE = 4
EXIT_UNAVAILABLE = 5
EXIT_CHECKSUM = 6
EXIT_INTERRUPTED = 130

_COMMANDS: dict[str, tuple[str, str]] = {
    "put": ("ambry.cli.blobs", "put"),
    "get": ("ambry.cli.blobs", "get"),
    "cat": ("ambry.cli.blobs", "cat"),
    "head": ("ambry.cli.blobs", "head"),
    "rm": ("ambry.cli.blobs", "rm"),
    "ttl": ("ambry.cli.blobs", "ttl"),
    "undelete": ("ambry.cli.blobs", "undelete"),
    "cluster": ("ambry.cli.cluster", "cluster"),
    "store": ("ambry.cli.store", "store"),
}
"""Where each subcommand is defined: module, name."""


class LazyGroup(click.Group):
    """A group whose commands are imported on use, and whose errors are one line and a documented exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        try:
            command = getattr(importlib.import_module(module), name)
        except ImportError as cause:
            return _missing(cmd_name, cause)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}.{name} is not a command")
        return command

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any) -> Any:  # type: ignore[override]
        """Run and exit; with standalone_mode=False, run and let errors out, as click does."""
        if not extra.pop("standalone_mode", True):
            return super().main(args=args, prog_name=prog_name, standalone_mode=False, **extra)
        try:
            result = super().main(args=args, prog_name=prog_name, standalone_mode=False, **extra)
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader of our output has seen enough. Closed, it is not flushed again, with a complaint, at exit.
            with suppress(OSError):
                sys.stdout.close()
            sys.exit(EXIT_FAILURE)
        except (click.Abort, KeyboardInterrupt):
            sys.exit(EXIT_INTERRUPTED)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except (AmbryError, OSError) as error:
            fail(error)
        sys.exit(result if isinstance(result, int) else 0)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=(
        "Exit codes: 0 ok, 1 failure, 2 usage, 3 not found, 4 gone (deleted or expired), 5 unavailable (try again), "
        "6 checksum mismatch, 130 interrupted."
    ),
)
@click.version_option(__version__, prog_name="ambry")
def cli() -> None:
    """Store, read and manage immutable blobs.

    The frontends to talk to come from --endpoint, AMBRY_ENDPOINTS or ~/.config/ambry/config.toml, and are
    http://127.0.0.1:17100 otherwise.
    """


def main() -> None:
    """The console script."""
    cli.main(prog_name="ambry")


def describe(error: Exception) -> str:
    """One line: what happened, what to do next, and the request id."""
    if isinstance(error, AmbryError):
        text = error.message or type(error).__name__
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
    if isinstance(error, BlobGone):
        return EXIT_GONE
    if isinstance(error, BlobNotFound):
        return EXIT_NOT_FOUND
    if isinstance(error, ChecksumMismatch | DataCorrupt):
        return EXIT_CHECKSUM
    if isinstance(error, AmbryError) and error.retriable:
        return EXIT_UNAVAILABLE
    if isinstance(error, InvalidRequest | ConfigInvalid) and error.status in (400, 416):
        return EXIT_USAGE
    return EXIT_FAILURE


def report(error: Exception) -> int:
    """Print an error on stderr; its exit code."""
    click.echo(f"ambry: {describe(error)}", err=True)
    return exit_code(error)


def fail(error: Exception) -> NoReturn:
    sys.exit(report(error))


def _missing(name: str, cause: ImportError) -> click.Command:
    missing = (cause.name or "").split(".")[0]
    if missing in ("ambry", "datanode", "frontend", "deploy"):
        hint = f"is not part of this installation ({cause})"
    else:
        hint = f"needs {missing or 'more libraries'}: pip install 'ambry[server]'"

    @click.command(
        name, short_help=f"({hint})", context_settings={"ignore_unknown_options": True}, add_help_option=False
    )
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def command(arguments: tuple[str, ...]) -> None:
        raise click.ClickException(f"`ambry {name}` {hint}")

    return command


if __name__ == "__main__":
    main()
