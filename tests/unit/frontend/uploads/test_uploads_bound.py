"""What is uploaded for a name and never bound is let go, and nothing that a name has."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ambry.blob import NEVER_MS
from ambry.checksum import digest
from ambry.errors import QuorumNotReached
from ambry.protocol.frame import MessageType
from frontend.router import update
from frontend.router.quorum_read import read_head
from frontend.uploads.bound import LENGTHEN_WITHIN_S, UNNAMED_S, BoundLives
from frontend.uploads.completion import commit
from frontend.uploads.rows import Completion, digest_of_parts
from tests.support.fake_clock import SettableClock
from tests.support.fake_cluster import FakeCluster, make_cluster
from tests.support.http_frontend import Answer, HttpFrontend, http_frontend
from tests.support.metadata_stores import opened, sqlite_store
from tests.support.upload_world import World, upload_world

WEEK = UNNAMED_S
HERE = "/named/default/default"
JSON = {"Content-Type": "application/json"}


class Uploader:
    """Uploads in parts, for names and for none, with a clock of its own."""

    def __init__(self, frontend: HttpFrontend, cluster: FakeCluster, clock: SettableClock) -> None:
        self.frontend = frontend
        self.cluster = cluster
        self.clock = clock

    async def upload(self, name: str | None, **headers: str) -> dict[str, Any]:
        given = {"Content-Length": "0", **headers} | ({} if name is None else {"x-ambry-upload-name": name})
        begun: dict[str, Any] = (await self.frontend.call("POST", "/uploads", given)).json()
        path = f"/uploads/{begun['upload']}"
        assert (await self.frontend.call("PUT", f"{path}/1", {}, b"hello")).status == 200
        assert (await self.frontend.call("POST", f"{path}/complete", {}, b"")).status == 201
        return begun

    async def bind(self, name: str, made: dict[str, Any], *, upload: bool = True, **action: Any) -> Answer:
        said = {"op": "bind", "id": made["id"], **action}
        if upload:
            said |= {"owned": True, "upload": made["upload"]}
        return await self.frontend.call("POST", f"{HERE}/{name}", JSON, json.dumps(said).encode())

    async def status(self, made: dict[str, Any]) -> int:
        return (await self.frontend.call("GET", f"/{made['id']}")).status

    async def ttl(self, path: str) -> str | None:
        return (await self.frontend.call("HEAD", path)).headers.get("x-ambry-ttl")


@pytest.fixture
async def seat(tmp_path: Path) -> AsyncIterator[Uploader]:
    clock = SettableClock()
    cluster = make_cluster(((3,),) * 4, clock=clock)
    async with (
        opened(sqlite_store(tmp_path / "meta.sqlite", clock=clock)) as store,
        http_frontend(cluster, metadata=store) as frontend,
    ):
        yield Uploader(frontend, cluster, clock)


async def test_what_was_uploaded_for_a_name_and_never_bound_is_let_go(seat: Uploader) -> None:
    """A key for some names completed uploads and bound none: the blobs stayed for ever, and it could delete none of them."""
    never, plain = await seat.upload("x/never"), await seat.upload(None)
    assert await seat.ttl(f"/{never['id']}") == str(WEEK)
    assert await seat.ttl(f"/{plain['id']}") == "-1"
    seat.clock.advance(WEEK + 1)
    assert (await seat.status(never), await seat.status(plain)) == (410, 200)
    late = await seat.bind("x/never", never)
    assert late.status in (404, 410)


@pytest.mark.parametrize(("said", "lives_s"), [({}, None), ({"x-ambry-ttl": str(3 * WEEK)}, 3 * WEEK)])
@pytest.mark.parametrize("by_upload", [True, False])
async def test_what_is_bound_lives_as_long_as_was_said(
    seat: Uploader, said: dict[str, str], lives_s: int | None, by_upload: bool
) -> None:
    made = await seat.upload("x/bound", **said)
    seat.clock.advance(WEEK - LENGTHEN_WITHIN_S - 10)
    for _ in range(2):
        assert (await seat.bind("x/bound", made, upload=by_upload)).status in ((200,) if by_upload else (200, 409))
    seat.clock.advance(WEEK)
    assert await seat.status(made) == 200
    told = await seat.ttl(f"{HERE}/x/bound")
    assert told == ("-1" if lives_s is None else str(lives_s))
    seat.clock.advance(WEEK + 2 * LENGTHEN_WITHIN_S)
    assert await seat.status(made) == (200 if lives_s is None else 410)


async def test_a_blob_that_was_to_live_for_a_day_does(seat: Uploader) -> None:
    made = await seat.upload("x/short", **{"x-ambry-ttl": "86400"})
    assert await seat.ttl(f"/{made['id']}") == "86400"
    assert (await seat.bind("x/short", made)).status == 200
    seat.clock.advance(86_401)
    assert await seat.status(made) == 410


async def test_no_name_is_promised_what_is_let_go_in_a_moment(seat: Uploader) -> None:
    made = await seat.upload("x/late")
    seat.clock.advance(WEEK - LENGTHEN_WITHIN_S + 10)
    refused = await seat.bind("x/late", made)
    assert refused.status == 410 and "never bound" in refused.json()["detail"]
    assert (await seat.frontend.call("GET", f"{HERE}/x/late")).status == 404


async def test_a_binding_that_is_refused_lets_nothing_live_longer(seat: Uploader) -> None:
    """Else whoever binds to a name that may not move has a blob that stays for ever, and no name."""
    assert (await seat.frontend.call("PUT", f"{HERE}/x/taken", {}, b"first")).status == 201
    made = await seat.upload("x/taken")
    assert (await seat.bind("x/taken", made)).status == 409
    assert await seat.ttl(f"/{made['id']}") == str(WEEK)
    seat.clock.advance(WEEK + 1)
    assert await seat.status(made) == 410


async def test_what_could_not_be_lengthened_at_once_is_so_by_the_next_try_or_the_janitor(
    seat: Uploader, monkeypatch: pytest.MonkeyPatch
) -> None:
    extend, failing = update.extend_ttl, True

    async def fails(*args: Any, **options: Any) -> Any:
        if failing:
            raise QuorumNotReached("too few replicas")
        return await extend(*args, **options)

    monkeypatch.setattr(update, "extend_ttl", fails)
    first, second = await seat.upload("x/1"), await seat.upload("x/2")
    assert [(await seat.bind(f"x/{n}", made)).status for n, made in ((1, first), (2, second))] == [503, 503]
    failing = False
    assert (await seat.bind("x/1", first)).status == 200
    assert (await seat.ttl(f"/{first['id']}"), await seat.ttl(f"/{second['id']}")) == ("-1", str(WEEK))
    services = seat.frontend.services
    assert services is not None
    await services.bound.lengthen_all()
    assert await seat.ttl(f"/{second['id']}") == "-1"
    assert (await seat.bind("x/2", second)).status == 200, "and again is the same"


async def test_of_a_name_that_is_deleted_before_that_nothing_is_left_to_do(
    seat: Uploader, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await seat.upload("x/gone")

    async def fails(*_args: Any, **_options: Any) -> None:
        raise QuorumNotReached("too few replicas")

    with monkeypatch.context() as patch:
        patch.setattr(update, "extend_ttl", fails)
        assert (await seat.bind("x/gone", made)).status == 503
    assert (await seat.frontend.call("DELETE", f"{HERE}/x/gone", {})).status == 202
    services = seat.frontend.services
    assert services is not None
    await services.bound.lengthen_all()
    assert await seat.status(made) == 410
    monkeypatch.setattr(update, "extend_ttl", fails)
    await services.bound.lengthen_all()


@pytest.mark.parametrize("encrypted", [False, True])
async def test_whoever_repeats_a_completion_for_a_name_makes_the_same_record(tmp_path: Path, encrypted: bool) -> None:
    async with upload_world(tmp_path, encrypted=encrypted) as world:
        await world.begin(name="x/n")
        await world.part(1, b"hello")
        made = await world.complete()
        puts = [call.message for call in world.cluster.pool.calls(MessageType.PUT)]
        ends = {(put.expires_at_ms, put.properties) for put in puts if put.id == made.id.raw}
        assert len(ends) == 1
        head = await read_head(world.cluster.request(), world.cluster.context, made.id)
        assert head.properties.bound_until_ms == NEVER_MS
        assert head.state.expires_at_ms == head.created_at_ms + WEEK * 1000
        assert _bound(world).wanted_ms(head) == NEVER_MS


def _bound(world: World) -> BoundLives:
    return BoundLives(world.store, world.cluster.context, clock=world.clock)


async def test_a_completion_that_an_earlier_release_decided_makes_the_record_that_it_meant(tmp_path: Path) -> None:
    async with upload_world(tmp_path, encrypted=False) as world:
        await world.begin(name="x/n")
        await world.part(1, b"hello")
        found, parts = await world.found(), [part async for part in world.sessions.parts(await world.found())]
        decided = Completion((1,), 5, digest(b"hello"), False, world.clock.wall_ms(), digest_of_parts(parts))
        completing = await world.sessions.complete(found, decided)
        done = await commit(world.cluster.request(), world.cluster.context, world.sessions, completing)
        head = await read_head(world.cluster.request(), world.cluster.context, done.session.blob_id)
        assert head.state.expires_at_ms == NEVER_MS and head.properties.bound_until_ms == 0
