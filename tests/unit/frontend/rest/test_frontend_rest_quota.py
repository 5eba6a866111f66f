"""Quotas over HTTP: what does not fit is refused before its body is asked for, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from ambry.clock import SystemClock
from ambry.rest.frames import CONTENT_TYPE, encode_frame
from frontend.containers.quota_rows import QuotaAmount, count_key, decode_count
from frontend.metadata.spaces import LocalSpace
from frontend.metadata.store import LocalDelete, MetadataStore
from tests.support.eventually import GIVE_UP_S
from tests.support.fake_cluster import CHUNK, make_cluster
from tests.support.http_frontend import Answer, HttpFrontend, http_frontend, request, reset, until
from tests.support.metadata_stores import opened, sqlite_store
from tests.unit.frontend.rest.test_frontend_rest_entry import MODELS, say

KIB = 1 << 10


@contextlib.asynccontextmanager
async def frontend_with_quota(path: Path, **settings: Any) -> AsyncIterator[tuple[HttpFrontend, MetadataStore]]:
    async with (
        opened(sqlite_store(path / "m.sqlite")) as store,
        http_frontend(make_cluster(((3,),) * 4, clock=SystemClock()), metadata=store, shortcut=True) as frontend,
    ):
        say(frontend, **settings)
        yield frontend, store


async def used(store: MetadataStore) -> QuotaAmount:
    row = await store.local(LocalSpace.USAGE, count_key(7 << 32 | 70))
    assert row is not None
    return decode_count(row.value).used


def stored(frontend: HttpFrontend) -> int:
    """Bytes of all records of one replica of each partition that are not given up."""
    peer = frontend.cluster.peer(1)
    return sum(len(each.payload) for each in peer.records.values() if each.put is not None and not each.state.deleted)


async def post(frontend: HttpFrontend, body: bytes, headers: dict[str, str] | None = None) -> Answer:
    return await frontend.call("POST", "/", {**MODELS, **(headers or {})}, body)


async def test_an_upload_that_does_not_fit_is_429_and_says_when_to_come_back(tmp_path: Path) -> None:
    async with frontend_with_quota(tmp_path, quota_bytes=10 * KIB, quota_blobs=2) as (frontend, _):
        assert (await post(frontend, b"a" * (8 * KIB))).status == 201
        refused = await post(frontend, b"a" * (3 * KIB))
        assert (refused.status, refused.headers["retry-after"]) == (429, "60")
        assert refused.json()["code"] == "QuotaExceeded"
        assert "ml/models has 8192 of 10240 bytes and 1 of 2 blobs" in refused.json()["detail"]
        assert (await post(frontend, b"a" * (2 * KIB))).status == 201
        assert (await post(frontend, b"")).status == 429
        assert (await frontend.call("POST", "/", {}, b"a" * (20 * KIB))).status == 201, (
            "other containers have their own"
        )


async def test_a_body_is_asked_for_only_when_it_fits(tmp_path: Path) -> None:
    async with frontend_with_quota(tmp_path, quota_bytes=10 * KIB) as (frontend, _):
        for size, status in ((11 * KIB, 429), (10 * KIB, 100)):
            async with frontend.connected() as client:
                headers = {**MODELS, "Expect": "100-continue", "Content-Length": str(size)}
                await client.send(request("POST", "/", headers))
                assert (await client.head())[0] == status


async def test_a_body_of_unknown_size_ends_where_the_quota_does_and_leaves_nothing(tmp_path: Path) -> None:
    async with frontend_with_quota(tmp_path, quota_bytes=5 * CHUNK) as (frontend, store):
        piece = b"%x\r\n%b\r\n" % (CHUNK, b"a" * CHUNK)
        chunked = {"Transfer-Encoding": "chunked"}
        refused = await post(frontend, 7 * piece + b"0\r\n\r\n", chunked)
        assert refused.status == 429
        await until(lambda: stored(frontend) == 0, "what was written is discarded")
        whole = await post(frontend, 5 * piece + b"0\r\n\r\n", chunked)
        assert whole.status == 201
        assert (await used(store)).bytes == 5 * CHUNK


async def test_a_client_that_goes_away_gives_back_what_it_took(tmp_path: Path) -> None:
    async with frontend_with_quota(tmp_path, quota_bytes=100 * KIB) as (frontend, _):
        async with frontend.connected() as client:
            await client.send(request("POST", "/", {**MODELS, "Content-Length": str(100 * KIB)}) + b"a" * (50 * KIB))
            await answered(frontend, b"a", 429)  # until the other has begun
            reset(client)
        await answered(frontend, b"a" * (90 * KIB), 201)


async def answered(frontend: HttpFrontend, body: bytes, status: int) -> None:
    """Post a body again and again until that is the answer."""
    async with asyncio.timeout(GIVE_UP_S):
        while (await post(frontend, body)).status != status:  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(0.001)


async def test_uploads_side_by_side_over_two_frontends_never_pass_the_quota(tmp_path: Path) -> None:
    """F40. Both frontends have the cluster in common, and each its own connection to the store."""
    cluster = make_cluster(((3,),) * 4, clock=SystemClock(), budget=64 << 20)
    most = 40 * KIB * 10
    async with contextlib.AsyncExitStack() as ending:
        every = []
        for _ in range(2):
            store = await ending.enter_async_context(opened(sqlite_store(tmp_path / "m.sqlite")))
            every.append(await ending.enter_async_context(http_frontend(cluster, metadata=store, shortcut=True)))
            say(every[-1], quota_bytes=most)
        sizes = [(number * 7919) % (40 * KIB) + 1 for number in range(60)]

        async def one(number: int, size: int) -> int:
            headers = {"Transfer-Encoding": "chunked"} if number % 3 == 0 else {}
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (size, b"a" * size) if headers else b"a" * size
            answer = await post(every[number % 2], body, headers)
            assert answer.status in (201, 429), answer.body
            return size if answer.status == 201 else 0

        put = sum(await asyncio.gather(*(one(number, size) for number, size in enumerate(sizes))))
        assert most - 2 * 40 * KIB < put <= most


async def test_of_a_batch_what_fits_is_stored_and_each_other_blob_is_429(tmp_path: Path) -> None:
    async with frontend_with_quota(tmp_path, quota_bytes=10 * KIB, quota_blobs=100) as (frontend, store):
        sizes = [4 * KIB, 5 * KIB, 4 * KIB, KIB, 1]
        body = b"".join(encode_frame({}, b"a" * size) for size in sizes)
        answer = await frontend.call("POST", "/batch/put", {**MODELS, "Content-Type": CONTENT_TYPE}, body)
        assert [item["status"] for item in answer.json()["items"]] == [201, 201, 429, 201, 429]
        assert (await used(store)).bytes == 10 * KIB


async def test_parts_of_a_session_take_their_bytes_and_its_end_takes_the_blob(tmp_path: Path) -> None:
    async with frontend_with_quota(tmp_path, quota_bytes=10 * KIB, quota_blobs=1) as (frontend, _):
        upload = (await frontend.call("POST", "/uploads", MODELS)).json()["upload"]
        assert (await frontend.call("PUT", f"/uploads/{upload}/1", {}, b"a" * (8 * KIB))).status == 200
        assert (await frontend.call("PUT", f"/uploads/{upload}/2", {}, b"a" * (3 * KIB))).status == 429
        assert (await frontend.call("PUT", f"/uploads/{upload}/2", {}, b"a" * (2 * KIB))).status == 200
        for _ in range(2):
            assert (await frontend.call("POST", f"/uploads/{upload}/complete")).status == 201
        assert (await post(frontend, b"")).status == 429


async def test_what_is_undeleted_takes_its_room_again(tmp_path: Path) -> None:
    async with frontend_with_quota(tmp_path, quota_bytes=10 * KIB) as (frontend, store):
        blob = (await post(frontend, b"a" * (6 * KIB))).blob_id
        assert (await frontend.call("DELETE", f"/{blob}")).status == 202
        # As if the data nodes had counted: it came off, and another took the room.
        await store.write([LocalDelete(LocalSpace.USAGE, count_key(7 << 32 | 70))])
        assert (await post(frontend, b"a" * (6 * KIB))).status == 201
        back = await frontend.call("PUT", "/undelete", {"x-ambry-blob-id": blob})
        assert back.status == 429
        assert (await frontend.call("GET", f"/{blob}")).status == 410
