"""What the columns of a typed snapshot are to a model, said by names, as read_examples takes the fields of Avro."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ambry.errors import InvalidRequest
from ambry.ml.features.definitions import ValueType
from ambry.ml.features.urn import FeatureUrn, find_urn
from ambry.ml.listed import listed
from ambry.ml.photon.examples import SHARD
from ambry.ml.photon.reading import RESPONSES
from ambry.ml.photon.snapshots import SnapshotColumns, snapshot_columns
from ambry.ml.places import shown_version
from ambry.ml.snapshots.reading import Snapshot

_OF_FILES = ("/", "./", "../")
"""How a path begins that is of files, whatever is there."""


def named_columns(
    snapshot: Snapshot,
    *,
    bags: Mapping[str, Sequence[str]] | None = None,
    ids: Iterable[str] = (),
    response: str | None = None,
    labelled: bool = True,
    beside: Iterable[str] = RESPONSES,
    weight: str | None = None,
    offset: str | None = None,
) -> SnapshotColumns:
    """Features are said by name or URN. `bags` are those of each shard; without it the shard `features` has all that are
    nothing else. An id is the entity of the snapshot, by the name of its column, or a feature. The response is the feature
    `response` or `label` where none is said. The `weight` and `offset` are the features that are called so, where they are
    single numbers and in no bag; an empty name is none. Without `labelled` there is no response, and `beside` are names that
    are no features, as far as they are there.

    Raises InvalidRequest for what is not there.
    """
    urns = snapshot.urns
    called = {urn.name: urn for urn in urns}
    told = {kind: _id(snapshot, kind) for kind in ids}
    observed: FeatureUrn | None = None
    no_features: set[FeatureUrn] = set()
    if not labelled:
        no_features = {urn for urn in urns if {urn.name, str(urn)}.intersection(beside)}
    elif response:
        observed = find_urn(response, urns)
    else:
        observed = next((called[name] for name in RESPONSES if name in called), None)
    if observed is None and labelled:
        raise InvalidRequest(
            f"the snapshot {shown_version(snapshot.place)} has neither a feature response nor one called label; say it "
            f"with --response, in Python `response`: one of {listed(sorted(called))}"
        )
    bagged = {find_urn(name, urns) for names in (bags or {}).values() for name in names}
    numbers: dict[str, FeatureUrn | None] = {}
    for what, said in (("weight", weight), ("offset", offset)):
        if said is None:
            numbers[what] = _number(snapshot, called.get(what), bagged)
        else:
            numbers[what] = find_urn(said, urns) if said else None
    taken = no_features.union(each for each in (*told.values(), observed, *numbers.values()) if each is not None)
    if bags is None:
        shards: Mapping[str, Sequence[FeatureUrn]] = {SHARD: [urn for urn in urns if urn not in taken]}
    else:
        shards = {shard: [find_urn(name, urns) for name in names] for shard, names in bags.items()}
    return snapshot_columns(snapshot, shards, observed, weight=numbers["weight"], offset=numbers["offset"], ids=told)


def names_snapshot(place: str) -> bool:
    """Whether a text means a snapshot, and no files: these are there, end in .avro or say where; other URLs are theirs."""
    if Path(place).exists() or place.startswith(_OF_FILES):
        return False
    name = place.rpartition("/")[2]
    if "://" in place:
        return place.startswith("ambry://") and "@" in name
    return "@" in name or ("/" not in place and not place.endswith(".avro"))


def _id(snapshot: Snapshot, kind: str) -> FeatureUrn | None:
    """None for the entity. Raises InvalidRequest."""
    if kind == snapshot.about.entity:
        return None
    try:
        return find_urn(kind, snapshot.urns)
    except InvalidRequest as error:
        raise InvalidRequest(
            f"the snapshot {shown_version(snapshot.place)} has no id {kind!r}: its entities are {snapshot.about.entity!r}, and "
            f"{error.message}"
        ) from None


def _number(snapshot: Snapshot, urn: FeatureUrn | None, bagged: set[FeatureUrn]) -> FeatureUrn | None:
    """A feature, if it is a single number, and nobody says that it is one to the model."""
    if urn is None or urn in bagged:
        return None
    kind = snapshot.resolve(urn)
    return None if kind.axes or kind.value_type in (ValueType.STRING, ValueType.BYTES) else urn
