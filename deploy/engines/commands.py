"""`ambry engines`: the engines around the store on this machine, each by one command."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ambry.cli.interrupts import signals_interrupt
from ambry.cli.standard_streams import check_read
from ambry.path_option import LocalPath
from deploy.directory_lock import locked
from deploy.engines.jars import EngineError, fetch, kept

if TYPE_CHECKING:
    from deploy.engines.processes import EngineProcess

_ODD = re.compile(r"[,:\\\x00-\x1f\x7f]")
LOOK_S = 1.0
"""How often it is seen whether the engine still runs, and whoever reads what is printed."""
JARS = {
    "kafka": "Apache Kafka 4.3.1, a broker in 400 MB",
    "hadoop": "Apache Hadoop 3.5.0: YARN and HDFS, some 450 MB each",
    "tony": "LinkedIn's TonY 0.4.7, for `ambry train submit --engine tony`",
    "samza": "Apache Samza 1.8.0, for jobs in Java",
    "zookeeper": "Apache ZooKeeper 3.9.5, a server in 80 MB",
}
OF_IMPORT = "--definitions FEATURES --entity FIELD --as-of TIME"


@dataclass(frozen=True, slots=True)
class _Running:
    lines: tuple[tuple[str, str], ...]
    """What it is, and where."""
    processes: tuple[EngineProcess, ...]


@click.group()
def engines() -> None:
    """Engines to work with the store: fetched with Maven, run on loopback, gone at Ctrl-C."""


@engines.command("list")
def list_engines() -> None:
    """Tell what there is, and what of it was fetched."""
    from deploy.engines.postgres import INSTALLED, binaries_of
    from deploy.engines.spark import home_of_pyspark

    for name, what in JARS.items():
        directory = kept(name)
        click.echo(f"{name:10} {what}; {'not fetched' if directory is None else directory}")
    installed: list[tuple[str, str, Callable[[], Path]]] = [
        ("postgres", "PostgreSQL, as it is installed", lambda: binaries_of(INSTALLED)),
        ("spark", "Apache Spark, a master and a worker of pyspark", home_of_pyspark),
    ]
    for name, what, place in installed:
        try:
            where = str(place())
        except EngineError as lacking:
            where = str(lacking)
        click.echo(f"{name:10} {what}; {where}")


@engines.command("fetch")
@click.argument("names", nargs=-1, type=click.Choice(list(JARS)))
def fetch_engines(names: tuple[str, ...]) -> None:
    """Fetch the jars of NAMES (all, where none is said) with Maven, unless they are there, and compare each with its SHA-256.

    They lie in ~/.cache/ambry/engines, or where AMBRY_ENGINES says. The last line of each is its directory.
    """
    with _told():
        for name in names or JARS:
            click.echo(fetch(name, lambda text: click.echo(text, err=True)))


def _taken(stack: contextlib.ExitStack, place: Path) -> Path:
    """The directory is ours until the end: two engines on the same files would break them. Raises EngineError."""
    place = place.absolute()
    if _ODD.search(str(place)) or place.parent == place:
        raise EngineError(
            f"{str(place)!r} cannot be the directory of an engine: it is that of all others, or a sign in its path parts "
            "paths in files of engines (a comma, a colon, a backslash, a control character); name another one"
        )
    place.mkdir(parents=True, exist_ok=True)
    try:
        stack.enter_context(locked(place, wait_s=0))
    except TimeoutError:
        raise EngineError(f"another `ambry engines up` runs in {place}; end it, or name another directory") from None
    return place


@contextlib.contextmanager
def _kafka(directory: Path) -> Iterator[_Running]:
    from deploy.engines.kafka import kafka

    with kafka(directory, _tell) as broker:
        lines = ("broker", broker.address), ("try", f"ambry changes --to kafka://{broker.address}/changes")
        yield _Running(lines, (broker,))


@contextlib.contextmanager
def _yarn(directory: Path) -> Iterator[_Running]:
    from deploy.engines.hadoop import yarn

    with yarn(directory, _tell) as cluster:
        lines = ("pages", cluster.url), ("HADOOP_CONF_DIR", str(cluster.conf))
        yield _Running(lines, (cluster.resource_manager, *cluster.node_managers))


@contextlib.contextmanager
def _hdfs(directory: Path) -> Iterator[_Running]:
    from deploy.engines.hadoop import hdfs

    with hdfs(directory, _tell) as cluster:
        lines = (
            ("files", cluster.url),
            ("webhdfs", f"webhdfs://{cluster.web_address}"),
            ("HADOOP_CONF_DIR", str(cluster.conf)),
            ("try", f"ambry features import hdfs://{cluster.web_address}/DIRECTORY DATASET {OF_IMPORT}"),
        )
        yield _Running(lines, (cluster.name_node, cluster.data_node))


@contextlib.contextmanager
def _zookeeper(directory: Path) -> Iterator[_Running]:
    from deploy.engines.zookeeper import zookeeper

    with zookeeper(directory, _tell) as server:
        yield _Running((("server", server.address),), (server,))


@contextlib.contextmanager
def _postgres(directory: Path) -> Iterator[_Running]:
    from deploy.engines.postgres import postgres

    with postgres(directory, _tell) as server:
        yield _Running((("database", server.url),), (server,))


@contextlib.contextmanager
def _spark(directory: Path) -> Iterator[_Running]:
    from deploy.engines.spark import spark

    with spark(directory, _tell) as cluster:
        lines = ("master", cluster.address), ("pages", cluster.url)
        yield _Running(lines, (cluster.master, cluster.worker))


_RUNNING: dict[str, Callable[[Path], contextlib.AbstractContextManager[_Running]]] = {
    "kafka": _kafka,
    "yarn": _yarn,
    "hdfs": _hdfs,
    "zookeeper": _zookeeper,
    "postgres": _postgres,
    "spark": _spark,
}


@engines.command()
@click.argument("name", type=click.Choice(list(_RUNNING)))
@click.option(
    "--directory", type=LocalPath(path_type=Path, file_okay=False), help="Keep its data here.  [default: none is kept]"
)
def up(name: str, directory: Path | None) -> None:
    """Run an engine on this machine until Ctrl-C; it says where it is when it is ready.

    Without --directory its data are gone at the end. It dies with this command, however that ends: also
    where whoever reads what it prints has gone (`| head -1`).
    """
    from deploy.run_directory import run_directory

    with _told(), signals_interrupt(), contextlib.ExitStack() as stack:
        try:
            place = stack.enter_context(run_directory(name)) if directory is None else _taken(stack, directory)
            _tell(f"starting {name}; what it prints goes to {place}/*.log")
            runs = stack.enter_context(_RUNNING[name](place))
            for what, where in (*runs.lines, ("logs", f"{place}/*.log")):
                click.echo(f"{what:16} {where}")
        except KeyboardInterrupt:
            click.echo("interrupted; what had been started is stopped again", err=True)
            raise
        try:
            click.echo("ready; Ctrl-C ends it")
            while True:
                time.sleep(LOOK_S)
                check_read()
                for process in runs.processes:
                    process.check()
        except KeyboardInterrupt:
            click.echo("stopping")


def _tell(text: str) -> None:
    click.echo(text, err=True)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except EngineError as error:
        raise click.ClickException(str(error)) from None
