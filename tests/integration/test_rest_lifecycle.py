"""What happens to a blob in its life: time to live, delete, undelete, and what is said about blobs that never were."""

from __future__ import annotations

import itertools
import random
from functools import partial

import pytest

from ambry.blob import NEVER_MS, BlobState
from ambry.clock import SystemClock
from ambry.ids import BlobId, IdKind, uuid7
from deploy.local_cluster import LocalCluster
from tests.support.content import content
from tests.support.replica_reader import chunk_ids, read_copy
from tests.support.rest import Answer, call, everywhere, get, put
from tests.support.waiting import eventually, settled

BIG = 5_000_000


def unknown_id(*, datacenter: int = 1, partition: int = 0, kind: IdKind = IdKind.SIMPLE) -> str:
    """A valid id that was never given to a blob."""
    made = BlobId.make(
        kind=kind,
        datacenter=datacenter,
        account=1,
        container=1,
        partition=partition,
        uuid=uuid7(SystemClock().wall_ms(), random.Random()),
    )
    return str(made)


def update(url: str, what: str, blob_id: str, **headers: str) -> Answer:
    named = {f"x-ambry-{name}": value for name, value in headers.items()}
    return call(url, "PUT", f"/{what}", headers={"x-ambry-blob-id": blob_id} | named)


@pytest.mark.parametrize("kind", [IdKind.SIMPLE, IdKind.COMPOSITE])
@pytest.mark.parametrize("origin", [1, 2])
@pytest.mark.parametrize("partition", [0, 3])
def test_an_unknown_id_is_404_and_never_503(dc1: str, dc2: str, kind: IdKind, origin: int, partition: int) -> None:
    for url in (dc1, dc2):
        for method, path in (("GET", ""), ("HEAD", ""), ("GET", "/BlobInfo"), ("GET", "/Replicas"), ("DELETE", "")):
            blob_id = unknown_id(datacenter=origin, partition=partition, kind=kind)
            answer = call(url, method, f"/{blob_id}{path}")
            assert answer.status == 404, (url, method, path, answer.body)
        assert update(url, "undelete", unknown_id(datacenter=origin)).status == 404
        assert update(url, "updateTtl", unknown_id(datacenter=origin)).status == 404


def test_an_id_of_a_partition_that_does_not_exist(dc1: str) -> None:
    # Its absence cannot be proven: the layout may be older than the id.
    assert get(dc1, unknown_id(partition=4_000_000)).status == 503


def test_a_mistyped_id_is_400(dc1: str) -> None:
    blob_id = put(dc1, b"x")
    for place in range(0, 48, 5):
        typo = blob_id[:place] + ("A" if blob_id[place] != "A" else "B") + blob_id[place + 1 :]
        answer = get(dc1, typo)
        assert (answer.status, answer.headers["x-ambry-error-code"]) == (400, "InvalidBlobId"), typo
    for text in (blob_id[:-1], blob_id + "A", blob_id[:-1] + "=", "favicon.ico", "x" * 48):
        assert get(dc1, text).status == 400, text
        assert call(dc1, "DELETE", f"/{text}").status == 400, text


def test_the_id_of_a_chunk_is_400_everywhere(cluster: LocalCluster, dc1: str) -> None:
    blob_id = put(dc1, content(5, BIG))
    listed = call(dc1, "GET", f"/{blob_id}/BlobChunkIds").json()
    assert [chunk["size"] for chunk in listed["chunks"]] == [4 << 20, BIG - (4 << 20)]
    chunk = listed["chunks"][0]["id"]
    for method, path in (("GET", ""), ("HEAD", ""), ("DELETE", ""), ("GET", "/Replicas"), ("GET", "/BlobInfo")):
        assert call(dc1, method, f"/{chunk}{path}").status == 400, (method, path)
    for what in ("undelete", "updateTtl"):
        assert update(dc1, what, chunk).status == 400
    assert get(dc1, blob_id).body == content(5, BIG)


