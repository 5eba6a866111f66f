"""What is told about a blob."""

from __future__ import annotations

import asyncio
import json

import pytest

from ambry.clock import SystemClock
from frontend.rest.about import ENTRIES_PER_PIECE
from tests.support.content import content
from tests.support.fake_cluster import CHUNK, make_cluster
from tests.support.http_frontend import Answer, http_frontend, request, until

VARYING = {"date", "x-ambry-answered-ms", "x-ambry-request-id"}


def told(answer: Answer) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in VARYING}


async def test_around_a_blob() -> None:
    async with http_frontend() as frontend:
        headers = {
            "x-ambry-um-a": "1",
            "x-ambry-target-account-name": "ml",
            "x-ambry-target-container-name": "models",
            "Content-Type": "text/html",
        }
        blob_id = (await frontend.call("POST", "/", headers, content(1, 3 * CHUNK))).blob_id
        info = await frontend.call("GET", f"/{blob_id}/BlobInfo")
        body = info.json()
        assert (body["id"], body["size"], body["expires_at_ms"], body["user_metadata"]) == (
            blob_id, 3 * CHUNK, None, {"a": "1"},
        )  # fmt: skip
        assert body["datacenter"] == "dc1" and info.headers["content-type"] == "application/json"
        assert info.headers["x-ambry-target-container-name"] == "models"
        metadata = await frontend.call("GET", f"/{blob_id}/usermetadata")
        assert metadata.json() == {"a": "1"} and metadata.headers["x-ambry-um-a"] == "1"
        replicas = (await frontend.call("GET", f"/{blob_id}/Replicas")).json()["replicas"]
        assert [entry["present"] for entry in replicas] == [4, 4, 4]
        chunks = (await frontend.call("GET", f"/{blob_id}/BlobChunkIds")).json()["chunks"]
        assert [chunk["size"] for chunk in chunks] == [CHUNK] * 3
        refused = await frontend.call("GET", f"/{chunks[0]['id']}")
        assert refused.status == 400 and "data chunk" in refused.json()["detail"]
        head = await frontend.call("HEAD", f"/{blob_id}/BlobInfo")
        assert (head.status, told(head)) == (info.status, told(info))


@pytest.mark.parametrize("chunks", [1, ENTRIES_PER_PIECE, ENTRIES_PER_PIECE + 1, 3 * ENTRIES_PER_PIECE])
async def test_a_list_of_chunks_is_told_in_pieces_and_is_one_text(chunks: int) -> None:
    cluster = make_cluster(chunk_size_bytes=1024, clock=SystemClock())
    async with http_frontend(cluster) as frontend:
        body = content(1, 1024 * chunks - 1)
        blob_id = await frontend.put(body)
        answer = await frontend.call("GET", f"/{blob_id}/BlobChunkIds")
        head = await frontend.call("HEAD", f"/{blob_id}/BlobChunkIds")
    assert told(head) == told(answer) and head.headers["content-length"] == str(len(answer.body))
    listed = answer.json()["chunks"]
    assert answer.body == json.dumps({"id": blob_id, "chunks": listed}, separators=(",", ":")).encode()
    assert sum(chunk["size"] for chunk in listed) == (len(body) if chunks > 1 else 0)
    assert len({chunk["id"] for chunk in listed}) == len(listed) == (chunks if chunks > 1 else 0)


CHUNKS = 2000
"""Whose list, as text, is more than a loopback socket takes."""


async def test_a_list_of_chunks_that_its_client_does_not_take_is_charged() -> None:
    """Its memory was given back before it was told, so a crowd that did not read it held it in no account."""
    cluster = make_cluster(chunk_size_bytes=1024, clock=SystemClock())
    async with http_frontend(cluster) as frontend:
        blob_id = await frontend.put(content(1, 1024 * CHUNKS))
        free = cluster.budget.free
        async with frontend.connected() as client:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await client.send(request("GET", f"/{blob_id}/BlobChunkIds"))
            await until(lambda: free - cluster.budget.free >= CHUNKS * 256, "it is being told")
            for _ in range(100):
                await asyncio.sleep(0)
            assert free - cluster.budget.free >= CHUNKS * 256
        await until(lambda: cluster.budget.free == free, "the client has gone")


async def test_what_may_change_is_not_kept_and_has_no_tag_of_the_bytes() -> None:
    """BlobInfo once was `immutable`, and told deletes and longer lives to nobody who had asked before."""
    async with http_frontend() as frontend:
        blob_id = await frontend.put(b"x")
        for name in ("BlobInfo", "UserMetadata", "Replicas", "BlobChunkIds"):
            answer = await frontend.call("GET", f"/{blob_id}/{name}")
            assert answer.headers["cache-control"] in ("private, no-cache", "no-store"), name
            assert "etag" not in answer.headers and "last-modified" not in answer.headers
            assert answer.headers["content-security-policy"] == "sandbox"


async def test_a_deleted_blob_is_told_of_to_those_who_ask_for_it() -> None:
    async with http_frontend() as frontend:
        blob_id = (await frontend.call("POST", "/", {"x-ambry-um-a": "1"}, b"x")).blob_id
        await frontend.call("DELETE", f"/{blob_id}")
        for name in ("BlobInfo", "UserMetadata"):
            assert (await frontend.call("GET", f"/{blob_id}/{name}")).status == 410
            seen = await frontend.call("GET", f"/{blob_id}/{name}", {"x-ambry-get-option": "Include_Deleted_Blobs"})
            assert (seen.status, seen.headers["cache-control"]) == (200, "no-store")
            assert seen.headers["x-ambry-um-a"] == "1"


@pytest.mark.parametrize("size", [1, 3 * CHUNK])
async def test_who_holds_a_deleted_blob_is_told(size: int) -> None:
    """It once was 410, so nobody could see where the delete had arrived."""
    async with http_frontend() as frontend:
        blob_id = await frontend.put(content(1, size))
        await frontend.call("DELETE", f"/{blob_id}")
        answer = await frontend.call("GET", f"/{blob_id}/Replicas")
        assert answer.status == 200
        assert [(entry["total"], entry["deleted"]) for entry in answer.json()["replicas"]] == [(1, 1)] * 3
