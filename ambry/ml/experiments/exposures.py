"""Who saw what, and when: JSON lines in blobs beside the experiment, from any number of processes.

    <dataset>.exposures/2026-11-27/<12 hexadecimal digits>-000000.jsonl
    {"unit": 42, "arm": "treatment", "at": 1764280000000, "model": "ranker@2.0.0", "sha256": "3f2a...",
     "attributes": {"country": "de"}}

The model is what decided, to the byte: an arm may be an alias, and an experiment is ramped.
What was not stored when a process died is lost; an exposure that is missing is missing in each arm alike.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ambry.client.refs import NameRef, VersionRef
from ambry.client.sync.client import AmbryClient
from ambry.errors import MALFORMED, DataCorrupt, InvalidRequest
from ambry.ml.experiments.assignment import Unit, key_of, unit_of
from ambry.ml.line_log import LineLog
from ambry.ml.places import version_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """A unit saw an arm."""

    unit: Unit
    arm: str
    at: datetime
    attributes: Mapping[str, Any]
    model: str = ""
    """The version that decided, with its number; empty where whoever served did not say."""
    sha256: str = ""
    """Of that version's manifest, which has those of its parts."""


class ExposureLog(LineLog):
    """Takes exposures of one experiment, and stores them in files. Usable by threads; close it, or use it in a `with`."""

    def __init__(
        self, client: AmbryClient, experiment: str, *, ttl_s: int | None = None, every_s: float | None = None
    ) -> None:
        """`ttl_s`: how long the files are kept; None for ever. With `every_s` a thread stores what was taken so often, and
        whoever records one never waits for the store.
        """
        super().__init__(client, _folder(version_of(experiment)), ttl_s=ttl_s, every_s=every_s)

    def record(
        self,
        unit: Unit,
        arm: str,
        attributes: Mapping[str, Any] | None = None,
        *,
        model: str = "",
        sha256: str = "",
        at: datetime | None = None,
    ) -> None:
        """Take one, as `take` does. `model` and `sha256` say which version decided (`str(stored)`, `stored.digest`).

        Raises InvalidRequest for what no evaluation would read, with all that lies beside it.
        """
        key_of(unit)
        told: dict[str, Any] = {"unit": unit, "arm": arm}
        if model or sha256:
            told |= {"model": str(model), "sha256": str(sha256)}
        if not isinstance(arm, str):
            raise InvalidRequest(f"an arm is a text, and not {arm!r:.60}; it is the name that the experiment gives it")
        try:
            if attributes:
                told["attributes"] = dict(attributes)
            self.take(told, at=at)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise InvalidRequest(
                f"the exposure of {unit!r:.60} has attributes that JSON has not, or a time that no calendar has: {error}"
            ) from error


def read_exposures(client: AmbryClient, experiment: str) -> Iterator[Exposure]:
    """All of an experiment, by day. Raises DataCorrupt for a line that is none."""
    folder = _folder(version_of(experiment))
    for entry in client.list(str(folder) if folder.account else folder.name):
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
        found = Exposure(
            unit=said["unit"],
            arm=said["arm"],
            at=at,
            attributes=said.get("attributes", {}),
            model=said.get("model", ""),
            sha256=said.get("sha256", ""),
        )
        key_of(found.unit)
        if not isinstance(found.attributes, dict):
            raise TypeError("attributes are an object")
        if not all(isinstance(text, str) for text in (found.arm, found.model, found.sha256)):
            raise TypeError("an arm, a model and its digest are texts")
        return found
    except (*MALFORMED, OSError) as error:
        raise DataCorrupt(f"{name}: line {number} is no exposure: {error!r}") from error


def _folder(place: VersionRef) -> NameRef:
    return NameRef(f"{place.dataset}.exposures/", place.account, place.container)
