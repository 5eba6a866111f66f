"""The blobs of the storage bench: ids in the order in which a node sees them, and records that verify."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from ambry.checksum import blocks_intact, digest
from ambry.ids import BlobId
from tests.bench.store_blobs import Payloads, delete_record, entries_of, fill, natural_ids, open_one, records
from tests.support.samples import stop_cleanly


def test_ids_arrive_nearly_in_order_and_not_quite() -> None:
    keys = [raw_id[16:32] for _, raw_id in natural_ids(5_000)]
    later = sum(1 for one, next_one in pairwise(keys) if next_one < one)
    assert 0.05 < later / len(keys) < 0.5
    places = {key: place for place, key in enumerate(sorted(keys))}
    assert max(abs(place - places[key]) for place, key in enumerate(keys)) < 100


def test_ids_are_whole_different_and_the_same_in_every_run() -> None:
    found = list(natural_ids(2_000, partitions=8))
    assert found == list(natural_ids(2_000, partitions=8))
    assert len({raw_id for _, raw_id in found}) == 2_000
    assert {partition for partition, _ in found} == set(range(1, 9))
    assert all(BlobId(raw_id).partition == partition for partition, raw_id in found)


def test_another_seed_makes_other_ids() -> None:
    assert not {raw for _, raw in natural_ids(500, seed=1)} & {raw for _, raw in natural_ids(500, seed=2)}


def test_records_carry_what_a_read_verifies() -> None:
    for _, record in records(10, 70_000):
        assert digest(record.payload) == record.digest
        assert blocks_intact(record.payload, record.checks)


def test_payloads_differ_from_each_other() -> None:
    payloads = Payloads(100)
    assert len({bytes(payloads.buffer(number)) for number in range(8)}) == 8
    assert payloads.buffer(0) == payloads.buffer(8)


def test_a_filled_replica_holds_what_was_put(tmp_path: Path) -> None:
    store = open_one(tmp_path)
    ids = fill(store, (record for _, record in records(1_000, 16)))
    assert len(ids) == len(entries_of(store, ids)) == 1_000
    assert store.recent_count == 0
    stop_cleanly(store)
    store = open_one(tmp_path)
    fill(store, [delete_record(ids[0], at_ms=1)])
    entry = store.lookup(ids[0])
    assert entry is not None
    assert entry.state.deleted
    stop_cleanly(store)
