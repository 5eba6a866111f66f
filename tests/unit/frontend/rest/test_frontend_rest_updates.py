"""Changes of a blob's state."""

from __future__ import annotations

from tests.support.fake_clock import SettableClock
from tests.support.fake_cluster import make_cluster
from tests.support.http_frontend import http_frontend


async def test_delete_and_undelete() -> None:
    async with http_frontend() as frontend:
        blob_id = await frontend.put(b"hello")
        for _ in range(2):
            gone = await frontend.call("DELETE", f"/{blob_id}")
            assert (gone.status, gone.body) == (202, b"")
        for method in ("GET", "HEAD"):
            answer = await frontend.call(method, f"/{blob_id}")
            assert (answer.status, answer.headers["x-ambry-error-code"]) == (410, "BlobDeleted")
        included = await frontend.call("GET", f"/{blob_id}", {"x-ambry-get-option": "Include_All"})
        assert (included.status, included.body) == (200, b"hello")
        assert (await frontend.call("PUT", "/undelete", {"x-ambry-blob-id": f"/{blob_id}"})).status == 200
        assert (await frontend.call("PUT", "/undelete", {"x-ambry-blob-id": blob_id})).status == 409
        got = await frontend.call("GET", f"/{blob_id}")
        assert (got.status, got.body, got.headers["x-ambry-life-version"]) == (200, b"hello", "1")


async def test_a_time_to_live_counts_from_creation_and_grows() -> None:
    clock = SettableClock()
    async with http_frontend(make_cluster(((3,),), clock=clock)) as frontend:
        blob_id = (await frontend.call("POST", "/", {"x-ambry-ttl": "100"}, b"hello")).blob_id
        head = await frontend.call("HEAD", f"/{blob_id}")
        assert (head.headers["x-ambry-ttl"], head.headers["cache-control"]) == ("100", "private, no-cache")
        clock.advance(50)
        longer = await frontend.call("PUT", "/updateTtl", {"x-ambry-blob-id": blob_id, "x-ambry-ttl": "100"})
        assert (longer.status, longer.headers["x-ambry-ttl"]) == (200, "150")
        shorter = await frontend.call("PUT", "/updateTtl", {"x-ambry-blob-id": blob_id, "x-ambry-ttl": "1"})
        assert shorter.headers["x-ambry-ttl"] == "150"
        clock.advance(99.999)
        assert (await frontend.call("GET", f"/{blob_id}")).status == 200
        clock.advance(0.001)
        expired = await frontend.call("GET", f"/{blob_id}")
        assert (expired.status, expired.headers["x-ambry-error-code"]) == (410, "BlobExpired")
        late = await frontend.call("PUT", "/updateTtl", {"x-ambry-blob-id": blob_id})
        assert late.status == 410


async def test_permanent_is_the_default_of_update_ttl() -> None:
    async with http_frontend() as frontend:
        blob_id = (await frontend.call("POST", "/", {"x-ambry-ttl": "100"}, b"hello")).blob_id
        answer = await frontend.call("PUT", "/updateTtl", {"x-ambry-blob-id": blob_id})
        assert (answer.status, answer.headers["x-ambry-ttl"]) == (200, "-1")
