"""What the commands print: blobs as tables, lines and JSON; progress; never what could control a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import chain, islice
from typing import IO, TYPE_CHECKING, Any, TypeVar, cast

import click

from ambry.cli.wording import in_options
from ambry.client.model import BlobInfo, Progress
from ambry.rest.text import without_controls
from ambry.shown_urls import shown_sentence

if TYPE_CHECKING:
    from ambry.client.sync.reader import BlobReader

T = TypeVar("T")


def safe_name(info: BlobInfo) -> str:
    """A file name in the current directory, whatever the one who put the blob called it."""
    name = without_controls(info.filename or info.name, "").replace("\\", "/").rpartition("/")[2].strip()
    too_long = len(name.encode("utf-8", "replace")) > 180
    return str(info.id) if name in ("", ".", "..") or name.startswith((".", "-")) or too_long else name


def own_name(info: BlobInfo, quiet: bool) -> str:
    """The name of the file that a blob was put from, or one that can be had here; says so where it is another."""
    name = safe_name(info)
    if info.filename and name != info.filename and not quiet:
        click.echo(
            f"ambry: {printable(info.filename)!r} is no name to write to without asking; -o gives another", err=True
        )
    return name


def printable(text: str) -> str:
    """Text of a stranger without what could control a terminal."""
    return without_controls(text)


def of_size(part: int, size: int) -> str:
    """`3.1 of 40 GB`."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{_short(part / factor)} of {_short(size / factor)} {unit}"
    return f"{part} of {size} bytes"


def _short(number: float) -> str:
    """Two digits of what is small, and whole numbers of what is large."""
    return f"{number:.0f}" if number >= 10 or number == round(number) else f"{number:.1f}"


def expiry(info: BlobInfo) -> str:
    return when(info.expires) or "never"


def when(time: datetime | None) -> str:
    """To the second, always as wide; empty for no time."""
    return "" if time is None else time.isoformat(timespec="seconds")


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
        "name": info.name,
        "dataset": info.dataset,
        "version": info.version,
        "etag": info.etag,
        "service_id": info.service_id,
        "datacenter": info.datacenter,
    }
    if info.durability:
        fields["durability"] = info.durability
    return json.dumps(fields, ensure_ascii=True)


def show_info(info: BlobInfo, output: str) -> None:
    if output == "id":
        click.echo(str(info.id))
        return
    if output == "json":
        click.echo(to_json(info))
        return
    fields = json.loads(to_json(info))
    metadata = fields.pop("metadata")
    show_fields({**fields, "expires": expiry(info), **{f"meta {key}": text for key, text in metadata.items()}}, output)


def show_rows(
    found: Iterable[T],
    output: str,
    header: Sequence[str],
    row: Callable[[T], list[str]],
    plain: Callable[[T], object],
) -> None:
    """A table, or a line of JSON for each."""
    if output == "json":
        for each in found:
            click.echo(json.dumps(plain(each)))
    else:
        show_table(header, [row(each) for each in found])


def begun(found: Iterable[T]) -> Iterator[T]:
    """The same, with its first entry at hand: what goes wrong there does so before a header stands over nothing."""
    rest = iter(found)
    first = list(islice(rest, 1))
    return chain(first, rest)


def show_fields(fields: Mapping[str, Any], output: str) -> None:
    """One thing: a line for each field that says something, or one of JSON."""
    if output == "json":
        click.echo(json.dumps(fields))
        return
    rows = [(name, value) for name, value in fields.items() if value not in ("", None, {}, [])]
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        if isinstance(value, list) and all(isinstance(each, str) for each in cast(list[object], value)):
            value = " ".join(cast(list[str], value))
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        click.echo(f"{printable(name).ljust(width)}  {printable(text)}")


def tell_done(output: str, text: str = "", **fields: Any) -> None:
    """What a command did to one thing: a line of JSON, or a text, which may be nothing."""
    if output == "json":
        click.echo(json.dumps(fields))
    elif text:
        click.echo(printable(text))


def tell_unless(quiet: bool, text: str) -> None:
    """What goes on, for whoever looks: on the standard error, and not in a script that wants quiet."""
    if not quiet:
        click.echo(printable(text), err=True)


def tell_in_options(quiet: bool, text: str) -> None:
    """The same of what may be the words of an error."""
    tell_unless(quiet, shown_sentence(in_options(text)))


def show_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table of which nothing is ever cut: ids are copied, and a terminal wraps. What may be long stands last."""
    lines = [header, *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(header))]
    for line in lines:
        cells = (
            cell.rjust(width) if name == "SIZE" else cell.ljust(width)
            for name, cell, width in zip(header, line, widths, strict=True)
        )
        click.echo("  ".join(cells).rstrip())


def standard_input() -> IO[bytes]:
    """Raises click.UsageError where it is closed."""
    if sys.stdin is None:
        raise click.UsageError("the standard input is closed, and - would read it")
    return sys.stdin.buffer


def standard_output() -> IO[bytes]:
    """Raises click.UsageError where it is closed."""
    if sys.stdout is None:
        raise click.UsageError("the standard output is closed, and the blob would go there; -o FILE writes a file")
    return sys.stdout.buffer


def copy(reader: BlobReader, out: IO[bytes]) -> None:
    """Stream to `out`. What was written before a failure stays written; the exit code tells."""
    for chunk in reader.iter_chunks(256 << 10):
        out.write(chunk)
    out.flush()


_drawn: list[Any] = []
"""The bars that are on the terminal now."""


def complain(text: str) -> None:
    """A line on stderr; above the bar, where one is drawn there."""
    if _drawn:
        _drawn[-1].console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)
    else:
        click.echo(text, err=True)


def remark(text: str) -> None:
    """Something that whoever asked should know, and that is no failure, as a line on stderr."""
    complain(printable(f"ambry: {text}"))


def remark_unless(quiet: bool, text: str) -> None:
    """The same, and not in a script that wants quiet."""
    if not quiet:
        remark(text)


@contextmanager
def drawing(bar: Any) -> Generator[Any]:
    """While one of rich's bars is on the terminal."""
    with bar:
        _drawn.append(bar)
        try:
            yield bar
        finally:
            _drawn.remove(bar)


@contextmanager
def progress_bar(name: str, quiet: bool) -> Generator[Progress | None]:
    """A bar with bytes, rate and remaining time on stderr, when somebody is looking."""
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    # Without colours what is done of a bar, and what is not, look alike.
    drawn = BarColumn() if not console.no_color else TextColumn("{task.percentage:>3.0f}%", markup=False)
    columns = (drawn, DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    made = Bar(TextColumn("{task.description}", markup=False), *columns, console=console, transient=True)
    with drawing(made) as bar:
        task = bar.add_task(printable(name), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def status_line(quiet: bool) -> Generator[Callable[[str], None] | None]:
    """A line on stderr that says what is being done, and for how long, when somebody is looking."""
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import TextColumn, TimeElapsedColumn

    columns = (TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with drawing(Bar(*columns, console=Console(stderr=True), transient=True)) as bar:
        task = bar.add_task("", total=None)
        yield lambda text: bar.update(task, description=printable(text))
