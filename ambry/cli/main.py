"""The `ambry` command: its subcommands, loaded when used, and the one place where errors become exit codes.

The commands of clients are listed here. Those of the server's packages (`ambry cluster`, `ambry store`) live there and are
found by their entry points in the group `ambry.commands`, so any package may add one.
"""

from __future__ import annotations

import difflib
import errno
import importlib
import os
import sys
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import click

from ambry import __version__
from ambry.cli.failures import EXIT_CODES, EXIT_FAILURE, EXIT_INTERRUPTED, fail, report_usage, speak_json, tell_notes
from ambry.cli.standard_streams import OutputLost, let_go, take_streams
from ambry.errors import AmbryError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

CLIENT_COMMANDS = {
    "cp": "ambry.cli.copies",
    "sync": "ambry.cli.syncs",
    "mv": "ambry.cli.copies",
    "verify": "ambry.cli.syncs",
    "put": "ambry.cli.puts",
    "get": "ambry.cli.blobs",
    "cat": "ambry.cli.reads",
    "head": "ambry.cli.reads",
    "tail": "ambry.cli.reads",
    "stat": "ambry.cli.reads",
    "open": "ambry.cli.viewing",
    "rm": "ambry.cli.removals",
    "ttl": "ambry.cli.blobs",
    "undelete": "ambry.cli.blobs",
    "ls": "ambry.cli.names",
    "tree": "ambry.cli.folders",
    "du": "ambry.cli.folders",
    "find": "ambry.cli.folders",
    "name": "ambry.cli.names",
    "dataset": "ambry.cli.datasets",
    "alias": "ambry.cli.aliases",
    "features": "ambry.cli.features",
    "snapshot": "ambry.cli.snapshots",
    "stream": "ambry.cli.stream",
    "model": "ambry.cli.models",
    "photon": "ambry.cli.photon",
    "train": "ambry.cli.train",
    "serve": "ambry.cli.serve",
    "vocab": "ambry.cli.vocab",
    "experiment": "ambry.cli.experiments",
    "health": "ambry.cli.health",
    "changes": "ambry.cli.changes",
    "upload": "ambry.cli.uploads",
    "account": "ambry.cli.accounts",
    "container": "ambry.cli.accounts",
    "encryption": "ambry.cli.encryption",
    "key": "ambry.cli.keys",
    "sign": "ambry.cli.signed",
    "usage": "ambry.cli.usage",
    "bench": "ambry.cli.bench",
    "cache": "ambry.cli.cache",
    "completion": "ambry.cli.completion",
}
"""Each with its module, in the order in which they are listed."""
ENTRY_POINTS = "ambry.commands"
SERVER_LIBRARIES = frozenset({"aiohttp", "cryptography", "idna", "lmdb", "prometheus_client", "structlog", "uvloop"})
"""What commands of servers import; it comes with the extra of servers, whatever else brings it."""

NO_THREAD = "can't start new thread"
"""What CPython says, in a RuntimeError, where the machine has no more threads, or no memory for the stack of one."""


