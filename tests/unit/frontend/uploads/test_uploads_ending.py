"""Sessions from their first part to their blob, or to nothing, against peers that really store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.checksum import digest
from ambry.errors import (
    ChecksumMismatch,
    InvalidRequest,
    MetadataUnavailable,
    QuorumNotReached,
    ReplicaUnavailable,
    RequestTimeout,
    TooLarge,
    Unavailable,
    UpdateConflict,
    UploadGone,
)
from ambry.format.properties import decode_properties
from ambry.ids import BlobId
from ambry.protocol.frame import MessageType
from frontend.metadata.spaces import LocalSpace
from frontend.metadata.store import LocalPut
from frontend.router.values import DigestCheck
from frontend.uploads import completion as completion_module
from frontend.uploads.completion import WantedPart
from frontend.uploads.rows import SessionState
from frontend.uploads.sessions import Sessions
from tests.support.content import content
from tests.support.eventually import eventually
from tests.support.fake_cluster import CHUNK
from tests.support.fake_peers import fails
from tests.support.upload_world import ID, IDLE_S, MAX_S, World, upload_world


@pytest.fixture(params=[False, True], ids=["plain", "encrypted"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with upload_world(tmp_path, encrypted=request.param) as made:
        yield made


def expects(wanted: bytes) -> DigestCheck:
    async def verify(found: bytes) -> None:
        if found != wanted:
            raise ChecksumMismatch("not those bytes")

    return verify


# --- the blob ---


async def test_parts_in_any_order_become_one_blob_that_is_read_back(world: World) -> None:
    await world.begin()
    body = content(1, 5 * CHUNK + 7)
    cuts = [body[: 2 * CHUNK + 1], body[2 * CHUNK + 1 : 3 * CHUNK], body[3 * CHUNK :]]
    for number in (3, 1, 2):
        part = await world.part(number, cuts[number - 1])
        assert part.digest == digest(cuts[number - 1])
    result = await world.complete()
    assert str(result.id) == str((await world.found()).session.blob_id)
    assert result.size == len(body)
    assert (result.parts, result.digest) == (3, digest(b"".join(digest(cut) for cut in cuts)))
    assert await world.cluster.read(result.id) == body


async def test_of_one_part_the_digest_is_of_the_bytes(world: World) -> None:
    await world.begin()
    await world.part(1, b"hello")
    result = await world.complete()
    assert (result.parts, result.digest) == (0, digest(b"hello"))
    assert await world.cluster.read(result.id) == b"hello"


async def test_a_digest_of_the_whole_is_compared_with_all_its_bytes_and_is_the_blobs_from_then_on(world: World) -> None:
    await world.begin()
    body = content(1, 3 * CHUNK)
    await world.part(1, body[:CHUNK])
    await world.part(2, body[CHUNK:])
    with pytest.raises(ChecksumMismatch):
        await world.complete(verify=expects(digest(b"other")))
    assert (await world.found()).session.state is SessionState.OPEN
    result = await world.complete(verify=expects(digest(body)))
    assert (result.parts, result.digest) == (0, digest(body))


async def test_a_time_to_live_counts_from_the_completion(world: World) -> None:
    await world.begin(ttl_s=50)
    await world.part(1, b"hello")
    world.clock.advance(60)
    result = await world.complete()
    record = next(peer.records[result.id.raw] for peer in world.cluster.pool if result.id.raw in peer.records)
    assert record.state.expires_at_ms == world.clock.wall_ms() + 50_000


async def test_chunks_say_how_long_they_are_kept(world: World) -> None:
    await world.begin()
    await world.part(1, b"hello")
    [put] = {call.message.id: call.message for call in world.cluster.pool.calls(MessageType.PUT)}.values()
    assert decode_properties(put.properties).keep_s == MAX_S + 86_400


async def test_completing_again_is_the_same_from_any_frontend(world: World) -> None:
    await world.begin()
    await world.part(1, b"hello")
    first = await world.complete()
    world.clock.advance(30)
    assert await world.complete() == first
    assert await world.complete(WantedPart(1)) == first
    with pytest.raises(UpdateConflict):
        await world.complete(WantedPart(2))


@pytest.mark.parametrize("cleaned", [False, True], ids=["", "cleaned up"])
async def test_another_completion_of_a_session_that_is_done_is_refused_whatever_it_names(
    world: World, cleaned: bool
) -> None:
    """Numbers of parts alone were compared: who named the digests of other bytes was told that they are stored."""
    await world.begin()
    body = b"hello"
    await world.part(1, body)
    await world.part(2, b"world")
    await world.part(3, b"left out")
    same = [WantedPart(1, 5, digest(body)), WantedPart(2, 5)]
    first = await world.complete(*same)
    if cleaned:
        await world.janitor().tick()
    assert await world.complete(*same) == first
    assert await world.complete(WantedPart(1), WantedPart(2)) == first
    for other in (
        [WantedPart(1, 6), WantedPart(2)],
        [WantedPart(1), WantedPart(2, 5, digest(b"other"))],
        [WantedPart(1)],
        [WantedPart(1), WantedPart(3)],
        [],  # all that arrived
    ):
        with pytest.raises(UpdateConflict, match="was completed"):
            await world.complete(*other)
    with pytest.raises(UpdateConflict, match="without a digest"):
        await world.complete(*same, verify=expects(digest(b"helloworld")))
    assert await world.cluster.read(first.id) == b"helloworld"


async def test_a_completion_with_another_digest_of_the_whole_is_refused_when_it_is_done(world: World) -> None:
    await world.begin()
    await world.part(1, b"hello")
    await world.part(2, b"world")
    whole = expects(digest(b"helloworld"))
    first = await world.complete(verify=whole)
    assert await world.complete(verify=whole) == first
    assert await world.complete() == first
    with pytest.raises(UpdateConflict, match=digest(b"helloworld").hex()):
        await world.complete(verify=expects(digest(b"other")))


async def test_a_completion_that_was_decided_is_carried_out_by_whoever_comes_next(world: World) -> None:
    await world.begin()
    await world.part(1, b"hello")
    for peer in world.cluster.pool:
        peer.script(fails(ReplicaUnavailable("fenced")), type=MessageType.PUT)
    with pytest.raises(QuorumNotReached):
        await world.complete()
    assert (await world.found()).session.state is SessionState.COMPLETING
    for peer in world.cluster.pool:
        peer.heal()
    world.clock.advance(61)
    await world.janitor().tick()
    session = await world.found()
    assert session.session.state is SessionState.DONE
    assert await world.cluster.read(session.session.blob_id) == b"hello"


async def test_a_completion_that_another_release_decided_in_another_form_is_left_to_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing told that the record is to be made as it was decided: two releases would have put two of them under one id."""
    await world.begin(name="x/n")
    await world.part(1, b"hello")
    for peer in world.cluster.pool:
        peer.script(fails(ReplicaUnavailable("fenced")), type=MessageType.PUT)
    with pytest.raises(QuorumNotReached):
        await world.complete()
    for peer in world.cluster.pool:
        peer.heal()
    before = sum(len(peer.records) for peer in world.cluster.pool)
    with monkeypatch.context() as patch:
        patch.setattr(completion_module, "RECORD_FORM", 1)
        with pytest.raises(Unavailable, match=r"another release, whose record \(form 2\) this one does not make"):
            await world.complete()
    assert sum(len(peer.records) for peer in world.cluster.pool) == before
    assert (await world.found()).session.state is SessionState.COMPLETING
    await world.complete()
    assert (await world.found()).session.state is SessionState.DONE


