"""`ambry engines`: the engines around the store on this machine, each by one command."""

from __future__ import annotations

import contextlib
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from deploy.engines.hadoop import hdfs, yarn
from deploy.engines.jars import EngineError, fetch, kept
from deploy.engines.kafka import kafka

Line = tuple[str, str]
"""What it is, and where."""
JARS = {
    "kafka": "Apache Kafka 4.3.1, a broker in 400 MB",
    "hadoop": "Apache Hadoop 3.5.0: YARN and HDFS, some 450 MB each",
    "tony": "LinkedIn's TonY 0.4.7, for `ambry train submit --engine tony`",
    "samza": "Apache Samza 1.8.0, for jobs in Java",
}
JARS_OF = {"kafka": "kafka", "yarn": "hadoop", "hdfs": "hadoop"}


@click.group()
def engines() -> None:
    """Engines to work with the store: fetched with Maven, run on loopback, gone at Ctrl-C."""


@engines.command("list")
def list_engines() -> None:
    """Tell what there is, and what of it was fetched."""
    for name, what in JARS.items():
        directory = kept(name)
        click.echo(f"{name:8} {what}; {'not fetched' if directory is None else directory}")


@engines.command("fetch")
@click.argument("names", nargs=-1, required=True, type=click.Choice(list(JARS)))
def fetch_engines(names: tuple[str, ...]) -> None:
    """Fetch the jars of NAMES with Maven, unless they are there, and compare each with its SHA-256.

    They lie in ~/.cache/ambry/engines, or where AMBRY_ENGINES says. The last line of each is its directory.
    """
    with _told():
        for name in names:
            click.echo(fetch(name, lambda text: click.echo(text, err=True)))


@engines.command()
@click.argument("name", type=click.Choice(list(JARS_OF)))
@click.option(
    "--directory", type=click.Path(path_type=Path, file_okay=False), help="Keep its data here.  [default: none is kept]"
)
def up(name: str, directory: Path | None) -> None:
    """Run kafka, yarn or hdfs on this machine until Ctrl-C; it says where it is when it is ready.

    Without --directory its data are gone at the end. It dies with this command, however that ends.
    """
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    with _told(), contextlib.ExitStack() as stack:
        place = directory
        if place is None:
            place = Path(tempfile.mkdtemp(prefix=f"ambry-{name}-"))
            stack.callback(shutil.rmtree, place, ignore_errors=True)
        lines = stack.enter_context(_RUNNING[name](place.absolute()))
        for what, where in lines:
            click.echo(f"{what:16} {where}")
        click.echo(f"{'logs':16} {place.absolute()}/*.log")
        click.echo("ready; Ctrl-C ends it")
        over.wait()
        click.echo("stopping")


@contextlib.contextmanager
def _kafka(directory: Path) -> Iterator[list[Line]]:
    with kafka(directory, _tell) as broker:
        yield [("broker", broker.address), ("try", f"ambry changes --to kafka://{broker.address}/changes")]


@contextlib.contextmanager
def _yarn(directory: Path) -> Iterator[list[Line]]:
    with yarn(directory, _tell) as cluster:
        yield [("pages", cluster.url), ("HADOOP_CONF_DIR", str(cluster.conf))]


@contextlib.contextmanager
def _hdfs(directory: Path) -> Iterator[list[Line]]:
    with hdfs(directory, _tell) as cluster:
        yield [
            ("files", cluster.url),
            ("webhdfs", f"webhdfs://{cluster.web_address}"),
            ("HADOOP_CONF_DIR", str(cluster.conf)),
        ]


_RUNNING: dict[str, Callable[[Path], contextlib.AbstractContextManager[list[Line]]]] = {
    "kafka": _kafka,
    "yarn": _yarn,
    "hdfs": _hdfs,
}


def _tell(text: str) -> None:
    click.echo(text, err=True)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except EngineError as error:
        raise click.ClickException(str(error)) from None
