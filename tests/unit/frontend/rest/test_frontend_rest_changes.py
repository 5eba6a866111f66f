"""`GET /changes` over HTTP: pages, streams, tokens, and what is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from frontend.feed import following
from tests.support.direct_frontend import DirectFrontend
from tests.support.eventually import eventually
from tests.support.fake_cluster import FakeCluster
from tests.support.feeds import FeedCluster, feed_cluster
from tests.support.http_frontend import Answer, HttpFrontend, RawClient, http_frontend, request, reset

LINES = {"Accept": "application/x-ndjson"}
EVENTS = {"Accept": "text/event-stream"}


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[FeedCluster]:
    async with feed_cluster(tmp_path, 3) as made:
        yield made


@pytest.fixture
async def frontend(cluster: FeedCluster) -> AsyncIterator[HttpFrontend]:
    async with http_frontend(cast(FakeCluster, cluster.frontends[0]), metadata=cluster.stores[0]) as made:
        yield made
        assert made.services is not None
        await made.services.notices.stop()


async def settled(frontend: HttpFrontend) -> None:
    """Until all replicas have what is acknowledged: of a partition one alone is read, and that may be the last to have it."""
    await cast(DirectFrontend, frontend.cluster).settled()


async def changes(frontend: HttpFrontend, query: str = "", headers: dict[str, str] | None = None) -> Any:
    await settled(frontend)
    answer = await frontend.call("GET", f"/changes{query}", headers)
    assert answer.status == 200, answer.body
    return answer.json()


def told(page: Any) -> list[tuple[str, str]]:
    return [(event["type"], event.get("name") or event.get("alias") or event["blobId"]) for event in page["changes"]]


async def test_what_happens_to_blobs_and_names_is_told_in_its_order(frontend: HttpFrontend) -> None:
    now = (await changes(frontend, "?since=now"))["token"]
    blob = await frontend.put(b"one", {"x-ambry-ttl": "1000"})
    assert (await frontend.call("PUT", "/named/default/default/a", body=b"two")).status == 201
    page = await changes(frontend, f"?since={now}&account=default&container=default")
    assert sorted(told(page)[:2]) == sorted([("blob.put", blob), ("blob.put", page["changes"][2]["blobId"])])
    assert told(page)[2] == ("name.put", "a")
    assert page["atEnd"] is True and "restarted" not in page and "delayed" not in page
    assert (
        await frontend.call("PUT", "/updateTtl", {"x-ambry-blob-id": blob, "x-ambry-service-id": "t"})
    ).status == 200
    page = await changes(frontend, f"?since={page['token']}")
    assert told(page) == [("blob.extend", blob)] and "expirationTimeMs" not in page["changes"][0]
    assert (await frontend.call("DELETE", f"/{blob}")).status == 202
    page = await changes(frontend, f"?since={page['token']}")
    assert told(page) == [("blob.delete", blob)]
    assert (await frontend.call("PUT", "/undelete", {"x-ambry-blob-id": blob, "x-ambry-service-id": "t"})).status == 200
    page = await changes(frontend, f"?since={page['token']}")
    assert told(page) == [("blob.undelete", blob)] and page["changes"][0]["lifeVersion"] == 1
    assert (await frontend.call("DELETE", "/named/default/default/a")).status == 202
    page = await changes(frontend, f"?since={page['token']}")
    assert sorted(event["type"] for event in page["changes"]) == ["blob.delete", "name.delete"]
    assert (await changes(frontend, f"?since={page['token']}"))["changes"] == []


async def test_without_since_it_begins_at_the_beginning_and_pages_go_on(frontend: HttpFrontend) -> None:
    blobs = {await frontend.put(b"x") for _ in range(5)}
    page = await changes(frontend, "?limit=2")
    seen = [blob for _, blob in told(page)]
    assert len(seen) <= 2 and page["atEnd"] is False
    while not page["atEnd"]:
        page = await changes(frontend, f"?limit=2&since={page['token']}")
        seen += [blob for _, blob in told(page)]
    assert sorted(seen) == sorted(blobs)


async def test_a_request_that_waits_is_answered_by_the_next_change(frontend: HttpFrontend) -> None:
    token = (await changes(frontend))["token"]
    waiting = asyncio.ensure_future(changes(frontend, f"?since={token}&wait=60"))
    assert frontend.services is not None
    notices = frontend.services.notices
    await eventually(lambda: notices.followers == 1)
    blob = await frontend.put(b"x")
    assert told(await asyncio.wait_for(waiting, 30)) == [("blob.put", blob)]


async def streamed(frontend: HttpFrontend, query: str, headers: dict[str, str]) -> tuple[Answer, str]:
    """A stream that ends by itself, and its text without the chunks' sizes."""
    await settled(frontend)
    async with frontend.connected() as client:
        await client.send(request("GET", f"/changes{query}", {**headers, "Connection": "close"}))
        status, found = await client.head()
        raw = await asyncio.wait_for(client.reader.read(-1), 30)
    text = b""
    while raw:
        size, _, rest = raw.partition(b"\r\n")
        text, raw = text + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return Answer(status=status, headers=found, body=text), text.decode()


async def test_lines_end_with_a_token_that_goes_on(frontend: HttpFrontend) -> None:
    blob = await frontend.put(b"x")
    answer, text = await streamed(frontend, "?wait=0", LINES)
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["type"] for line in lines] == ["blob.put", "token"]
    assert lines[0]["blobId"] == blob
    page = await changes(frontend, f"?since={lines[-1]['token']}")
    assert page["changes"] == []


