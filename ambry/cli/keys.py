"""`ambry key`: who may do what, and where. A key is shown when it is made, and never again."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ambry.cli.arguments import OUTPUT, ChosenCluster, as_quota, as_rate, connecting, date_of, without_bounds
from ambry.cli.failures import report_one
from ambry.cli.grants import GRANTS, tell_doubtful, tell_missing, text_of
from ambry.cli.output import show_fields, show_rows, tell_done
from ambry.path_option import LocalPath

if TYPE_CHECKING:
    from ambry.client.keys import FreshKey, KeyInfo
    from ambry.client.secret_file import NewSecretFile
    from ambry.rest.access import Grant

T = TypeVar("T")

HEADER = ["ID", "NAME", "MAY", "EXPIRES", "LAST USED", "REQUESTS/S", "BYTES/S"]
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


class EndType(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.5
    """`30d`, `12h`; `2027-01-31`; `never`."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime | timedelta | None:
        text = str(value)
        if text[:4].isdigit() and "-" in text:
            try:
                return date_of(text)
            except ValueError:
                self.fail(f"{text!r} is no date; use 2027-01-31 or 2027-01-31T12:00:00+01:00", param, ctx)
        return AgeType().convert(value, param, ctx)


class AgeType(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.5
    """`30d`, `12h`; `never`, where that can be."""

    name = "time"

    def __init__(self, *, ends: bool = False) -> None:
        self._ends = ends

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta | None:
        text = str(value)
        if text == "never" and not self._ends:
            return None
        if text[:-1].isdecimal() and text[-1:] in _UNITS and len(text) <= 9:
            return timedelta(seconds=int(text[:-1]) * _UNITS[text[-1]])
        self.fail(f"{text!r} is no time: say 10m, 12h, 7d, 1w" + ("" if self._ends else ", or never"), param, ctx)


def _limits(command: Callable[..., T]) -> Callable[..., T]:
    """The options that say what a key may ask for; the command gets those that were said as `limits`, by the client's names."""

    @wraps(command)
    def run(*, requests_per_s: Any, bytes_per_s: Any, burst_s: Any, **arguments: Any) -> T:
        limits = without_bounds({"requests_per_s": requests_per_s, "bytes_per_s": bytes_per_s, "burst_s": burst_s})
        return command(limits=limits, **arguments)

    for option in (
        click.option(
            "--burst", "burst_s", callback=as_rate, metavar="SECONDS", help="As many seconds' worth at once; none: 1."
        ),
        click.option(
            "--bytes",
            "bytes_per_s",
            callback=as_quota,
            metavar="SIZE",
            help="A second, at most: 10MiB (10M, 10MB); none.",
        ),
        click.option("--requests", "requests_per_s", callback=as_rate, metavar="N", help="A second, at most; none."),
    ):
        run = option(run)
    return run


_into = click.option(
    "--out",
    type=LocalPath(dir_okay=False, path_type=Path),
    help="Write the key into this new file, which you alone may read, instead of showing it.",
)


@click.group()
def key() -> None:
    """Keys of the API: make, list, change, rotate and revoke them."""


@key.command("create")
@click.argument("name")
@GRANTS
@click.option(
    "--expires", type=EndType(), default="never", show_default=True, metavar="TIME", help="Such as 90d, or 2027-01-31."
)
@_limits
@_into
@connecting
@OUTPUT
def create(
    name: str,
    grants: tuple[Grant, ...],
    expires: datetime | timedelta | None,
    limits: dict[str, Any],
    out: Path | None,
    cluster: ChosenCluster,
    output: str,
) -> None:
    """Make a key called NAME. It is shown once: whoever has it may do what it may."""
    if not grants:
        raise click.UsageError("say what it may: --grant read@ml/models, or --grant all")
    from ambry.client.keys import KeyLimits  # not before it is needed

    with _kept(out) as kept, cluster.connect() as client:
        made = client.keys.create(name, grants, expires=expires, limits=KeyLimits(**limits))
        _show_fresh(made, kept, output)
        _tell_same_name(made.info)
        tell_missing(client, grants)
    tell_doubtful(grants)


@key.command("ls")
@connecting
@OUTPUT
def list_keys(cluster: ChosenCluster, output: str) -> None:
    """List the keys that yours may administer, and itself."""
    with cluster.connect() as client:
        found = client.keys.list()
    show_rows(found, output, HEADER, _row, _fields)


@key.command("show")
@click.argument("id", default="self", metavar="[ID]")
@connecting
@OUTPUT
def show(id: str, cluster: ChosenCluster, output: str) -> None:
    """Show what a key may; without ID, your own."""
    with cluster.connect() as client:
        found = client.keys.show(id)
    show_fields(_fields(found), output)


@key.command("change")
@click.argument("id", metavar="ID")
@click.option("--name")
@GRANTS
@click.option("--expires", type=EndType(), metavar="TIME", help="From now on, such as 90d; or 2027-01-31; never.")
@_limits
@connecting
@OUTPUT
def change(
    id: str,
    name: str | None,
    grants: tuple[Grant, ...],
    expires: datetime | timedelta | None,
    limits: dict[str, Any],
    cluster: ChosenCluster,
    output: str,
) -> None:
    """Let a key be good for something else. What is not said stays, each limit by itself; `none` takes one off.

    Grants that are said take the place of all before.
    """
    said: dict[str, Any] = limits if name is None else {"name": name, **limits}
    if grants:
        said["grants"] = grants
    if click.get_current_context().get_parameter_source("expires") is not click.core.ParameterSource.DEFAULT:
        said["expires"] = expires
    if not said:
        raise click.UsageError("say what is to change: --name, --grant, --expires, --requests, --bytes or --burst")
    with cluster.connect() as client:
        found = client.keys.change(id, **said)
        show_fields(_fields(found), output)
        _tell_same_name(found)
        tell_missing(client, grants)
    tell_doubtful(grants)


@key.command("rotate")
@click.argument("id", metavar="ID")
@click.option("--overlap", type=AgeType(), default="0s", show_default=True, help="How long the old secret still opens.")
@_into
@connecting
@OUTPUT
def rotate(id: str, overlap: timedelta | None, out: Path | None, cluster: ChosenCluster, output: str) -> None:
    """Give a key another secret, which is shown once."""
    if overlap is None:
        raise click.UsageError("--overlap ends: say how long")
    with _kept(out) as kept, cluster.connect() as client:
        made = client.keys.rotate(id, overlap=overlap)
        _show_fresh(made, kept, output)


@key.command("revoke")
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@connecting
@OUTPUT
def revoke(ids: tuple[str, ...], cluster: ChosenCluster, output: str) -> int:
    """Revoke keys: they open nothing any more, nor does what they signed. Each for itself, whatever becomes of the others."""
    from ambry.errors import AmbryError

    code = 0
    with cluster.connect() as client:
        for id in ids:
            try:
                client.keys.revoke(id)
            except AmbryError as error:
                code = report_one(error, id, code)
                continue
            if output == "json":
                tell_done(output, action="revoked", id=id)
            else:
                click.echo(f"{id} is revoked", err=True)
    return code


@key.command("new")
@click.argument("name", default="admin")
@_into
def new(name: str, out: Path | None) -> None:
    """Make an administrator's key for a configuration, without asking anybody.

    The line that is shown last goes into `access.root_keys` of every frontend; it opens nothing by itself.
    """
    from ambry.clock import system_secret
    from ambry.rest.access import KEY_NAME_SIZE_MAX, hash_of, is_key_name, key_text, new_key

    if not is_key_name(name) or not {'"', "'", "\\"}.isdisjoint(name):
        raise click.UsageError(
            f"NAME is 1 to {KEY_NAME_SIZE_MAX} characters of printable ASCII, without quotes and backslashes: it is to stand "
            "between quotes in a configuration"
        )
    made = new_key(system_secret)
    with _kept(out) as kept:
        _give(key_text(made), kept)
    click.echo(f"{made.id}:{hash_of(made.secret)}:{name}")


@contextmanager
def _kept(path: Path | None) -> Generator[NewSecretFile | None]:
    """Where the key goes, there before it is made."""
    from ambry.client.secret_file import NewSecretFile

    with ExitStack() as stack:
        try:
            kept = None if path is None else stack.enter_context(NewSecretFile(path))
        except OSError as cause:
            raise click.ClickException(f"cannot make {path}: {cause.strerror}; no key was made") from cause
        yield kept


def _give(text: str, kept: NewSecretFile | None) -> None:
    if kept is None:
        click.echo(text)
        return
    kept.write(text)
    click.echo(f"the key is in {kept.path}", err=True)


def _show_fresh(made: FreshKey, kept: NewSecretFile | None, output: str) -> None:
    if output == "json" and kept is None:
        show_fields({**_fields(made.info), "key": str(made.text)}, output)
        return
    if output == "json":
        show_fields(_fields(made.info), output)
    else:
        click.echo(f"{made.info.id} ({made.info.name}) may {_may(made.info)}", err=True)
    _give(str(made.text), kept)


def _tell_same_name(info: KeyInfo) -> None:
    """Warn where a second key has a name: whoever looks for one by it finds two."""
    if info.same_name:
        click.echo(
            f"ambry: {', '.join(info.same_name)} has the name {info.name!r} too; `ambry key change {info.id} --name` gives "
            "this one another, `ambry key revoke` ends one that is not needed any more",
            err=True,
        )


def _may(info: KeyInfo) -> str:
    return " ".join(text_of(each) for each in info.grants)


def _row(info: KeyInfo) -> list[str]:
    rates = (info.limits.requests_per_s, info.limits.bytes_per_s)
    bounds = ["-" if rate is None else f"{rate:.12g}" for rate in rates]
    return [info.id, info.name, _may(info), _time(info.expires, "never"), _time(info.last_used, "-"), *bounds]


def _time(when: datetime | None, otherwise: str) -> str:
    return otherwise if when is None else when.astimezone(UTC).isoformat(timespec="minutes")


def _fields(info: KeyInfo) -> dict[str, Any]:
    limits = info.limits
    return {
        "id": info.id,
        "name": info.name,
        "may": [text_of(each) for each in info.grants],
        "created": _time(info.created, ""),
        "created_by": info.created_by,
        "expires": _time(info.expires, "never"),
        "last_used": _time(info.last_used, ""),
        "requests_per_s": limits.requests_per_s,
        "bytes_per_s": limits.bytes_per_s,
        "burst_s": limits.burst_s,
        "shares_limits_of": list(info.shares_limits_of),
    }