def test_what_is_around_a_blob(dc1: str, dc2: str) -> None:
    body = content(6, BIG)
    headers = {"x-ambry-um-k": "v", "Content-Type": "text/plain", "x-ambry-filename": "f.txt", "x-ambry-owner-id": "me"}
    answer = call(dc1, "POST", "/", body, headers)
    blob_id = answer.blob_id
    eventually(lambda: everywhere(dc2, blob_id), "every record on every node, as seen from the other datacenter")
    for url in (dc1, dc2):
        info = call(url, "GET", f"/{blob_id}/BlobInfo")
        said = info.json()
        assert {
            name: said[name] for name in ("id", "size", "content_type", "filename", "datacenter", "life_version")
        } == {
            "id": blob_id,
            "size": BIG,
            "content_type": "text/plain",
            "filename": "f.txt",
            "datacenter": "dc1",
            "life_version": 0,
        }
        assert said["digest"] == answer.headers["x-ambry-digest"]
        assert said["expires_at_ms"] is None
        assert info.headers["x-ambry-owner-id"] == "me"
        listed = call(url, "GET", f"/{blob_id}/Replicas").json()["replicas"]
        assert [entry["node"] for entry in listed] == [f"dc{d}-n{n}" for d in (1, 2) for n in (1, 2, 3)]
        assert all(entry["total"] == 3 for entry in listed)
    assert call(dc1, "GET", f"/{blob_id}/Nonsense").status == 400
    small = put(dc1, b"x")
    assert call(dc1, "GET", f"/{small}/BlobChunkIds").json() == {"id": small, "chunks": []}


LIVES_S = (2, 8, 32, 128)
"""Times to live that are tried in turn: how quick this machine is decides which is long enough for what comes next."""


def read_in_its_time(url: str, size: int) -> str:
    """The id of a blob that is not for long, and was read."""
    for seconds in LIVES_S:
        blob_id = put(url, content(8, size), {"x-ambry-ttl": str(seconds)})
        first = get(url, blob_id)
        if first.status == 200:
            assert (first.headers["x-ambry-ttl"], len(first.body)) == (str(seconds), size)
            assert "immutable" not in str(first.headers["Cache-Control"])
            return blob_id
    raise AssertionError(f"expired at once: {first}")


def test_time_to_live_passes_at_both_datacenters(dc1: str, dc2: str) -> None:
    stored = [read_in_its_time(dc1, size) for size in (10, BIG)]
    for url, blob_id in itertools.product((dc1, dc2), stored):
        gone = eventually(
            lambda url=url, blob_id=blob_id: _unless_200(get(url, blob_id)),  # type: ignore[misc]
            "it expires",
            timeout_s=2 * LIVES_S[-1],
        )
        assert (gone.status, gone.headers["x-ambry-error-code"]) == (410, "BlobExpired")
        assert call(url, "HEAD", f"/{blob_id}").status == 410
        assert update(url, "updateTtl", blob_id, ttl="-1").status == 410
        assert get(url, blob_id, {"x-ambry-get-option": "Include_Expired_Blobs"}).status == 200


def _unless_200(answer: Answer) -> Answer | None:
    return None if answer.status in (200, 404) else answer


def extended_in_its_time(url: str, size: int) -> tuple[str, int]:
    """The id of a blob that is for ever now, and how many seconds it had at first."""
    for seconds in LIVES_S:
        blob_id = put(url, content(9, size), {"x-ambry-ttl": str(seconds)})
        longer = update(url, "updateTtl", blob_id, ttl="3600")
        if longer.status != 410:
            break
    extended = longer.headers["x-ambry-ttl"]
    assert 3600 <= int(extended) <= 3600 + 2 * LIVES_S[-1], "from now on"
    assert update(url, "updateTtl", blob_id, ttl="60").headers["x-ambry-ttl"] == extended, "it never shrinks"
    assert update(url, "updateTtl", blob_id).headers["x-ambry-ttl"] == "-1"
    return blob_id, seconds