async def test_a_stream_of_events_goes_on_with_the_id_of_its_last_one(frontend: HttpFrontend) -> None:
    one, two = await frontend.put(b"x"), await frontend.put(b"y")
    answer, text = await streamed(frontend, "?wait=0", EVENTS)
    assert answer.headers["content-type"] == "text/event-stream"
    blocks = [dict(line.split(": ", 1) for line in block.splitlines()) for block in text.strip().split("\n\n")]
    assert {json.loads(block["data"])["blobId"] for block in blocks} == {one, two}
    assert ["id" in block for block in blocks] == [False, True]
    third = await frontend.put(b"z")
    # A browser sends it with the address that it began with.
    page = await changes(frontend, "?since=beginning", {"Last-Event-ID": blocks[-1]["id"]})
    assert told(page) == [("blob.put", third)]


async def test_where_nothing_is_told_the_id_comes_alone(frontend: HttpFrontend) -> None:
    _, text = await streamed(frontend, "?wait=0", EVENTS)
    assert text.startswith("id: ") and text.endswith("\n\n") and text.count("\n") == 2


async def line_of(client: RawClient) -> Any:
    """The next line of a stream of chunks that are whole lines."""
    return [json.loads(line) for line in (await chunk_of(client)).splitlines()]


async def chunk_of(client: RawClient) -> bytes:
    """The next chunk of a stream, without its frame."""
    async with asyncio.timeout(30):
        size = int(await client.reader.readline(), 16)
        return (await client.reader.readexactly(size + 2))[:size]


async def test_a_stream_goes_on_until_the_frontend_stops_and_ends_whole(frontend: HttpFrontend) -> None:
    async with frontend.connected() as client:
        await client.send(request("GET", "/changes", LINES))
        assert (await client.head())[0] == 200
        assert [line["type"] for line in await line_of(client)] == ["token"]
        blob = await frontend.put(b"x")
        lines = await line_of(client)
        assert [line.get("blobId") for line in lines] == [blob, None]
        frontend.server.draining = True
        assert await asyncio.wait_for(client.reader.readline(), 30) == b"0\r\n"
        frontend.server.draining = False


async def test_a_client_that_leaves_is_followed_no_more(frontend: HttpFrontend) -> None:
    assert frontend.services is not None
    notices = frontend.services.notices
    async with frontend.connected() as client:
        await client.send(request("GET", "/changes", EVENTS))
        await client.head()
        assert notices.followers == 1
        reset(client)
    await eventually(lambda: notices.followers == 0)


async def test_head_tells_no_change(frontend: HttpFrontend) -> None:
    answer = await frontend.call("HEAD", "/changes", LINES)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/x-ndjson")


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("?since=nonsense", "since is beginning, now, or a token"),
        ("?limit=0", "limit is a whole number from 1 to 1000"),
        ("?limit=1001", "limit is"),
        ("?limit=x", "limit is"),
        ("?wait=61", "wait is a whole number from 0 to 60"),
        ("?wait=-1", "wait is"),
        ("?account=nobody", "no account"),
        ("?container=nothing", "no container"),
        ("?until=now", "not understood"),
        ("?since=now&since=now", "twice"),
    ],
)
async def test_what_cannot_be_is_refused_with_a_sentence(frontend: HttpFrontend, query: str, says: str) -> None:
    answer = await frontend.call("GET", f"/changes{query}")
    assert answer.status == 400
    assert says in answer.json()["detail"]


async def test_a_token_of_another_container_is_refused(frontend: HttpFrontend) -> None:
    token = (await changes(frontend, "?container=other"))["token"]
    answer = await frontend.call("GET", f"/changes?since={token}")
    assert (answer.status, "another container" in answer.json()["detail"]) == (400, True)


async def test_a_datacenter_without_a_single_replica_is_said_to_be_delayed(
    cluster: FeedCluster, frontend: HttpFrontend
) -> None:
    for peer in cluster.frontends[0].peers.values():
        peer.reachable = False
    page = await changes(frontend)
    assert page["delayed"] is True
    assert (await frontend.call("GET", "/changes?since=now")).status == 503


async def test_streams_say_that_something_is_delayed_and_when_it_is_no_more(
    cluster: FeedCluster, frontend: HttpFrontend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages alone said so: of a stream nobody knew that it waits for replicas."""
    monkeypatch.setattr(following, "HELD_S", 0.01)
    blob = await frontend.put(b"x")
    await settled(frontend)
    peers = cluster.frontends[0].peers.values()
    for peer in peers:
        peer.reachable = False
    _, text = await streamed(frontend, "?wait=0", LINES)
    assert json.loads(text)["delayed"] is True
    async with frontend.connected() as lines, frontend.connected() as events:
        await lines.send(request("GET", "/changes", LINES))
        await events.send(request("GET", "/changes", EVENTS))
        assert (await lines.head())[0] == (await events.head())[0] == 200
        assert [line["delayed"] for line in await line_of(lines)] == [True]
        assert (await chunk_of(events)).startswith(b'event: delayed\ndata: {"delayed":true}\nid: ')
        for peer in peers:
            peer.reachable = True
        told = await line_of(lines)
        assert [line.get("blobId") for line in told] == [blob, None] and "delayed" not in told[-1]
        block, last = (await chunk_of(events)).decode().split("\n\n")[:2]
        assert block.startswith("event: blob.put") and last.startswith('event: delayed\ndata: {"delayed":false}\nid: ')
        peer_put = await frontend.put(b"y")
        text = (await chunk_of(events)).decode()
        assert peer_put in text and "delayed" not in text
