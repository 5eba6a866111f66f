"""The commands for blobs: put, get, cat, head, rm, ttl, undelete."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

import click

from ambry.cli.main import report
from ambry.client.model import BlobInfo, ByteRange, Progress
from ambry.client.options import ClientOptions
from ambry.client.sources import PartFile
from ambry.client.sync.client import AmbryClient
from ambry.client.sync.reader import BlobReader
from ambry.client.wire.blobs import parse_ref
from ambry.clock import system_random
from ambry.errors import AmbryError, InvalidRequest
from ambry.ids import new_request_id

F = TypeVar("F", bound=Callable[..., Any])

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(\d+)([smhdw]?)")
_RANGE = re.compile(r"(\d*)-(\d*)")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]")


def as_duration(ctx: click.Context, param: click.Parameter, value: str) -> int | None:
    """Seconds of `3600`, `90s`, `15m`, `12h`, `7d`, `2w`; None for `forever`."""
    text = value.strip().lower()
    if text in ("forever", "-1"):
        return None
    found = _DURATION.fullmatch(text)
    if found is None or not int(found[1]):
        raise click.BadParameter(f"{value!r} is not a duration; use seconds, 15m, 12h, 7d, 2w or forever")
    return int(found[1]) * _UNITS[found[2]]


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
    """`key=value`, any number of times."""
    pairs: dict[str, str] = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{value!r} is not of the form key=value")
        pairs[key] = text
    return pairs


def connecting(command: F) -> F:
    """The options of every command that talks to a cluster."""
    for option in (
        click.option("-q", "--quiet", is_flag=True, help="No progress, no notices."),
        click.option("--container", help="Container of the account."),
        click.option("--account", help="Account."),
        click.option("--endpoint", "endpoints", multiple=True, metavar="URL", help="A frontend; may be repeated."),
    ):
        command = option(command)
    return command


RANGE = click.option(
    "--range",
    "byte_range",
    metavar="A-B",
    callback=as_range,
    help="Bytes A to B, both included; A-; -N for the last N.",
)


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@connecting
@click.option(
    "--ttl", callback=as_duration, default="forever", show_default=True, help="Time to live: 3600, 12h, 7d, forever."
)
@click.option("--content-type", help="Stored with the blob.")
@click.option("--meta", metavar="K=V", callback=as_pairs, multiple=True, help="User metadata; may be repeated.")
@click.option("--filename", help="Stored with the blob instead of the file's own name.")
@click.option("--durability", type=click.Choice(["memory", "disk", "geo"]), help="What the acknowledgement must mean.")
@click.option(
    "--output",
    type=click.Choice(["table", "json", "id"]),
    help="What to print; a table on a terminal, else the ids, one per line.",
)
def put(
    files: Sequence[str],
    endpoints: Sequence[str],
    account: str | None,
    container: str | None,
    quiet: bool,
    ttl: int | None,
    content_type: str | None,
    meta: dict[str, str],
    filename: str | None,
    durability: str | None,
    output: str | None,
) -> int:
    """Store files, each as a new blob; `-` is the standard input."""
    stored: list[tuple[str, BlobInfo]] = []
    shown = output or ("table" if sys.stdout.isatty() else "id")
    code = 0
    with connect(endpoints, account, container) as client:
        for name in files:
            source = sys.stdin.buffer if name == "-" else Path(name)
            try:
                with progress_bar(name, quiet) as progress:
                    info = client.put(
                        source,
                        ttl=ttl,
                        content_type=content_type,
                        metadata=meta,
                        filename=filename,
                        durability=durability,
                        progress=progress,
                    )
            except (AmbryError, OSError) as error:
                # The other files do not depend on this one.
                code = _note(error, name if len(files) > 1 else "", code)
                continue
            stored.append((name, info))
            if shown != "table":
                click.echo(str(info.id) if shown == "id" else to_json(info, file=name))
    if shown == "table" and stored:
        show_table(["FILE", "ID", "SIZE", "EXPIRES"], [[n, str(i.id), str(i.size), expiry(i)] for n, i in stored])
    return code


@click.command()
@click.argument("blob", metavar="ID")
@connecting
@click.option("-o", "--output", "target", metavar="FILE", help="Where to write; - is the standard output.")
@RANGE
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
@click.option("--no-resume", is_flag=True, help="Start over instead of continuing a .part file.")
def get(
    blob: str,
    endpoints: Sequence[str],
    account: str | None,
    container: str | None,
    quiet: bool,
    target: str | None,
    byte_range: ByteRange | None,
    overwrite: bool,
    no_resume: bool,
) -> None:
    """Download a blob into a file: the one it was put from, or one named by its id.

    The file appears when it is whole and verified. An interrupted download goes on where it stopped.
    """
    with connect(endpoints, account, container) as client:
        if target == "-":
            with client.get(blob, range=byte_range) as reader:
                copy(reader, sys.stdout.buffer)
            return
        path = Path(target) if target is not None else Path(safe_name(client.head(blob)))
        with progress_bar(path.name, quiet) as progress:
            if byte_range is None:
                size = client.get_file(blob, path, overwrite=overwrite, resume=not no_resume, progress=progress).size
            else:
                size = save_range(client, blob, byte_range, path, overwrite=overwrite, progress=progress)
    if not quiet:
        click.echo(f"{printable(str(path))} ({size} bytes)", err=True)


@click.command()
@click.argument("blob", metavar="ID")
@connecting
@RANGE
def cat(
    blob: str,
    endpoints: Sequence[str],
    account: str | None,
    container: str | None,
    quiet: bool,
    byte_range: ByteRange | None,
) -> None:
    """Write a blob to the standard output."""
    with connect(endpoints, account, container) as client, client.get(blob, range=byte_range) as reader:
        copy(reader, sys.stdout.buffer)


@click.command()
@click.argument("blob", metavar="ID")
@connecting
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def head(
    blob: str, endpoints: Sequence[str], account: str | None, container: str | None, quiet: bool, output: str
) -> None:
    """Show what a blob is."""
    with connect(endpoints, account, container) as client:
        show_info(client.head(blob), output)


@click.command()
@click.argument("blobs", nargs=-1, required=True, metavar="ID...")
@connecting
@click.option("-f", "--force", is_flag=True, help="A blob that is not there is no failure.")
def rm(
    blobs: Sequence[str],
    endpoints: Sequence[str],
    account: str | None,
    container: str | None,
    quiet: bool,
    force: bool,
) -> int:
    """Delete blobs. `ambry undelete` brings them back for a while."""
    code = 0
    for blob in blobs:
        parse_ref(blob)  # A typing mistake in the last one must not be noticed after deleting the first.
    with connect(endpoints, account, container) as client:
        for blob in blobs:
            try:
                client.delete(blob, missing_ok=force)
            except AmbryError as error:
                code = _note(error, blob if len(blobs) > 1 else "", code)
    return code


@click.command()
@click.argument("blob", metavar="ID")
@click.argument("duration", callback=as_duration)
@connecting
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def ttl(
    blob: str,
    duration: int | None,
    endpoints: Sequence[str],
    account: str | None,
    container: str | None,
    quiet: bool,
    output: str,
) -> None:
    """Let a blob live longer: DURATION is 3600, 12h, 7d or forever. A life is never shortened."""
    with connect(endpoints, account, container) as client:
        info = client.update_ttl(blob, duration)
    if not quiet:
        show_info(info, output)


@click.command()
@click.argument("blob", metavar="ID")
@connecting
def undelete(blob: str, endpoints: Sequence[str], account: str | None, container: str | None, quiet: bool) -> None:
    """Bring a deleted blob back, within the retention window."""
    with connect(endpoints, account, container) as client:
        client.undelete(blob)


def connect(endpoints: Sequence[str], account: str | None, container: str | None) -> AmbryClient:
    """A client from the options, the environment and the user's configuration."""
    options: ClientOptions = {"service_id": "ambry-cli"}
    if endpoints:
        options["endpoints"] = ",".join(endpoints)
    if account is not None:
        options["account"] = account
    if container is not None:
        options["container"] = container
    return AmbryClient.from_env(**options)


