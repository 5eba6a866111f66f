"""What a model of `ambry photon train` was made from, settled before it is trained, and written down with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from ambry.cli.arguments import ChosenCluster
from ambry.cli.photon_rows import SaidRows, snapshot_among
from ambry.errors import AccessDenied, BlobNotFound

if TYPE_CHECKING:
    from ambry.client.sync.client import AmbryClient
    from ambry.ml.photon.effects import ModelEffect
    from ambry.ml.photon.models import Task

STORE = "ambry://"


@dataclass(frozen=True, slots=True)
class RowsOrigin:
    """`data` are read: as they were said, and a snapshot by its number, also where an alias moves on meanwhile."""

    data: tuple[str, ...]
    snapshot: str = ""
    definitions: str = ""
    """Of the snapshot; empty where it says none, or they are not there any more."""
    told: tuple[Mapping[str, str], ...] = ()
    """Each place without what may be a secret; of the store each file, with its id."""


def rows_origin(cluster: ChosenCluster, data: Sequence[str]) -> RowsOrigin:
    """One request for each file of the store. Raises InvalidRequest, BlobNotFound."""
    from ambry.ml.places import shown_version
    from ambry.ml.snapshots.reading import open_snapshot

    if (place := snapshot_among(data)) is not None:
        with cluster.connect() as client, open_snapshot(client, place) as snapshot:
            exact, definitions = shown_version(snapshot.place), snapshot.about.definitions
            known = definitions if _is_there(client, definitions) else ""
            return RowsOrigin((exact,), exact, known, ({"place": exact},))
    told: list[Mapping[str, str]] = [{"place": _public(each)} for each in data if not each.startswith(STORE)]
    if stored := [each for each in data if each.startswith(STORE)]:
        with cluster.connect() as client:
            told += _blobs(client, stored)
    return RowsOrigin(tuple(data), told=tuple(told))


def train_params(
    task: Task,
    effects: Sequence[ModelEffect],
    said: SaidRows,
    *,
    rows: RowsOrigin,
    held_out: RowsOrigin | None,
    start: str,
    engine: str,
) -> dict[str, Any]:
    """How it was trained, and on what, for `publish_model`. `start` is a directory; one of the store is the parent."""
    found: dict[str, Any] = {
        "task": task.value,
        "engine": engine,
        "effects": {effect.name: effect.told for effect in effects},
        "data": list(rows.told),
    }
    if held_out is not None:
        found["validate"] = list(held_out.told)
    if said.bags:
        found["bags"] = dict(said.bags)
    if said.response:
        found["response"] = said.response
    if start:
        found["start"] = start
    return found


def _blobs(client: AmbryClient, data: Sequence[str]) -> list[dict[str, str]]:
    """Without an id what cannot be looked up: whether it is read, reading says."""
    from ambry.client.refs import parse_uri
    from ambry.ml.photon.reading import files_at

    found = []
    for place in files_at(data):
        about = {"place": place}
        with suppress(BlobNotFound, AccessDenied):
            about["id"] = str(client.head(parse_uri(place)).id)
        found.append(about)
    return found


def _is_there(client: AmbryClient, definitions: str) -> bool:
    """Whether a model can say that it is of these; what cannot be looked up would be refused after the training."""
    from ambry.ml.digests import numbered
    from ambry.ml.models.publishing import is_elsewhere

    if not definitions or is_elsewhere(definitions):
        return bool(definitions)
    with suppress(BlobNotFound, AccessDenied):
        return bool(numbered(client, definitions))
    return False


def _public(place: str) -> str:
    """A URL without a user and a password, and over HTTP without its query, in which a signature stands."""
    if "://" not in place:
        return place
    parts = urlsplit(place)
    host = parts.netloc.rpartition("@")[2]
    web = parts.scheme.lower() in ("http", "https")
    return urlunsplit((parts.scheme, host, parts.path, "" if web else parts.query, "" if web else parts.fragment))
