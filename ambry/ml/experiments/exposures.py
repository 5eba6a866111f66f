"""Who saw what, and when: JSON lines in blobs beside the experiment, from any number of processes.

    <dataset>.exposures/2026-11-27/<12 hexadecimal digits>-000000.jsonl
    {"unit": 42, "arm": "treatment", "at": 1764280000000, "attributes": {"country": "de"}}

A process has a random name of its own and counts its files, so that no two write the same. What was not flushed when a process
died is lost; an exposure that is missing is missing in each arm alike.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from ambry.client.refs import NameRef
from ambry.client.sync.client import AmbryClient
from ambry.errors import AmbryError, DataCorrupt
from ambry.ml.experiments.assignment import Unit, unit_of
from ambry.ml.places import version_of

LINES_MAX = 10_000
"""A file has at most so many."""
KEPT_MAX = 10 * LINES_MAX
"""Lines that are kept while the store takes none; older ones are dropped, and counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """A unit saw an arm."""

    unit: Unit
    arm: str
    at: datetime
    attributes: Mapping[str, Any]


class ExposureLog:
    """Takes exposures of one experiment, and stores them in files. Usable by threads; close it, or use it in a `with`."""

    def __init__(self, client: AmbryClient, experiment: str, *, ttl_s: int | None = None) -> None:
        """`ttl_s`: how long the files are kept; None for ever."""
        self._client = client
        self._place = version_of(experiment)
        self._ttl_s = ttl_s
        self._process = secrets.token_hex(6)
        self._files = 0
        self._lines: list[str] = []
        self._since_try = 0
        self._lock = threading.Lock()
        self._storing = threading.Lock()
        self.dropped = 0
        """Exposures that were not stored, since the store took nothing for too long."""

    def record(
        self, unit: Unit, arm: str, attributes: Mapping[str, Any] | None = None, *, at: datetime | None = None
    ) -> None:
        """Take one. Who fills a file stores it before this returns, unless another thread does; nobody else waits for that.

        Where the store takes nothing, lines are kept, and it is tried again after as many as a file has.
        """
        told: dict[str, Any] = {"unit": unit, "arm": arm, "at": _ms(at or datetime.now(UTC))}
        if attributes:
            told["attributes"] = dict(attributes)
        line = json.dumps(told, separators=(",", ":"))  # In ASCII, which holds any text.
        with self._lock:
            self._lines.append(line)
            self._bound()
            self._since_try += 1
            full = self._since_try >= LINES_MAX
            if full:
                self._since_try = 0
        if full and self._storing.acquire(blocking=False):
            try:
                self._store()
            except AmbryError:
                return  # Kept; the next full file, flush or close tries again.
            finally:
                self._storing.release()

    def flush(self) -> None:
        """Store what was taken; durable on return. Raises what a put raises; nothing is lost then."""
        with self._storing:
            self._store()

    def _store(self) -> None:
        """By one thread at a time; the others go on taking."""
        while True:
            with self._lock:
                part, self._lines = self._lines[:LINES_MAX], self._lines[LINES_MAX:]
            if not part:
                return
            data = "".join(f"{line}\n" for line in part).encode()
            name = f"{self._place.dataset}.exposures/{_day(part[0])}/{self._process}-{self._files:06}.jsonl"
            try:
                self._client.put(
                    data,
                    name=NameRef(name, self._place.account, self._place.container),
                    content_type="application/jsonl",
                    ttl=self._ttl_s,
                )
            except BaseException:
                with self._lock:
                    self._lines[:0] = part
                    self._bound()
                raise
            self._files += 1

    def _bound(self) -> None:
        """Under the lock: the oldest lines go, and are counted."""
        over = len(self._lines) - KEPT_MAX
        if over > 0:
            del self._lines[:over]
            self.dropped += over

    def close(self) -> None:
        """Flush. Raises what a put raises."""
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_exposures(client: AmbryClient, experiment: str) -> Iterator[Exposure]:
    """All of an experiment, by day. Raises DataCorrupt for a line that is none."""
    place = version_of(experiment)
    prefix = NameRef(f"{place.dataset}.exposures/", place.account, place.container)
    for entry in client.list(str(prefix) if place.account else prefix.name):
        with client.get(entry.ref) as reader:
            for number, line in enumerate(reader.read().splitlines(), 1):
                yield _parsed(line, entry.name, number)


def first_exposures(exposures: Iterable[Exposure]) -> dict[Unit, Exposure]:
    """The first of each unit, by its time: what a unit is counted for."""
    first: dict[Unit, Exposure] = {}
    for each in exposures:
        unit = unit_of(each.unit)
        known = first.get(unit)
        if known is None or each.at < known.at:
            first[unit] = each
    return first


def _parsed(line: bytes, name: str, number: int) -> Exposure:
    try:
        said = json.loads(line)
        at = datetime.fromtimestamp(said["at"] / 1000, UTC)
        return Exposure(unit=said["unit"], arm=said["arm"], at=at, attributes=said.get("attributes", {}))
    except (ValueError, KeyError, TypeError, OverflowError, OSError) as error:
        raise DataCorrupt(f"{name}: line {number} is no exposure: {error!r}") from error


def _ms(time: datetime) -> int:
    return int(time.timestamp() * 1000)


def _day(line: str) -> str:
    return datetime.fromtimestamp(json.loads(line)["at"] / 1000, UTC).date().isoformat()