def copy(reader: BlobReader, out: IO[bytes]) -> None:
    """Stream to `out`. What was written before a failure stays written; the exit code tells."""
    for chunk in reader.iter_chunks(256 << 10):
        out.write(chunk)
    out.flush()


def save_range(
    client: AmbryClient, blob: str, byte_range: ByteRange, path: Path, *, overwrite: bool, progress: Progress | None
) -> int:
    """A range into a file, which appears when it is whole; the range's size."""
    unique = new_request_id(system_random())
    part = PartFile(path, parse_ref(blob), overwrite=overwrite, unique=unique, resume=False)
    try:
        with client.get(blob, range=byte_range) as reader:
            total = reader.remaining
            for chunk in reader.iter_chunks():
                part.write(chunk)
                if progress is not None:
                    progress(part.size, total)
        part.commit()
    finally:
        part.abandon(keep=False)
    return part.size


def safe_name(info: BlobInfo) -> str:
    """A file name in the current directory, whatever the one who put the blob called it."""
    name = _UNSAFE.sub("", info.filename).replace("\\", "/").rpartition("/")[2].strip()
    too_long = len(name.encode("utf-8", "replace")) > 180
    return str(info.id) if name in ("", ".", "..") or name.startswith((".", "-")) or too_long else name


def printable(text: str) -> str:
    """Text of a stranger without what could control a terminal."""
    return _UNSAFE.sub("?", text)


