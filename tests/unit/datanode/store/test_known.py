"""What memory knows of an index: never older than what the index says, and bounded."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ambry.blob import BlobState
from ambry.errors import InvariantBroken
from datanode.store.entry import IndexEntry
from datanode.store.files import OsFiles
from datanode.store.index import Checkpoint, Held, Index
from datanode.store.known import UNKNOWN, EntryMemory
from tests.support.samples import ALIVE, DELETED, PARTITION, blob_id


def entry(number: int, lsn: int, state: BlobState = ALIVE) -> IndexEntry:
    return IndexEntry(blob_id(number), lsn, 1, 25, 300, 100, state, 7)


def checkpoint(index: Index, lsn: int) -> None:
    frozen, made = index.freeze(), Checkpoint(lsn=lsn)
    index.write(frozen, made)
    index.finish(made)


def forget(index: Index) -> None:
    index.share(EntryMemory(4))


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    (tmp_path / "index").mkdir()
    made = Index(OsFiles(), tmp_path / "index", PARTITION)
    yield made
    made.close()


def test_what_a_checkpoint_wrote_is_still_known(index: Index) -> None:
    index.set(entry(1, 10))
    checkpoint(index, 20)
    assert index.known(blob_id(1)) == entry(1, 10)
    index.remove(blob_id(1))
    checkpoint(index, 20)
    assert index.known(blob_id(1)) is None


def test_a_blob_that_memory_does_not_have_is_unknown_unless_it_is_newer_than_all(index: Index) -> None:
    index.set(entry(5, 10))
    checkpoint(index, 20)
    forget(index)
    assert index.known(blob_id(5)) is UNKNOWN
    assert index.known(blob_id(4)) is UNKNOWN
    assert index.known(blob_id(6)) is None


def test_another_blob_with_the_same_uuid_is_not_known_for_it(index: Index) -> None:
    index.set(entry(1, 10))
    checkpoint(index, 20)
    assert index.known(blob_id(1, partition=8)) is None
    forget(index)
    held = index.hold([blob_id(1, partition=8)])
    held.learn(index.look_up(held.unknown))
    assert held.get(blob_id(1, partition=8)) is None


def test_what_was_looked_up_before_a_checkpoint_ended_is_not_remembered(index: Index) -> None:
    index.set(entry(1, 10))
    checkpoint(index, 20)
    forget(index)
    begun, old = index.checkpoints, index.look_up([blob_id(1)[16:32]])
    index.set(entry(1, 30, DELETED))
    checkpoint(index, 40)
    forget(index)
    index.remember(old, begun)
    assert index.known(blob_id(1)) is UNKNOWN
    index.remember(index.look_up([blob_id(1)[16:32]]), index.checkpoints)
    assert index.known(blob_id(1)) == entry(1, 30, DELETED)


@pytest.mark.parametrize("looked_up", ["before", "after"])
def test_what_is_held_is_told_as_it_is_whatever_checkpoints_end_meanwhile(index: Index, looked_up: str) -> None:
    """A batch waits for a hung disk while a compaction moves its blob, and a checkpoint writes that."""
    index.set(entry(1, 10))
    index.set(entry(2, 11))
    checkpoint(index, 20)
    forget(index)
    held = index.hold([blob_id(1), blob_id(2), blob_id(9)])
    assert held.unknown == [blob_id(1)[16:32], blob_id(2)[16:32]]
    with pytest.raises(InvariantBroken):
        held.get(blob_id(1))
    found = index.look_up(held.unknown)
    if looked_up == "before":
        held.learn(found)
    moved = msgspec.structs.replace(entry(1, 10), segment=9)
    index.move(moved)
    index.remove(blob_id(2))
    index.set(entry(9, 30))
    checkpoint(index, 40)
    forget(index)
    if looked_up == "after":
        held.learn(found)
    assert [held.get(blob_id(number)) for number in (1, 2, 9)] == [moved, None, entry(9, 30)]
    held.let_go()
    held.let_go()
    assert index.holds == {}


def test_memory_is_bounded_and_keeps_what_is_asked_for(index: Index) -> None:
    memory = EntryMemory(20)
    index.share(memory)
    for number in range(200):
        index.set(entry(number, 10 + number))
        checkpoint(index, 11 + number)
        assert index.known(blob_id(0)) == entry(0, 10)
        assert memory.count() <= 22
    assert index.known(blob_id(50)) is UNKNOWN
    index.close()
    assert memory.count() == 0


@pytest.mark.parametrize("seed", range(20))
def test_whatever_memory_and_holds_say_is_what_a_dictionary_says(index: Index, seed: int) -> None:
    """Changes, moves, removals, checkpoints that are written or put off, look-ups that take their time: in any order."""
    rng = random.Random(seed)
    index.share(EntryMemory(8))
    model: dict[int, IndexEntry] = {}
    looking: list[tuple[list[bytes], int, dict[bytes, IndexEntry | None]]] = []
    holds: list[tuple[Held, dict[bytes, IndexEntry | None]]] = []
    frozen, lsn = None, 10
    for _ in range(400):
        number = rng.randrange(30)
        match rng.randrange(9):
            case 0 | 1:
                lsn += 1
                model[number] = entry(number, lsn, rng.choice([ALIVE, DELETED]))
                index.set(model[number])
            case 2 if number in model:
                model[number] = msgspec.structs.replace(model[number], segment=rng.randrange(2, 99))
                index.move(model[number])
            case 3 if number in model:
                del model[number]
                index.remove(blob_id(number))
            case 4 if frozen is None:
                frozen = index.freeze()
            case 4 if frozen is not None:
                if rng.random() < 0.7:
                    index.write(frozen, Checkpoint(lsn=lsn))
                    index.finish(Checkpoint(lsn=lsn))
                else:
                    index.thaw()
                frozen = None
            case 5:
                keys = [blob_id(rng.randrange(30))[16:32] for _ in range(3)]
                keys = [key for key in keys if index.known(blob_id(int.from_bytes(key[:6], "big"))) is UNKNOWN]
                looking.append((keys, index.checkpoints, index.look_up(keys)))
            case 6 if looking:
                _, begun, found = looking.pop(rng.randrange(len(looking)))
                index.remember(found, begun)
            case 7:
                held = index.hold([blob_id(rng.randrange(30)) for _ in range(4)])
                holds.append((held, index.look_up(held.unknown)))
            case 8 if holds:
                held, found = holds.pop(rng.randrange(len(holds)))
                if held.unknown:
                    held.learn(found)
                for key in held.entries:
                    number = int.from_bytes(key[:6], "big")
                    assert held.get(blob_id(number)) == model.get(number)
                held.let_go()
        for number in range(30):
            known = index.known(blob_id(number))
            assert known is UNKNOWN or known == model.get(number)
            assert index.get(blob_id(number)) == model.get(number)
    if frozen is not None:
        index.thaw()
