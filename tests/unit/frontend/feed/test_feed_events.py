"""What followers are told of a blob's state and of a register's versions."""

from __future__ import annotations

import pytest

from ambry.blob import NEVER_MS, BlobState
from ambry.protocol.messages.feed import FeedChange
from ambry.rest.versions import VersionSchema
from frontend.datasets.rows import AliasMove, encode_dataset, encode_move
from frontend.datasets.rows import Dataset as DatasetRow
from frontend.datasets.versions import pack
from frontend.feed.events import FeedEvent, blob_events, blob_of, id_text, register_event
from frontend.metadata.spaces import Space
from frontend.metadata.store import Stamp, Version
from frontend.names.rows import NamedBlob, encode_named
from tests.support.samples import blob_id

ID = blob_id(1_000)
TEXT = id_text(ID)
STAMP = Stamp(5_000 << 16, 2)
NAMED = NamedBlob(ID, 9, 7_000, owned=True)


def change(*, life: int = 0, deleted: bool = False, put: bool = False, updated: bool = False) -> FeedChange:
    return FeedChange(ID, BlobState(life, deleted, 7_000), 3_000, put, updated, 9 if put else -1)


PUT = FeedEvent("blob.put", 1_000, TEXT, 9, 7_000)


@pytest.mark.parametrize(
    ("told", "events"),
    [
        (change(put=True), [PUT]),
        (change(put=True, updated=True), [PUT, FeedEvent("blob.extend", 3_000, TEXT, None, 7_000)]),
        (change(updated=True), [FeedEvent("blob.extend", 3_000, TEXT, None, 7_000)]),
        (change(deleted=True, updated=True), [FeedEvent("blob.delete", 3_000, TEXT, None, 7_000)]),
        (change(deleted=True, put=True), [PUT, FeedEvent("blob.delete", 3_000, TEXT, None, 7_000)]),
        (change(life=1, updated=True), [FeedEvent("blob.undelete", 3_000, TEXT, None, 7_000, 1)]),
        (change(life=1, deleted=True), [FeedEvent("blob.delete", 3_000, TEXT, None, 7_000, 1)]),
    ],
)
def test_a_blob_is_told_by_its_state(told: FeedChange, events: list[FeedEvent]) -> None:
    assert blob_events(told) == events


def test_a_blob_that_lives_for_ever_and_one_of_unknown_size_have_no_such_fields() -> None:
    (event,) = blob_events(FeedChange(ID, BlobState(0, False, NEVER_MS), 3_000, True, False, -1))
    assert (event.blob_size, event.expiration_time_ms) == (None, None)


def version(space: Space, key: bytes, value: bytes | None) -> Version:
    return Version(space, 3, key, STAMP, value, 1)


@pytest.mark.parametrize(
    ("told", "event"),
    [
        (
            version(Space.NAME, "a/ü".encode(), encode_named(NAMED)),
            FeedEvent("name.put", 5_000, TEXT, 9, 7_000, name="a/ü", datacenter=2),
        ),
        (version(Space.NAME, b"a", None), FeedEvent("name.delete", 5_000, name="a", datacenter=2)),
        (
            version(Space.VERSION, b"fraud\0" + pack((1, 0, 3)), encode_named(NAMED)),
            FeedEvent("version.put", 5_000, TEXT, 9, 7_000, dataset="fraud", version="1.0.3", datacenter=2),
        ),
        (
            version(Space.VERSION, b"fraud\0" + pack((1, 0, 3)), None),
            FeedEvent("version.delete", 5_000, dataset="fraud", version="1.0.3", datacenter=2),
        ),
        (
            version(Space.DATASET, b"fraud", encode_dataset(DatasetRow(schema=VersionSchema.SEMANTIC))),
            FeedEvent("dataset.put", 5_000, dataset="fraud", datacenter=2),
        ),
        (version(Space.DATASET, b"fraud", None), FeedEvent("dataset.delete", 5_000, dataset="fraud", datacenter=2)),
        (
            version(Space.ALIAS, b"fraud\0champion", encode_move(AliasMove(version="1.0.3", who="ann", why="best"))),
            FeedEvent(
                "alias.put",
                5_000,
                dataset="fraud",
                version="1.0.3",
                alias="champion",
                who="ann",
                why="best",
                datacenter=2,
            ),
        ),
        (
            version(Space.ALIAS, b"fraud\0champion", None),
            FeedEvent("alias.delete", 5_000, dataset="fraud", alias="champion", datacenter=2),
        ),
        (
            version(Space.NAME, b"a", b"\x09what a later release writes"),
            FeedEvent("name.put", 5_000, name="a", datacenter=2),
        ),
        (
            version(Space.ALIAS, b"d\0a", b"\x09what a later release writes"),
            FeedEvent("alias.put", 5_000, dataset="d", alias="a", datacenter=2),
        ),
    ],
)
def test_every_version_of_a_register_is_told(told: Version, event: FeedEvent) -> None:
    assert register_event(told, 3) == event


def test_names_and_versions_point_to_blobs_and_nothing_else_does() -> None:
    assert blob_of(version(Space.NAME, b"a", encode_named(NAMED))) == NAMED
    assert blob_of(version(Space.NAME, b"a", None)) is None
    assert blob_of(version(Space.ALIAS, b"d\0a", encode_move(AliasMove(version="1")))) is None