class LazyGroup(click.Group):
    """A group whose commands are imported on use, and whose errors are one line and a documented exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*CLIENT_COMMANDS, *sorted(set(_found()) - set(CLIENT_COMMANDS))]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as cause:
            # click looks for similar names among the commands that are loaded: here, none.
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            if not near or self.get_command(ctx, args[0]) is not None:
                raise
            raise click.UsageError(f"No such command '{args[0]}'. Did you mean '{near[0]}'?", ctx) from cause

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        try:
            if cmd_name in CLIENT_COMMANDS:
                command = getattr(importlib.import_module(CLIENT_COMMANDS[cmd_name]), cmd_name)
            elif (found := _found().get(cmd_name)) is not None:
                command = found.load()
            else:
                return None
        except ImportError as cause:
            return _missing(cmd_name, cause)
        if not isinstance(command, click.Command):
            raise TypeError(f"`ambry {cmd_name}` is no command of click, but {command!r}")
        let_say_json(command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ImportError as cause:
            # Commands load their libraries when they run, so that listing them is quick.
            raise click.ClickException(f"`ambry {ctx.invoked_subcommand}` {_hint(cause)}") from cause
        except BrokenPipeError as error:
            # Of another pipe than the standard output, which is OutputLost: click would end without a word.
            fail(error)

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any) -> Any:  # type: ignore[override]
        """Run and exit; with standalone_mode=False, run and let errors out, as click does."""
        speak_json(sys.argv[1:] if args is None else args)
        if not extra.pop("standalone_mode", True):
            return super().main(args=args, prog_name=prog_name, standalone_mode=False, **extra)
        try:
            result = super().main(args=args, prog_name=prog_name, standalone_mode=False, **extra)
            sys.stdout.flush()
        except OutputLost as error:
            let_go()
            if not error.is_seen_enough:
                fail(error)
            sys.exit(EXIT_FAILURE)
        except (click.Abort, KeyboardInterrupt) as stop:
            tell_notes(stop.__cause__ or stop)
            sys.exit(EXIT_INTERRUPTED)
        except click.ClickException as error:
            sys.exit(report_usage(error))
        except (AmbryError, OSError) as error:
            fail(error)
        except MemoryError:
            fail(OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)))
        except RecursionError:
            fail(
                RecursionError(
                    "what was read is nested deeper than this can follow; look at the file or text that was named"
                )
            )
        except RuntimeError as error:
            if str(error) != NO_THREAD:
                raise
            fail(
                RuntimeError(
                    "no more threads can be begun here; end something else, or raise the limit (ulimit -u, -v)"
                )
            )
        sys.exit(result if isinstance(result, int) else 0)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"Exit codes: {', '.join(f'{code} {text}' for code, text in EXIT_CODES.items())}.",
)
@click.version_option(__version__, prog_name="ambry")
def cli() -> None:
    """Store, read and manage immutable blobs.

    The frontends to talk to come from --endpoint, AMBRY_ENDPOINTS or ~/.config/ambry/config.toml (`ambry cluster up` writes
    one), and are http://127.0.0.1:17100 otherwise; the key from --key-file, AMBRY_KEY, AMBRY_KEY_FILE or the same file.
    """


def main() -> None:
    """The console script."""
    take_streams()
    cli.main(prog_name="ambry")


def let_say_json(command: click.Command) -> None:
    """Give every command below it `--json`, by which errors are JSON, and what it prints where it has --output json."""
    if isinstance(command, click.Group):
        for each in command.commands.values():
            let_say_json(each)
        return
    if any("--json" in parameter.opts for parameter in command.params):
        return

    def choose(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
        if value:
            ctx.default_map = {**(ctx.default_map or {}), "output": "json"}

    outputs = [
        each.type.choices for each in command.params if each.name == "output" and isinstance(each.type, click.Choice)
    ]
    said = "The same as --output json." if any("json" in each for each in outputs) else "Errors as JSON."
    command.params.append(
        click.Option(["--json", "as_json"], is_flag=True, expose_value=False, is_eager=True, callback=choose, help=said)
    )


@cache
def _found() -> dict[str, EntryPoint]:
    """The commands of other packages, by name."""
    from importlib.metadata import entry_points

    return {each.name: each for each in entry_points(group=ENTRY_POINTS)}


def _hint(cause: ImportError) -> str:
    """What is missing, and the way out."""
    missing = (cause.name or "").split(".")[0]
    if missing in ("ambry", "datanode", "frontend", "deploy"):
        return f"is not part of this installation ({cause})"
    said = str(cause)
    if ": pip install " in said:
        return said.removeprefix("this ")
    from ambry.ml.extras import to_install

    told = " ".join(said.split())
    if not missing and "install" in told.lower():
        # Of a library that names itself what it lacks, as fsspec does for each kind of URL.
        return f"needs another library: {told}"
    if not missing or not isinstance(cause, ModuleNotFoundError):
        # It is there, and is broken, of another release, or too large for what memory there may be.
        why = f" ({told})" if told else ""
        return f"cannot load {missing or 'a library'}{why}: look at its release, its libraries, and the memory there is"
    if missing in SERVER_LIBRARIES:
        return f"needs {missing}: pip install 'ambry[server]'"
    return f"needs {missing}: pip install {to_install(missing)}"


def _missing(name: str, cause: ImportError) -> click.Command:
    hint = _hint(cause)

    @click.command(
        name, short_help=f"({hint})", context_settings={"ignore_unknown_options": True}, add_help_option=False
    )
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def command(arguments: tuple[str, ...]) -> None:
        raise click.ClickException(f"`ambry {name}` {hint}")

    return command


if __name__ == "__main__":
    main()
