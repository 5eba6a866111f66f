"""What every demonstration stands on: a cluster of two datacenters of its own, steps that are told, and checks that count."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import click

from ambry import AmbryClient, CacheConfig
from ambry.cli.failures import EXIT_INCOMPLETE
from ambry.cli.interrupts import signals_interrupt
from ambry.errors import AmbryError
from deploy.local_cluster import LocalCluster
from deploy.local_layout import LocalClusterError
from deploy.local_processes import wait_until
from deploy.run_directory import run_directory

REPLICATION_TIMEOUT_S = 120.0
CLUSTER_BYTES = 4 << 30
"""What the disk needs room for: twelve replicas of some segments, and what a demonstration stores."""


class DemonstrationFailed(click.ClickException):
    """A check was not met, or the demonstration cannot run here. Exit code 1."""


class DemonstrationIncomplete(click.ClickException):
    """What was checked holds, and something was not, as a library is not installed. Exit code 9."""

    exit_code = EXIT_INCOMPLETE


class Stage:
    """Two datacenters, a client in each, and what was checked."""

    def __init__(self, cluster: LocalCluster, directory: Path, first: AmbryClient, second: AmbryClient) -> None:
        self.cluster = cluster
        self.directory = directory
        """Empty, and gone at the end."""
        self.dc1 = first
        self.dc2 = second
        self._steps = 0
        self._failed: list[str] = []
        self._left_out: dict[str, str] = {}
        """What was not shown, with what would have shown it."""

    def step(self, title: str) -> None:
        self._steps += 1
        click.echo(f"\n{self._steps}. {title}")

    def say(self, text: str) -> None:
        click.echo("   " + text.replace("\n", "\n   "))

    def check(self, what: str, holds: object, found: object = "") -> None:
        """Tell whether something holds, and go on."""
        told = f": {found}" if found != "" else ""
        click.echo(f"   {'ok    ' if holds else 'FAILED'}  {what}{told}")
        if not holds:
            self._failed.append(what)

    def skip(self, what: str, why: str, needs: str) -> None:
        """Tell what cannot be shown here, as `needs` (a library or an engine) is not there."""
        click.echo(f"   skipped {what}: {why}")
        self._left_out[what] = needs

    def end(self, without: Sequence[str] = ()) -> None:
        """Raises DemonstrationFailed for what did not hold, DemonstrationIncomplete for what was left out unasked."""
        if self._failed:
            raise DemonstrationFailed(f"{len(self._failed)} of the checks failed: {'; '.join(self._failed)}")
        click.echo("\nEverything that was checked holds.")
        if self._left_out:
            click.echo(f"Left out: {', '.join(self._left_out)}.")
        lacking = {needs: None for needs in self._left_out.values() if needs not in without}
        if lacking:
            unseen = [what for what, needs in self._left_out.items() if needs in lacking]
            wish = " ".join(f"--without {needs}" for needs in lacking)
            raise DemonstrationIncomplete(
                f"not checked: {', '.join(unseen)}; install what is said above, or leave it out knowingly: {wish}"
            )

    def until(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait for something that takes its time in a cluster. Raises DemonstrationFailed."""

        def met() -> bool:
            try:
                return condition()
            except AmbryError:
                return False

        if not wait_until(met, REPLICATION_TIMEOUT_S, 0.1):
            raise DemonstrationFailed(f"{what}: not within {REPLICATION_TIMEOUT_S:.0f} s")

    def counted(self, name: str) -> float:
        """What the frontend of dc1 has counted under this name since it began: requests, bytes_sent."""
        [frontend] = self.cluster.frontends("dc1")
        with urlopen(f"{frontend.admin_url}/metrics", timeout=10) as answer:  # nosec B310 # our own process on loopback
            lines = answer.read().decode().splitlines()
        found = [line for line in lines if line.startswith(f"ambry_frontend_{name}_total")]
        return sum(float(line.rpartition(" ")[2]) for line in found)

    def is_whole(self, id: object, datacenter: str) -> bool:
        """Whether each replica of a datacenter holds all of a blob, as its frontend sees it."""
        [frontend] = self.cluster.frontends(datacenter)
        asked = Request(f"{frontend.url}/{id}/Replicas", headers={"Authorization": f"Bearer {self.cluster.key}"})
        try:
            with urlopen(asked, timeout=10) as answer:  # nosec B310 # our own process on loopback
                replicas = json.load(answer)["replicas"]
        except HTTPError:
            return False
        there = [each for each in replicas if each["datacenter"] == datacenter]
        return bool(there) and all(each["present"] == each["total"] for each in there)

    def kill_datacenter(self, name: str) -> None:
        """SIGKILL to every process of it."""
        for member in [*self.cluster.frontends(name), *self.cluster.nodes(name)]:
            self.cluster.kill(member.name, signal.SIGKILL)


@contextlib.contextmanager
def on_stage() -> Generator[Stage]:
    """A stage of one's own, whose processes and files are gone afterwards; signals end it as Ctrl-C does.

    Raises DemonstrationFailed.
    """
    with signals_interrupt(), run_directory("demo") as directory, temporary_files(directory / "tmp"):
        free = shutil.disk_usage(directory).free
        if free < CLUSTER_BYTES:
            room = f"{directory} has {free / 1e9:.1f} GB left and this needs {CLUSTER_BYTES / 1e9:.1f}"
            raise DemonstrationFailed(f"{room}; set TMPDIR to a larger disk")
        try:
            with _stage(directory) as stage:
                yield stage
        except LocalClusterError as error:
            raise DemonstrationFailed(str(error)) from error


@contextlib.contextmanager
def _stage(directory: Path) -> Generator[Stage]:
    cluster = LocalCluster(directory / "cluster", partitions=4, port_base=0, auth=True)
    (directory / "work").mkdir()
    with cluster, contextlib.ExitStack() as clients:
        first, second = (
            clients.enter_context(
                AmbryClient(
                    endpoints=[cluster.frontends(name)[0].url],
                    key=cluster.key,
                    cache=CacheConfig(directory=directory / f"cache-{name}"),
                )
            )
            for name in ("dc1", "dc2")
        )
        click.echo(f"Two datacenters of three data nodes and a frontend each: {len(cluster.members)} processes.")
        yield Stage(cluster, directory / "work", first, second)


@contextlib.contextmanager
def temporary_files(directory: Path) -> Generator[None]:
    """Let temporary files of this process, and of those that it starts, lie in a new directory."""
    directory.mkdir()
    before, tempfile.tempdir = tempfile.tempdir, str(directory)
    try:
        with environment(TMPDIR=str(directory)):
            yield
    finally:
        tempfile.tempdir = before


def sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def environment(**values: str) -> Generator[None]:
    """Variables of the environment, for libraries that find the cluster by them."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
