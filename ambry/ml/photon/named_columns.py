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


def named_columns(
    snapshot: Snapshot,
    *,
    bags: Mapping[str, Sequence[str]] | None = None,
    ids: Iterable[str] = (),
    response: str | None = None,
    labelled: bool = True,
    beside: Iterable[str] = RESPONSES,
) -> SnapshotColumns:
    """Features are said by name or URN. `bags` are those of each shard; without it the shard `features` has all that are
    nothing else. An id is the entity of the snapshot, by the name of its column, or a feature. The response is the feature
    `response` or `label` where none is said, `weight` and `offset` those that are called so and are single numbers. Without
    `labelled` there is none, and `beside` are names that are no features, as far as they are there.

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
    weight, offset = (_number(snapshot, called.get(name)) for name in ("weight", "offset"))
    taken = no_features.union(each for each in (*told.values(), observed, weight, offset) if each is not None)
    if bags is None:
        shards: Mapping[str, Sequence[FeatureUrn]] = {SHARD: [urn for urn in urns if urn not in taken]}
    else:
        shards = {shard: [find_urn(name, urns) for name in names] for shard, names in bags.items()}
    return snapshot_columns(snapshot, shards, observed, weight=weight, offset=offset, ids=told)


def names_snapshot(place: str) -> bool:
    """Whether a text means a snapshot, and no files: these are there, or end in .avro, and other URLs are theirs."""
    if Path(place).exists():
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


def _number(snapshot: Snapshot, urn: FeatureUrn | None) -> FeatureUrn | None:
    """Of a feature, if it is a single number."""
    if urn is None:
        return None
    kind = snapshot.resolve(urn)
    return None if kind.axes or kind.value_type in (ValueType.STRING, ValueType.BYTES) else urn
