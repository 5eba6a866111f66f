"""Options and arguments of the commands, as values."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ambry.cli.output import complain, printable
from ambry.client.model import ByteRange
from ambry.errors import InvalidRequest

if TYPE_CHECKING:
    from datetime import datetime

    from click.shell_completion import CompletionItem

    from ambry.client.model import ClientOptions
    from ambry.client.refs import NameRef, Place, VersionRef
    from ambry.client.sync.client import AmbryClient
    from ambry.errors import AmbryError

T = TypeVar("T")

SLOW_S = 1.0  # A call that goes on for so long without an answer is told of.

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(\d{1,12})([smhdw]?)")
_DURATION_S_MAX = 1000 * 365 * 86_400  # So far before or behind today there are dates.
_RANGE = re.compile(r"(\d{0,19})-(\d{0,19})")


def as_duration(ctx: click.Context, param: click.Parameter, value: str) -> int | None:
    """Seconds of `3600`, `90s`, `15m`, `12h`, `7d`, `2w`; None for `forever`."""
    text = value.strip().lower()
    if text in ("forever", "-1"):
        return None
    found = _DURATION.fullmatch(text)
    if found is None or not int(found[1]):
        raise click.BadParameter(f"{value!r} is no duration of 1s or more; use seconds, 15m, 12h, 7d, 2w or forever")
    if (seconds := int(found[1]) * _UNITS[found[2]]) > _DURATION_S_MAX:
        raise click.BadParameter(f"{value!r} is more than a thousand years; say less, or forever where that can be")
    return seconds


def date_of(text: str) -> datetime:
    """`2027-01-31` or `2027-01-31T12:00:00+01:00`; UTC where no zone is said. Raises ValueError, also where UTC has none."""
    from datetime import UTC, datetime  # which `ambry --help` does without

    date = datetime.fromisoformat(text.strip())
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    if not -62_135_596_800 <= date.timestamp() < 253_402_300_800:
        raise ValueError(f"{text!r} lies in no year from 1 to 9999 of UTC")
    return date


class Seconds(click.FloatRange):
    """A number of seconds within bounds; what is no number is in none."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds = float(super().convert(value, param, ctx))
        if math.isnan(seconds):
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        return seconds


_SIZES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SIZES_ARE = "use bytes, 512K, 8M, 1G or 10GiB, in steps of 1,024"
_SIZE = re.compile(r"(\d{1,16}) ?([kmgt]?)(?:i?b)?")