def expiry(info: BlobInfo) -> str:
    return "never" if info.expires is None else info.expires.isoformat(timespec="seconds")


def to_json(info: BlobInfo, **more: str) -> str:
    """One line."""
    fields: dict[str, Any] = {
        **more,
        "id": str(info.id),
        "size": info.size,
        "created": info.created.isoformat() if info.created else None,
        "expires": info.expires.isoformat() if info.expires else None,
        "content_type": info.content_type,
        "checksum": info.checksum,
        "filename": info.filename,
        "metadata": dict(info.metadata),
        "account": info.account,
        "container": info.container,
        "service_id": info.service_id,
        "datacenter": info.datacenter,
    }
    if info.durability:
        fields["durability"] = info.durability
    return json.dumps(fields, ensure_ascii=True)


def show_info(info: BlobInfo, output: str) -> None:
    if output == "json":
        click.echo(to_json(info))
        return
    fields = json.loads(to_json(info))
    metadata = fields.pop("metadata")
    fields["expires"] = expiry(info)
    rows = [(name, str(value)) for name, value in fields.items() if value not in ("", None)]
    rows += [(f"meta {key}", value) for key, value in metadata.items()]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        click.echo(f"{printable(name).ljust(width)}  {printable(value)}")


def show_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table; ids are never cut or wrapped, because they are copied."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in header:
        table.add_column(name, no_wrap=True, justify="right" if name == "SIZE" else "left")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console = Console(highlight=False, soft_wrap=True)
    width = sum(max(len(row[place]) for row in [header, *rows]) + 3 for place in range(len(header)))
    console.print(table, crop=False, no_wrap=True, overflow="ignore", width=max(console.width, width))


@contextmanager
def progress_bar(name: str, quiet: bool) -> Iterator[Progress | None]:
    """A bar with bytes, rate and remaining time on stderr, when somebody is looking."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Bar(TextColumn("{task.description}", markup=False), *columns, console=console, transient=True) as bar:
        task = bar.add_task(printable(name), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _note(error: Exception, subject: str, code: int) -> int:
    """Report one of several; the first failure's exit code counts."""
    if subject:
        click.echo(f"ambry: {printable(subject)}:", err=True, nl=False)
        click.echo(" ", err=True, nl=False)
    found = report(error)
    return code or found
