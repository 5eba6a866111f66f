"""Upload sessions in a real store: what counts when, and what every frontend of a datacenter agrees on."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from ambry.blob import BlobProperties, ChunkRef
from ambry.durability import Durability
from ambry.errors import EncryptionKeyDeleted, InvalidRequest, TooLarge, UpdateConflict, UploadGone, UploadNotFound
from ambry.ids import BlobId, IdKind
from ambry.rest.accounts import AccountSettings, ContainerSettings
from frontend.container import container_of, scope_of
from frontend.metadata.spaces import LocalSpace
from frontend.metadata.store import MetadataStore
from frontend.uploads.open_session import OpenSession
from frontend.uploads.places import Places
from frontend.uploads.rows import (
    PARTS_MAX,
    REFS_PER_ROW,
    REPLACED,
    Completion,
    Session,
    SessionState,
    UploadPart,
    brief,
)
from frontend.uploads.sealing import with_key
from frontend.uploads.sessions import Sessions, check_number
from tests.support.fake_clock import SettableClock
from tests.support.memory_keys import MemoryKeys
from tests.support.metadata_stores import opened, sqlite_store
from tests.support.samples import blob_id

ID = b"i" * 16
IDLE_S = 100.0
BLOB = BlobId(blob_id(1, kind=IdKind.COMPOSITE))
SCOPE = scope_of(BLOB.account, BLOB.container)
CONTAINER = container_of(
    ContainerSettings(),
    account_id=BLOB.account,
    account_name="a",
    account_settings=AccountSettings(),
    container_id=BLOB.container,
    container_name="c",
)


def some_session(created_at_ms: int = 0) -> Session:
    return Session(
        blob=BLOB.raw,
        properties=BlobProperties(size=0, digest=b"", filename="planted.bin"),
        metadata=b"planted",
        ttl_s=None,
        durability=Durability.DISK,
        created_at_ms=created_at_ms,
    )


def part(number: int, chunks: int = 1, *, digest: bytes = b"d" * 16) -> UploadPart:
    refs = tuple(ChunkRef(bytes([number % 251]) * 32 + index.to_bytes(4, "big"), 5, digest) for index in range(chunks))
    return UploadPart(number, 5 * chunks, digest, 1, refs)


def completion(*numbers: int) -> Completion:
    return Completion(numbers, 5, b"w" * 16, True, 9, b"c" * 16)


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
async def store(tmp_path: Path, clock: SettableClock) -> AsyncIterator[MetadataStore]:
    async with opened(sqlite_store(tmp_path / "meta.sqlite", clock=clock)) as made:
        yield made


@pytest.fixture
def keys() -> MemoryKeys:
    return MemoryKeys()


@pytest.fixture
def sessions(store: MetadataStore, clock: SettableClock, keys: MemoryKeys) -> Sessions:
    places = Places(store, random_source=random.Random(2), sessions_max=100, bytes_max=1 << 20)
    return Sessions(store, keys, places, clock=clock, random_source=random.Random(1), idle_s=IDLE_S)


@pytest.fixture(params=[False, True], ids=["plain", "sealed"])
async def found(request: pytest.FixtureRequest, sessions: Sessions, keys: MemoryKeys) -> OpenSession:
    """A session that was begun."""
    new = OpenSession(ID, some_session(), b"")
    if request.param:
        session, sealing = with_key(new.session, await keys.find_soon(SCOPE, 1))
        new = OpenSession(ID, session, b"", sealing)
    begun = await sessions.begin(new, CONTAINER, "a key")
    found = await sessions.find(ID)
    assert (found.session, found.row) == (begun.session, begun.row)
    assert replace(found.session, place=None) == new.session
    return found


async def add(sessions: Sessions, found: OpenSession, new: UploadPart) -> None:
    await sessions.add_part(found, new, await sessions.note_chunks(found, new))


async def all_parts(sessions: Sessions) -> list[UploadPart]:
    return [each async for each in sessions.all_parts(ID)]


def ids(part: UploadPart) -> list[bytes]:
    return [ref.id for ref in part.refs]


async def counted(sessions: Sessions) -> list[UploadPart]:
    return [each async for each in sessions.parts(await sessions.find(ID))]


async def test_parts_count_in_the_order_of_their_numbers_whenever_they_came(
    sessions: Sessions, found: OpenSession
) -> None:
    for number in (7, 1, 300, PARTS_MAX):
        await add(sessions, found, part(number, 3))
    assert await counted(sessions) == [part(1, 3), part(7, 3), part(300, 3), part(PARTS_MAX, 3)]
    assert [each.number async for each in sessions.parts(found, after=7)] == [300, PARTS_MAX]


async def test_a_part_of_many_chunks_comes_back_whole(sessions: Sessions, found: OpenSession) -> None:
    await add(sessions, found, part(1, 2 * REFS_PER_ROW + 1))
    await add(sessions, found, part(2))
    assert await counted(sessions) == [part(1, 2 * REFS_PER_ROW + 1), part(2)]


async def test_a_part_takes_the_place_of_the_one_before_whose_chunks_are_not_forgotten(
    sessions: Sessions, found: OpenSession
) -> None:
    long, short = part(1, 2 * REFS_PER_ROW, digest=b"a" * 16), part(1, 1, digest=b"b" * 16)
    await add(sessions, found, long)
    await add(sessions, found, short)
    assert await counted(sessions) == [short]
    [_, replaced] = await all_parts(sessions)
    assert (replaced.number, ids(replaced)) == (REPLACED, ids(long))


async def test_chunks_that_were_noted_and_never_counted_are_known_to_be_nobodys(
    sessions: Sessions, found: OpenSession
) -> None:
    await sessions.note_chunks(found, part(4))
    assert await counted(sessions) == []
    assert [(each.number, ids(each)) for each in await all_parts(sessions)] == [(REPLACED, ids(part(4)))]


async def test_a_part_of_more_chunks_than_rows_hold_is_refused(sessions: Sessions, found: OpenSession) -> None:
    with pytest.raises(TooLarge, match="smaller parts"):
        await sessions.note_chunks(found, part(1, 255 * REFS_PER_ROW + 1))


async def test_a_session_that_is_complete_takes_no_parts_also_those_that_were_under_way(
    sessions: Sessions, found: OpenSession
) -> None:
    noted = await sessions.note_chunks(found, part(2))
    await sessions.complete(found, completion(1))
    with pytest.raises(UpdateConflict, match="takes no more parts"):
        await sessions.add_part(found, part(2), noted)
    with pytest.raises(UpdateConflict):
        await sessions.note_chunks(found, part(3))
    assert await counted(sessions) == []


async def test_two_frontends_complete_a_session_alike_or_one_of_them_hears_of_the_other(
    sessions: Sessions, found: OpenSession
) -> None:
    first = await sessions.complete(found, completion(1))
    assert (await sessions.complete(found, completion(1))).row == first.row
    with pytest.raises(UpdateConflict):
        await sessions.complete(found, completion(1, 2))
    done = await sessions.finish(first, SessionState.DONE)
    assert (await sessions.finish(first, SessionState.DONE)).row == done.row
    with pytest.raises(UpdateConflict):
        await sessions.finish(found, SessionState.ABORTED)


async def test_an_idle_session_takes_nothing_more_and_every_part_puts_that_off(
    sessions: Sessions, found: OpenSession, clock: SettableClock
) -> None:
    for number in (1, 2, 3):
        clock.advance(IDLE_S - 1)
        await add(sessions, found, part(number))
    clock.advance(IDLE_S + 1)
    assert await sessions.is_idle(ID)
    with pytest.raises(UploadGone, match="idle"):
        await sessions.check_takes_parts(await sessions.find(ID))
    with pytest.raises(UploadGone):
        await sessions.note_chunks(found, part(4))
    with pytest.raises(UploadGone):
        await sessions.complete(found, completion(1, 2, 3))


async def test_an_aborted_session_says_so_and_an_unknown_one_too(sessions: Sessions, found: OpenSession) -> None:
    await sessions.finish(found, SessionState.ABORTED)
    with pytest.raises(UploadGone, match="aborted"):
        await sessions.find(ID)
    with pytest.raises(UploadNotFound):
        await sessions.find(b"x" * 16)


async def test_a_session_without_anything_left_behind_is_not_looked_at_again_and_goes_on_telling_its_end(
    sessions: Sessions, found: OpenSession, store: MetadataStore, clock: SettableClock
) -> None:
    await add(sessions, found, part(1))
    done = await sessions.finish(await sessions.complete(found, completion(1)), SessionState.DONE)
    assert [(await sessions.opened(row.read())).session for row in await sessions.left.page(None)] == [done.session]
    await sessions.left.drop_parts(done)
    await sessions.left.note_cleaned(done)
    assert await sessions.left.page(None) == []
    assert (await sessions.find(ID)).session == done.session
    clock.advance(8 * 86_400)
    with pytest.raises(UploadNotFound):
        await sessions.find(ID)
    assert await store.locals(LocalSpace.PART) == []
    assert await (await sessions.places.counting()).end() == 0, "and a row of nothing goes"
    assert await store.locals(LocalSpace.SESSION) == []


async def test_of_a_session_that_is_done_stays_what_its_parts_were_like_and_none_of_their_chunks(
    sessions: Sessions, found: OpenSession, store: MetadataStore
) -> None:
    await add(sessions, found, part(1, 3 * REFS_PER_ROW))
    await add(sessions, found, part(2, digest=b"2" * 16))
    await add(sessions, found, part(2))
    await add(sessions, found, part(3))
    done = await sessions.finish(await sessions.complete(found, completion(1, 2)), SessionState.DONE)
    await sessions.left.drop_parts(done)
    left = [replace(part(1, 3 * REFS_PER_ROW), refs=()), replace(part(2), refs=())]
    assert await counted(sessions) == left
    assert len(await store.locals(LocalSpace.PART)) == 2


async def test_a_page_says_which_sessions_nobody_goes_on_with(
    sessions: Sessions, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        await sessions.begin(OpenSession(bytes([number]) * 16, some_session(), b""), CONTAINER, "")
    clock.advance(IDLE_S + 1)
    for number in (5, 6):
        await sessions.begin(OpenSession(bytes([number]) * 16, some_session(), b""), CONTAINER, "")
    page = await sessions.left.page(None)
    assert [(row.id[0], row.idle) for row in page] == [(number, number < 5) for number in range(7)]
    page = await sessions.left.page(bytes([3]) * 16)
    assert [(row.id[0], row.idle) for row in page] == [(4, True), (5, False), (6, False)]


async def test_a_session_that_somebody_goes_on_with_again_is_not_ended_for_having_been_idle(
    sessions: Sessions, found: OpenSession, store: MetadataStore
) -> None:
    """A completion that was taken back leaves the very row that stood there before."""
    await sessions.reopen(await sessions.complete(found, completion(1)))
    with pytest.raises(UpdateConflict):
        await sessions.finish(found, SessionState.ABORTED, idle=True)
    assert (await sessions.find(ID)).session.state is SessionState.OPEN


async def test_rows_of_a_sealed_session_show_nothing_of_its_content_and_all_that_letting_go_takes(
    store: MetadataStore, sessions: Sessions, found: OpenSession, keys: MemoryKeys
) -> None:
    await add(sessions, found, part(1, REFS_PER_ROW + 1, digest=b"PLANTEDdigest-16"))
    await add(sessions, found, part(1, 2, digest=b"PLANTEDanother16"))
    completed = replace(completion(1), digest=b"PLANTEDdigest-16", chosen=b"PLANTEDchosen-16")
    done = await sessions.finish(await sessions.complete(found, completed), SessionState.DONE)
    rows = [*await store.locals(LocalSpace.SESSION), *await store.locals(LocalSpace.PART)]
    shown = [row for row in rows if b"planted" in row.value.lower()]
    assert bool(shown) == (found.sealing is None)
    keys.deleted.add(SCOPE)
    assert [len(ids(each)) for each in await all_parts(sessions)] == [2, REFS_PER_ROW + 1]
    [row] = await sessions.left.page(None)
    await sessions.left.drop_parts(row.read())
    await sessions.left.note_cleaned(row.read())
    if found.sealing is None:
        assert await sessions.find(ID) == done
        return
    with pytest.raises(EncryptionKeyDeleted):
        await sessions.find(ID)
    keys.deleted.clear()
    assert (await sessions.find(ID)).session == done.session
    assert [each.digest for each in await counted(sessions)] == [b"PLANTEDanother16"]


async def test_a_sealed_session_is_ended_by_whoever_cannot_open_it(
    sessions: Sessions, found: OpenSession, keys: MemoryKeys
) -> None:
    keys.deleted.add(SCOPE)
    [row] = await sessions.left.page(None)
    await sessions.finish(row.read(), SessionState.ABORTED)
    [row] = await sessions.left.page(None)
    assert row.read().session.state is SessionState.ABORTED
    keys.deleted.clear()
    opened = await sessions.opened(row.read())
    assert opened.session == brief(found.session, SessionState.ABORTED)


def test_numbers_of_parts_have_bounds() -> None:
    """0 was told to send larger parts, too."""
    with pytest.raises(TooLarge, match="from 1 to 10000, not 10001; send larger parts"):
        check_number(PARTS_MAX + 1)
    with pytest.raises(InvalidRequest, match=r"from 1 to 10000, not 0$"):
        check_number(0)