async def test_a_part_that_comes_anew_while_the_session_is_completed_never_changes_what_is_made(world: World) -> None:
    """It was: the blob had the size and the digest of one part, and the bytes of another."""
    await world.begin()
    await world.part(1, b"first")
    await world.part(2, b"second")

    async def meanwhile(_whole: bytes) -> None:
        await world.part(1, b"other")

    with pytest.raises(UpdateConflict, match="came anew"):
        await world.complete(verify=meanwhile)
    assert (await world.found()).session.state is SessionState.OPEN
    result = await world.complete()
    assert await world.cluster.read(result.id) == b"othersecond"


# --- what is refused, and changes nothing ---


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ((), "part 2 has not arrived; send it"),
        ((WantedPart(1), WantedPart(2)), "part 2 has not arrived; send it"),
        ((WantedPart(1), WantedPart(2), WantedPart(4)), "parts 2, 4 have not arrived; send them"),
        ((WantedPart(3), WantedPart(1)), "rising"),
        ((WantedPart(1), WantedPart(1)), "once each"),
        ((WantedPart(1, size=4),), "has 5 bytes"),
        ((WantedPart(1, digest=b"x" * 16),), "xxh3-128"),
    ],
)
async def test_parts_that_are_not_those_are_refused(world: World, wanted: tuple[WantedPart, ...], why: str) -> None:
    await world.begin()
    await world.part(1, b"hello")
    await world.part(3, b"hello")
    with pytest.raises(InvalidRequest, match=why):
        await world.complete(*wanted)
    assert (await world.found()).session.state is SessionState.OPEN
    assert (await world.complete(WantedPart(1, size=5, digest=digest(b"hello")), WantedPart(3))).size == 10


async def test_without_parts_there_is_no_blob(world: World) -> None:
    await world.begin()
    with pytest.raises(InvalidRequest, match="no part"):
        await world.complete()
    with pytest.raises(InvalidRequest, match="at least one byte"):
        await world.part(1, b"")


async def test_a_blob_beyond_the_largest_is_refused(world: World) -> None:
    await world.begin()
    await world.part(1, b"hello")
    with pytest.raises(TooLarge):
        await world.complete(size_max=4)


async def test_a_part_with_a_wrong_digest_does_not_count_and_leaves_nothing(world: World) -> None:
    await world.begin()
    with pytest.raises(ChecksumMismatch):
        await world.part(1, content(1, 3 * CHUNK), expects(b"x" * 16))
    await eventually(lambda: world.living() == set())
    assert await world.rows() == 0


# --- what is left behind, and goes ---