def test_an_extended_time_to_live_holds(cluster: LocalCluster, dc1: str, dc2: str) -> None:
    made = {size: extended_in_its_time(dc1, size) for size in (10, BIG)}
    stored = {size: blob_id for size, (blob_id, _) in made.items()}
    longest = max(seconds for _, seconds in made.values())
    doomed = put(dc1, b"a clock", {"x-ambry-ttl": str(longest)})
    eventually(lambda: get(dc1, doomed).status == 410, "the first time to live is over", timeout_s=30 + 2 * longest)
    for url, (size, blob_id) in itertools.product((dc1, dc2), stored.items()):
        answer = eventually(lambda url=url, blob_id=blob_id: _if_200(get(url, blob_id)), "it is there")  # type: ignore[misc]
        assert (answer.body, answer.headers["x-ambry-ttl"]) == (content(9, size), "-1")
    # A chunk lives while its blob lives (docs/decisions/0008): its own record must not expire, or a node that is rebuilt later
    # would not fetch it any more.
    copy = read_copy(cluster, "dc1-n1", stored[BIG])
    for chunk in chunk_ids(copy):
        assert read_copy(cluster, "dc1-n1", chunk).state.expires_at_ms == NEVER_MS


def not_in_state(cluster: LocalCluster, blob_id: str, state: BlobState) -> list[str]:
    """The data nodes on which the blob's state is another one."""
    copies = [read_copy(cluster, node.name, blob_id) for node in cluster.nodes()]
    return [f"{copy.node}: {copy.state}" for copy in copies if copy.state != state]


def _if_200(answer: Answer) -> Answer | None:
    return answer if answer.status == 200 else None


@pytest.mark.parametrize("size", [10, BIG])
def test_delete_and_undelete_reach_both_datacenters(cluster: LocalCluster, dc1: str, dc2: str, size: int) -> None:
    blob_id = put(dc1, content(10, size))
    assert update(dc1, "undelete", blob_id).status == 409
    eventually(lambda: everywhere(dc1, blob_id), "on every node")
    for _ in range(2):
        assert call(dc1, "DELETE", f"/{blob_id}").status == 202
    # C7: a get may still meet the one replica that has not heard of it yet.
    settled(lambda: not_in_state(cluster, blob_id, BlobState(0, True, NEVER_MS)), "every replica knows")
    for url in (dc1, dc2):
        answer = get(url, blob_id)
        assert (answer.status, answer.headers["x-ambry-error-code"]) == (410, "BlobDeleted")
        assert call(url, "HEAD", f"/{blob_id}").status == 410
        assert call(url, "GET", f"/{blob_id}/BlobInfo").status == 410
        assert get(url, blob_id, {"x-ambry-get-option": "Include_All"}).body == content(10, size)
        assert get(url, blob_id, {"x-ambry-get-option": "Everything"}).status == 400
    assert update(dc1, "updateTtl", blob_id, ttl="5").status == 410
    assert call(dc2, "DELETE", f"/{blob_id}").status == 202
    assert update(dc2, "undelete", blob_id).status == 200
    for url in (dc2, dc1):
        answer = eventually(lambda url=url: _if_200(get(url, blob_id)), "undeleted here too")  # type: ignore[misc]
        assert (answer.body, answer.headers["x-ambry-life-version"]) == (content(10, size), "1")
    settled(lambda: not_in_state(cluster, blob_id, BlobState(1, False, NEVER_MS)), "every replica knows")
    assert call(dc1, "DELETE", f"/{blob_id}").status == 202
    settled(lambda: not_in_state(cluster, blob_id, BlobState(1, True, NEVER_MS)), "every replica knows")
    assert get(dc1, blob_id).status == 410


def test_a_delete_after_an_undelete_holds(dc1: str) -> None:
    """A delete that had read the state of a replica behind the undelete was acknowledged and had no effect."""
    for _ in range(30):
        blob_id = put(dc1, b"there and back")
        assert call(dc1, "DELETE", f"/{blob_id}").status == 202
        assert update(dc1, "undelete", blob_id).status == 200
        assert call(dc1, "DELETE", f"/{blob_id}").status == 202
        gone = partial(get, dc1, blob_id)
        eventually(lambda gone=gone: gone().status == 410, "it stays deleted")  # type: ignore[misc]


def test_private_blobs_are_not_for_caches(dc1: str) -> None:
    assert get(dc1, put(dc1, b"x")).headers["Cache-Control"] == "public, immutable, max-age=31536000"
    answer = get(dc1, put(dc1, b"x", {"x-ambry-private": "true"}))
    assert answer.headers["x-ambry-private"] == "true"
    assert "public" not in str(answer.headers["Cache-Control"])
