"""Uploads in parts into an encrypted container: nothing plain is written anywhere, and a repeated step makes the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.checksum import digest
from ambry.errors import (
    EncryptionKeyDeleted,
    InvariantBroken,
    KeysUnavailable,
    QuorumNotReached,
    ReplicaUnavailable,
    UpdateConflict,
    UploadGone,
)
from ambry.format.record import ENCRYPTED
from ambry.protocol.frame import MessageType
from frontend.metadata.spaces import LocalSpace
from frontend.metadata.store import LocalPut
from frontend.router.quorum_read import read_head
from frontend.router.values import RangeSpec
from frontend.uploads.completion import commit
from frontend.uploads.rows import SessionState
from tests.support.content import content
from tests.support.eventually import eventually
from tests.support.fake_cluster import CHUNK, FakeCluster, accept, some_request
from tests.support.fake_peers import fails
from tests.support.upload_world import ID, IDLE_S, World, upload_world

SIZE = 3 * CHUNK + 7
PARTS = [content(1, SIZE), content(2, CHUNK), content(3, 1)]
WHOLE = b"".join(PARTS)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with upload_world(tmp_path, encrypted=True) as made:
        yield made


async def send(world: World) -> None:
    for number, body in enumerate(PARTS, start=1):
        await world.part(number, body)


def heal(world: World) -> None:
    for peer in world.cluster.pool:
        peer.heal()


def fail_puts(world: World, *numbers: int) -> None:
    for peer in [world.cluster.peer(number) for number in numbers] or world.cluster.pool:
        peer.script(fails(ReplicaUnavailable("fenced")), type=MessageType.PUT)


async def test_what_is_made_of_parts_reads_back_and_neither_records_nor_rows_show_any_of_it(world: World) -> None:
    await world.begin()
    await send(world)
    await world.part(2, PARTS[1])
    result = await world.complete(verify=accept)
    assert await world.cluster.read(result.id) == WHOLE
    for first, last in ((0, 0), (CHUNK - 1, CHUNK), (SIZE - 3, SIZE + 3), (SIZE + CHUNK - 1, len(WHOLE) - 1)):
        assert await world.cluster.read(result.id, RangeSpec(first, last)) == WHOLE[first : last + 1]
    head = await read_head(world.cluster.request(), world.cluster.context, result.id)
    assert (head.encrypted, head.metadata, head.properties.filename) == (True, {"about": "planted"}, "model.bin")
    assert head.properties.digest == digest(WHOLE)
    chunks = [WHOLE[at : at + CHUNK] for at in range(0, SIZE, CHUNK)]
    secrets = [b"planted", b"model.bin", digest(WHOLE), *map(digest, PARTS), *map(digest, chunks)]
    secrets += [part[at : at + 16] for part in PARTS[:2] for at in range(0, len(part) - 16, CHUNK)]
    kept = [row.value for space in LocalSpace for row in await world.store.locals(space)]
    for peer in world.cluster.pool:
        for known in peer.records.values():
            put = known.put
            assert put is not None and put.features == ENCRYPTED
            kept += [put.properties + put.metadata + put.digest + put.tags, known.payload]
    for text in kept:
        assert not [secret for secret in secrets if secret in text]


async def test_whoever_repeats_a_completion_writes_the_same_record(world: World) -> None:
    """With another data key, or another wrap of it, replicas would hold two records under one id."""
    await world.begin()
    await send(world)
    fail_puts(world, 1, 2)
    with pytest.raises(QuorumNotReached):
        await world.complete()
    heal(world)
    found = await world.found()
    await world.complete()
    await commit(world.cluster.request(), world.cluster.context, world.sessions, found)
    with pytest.raises(InvariantBroken, match="nothing stands there any more"):
        await commit(world.cluster.request(), world.cluster.context, world.sessions, await world.found())
    puts = [call.message for call in world.cluster.pool.calls(MessageType.PUT)]
    made = [put for put in puts if put.id == found.session.blob]
    assert len(made) >= 9
    assert {(put.properties, put.metadata, put.digest, put.tags) for put in made} == {
        (made[0].properties, made[0].metadata, made[0].digest, made[0].tags)
    }


async def test_another_choice_of_parts_is_sealed_with_another_data_key(world: World) -> None:
    """It was chosen, and a part came anew: what is sealed then is another text."""
    await world.begin()
    await send(world)

    async def meanwhile(_whole: bytes) -> None:
        await world.part(1, b"other")

    with pytest.raises(UpdateConflict, match="came anew"):
        await world.complete(verify=meanwhile)
    fail_puts(world)
    with pytest.raises(QuorumNotReached):
        await world.complete()
    before = (await world.found()).session.completion
    heal(world)
    assert before is not None and before.key is not None
    await world.sessions.reopen(await world.found())
    await world.complete()
    after = (await world.found()).session.completion
    assert after is not None and after.key is not None and after.key.wrapped != before.key.wrapped


async def test_a_session_goes_on_with_the_key_that_it_began_with(world: World) -> None:
    """One version for all of it: a key that is deleted takes none or all of its chunks along."""
    await world.begin()
    await world.part(1, PARTS[0])
    world.keys.rotate(world.container.scope)
    await world.part(2, PARTS[1])
    result = await world.complete()
    assert await world.cluster.read(result.id) == PARTS[0] + PARTS[1]
    wrapped_by = {
        int.from_bytes(known.put.metadata[2:6], "big")
        for peer in world.cluster.pool
        for known in peer.records.values()
        if known.put is not None
    }
    assert wrapped_by == {1}


async def test_without_keys_a_session_waits_and_goes_on_when_they_are_back(world: World) -> None:
    await world.begin()
    await world.part(1, PARTS[0])
    world.keys.known, world.keys.away = False, True
    with pytest.raises(KeysUnavailable):
        await world.part(2, PARTS[1])
    with pytest.raises(KeysUnavailable):
        await world.complete()
    world.clock.advance(IDLE_S - 1)
    await world.janitor().tick()
    world.keys.away = False
    await world.part(2, PARTS[1])
    assert await world.cluster.read((await world.complete()).id) == PARTS[0] + PARTS[1]


async def test_a_session_whose_key_is_deleted_makes_nothing_and_leaves_nothing(world: World) -> None:
    await world.begin()
    await world.part(1, PARTS[0])
    world.keys.deleted.add(world.container.scope)
    for refused in (world.part(2, PARTS[1]), world.complete()):
        with pytest.raises(EncryptionKeyDeleted):
            await refused
    world.clock.advance(IDLE_S + 1)
    await world.janitor().tick()
    assert world.living() == set()
    assert await world.rows() == 0


async def test_a_completion_under_way_whose_key_is_deleted_is_given_up(world: World) -> None:
    await world.begin()
    await world.part(1, PARTS[0])
    fail_puts(world)
    with pytest.raises(QuorumNotReached):
        await world.complete()
    heal(world)
    world.keys.deleted.add(world.container.scope)
    world.clock.advance(61)
    await world.janitor().tick()
    with pytest.raises(UploadGone):
        await world.found()
    await eventually(lambda: world.living() == set())
    assert await world.rows() == 0


async def test_a_session_that_a_backup_has_open_again_keeps_its_blob_though_nobody_can_read_it_any_more(
    world: World,
) -> None:
    await world.begin()
    await world.part(1, PARTS[0])
    before = await world.found()
    await world.complete()
    after = await world.found()
    living = world.living()
    await world.store.write([LocalPut(LocalSpace.SESSION, b"s" + ID, before.row, condition=after.row)])
    world.keys.deleted.add(world.container.scope)
    world.clock.advance(IDLE_S + 1)
    await world.janitor().tick()
    assert world.living() == living
    assert await world.sessions.left.page(None) == []


async def test_a_session_from_before_its_container_was_encrypted_takes_nothing_more(world: World) -> None:
    """Its chunks lay about as they came, and so did its blob."""
    await world.begin_plain()
    for refused in (world.part(1, PARTS[0]), world.complete()):
        with pytest.raises(UpdateConflict, match="is encrypted since the upload session"):
            await refused
    assert world.living() == set()
    assert (await world.found()).session.state is SessionState.OPEN


async def test_a_completion_from_before_its_container_was_encrypted_is_given_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.begin_plain()
    with monkeypatch.context() as before:
        before.setattr(FakeCluster, "request", lambda _cluster: some_request())
        await world.part(1, PARTS[0])
        fail_puts(world)
        with pytest.raises(QuorumNotReached):
            await world.complete()
    heal(world)
    with pytest.raises(UpdateConflict, match="is encrypted since"):
        await world.complete()
    with pytest.raises(UploadGone):
        await world.found()
    await world.janitor().tick()
    await eventually(lambda: world.living() == set())
