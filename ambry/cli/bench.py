"""`ambry bench`: what one client of this machine gets from an endpoint, in a few seconds, with reads that are verified.

Every blob is put with a life of an hour, read back and compared, and deleted again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from ambry.cli.arguments import ChosenCluster, Seconds, as_size, connecting, shows
from ambry.cli.display import amount
from ambry.cli.failures import describe
from ambry.cli.output import show_table
from ambry.cli.workers import Workers
from ambry.errors import AmbryError
from ambry.ids import BlobId

if TYPE_CHECKING:
    from ambry.client.sync.client import AmbryClient
    from ambry.clock import Clock

LIFE_S = 3_600
BLOBS_MAX = 10_000
"""Blobs of one size, at most: as many are deleted again."""


@dataclass(slots=True)
class BenchRow:
    """One kind of call with blobs of one size. `seconds` are those of each call, `took_s` those of all together."""

    call: str
    size: int
    seconds: list[float] = field(default_factory=list[float])
    errors: int = 0
    took_s: float = 0.0
    processor_s: float = 0.0

    def at(self, share: float) -> float:
        """The time, in ms, within which so many of the calls ended."""
        ordered = sorted(self.seconds)
        return 1e3 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0

    def fields(self) -> dict[str, float | int | str]:
        """As JSON has it."""
        rate = len(self.seconds) / self.took_s if self.took_s else 0.0
        return {
            "call": self.call,
            "size": self.size,
            "calls": len(self.seconds),
            "errors": self.errors,
            "calls_per_s": round(rate, 1),
            "bytes_per_s": round(rate * self.size) if self.call != "delete" else 0,
            "p50_ms": round(self.at(0.5), 2),
            "p99_ms": round(self.at(0.99), 2),
            "client_cpu_ms": round(1e3 * self.processor_s / max(1, len(self.seconds)), 3),
        }

    def cells(self) -> list[str]:
        told = self.fields()
        moved = f"{amount(int(told['bytes_per_s']))}/s" if self.call != "delete" else "-"
        return [
            self.call,
            amount(self.size),
            *(str(told[name]) for name in ("calls", "errors", "calls_per_s")),
            moved,
            *(str(told[name]) for name in ("p50_ms", "p99_ms", "client_cpu_ms")),
        ]


HEADER = ["CALL", "SIZE", "CALLS", "ERRORS", "CALLS/S", "BYTES/S", "P50 MS", "P99 MS", "CLIENT CPU MS"]


@click.command()
@connecting
@click.option("--seconds", type=Seconds(0.1, 600), default=3.0, show_default=True, help="For each row of puts.")
@click.option("--parallel", type=click.IntRange(1, 32), default=4, show_default=True, help="Calls at a time.")
@click.option(
    "--size", "sizes", multiple=True, default=("4KiB", "1MiB"), show_default=True, metavar="SIZE", help="Of the blobs."
)
@shows("table", "json")
def bench(cluster: ChosenCluster, seconds: float, parallel: int, sizes: tuple[str, ...], output: str) -> int:
    """Measure puts, reads and deletes of an endpoint from here, with blobs that are deleted again.

    Calls are verified as always and go over kept connections. The client's processor time is shown too: where it fills the
    time of a call, this machine is what was measured.
    """
    from ambry.clock import SystemClock, system_random  # not before it is needed

    context = click.get_current_context()
    clock, chance = SystemClock(), system_random()
    rows: list[BenchRow] = []
    said = ""
    with cluster.connect() as client:
        for text in sizes:
            size = as_size(context, click.Option(["--size"]), text)
            if size is None or size > 64 << 20:
                raise click.BadParameter(f"{text!r}: at most 64MiB")
            bench = _Bench(client, clock, parallel, chance.randbytes(size))
            rows += bench.run(seconds)
            said = said or bench.said
    if output == "json":
        for row in rows:
            click.echo(json.dumps(row.fields()))
    else:
        show_table(HEADER, [row.cells() for row in rows])
    if said:
        click.echo(f"ambry: the first error was: {said}", err=True)
    return 1 if said else 0


class _Bench:
    """One size. All blobs have the same bytes; a store that keeps each of its own does not see that."""

    def __init__(self, client: AmbryClient, clock: Clock, parallel: int, data: bytes) -> None:
        self._client = client
        self._clock = clock
        self._parallel = parallel
        self._data = data
        self._blobs: list[BlobId] = []
        self.said = ""

    def run(self, seconds: float) -> list[BenchRow]:
        client, data = self._client, self._data
        until = self._clock.monotonic() + seconds

        def put(number: int) -> None:
            self._blobs.append(client.put(data, ttl=LIFE_S).id)

        def get(blob: BlobId) -> None:
            if client.get_bytes(blob) != data:
                raise AmbryError("other bytes came back than were put")

        rows: list[BenchRow] = []
        try:
            rows.append(self._row("put", put, (n for n in range(BLOBS_MAX) if self._clock.monotonic() < until)))
            rows.append(self._row("get", get, list(self._blobs)))
        finally:
            rows.append(self._row("delete", client.delete, list(self._blobs)))
        return rows

    def _row(self, name: str, call: Callable[..., None], things: object) -> BenchRow:
        row = BenchRow(name, len(self._data))
        workers = Workers(self._parallel)

        def do(thing: object) -> None:
            began = self._clock.monotonic()
            try:
                call(thing)
            except AmbryError as error:
                with workers.lock:
                    row.errors += 1
                    self.said = self.said or describe(error)
            else:
                row.seconds.append(self._clock.monotonic() - began)

        began, used = self._clock.monotonic(), os.times()
        workers.run(things, do)  # type: ignore[arg-type]
        row.took_s = self._clock.monotonic() - began
        now = os.times()
        row.processor_s = now.user - used.user + now.system - used.system
        return row