async def test_of_an_aborted_session_nothing_stays(world: World) -> None:
    await world.begin()
    await world.part(1, content(1, 3 * CHUNK))
    await world.part(1, b"again")
    await world.sessions.finish(await world.found(), SessionState.ABORTED)
    await world.janitor().tick()
    assert world.living() == set()
    assert await world.rows() == 0


async def test_an_idle_session_is_over_and_nothing_of_it_stays(world: World) -> None:
    await world.begin()
    await world.part(1, b"hello")
    world.clock.advance(IDLE_S - 1)
    await world.janitor().tick()
    assert await world.rows() == 1
    world.clock.advance(2)
    await world.janitor().tick()
    with pytest.raises(UploadGone):
        await world.found()
    assert world.living() == set()
    assert await world.rows() == 0


async def test_a_session_that_is_never_idle_is_over_one_day(world: World) -> None:
    await world.begin()
    for number in range(1, 14):
        world.clock.advance(IDLE_S - 1)
        try:
            await world.part(number, b"hello")
        except UploadGone:
            break
        await world.janitor().tick()
    else:
        pytest.fail("it went on for ever")
    assert world.living() == set()


async def test_parts_that_the_blob_is_not_made_of_go_and_its_own_stay(world: World) -> None:
    await world.begin()
    await world.part(1, b"first")
    await world.part(1, b"second")
    await world.part(2, b"unused")
    result = await world.complete(WantedPart(1))
    await world.janitor().tick()
    assert await world.cluster.read(result.id) == b"second"
    assert len(world.living()) == 2, "the blob and its one chunk"
    assert await world.rows() == 1, "what its part was like"
    assert await world.complete(WantedPart(1)) == result


async def test_rows_stay_until_enough_replicas_heard_that_the_chunks_are_nobodys(world: World) -> None:
    await world.begin()
    await world.part(1, b"hello")
    await world.sessions.finish(await world.found(), SessionState.ABORTED)
    for number in (1, 2):
        world.cluster.peer(number).script(fails(ReplicaUnavailable("fenced")), type=MessageType.UPDATE)
    await world.janitor().tick()
    assert await world.rows() == 1
    for number in (1, 2):
        world.cluster.peer(number).heal()
    await world.janitor().tick()
    assert await world.rows() == 0
    assert world.living() == set()


async def test_a_part_of_which_nobody_knows_whether_it_counts_is_not_torn_out_of_its_session(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store did it, and its answer got lost."""
    await world.begin()
    add_part = Sessions.add_part

    async def lost(self: Sessions, *args: object) -> None:
        await add_part(self, *args)  # type: ignore[arg-type]
        raise MetadataUnavailable("the connection broke")

    monkeypatch.setattr(Sessions, "add_part", lost)
    with pytest.raises(MetadataUnavailable):
        await world.part(1, b"hello")
    monkeypatch.undo()
    result = await world.complete()
    await world.janitor().tick()
    assert await world.cluster.read(result.id) == b"hello"


async def test_a_session_whose_chunks_were_given_up_makes_no_blob(world: World) -> None:
    await world.begin()
    part = await world.part(1, b"hello")
    request = world.cluster.request()
    assert await world.cluster.context.discards.bury(request.id, [BlobId(part.refs[0].id)], 0)
    with pytest.raises(RequestTimeout, match="gave chunks of it up"):
        await world.complete()
    with pytest.raises(UploadGone):
        await world.found()


async def test_a_session_that_a_backup_has_open_again_does_not_take_its_blob_along(world: World) -> None:
    """The chunks of the blob were let go, and with the next compaction it was gone."""
    await world.begin()
    await world.part(1, b"hello")
    before = await world.found()
    result = await world.complete()
    after = await world.found()
    await world.store.write([LocalPut(LocalSpace.SESSION, b"s" + ID, before.row, condition=after.row)])
    world.clock.advance(IDLE_S + 1)
    await world.janitor().tick()
    assert (await world.found()).session.state is SessionState.DONE
    assert await world.cluster.read(result.id) == b"hello"


async def test_a_session_that_cannot_be_read_keeps_nobody_from_the_others(world: World) -> None:
    """No session behind it was ended any more, and what they had stayed for ever."""
    await world.begin()
    await world.part(1, b"hello")
    for key, value in ((b"s" + b"a" * 16, b"\x02newer"), (b"s" + b"b" * 16, b"\x01\xff"), (b"s" + b"z" * 16, b"")):
        await world.store.write([LocalPut(LocalSpace.SESSION, key, value)])
    world.clock.advance(IDLE_S + 1)
    janitor = world.janitor()
    await janitor.tick()
    assert janitor.progress() == {"sessions": 4, "ended": 1}
    assert world.living() == set()


async def test_one_frontend_looks_at_sessions_at_a_time(world: World) -> None:
    await world.begin()
    first, second = world.janitor(b"a" * 16), world.janitor(b"b" * 16)
    await first.tick()
    world.clock.advance(IDLE_S + 1)
    await first.tick()
    await second.tick()
    assert first.progress() == {"sessions": 1, "ended": 1}
    assert second.progress() == {"sessions": 0, "ended": 0}
