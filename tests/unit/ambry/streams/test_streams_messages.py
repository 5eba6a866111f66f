"""A change as a message: what it is keyed by, and what it is known again by."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ambry.client.changes import RESTARTED, ToldChange
from ambry.ids import BlobId
from ambry.streams.messages import change_id, key_of, message_of, without_own
from tests.support.samples import blob_id

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
BLOB = BlobId(blob_id(1))
NAMED = ToldChange(type="name.put", time=NOON, id=BLOB, size=3, name="models/ä", datacenter=1)


def test_a_message_is_these_bytes() -> None:
    message = message_of(NAMED)
    assert message is not None
    assert message.key == "models/ä".encode()
    said = f'{{"type":"name.put","time":"2026-11-27T12:00:00+00:00","id":"{BLOB}","size":3,"name":"models/ä","datacenter":1}}'
    assert message.value == said.encode()

    assert message.change == b"e9addd33c6820e1ca7622ab1ce23a97d"


def test_what_is_about_a_dataset_is_keyed_by_it_and_a_blob_by_its_id() -> None:
    assert key_of(ToldChange(type="version.put", dataset="members", version="3", id=BLOB)) == "members"
    assert key_of(ToldChange(type="alias.put", dataset="members", alias="champion")) == "members"
    assert key_of(ToldChange(type="blob.delete", id=BLOB)) == str(BLOB)


def test_a_feed_that_begins_again_is_no_message() -> None:
    assert message_of(ToldChange(type=RESTARTED)) is None


def test_two_tellings_of_one_change_are_known() -> None:
    put = ToldChange(type="blob.put", id=BLOB, time=NOON, size=3)
    assert change_id(put) == change_id(replace(put, time=NOON + timedelta(seconds=1), expires=NOON))
    assert change_id(NAMED) == change_id(replace(NAMED, late=True))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (NAMED, replace(NAMED, time=NOON + timedelta(milliseconds=1))),
        (NAMED, replace(NAMED, datacenter=2)),
        (NAMED, replace(NAMED, type="name.delete")),
        (NAMED, replace(NAMED, name="models/b")),
        (ToldChange(type="blob.delete", id=BLOB), ToldChange(type="blob.delete", id=BLOB, life_version=1)),
        (ToldChange(type="blob.extend", id=BLOB, expires=NOON), ToldChange(type="blob.extend", id=BLOB)),
        (ToldChange(type="blob.put", id=BLOB), ToldChange(type="blob.delete", id=BLOB)),
        (ToldChange(type="dataset.put", dataset="a"), ToldChange(type="name.put", name="a")),
    ],
)
def test_different_changes_are_different(one: ToldChange, other: ToldChange) -> None:
    assert change_id(one) != change_id(other)


def test_the_publishers_own_state_is_not_published() -> None:
    own = [
        ToldChange(type="blob.put", id=BLOB),
        ToldChange(type="name.put", id=BLOB, name="state"),
        ToldChange(type="blob.delete", id=BLOB),
    ]
    others = [NAMED, ToldChange(type="blob.put", id=BlobId(blob_id(2)))]
    assert without_own([*own, *others], "state", {str(BLOB)}) == others
    assert without_own([*own, *others], None, {str(BLOB)}) == [*own, *others]