def as_size(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Bytes of `1048576`, `512K`, `8MiB`, `1G`, more than none; None where nothing is said. `8MB` is 8 MiB, too."""
    size = as_size_max(ctx, param, value)
    if size == 0:
        raise click.BadParameter(f"{value!r} is not a size; {_SIZES_ARE}")
    return size


def as_size_max(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """The same, and 0 where nothing at all is to be let through."""
    if value is None:
        return None
    found = _SIZE.fullmatch(value.strip().lower())
    if found is None:
        raise click.BadParameter(f"{value!r} is not a size; {_SIZES_ARE}")
    return int(found[1]) * _SIZES[found[2]]


class NoBound:
    """What `none` says: a bound that there is goes."""


NO_BOUND = NoBound()


def as_quota(ctx: click.Context, param: click.Parameter, value: str | None) -> int | NoBound | None:
    """A size, or `none`; None where nothing is said."""
    return NO_BOUND if _says_none(value) else as_size_max(ctx, param, value)


def as_rate(ctx: click.Context, param: click.Parameter, value: str | None) -> float | NoBound | None:
    """A number above 0, or `none`; None where nothing is said."""
    if value is None or _says_none(value):
        return NO_BOUND if value is not None else None
    try:
        rate = float(value)
    except ValueError:
        rate = 0.0
    if not 0 < rate < math.inf:
        raise click.BadParameter(f"{value!r} is not a number above 0, or none")
    return rate


def without_bounds(said: dict[str, Any]) -> dict[str, Any]:
    """Options that were said, by name: None for a bound that goes."""
    return {name: None if value is NO_BOUND else value for name, value in said.items() if value is not None}


def _says_none(value: str | None) -> bool:
    return value is not None and value.strip().lower() == "none"


def as_range(ctx: click.Context, param: click.Parameter, value: str | None) -> ByteRange | None:
    """`A-B` with both ends included, as in HTTP; `A-` is from A on, `-N` the last N bytes."""
    if value is None:
        return None
    found = _RANGE.fullmatch(value.strip())
    with suppress(InvalidRequest):
        if found is not None and found[1]:
            return ByteRange(int(found[1]), int(found[2]) + 1 if found[2] else None)
        if found is not None and found[2] and int(found[2]):
            return ByteRange(-int(found[2]))
    raise click.BadParameter(f"{value!r} is not a range; use A-B (both included), A- or -N (the last N bytes)")


def as_pairs(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    """`key=value`, any number of times, each key once."""
    pairs: dict[str, str] = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{value!r} is not of the form key=value")
        if key in pairs:
            raise click.BadParameter(f"the key {key!r} is given twice")
        pairs[key] = text
    return pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenCluster:
    """Which cluster a command talks to, and whether it shows how it gets on."""

    endpoints: tuple[str, ...]
    account: str | None
    container: str | None
    quiet: bool
    profile: str | None = None
    key_file: str | None = None
    ca: str | None = None
    timeout: float | None = None
    retries: int | None = None
    verbose: bool = False

    def connect(self) -> AmbryClient:
        """A client from the options, the environment and the user's configuration."""
        # Not before it is needed, so that `ambry --help` is quick.
        from ambry.client.sync.client import AmbryClient

        options = self._options()
        if self.key_file is not None:
            from ambry.client.credentials import read_key

            options["key"] = read_key(self.key_file)
        client = AmbryClient.from_env(self.profile, **options)
        client.on_retry = RetryNotice(quiet=self.quiet, verbose=self.verbose)
        if self.verbose:
            told = f"{', '.join(client.endpoints)} as {client.default_account}/{client.default_container}"
            click.echo(f"ambry: asking {printable(told)}", err=True)
        return client

    def storage_options(self) -> dict[str, Any]:
        """The same for fsspec, which opens `ambry://` with them; the key of a file is read where that is opened."""
        from ambry.client.credentials import STANDARD_INPUT, read_key

        told: dict[str, Any] = {"profile": self.profile, **self._options()}
        if self.key_file == STANDARD_INPUT:
            return told | {"key": read_key(self.key_file)}
        return told if self.key_file is None else told | {"key_file": self.key_file}

    def _options(self) -> ClientOptions:
        """What was said, but for the key."""
        options: ClientOptions = {"service_id": "ambry-cli"}
        if self.endpoints:
            options["endpoints"] = ",".join(self.endpoints)
        if self.account is not None:
            options["account"] = self.account
        if self.container is not None:
            options["container"] = self.container
        if self.ca is not None:
            from ambry.client.model import TLSConfig

            options["tls"] = TLSConfig(ca=self.ca)
        if self.timeout is not None:
            from ambry.client.model import Timeout

            options["timeout"] = Timeout(connect=min(self.timeout, Timeout().connect), read=self.timeout)
        if self.retries is not None:
            from ambry.client.model import RetryPolicy

            options["retry"] = RetryPolicy(max_attempts=self.retries + 1)
        return options


@dataclass(slots=True)
class RetryNotice:
    """Says on stderr that a call is tried again: of slow ones, so that nobody thinks that nothing happens, or of all."""

    quiet: bool
    verbose: bool

    def __call__(self, error: AmbryError, delay_s: float, waited_s: float) -> None:
        if self.verbose or (not self.quiet and waited_s + delay_s >= SLOW_S):
            from ambry.cli.failures import describe  # not before it is needed

            when = f"in {delay_s:.1f} s" if delay_s >= 0.05 else "at once"
            complain(f"ambry: retrying {when}: {describe(error)}")


def complete_file(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Files and folders of this machine, for a shell that completes; what begins as a name of a store is no file."""
    from click.shell_completion import CompletionItem

    return [] if incomplete.startswith("ambry:") else [CompletionItem(incomplete, type="file")]


def place(client: AmbryClient, text: str) -> Place:
    """What an argument names: an id, an ambry://, or a name. Raises InvalidRequest."""
    from ambry.client import refs

    return refs.place_of(text, account=client.default_account, container=client.default_container)


def name_place(client: AmbryClient, text: str) -> NameRef:
    """The name that an argument is, also where it looks like an id. Raises InvalidRequest."""
    from ambry.client import refs

    return refs.name_place(text, account=client.default_account, container=client.default_container)


def version_place(client: AmbryClient, dataset: str, version: str) -> VersionRef:
    """The version of a dataset that two arguments name. Raises InvalidRequest."""
    from ambry.client import refs

    return refs.dataset_place(dataset, version, account=client.default_account, container=client.default_container)


def connecting(command: Callable[..., T]) -> Callable[..., T]:
    """The options of every command that talks to a cluster; the command gets them as its argument `cluster`."""

    @wraps(command)
    def run(**arguments: Any) -> T:
        chosen = {field.name: arguments.pop(field.name) for field in fields(ChosenCluster)}
        return command(cluster=ChosenCluster(**chosen), **arguments)

    for option in (
        click.option("-v", "--verbose", is_flag=True, help="Tell who is asked, and every call that is tried again."),
        click.option(
            "--retries", type=click.IntRange(0, 100), metavar="N", help="Tries after the first.  [default: 4]"
        ),
        click.option(
            "--timeout",
            type=Seconds(0, 86_400, min_open=True),
            metavar="SECONDS",
            help="How long a cluster may say nothing.  [default: 30]",
        ),
        click.option("-q", "--quiet", is_flag=True, help="No progress, no notices."),
        click.option("--ca", metavar="FILE", help="Authorities to trust for https, in PEM."),
        click.option("--key-file", metavar="FILE", help="A file with the key of the API; - is standard input."),
        click.option("--profile", metavar="NAME", help="A profile of ~/.config/ambry/config.toml."),
        click.option("--container", help="Container of the account."),
        click.option("--account", help="Account."),
        click.option("--endpoint", "endpoints", multiple=True, metavar="URL", help="A frontend; may be repeated."),
    ):
        run = option(run)
    return run


def shows(*kinds: str, default: str | None = "table") -> Callable[[Callable[..., T]], Callable[..., T]]:
    """The options that say what to print, `--output` and its short form `--json`; the command gets them as `output`."""

    def add(command: Callable[..., T]) -> Callable[..., T]:
        @wraps(command)
        def run(*, as_json: bool, output: str | None, **arguments: Any) -> T:
            return command(output="json" if as_json else output, **arguments)

        said = "A table on a terminal, else the ids, one per line." if default is None else None
        run = click.option("--json", "as_json", is_flag=True, help="The same as --output json.")(run)
        return click.option(
            "--output", type=click.Choice(kinds), default=default, show_default=default is not None, help=said
        )(run)

    return add


OUTPUT = shows("table", "json")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="A line of JSON for each file.")  # --output is a file.

RANGE = click.option(
    "--range",
    "byte_range",
    metavar="A-B",
    callback=as_range,
    help="Bytes A to B, both included; A-; -N for the last N.",
)


def container_place(client: AmbryClient, text: str) -> tuple[str, str]:
    """The account and the container of `ACCOUNT/CONTAINER`, or of a container in the account that was chosen."""
    account, _, container = text.rpartition("/")
    return account or client.default_account, container


def as_numbers(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> dict[str, float]:
    """`name=number`, any number of times."""
    numbers: dict[str, float] = {}
    for name, text in as_pairs(ctx, param, values).items():
        try:
            numbers[name] = float(text)
        except ValueError:
            raise click.BadParameter(f"{text!r} is not a number") from None
    return numbers


def as_time(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    """A point in time, as a callback of click."""
    if value is None:
        return None
    try:
        return date_of(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no point in time; write 2026-11-27 or 2026-11-27T12:00+01:00") from None
