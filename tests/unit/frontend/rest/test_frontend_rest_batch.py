"""Batches of reads and deletes: what each item gets is what it would get alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from email import message_from_bytes
from email.policy import HTTP
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import pytest

from ambry.blob import BlobState
from ambry.checksum import digest
from ambry.clock import SystemClock
from ambry.errors import AmbryError, DataCorrupt, InvalidRequest, ReplicaUnavailable, Unavailable
from ambry.ids import BlobId, IdKind
from ambry.protocol.frame import MessageType
from ambry.rest import frames, names
from ambry.rest.access import Role
from frontend.container import Container
from frontend.metadata.spaces import Space
from frontend.metadata.sqlite import SqliteStore
from frontend.metadata.store import Version
from frontend.rest.batch_names import BatchNames
from frontend.who import ANYBODY
from tests.support.content import content
from tests.support.fake_cluster import CHUNK, chunks_of, make_cluster, some_id
from tests.support.fake_peers import fails, held, silent
from tests.support.http_frontend import Answer, HttpFrontend, RawClient, http_frontend, request, reset, until
from tests.support.metadata_stores import opened, sqlite_store

AS_FRAMES = {"Accept": frames.CONTENT_TYPE}
Part = tuple[dict[str, str], bytes]


async def dechunked(client: RawClient) -> Answer:
    """The next response, in chunks or of a known length."""
    status, headers = await client.head()
    if "content-length" in headers:
        return Answer(
            status=status, headers=headers, body=await client.reader.readexactly(int(headers["content-length"]))
        )
    body = b""
    async with asyncio.timeout(30):
        while size := int((await client.reader.readline()).strip(), 16):
            body += await client.reader.readexactly(size)
            assert await client.reader.readexactly(2) == b"\r\n"
        assert await client.reader.readexactly(2) == b"\r\n"
    return Answer(status=status, headers=headers, body=body)


async def batch(
    frontend: HttpFrontend, name: str, items: Any, headers: dict[str, str] | None = None, body: bytes | None = None
) -> Answer:
    async with frontend.connected() as client:
        raw = json.dumps(items).encode() if body is None else body
        await client.send(
            request("POST", f"/batch/{name}", {"Content-Type": "application/json", **(headers or {})}, raw)
        )
        return await dechunked(client)


def parts_of(answer: Answer) -> dict[tuple[int, int | None], Part]:
    """By index of the item and of its range."""
    assert answer.status == 200, answer.body
    found: list[Part] = []
    if answer.headers["content-type"] == frames.CONTENT_TYPE:
        reader = frames.FrameReader(body_size_max=1 << 30)
        found = [(frame.headers, frame.body) for frame in reader.feed(answer.body)]
        reader.close()
    else:
        message = message_from_bytes(
            b"Content-Type: " + answer.headers["content-type"].encode() + b"\r\n\r\n" + answer.body, policy=HTTP
        )
        assert message.is_multipart() and not message.defects
        for part in message.iter_parts():
            body = cast(bytes, part.get_payload(decode=True))
            assert int(part["Content-Length"]) == len(body)
            found.append(({name.lower(): str(value) for name, value in part.items()}, body))
    by_place = {
        (
            int(headers[names.BATCH_INDEX]),
            int(headers[names.BATCH_RANGE]) if names.BATCH_RANGE in headers else None,
        ): (headers, body)
        for headers, body in found
    }
    assert len(by_place) == len(found), "each once"
    return by_place


@pytest.mark.parametrize("form", [AS_FRAMES, {}], ids=["frames", "multipart"])
async def test_each_item_gets_what_a_get_would_have_got(form: dict[str, str]) -> None:
    async with http_frontend() as frontend:
        bodies = [content(number, size) for number, size in enumerate((0, 1, 4096, CHUNK, CHUNK + 1, 5 * CHUNK + 7))]
        ids = [await frontend.put(body, {"x-ambry-um-a": "b", "Content-Type": "image/png"}) for body in bodies]
        deleted = await frontend.put(b"x")
        await frontend.call("DELETE", f"/{deleted}")
        missing, bad = str(some_id()), "nonsense\r\nx"
        answer = await batch(frontend, "get", [*ids, deleted, missing, bad, {"id": f"/{ids[1]}.png"}], form)
        parts = parts_of(answer)
        assert len(parts) == 10
        of_the_answer = (
            "content-length",
            "date",
            "server",
            names.ANSWERED,
            names.REQUEST_ID,
            names.DATACENTER,
            names.FRONTEND,
        )
        for number, (blob_id, body) in enumerate(zip(ids, bodies, strict=True)):
            headers, got = parts[number, None]
            assert (headers[names.BATCH_STATUS], got) == ("200", body)
            alone = await frontend.call("GET", f"/{blob_id}")
            for name, value in alone.headers.items():
                if name not in of_the_answer:
                    assert headers[name] == value, name
            assert headers[names.BLOB_ID] == blob_id
        for number, status, code in (
            (6, "410", "BlobDeleted"),
            (7, "404", "BlobNotFound"),
            (8, "400", "InvalidBlobId"),
        ):
            headers, got = parts[number, None]
            assert (headers[names.BATCH_STATUS], headers[names.ERROR_CODE]) == (status, code)
            assert json.loads(got)["code"] == code
        assert parts[9, None][1] == bodies[1]
        assert frontend.cluster.context.reading.budget.free == frontend.cluster.context.reading.budget.size
        assert not frontend.cluster.context.reading._readers


async def test_many_small_blobs_take_one_question_to_each_data_node() -> None:
    async with http_frontend() as frontend:
        ids = [await frontend.put(content(number, 100)) for number in range(200)]
        frontend.cluster.pool.journal.clear()
        parts = parts_of(await batch(frontend, "get", ids, AS_FRAMES))
        assert [parts[number, None][1] for number in range(200)] == [content(number, 100) for number in range(200)]
        assert len(frontend.cluster.pool.calls(MessageType.GETS)) <= 3
        assert frontend.cluster.pool.calls(MessageType.GET) == []


async def test_ranges_of_items_are_parts_of_their_own() -> None:
    async with http_frontend() as frontend:
        body = content(1, 4 * CHUNK + 9)
        large, small, empty = await frontend.put(body), await frontend.put(body[:1000]), await frontend.put(b"")
        items = [
            {"id": large, "ranges": ["0-1", "-5", f"{CHUNK - 3}-{CHUNK + 2}", f"0-{3 * CHUNK}", f"{9 * CHUNK}-"]},
            {"id": small, "ranges": ["10-19", "990-", "10-19", "-1", "1000-1001"]},
            {"id": empty, "ranges": ["0-1"]},
            {"id": small, "ranges": ["9-1"]},
        ]
        parts = parts_of(await batch(frontend, "get", items, AS_FRAMES))
        expected: dict[tuple[int, int | None], bytes | str] = {
            (0, 0): body[:2], (0, 1): body[-5:], (0, 2): body[CHUNK - 3 : CHUNK + 3], (0, 3): body[: 3 * CHUNK + 1],
            (0, 4): "416", (1, 0): body[10:20], (1, 1): body[990:1000], (1, 2): body[10:20], (1, 3): body[999:1000],
            (1, 4): "416", (2, 0): "416", (3, None): "400",
        }  # fmt: skip
        assert parts.keys() == expected.keys()
        for place, wanted in expected.items():
            headers, got = parts[place]
            if isinstance(wanted, str):
                assert headers[names.BATCH_STATUS] == wanted, place
            else:
                assert (headers[names.BATCH_STATUS], got) == ("206", wanted), place
        assert parts[1, 1][0]["content-range"] == "bytes 990-999/1000"


async def test_ranges_of_a_large_blob_read_its_list_once() -> None:
    """It was read once for each small range, and twice for each large one: a third of the time of a column of Parquet."""
    async with http_frontend() as frontend:
        body = content(1, 9 * CHUNK)
        large = await frontend.put(body)
        spans = [(first, first + size) for size in (10, 2 * CHUNK) for first in range(5, 7 * CHUNK, CHUNK // 2)]
        frontend.cluster.pool.journal.clear()
        items = [{"id": large, "ranges": [f"{first}-{end - 1}" for first, end in spans]}]
        parts = parts_of(await batch(frontend, "get", items, AS_FRAMES))
        assert [parts[0, number][1] for number in range(len(spans))] == [body[first:end] for first, end in spans]
        raw = BlobId.parse(large).raw
        asked = [call for call in frontend.cluster.pool.calls(MessageType.GET) if call.message.id == raw]
        assert len(asked) <= 2
        budget = frontend.cluster.context.reading.budget
        await until(lambda: budget.free == budget.size, "its memory is back")


async def test_neighbouring_ranges_of_a_large_blob_are_one_download() -> None:
    """Each had a download of its own, and its first bytes were asked for apart: twice as many reads, and half of the time."""
    async with http_frontend() as frontend:
        body = content(2, 18 * CHUNK)
        large = await frontend.put(body)
        spans = [(number * CHUNK + 1, (number + 2) * CHUNK - 1) for number in range(0, 18, 2)]
        frontend.cluster.pool.journal.clear()
        items = [{"id": large, "ranges": [f"{first}-{end - 1}" for first, end in spans]}]
        answers = await asyncio.gather(*(batch(frontend, "get", items, AS_FRAMES) for _ in range(5)))
        for parts in map(parts_of, answers):
            assert [parts[0, number][1] for number in range(9)] == [body[first:end] for first, end in spans]
        raw = BlobId.parse(large).raw
        asked = [call for call in frontend.cluster.pool.calls(MessageType.GET) if call.message.id != raw]
        assert len(asked) <= 5 * (18 + 4)


async def test_long_ranges_of_a_blob_of_one_record_are_one_download() -> None:
    """Each of them had a download of its own, and what it looked at was read again."""
    cluster = make_cluster(((3,),) * 4, clock=SystemClock(), chunk_size_bytes=32 * CHUNK)
    async with http_frontend(cluster) as frontend:
        body = content(2, 32 * CHUNK)
        blob = await frontend.put(body)
        assert BlobId.parse(blob).kind is IdKind.SIMPLE
        spans = [(first, first + 2 * CHUNK) for first in range(0, 30 * CHUNK, CHUNK // 8)]
        frontend.cluster.pool.journal.clear()
        items = [{"id": blob, "ranges": [f"{first}-{end - 1}" for first, end in spans]}]
        parts = parts_of(await batch(frontend, "get", items, AS_FRAMES))
        assert [parts[0, number][1] for number in range(len(spans))] == [body[first:end] for first, end in spans]
        asked = frontend.cluster.pool.calls(MessageType.GET)
        assert len(asked) <= len(spans) + 32, (
            "once, but for those that were asked for before the blob was known as large"
        )


@pytest.mark.parametrize("broken", [0, 3, 8])
async def test_a_chunk_that_is_away_keeps_no_other_range_of_its_blob(broken: int) -> None:
    async with http_frontend() as frontend:
        body = content(3, 18 * CHUNK)
        large = await frontend.put(body)
        spans = [(number * CHUNK, (number + 2) * CHUNK) for number in range(0, 18, 2)]
        raw = chunks_of(frontend.cluster, BlobId.parse(large))[2 * broken]
        for peer in frontend.cluster.pool:
            peer.forget(raw)
        ranges = [f"{first}-{end - 1}" for first, end in spans]
        ranges[5:5] = [f"{20 * CHUNK}-{22 * CHUNK}"]
        parts = parts_of(await batch(frontend, "get", [{"id": large, "ranges": ranges}], AS_FRAMES))
        status = [parts[0, number][0][names.BATCH_STATUS] for number in range(10)]
        lost = broken + (broken >= 5)
        assert status == ["503" if number == lost else "416" if number == 5 else "206" for number in range(10)]
        found = [parts[0, number][1] for number in range(10) if number != 5]
        assert [each for number, each in enumerate(found) if number != broken] == [
            body[first:end] for number, (first, end) in enumerate(spans) if number != broken
        ]
        budget = frontend.cluster.context.reading.budget
        await until(lambda: budget.free == budget.size, "its memory is back")


async def test_ranges_that_a_large_blob_does_not_have_cost_the_others_nothing() -> None:
    """Each began the download of all behind it anew: 1,000 took 4 s, and what was read ahead was read again."""
    async with http_frontend() as frontend:
        body = content(4, 18 * CHUNK)
        large = await frontend.put(body)
        there = [f"{number * CHUNK}-{(number + 2) * CHUNK - 1}" for number in range(0, 18, 2)]
        beyond = f"{20 * CHUNK}-{22 * CHUNK}"
        asked = []
        for ranges in (there, [each for wanted in there for each in (beyond, wanted)], [beyond] * 70):
            frontend.cluster.pool.journal.clear()
            parts = parts_of(await batch(frontend, "get", [{"id": large, "ranges": ranges}], AS_FRAMES))
            asked.append(len(frontend.cluster.pool.calls(MessageType.GET)))
            for number, wanted in enumerate(ranges):
                head, data = parts[0, number]
                if wanted == beyond:
                    assert head[names.BATCH_STATUS] == "416"
                else:
                    assert data == body[int(wanted.split("-")[0]) : int(wanted.split("-")[1]) + 1]
        assert asked[0] == asked[1] and asked[2] <= 2
        budget = frontend.cluster.context.reading.budget
        await until(lambda: budget.free == budget.size, "its memory is back")


async def test_a_large_blob_that_is_gone_is_asked_for_once_for_all_its_ranges() -> None:
    async with http_frontend() as frontend:
        gone, there = await frontend.put(content(4, 18 * CHUNK)), await frontend.put(content(5, 18 * CHUNK))
        async with frontend.connected() as client:
            await client.send(request("DELETE", f"/{gone}"))
            assert (await client.answer()).status == 202
        frontend.cluster.pool.journal.clear()
        ranges = [f"{number * CHUNK}-{(number + 2) * CHUNK - 1}" for number in range(0, 18, 2)]
        items = [{"id": each, "ranges": ranges} for each in (gone, there)]
        parts = parts_of(await batch(frontend, "get", items, AS_FRAMES))
        for number in range(9):
            assert parts[0, number][0][names.BATCH_STATUS] == "410"
            assert parts[1, number][1] == content(5, 18 * CHUNK)[2 * number * CHUNK : 2 * (number + 1) * CHUNK]
        raw = BlobId.parse(gone).raw
        assert len([call for call in frontend.cluster.pool.calls(MessageType.GET) if call.message.id == raw]) <= 3


async def test_long_ranges_of_small_blobs_are_read_side_by_side() -> None:
    """A range says how much it asks for, and not how much there is."""
    async with http_frontend() as frontend:
        ids = [await frontend.put(content(number, 100)) for number in range(10)]
        gate = asyncio.Event()
        for peer in frontend.cluster.pool:
            peer.script(held(gate), type=MessageType.GET)
        items = [{"id": each, "ranges": ["0-1048575"]} for each in ids]
        frontend.cluster.pool.journal.clear()
        answer = asyncio.create_task(batch(frontend, "get", items, AS_FRAMES))

        def asked() -> set[bytes]:
            return {call.message.id for call in frontend.cluster.pool.calls(MessageType.GET)}

        await until(lambda: len(asked()) == 10, "all of them are asked for")
        gate.set()
        parts = parts_of(await answer)
        assert [parts[number, 0][1] for number in range(10)] == [content(number, 100) for number in range(10)]


async def test_a_large_part_begins_while_the_one_before_it_comes() -> None:
    async with http_frontend() as frontend:
        bodies = [content(number, 2 * CHUNK) for number in range(4)]
        ids = [await frontend.put(body) for body in bodies]
        assert all(BlobId.parse(each).kind is IdKind.COMPOSITE for each in ids)
        read = f"0-{2 * CHUNK - 1}"
        gate = asyncio.Event()
        for peer in frontend.cluster.pool:
            peer.script(held(gate), blob=BlobId.parse(ids[0]).raw, type=MessageType.GET)
        journal = frontend.cluster.pool.journal
        journal.clear()
        answer = asyncio.create_task(
            batch(frontend, "get", [{"id": each, "ranges": [read]} for each in ids], AS_FRAMES)
        )

        def asked() -> set[bytes]:
            return {call.message.id for call in frontend.cluster.pool.calls(MessageType.GET)}

        raw = [BlobId.parse(each).raw for each in ids]
        await until(lambda: {*raw[:2]} <= asked(), "the second one has begun")
        assert not {*raw[2:]} & asked()
        gate.set()
        parts = parts_of(await answer)
        assert [parts[number, 0][1] for number in range(4)] == bodies


@pytest.mark.parametrize("form", [AS_FRAMES, {}], ids=["frames", "multipart"])
async def test_heads_are_told_without_bodies(form: dict[str, str]) -> None:
    async with http_frontend() as frontend:
        ids = [await frontend.put(content(1, size)) for size in (0, 10, 3 * CHUNK)]
        parts = parts_of(await batch(frontend, "head", [*ids, str(some_id())], form))
        for number, size in enumerate((0, 10, 3 * CHUNK)):
            headers, body = parts[number, None]
            assert (headers[names.BATCH_STATUS], headers[names.BLOB_SIZE], body) == ("200", str(size), b"")
            assert headers[names.DIGEST] == digest(content(1, size)).hex()
        assert parts[3, None][0][names.BATCH_STATUS] == "404"


async def test_a_data_node_that_fails_or_is_silent_keeps_nothing_from_anybody() -> None:
    for fault in (fails(ReplicaUnavailable("opening")), silent(), fails(DataCorrupt("x"))):
        async with http_frontend() as frontend:
            ids = [await frontend.put(content(number, 100)) for number in range(20)]
            frontend.cluster.peer(1).script(fault, type=MessageType.GETS)
            parts = parts_of(await batch(frontend, "get", ids, AS_FRAMES))
            assert [parts[number, None][1] for number in range(20)] == [content(number, 100) for number in range(20)]


async def test_a_slow_item_keeps_none_but_itself() -> None:
    async with http_frontend() as frontend:
        ids = [await frontend.put(content(number, 100)) for number in range(10)]
        gate = asyncio.Event()
        for peer in frontend.cluster.pool:
            peer.script(fails(ReplicaUnavailable("later")), type=MessageType.GETS)
            peer.script(held(gate), blob=BlobId.parse(ids[0]).raw, type=MessageType.GET)
        async with frontend.connected() as client:
            await client.send(request("POST", "/batch/get", AS_FRAMES, json.dumps(ids).encode()))
            assert (await client.head())[0] == 200
            reader = frames.FrameReader(body_size_max=1 << 20)
            seen: set[str] = set()
            async with asyncio.timeout(30):
                while len(seen) < 9:
                    size = int((await client.reader.readline()).strip(), 16)
                    seen |= {
                        frame.headers[names.BATCH_INDEX] for frame in reader.feed(await client.reader.readexactly(size))
                    }
                    await client.reader.readexactly(2)
            assert "0" not in seen
            gate.set()
            async with asyncio.timeout(30):
                size = int((await client.reader.readline()).strip(), 16)
            assert [frame.body for frame in reader.feed(await client.reader.readexactly(size))] == [content(0, 100)]


async def test_a_client_that_goes_leaves_no_memory_behind() -> None:
    async with http_frontend() as frontend:
        ids = [await frontend.put(content(1, 60_000)) for _ in range(4)] + [await frontend.put(content(2, 20 * CHUNK))]
        budget = frontend.cluster.context.reading.budget
        async with frontend.connected() as client:
            await client.send(request("POST", "/batch/get", AS_FRAMES, json.dumps(ids * 100).encode()))
            await client.head()
            reset(client)
        await until(lambda: budget.free == budget.size, "its memory is back")
        assert not frontend.cluster.context.reading._readers


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([], "1 to 1000 items, and not 0"),
        (["x"] * 1001, "1 to 1000 items, and not 1001; send several"),
        ({"a": 1}, "JSON list"),
        ([1], "JSON list"),
        ([{"ranges": []}], "JSON list"),
        ([{"id": "x", "name": "y"}], "JSON list"),
        ([{"id": "x", "ranges": []}], "asks for nothing"),
        ([{"id": "x", "ranges": ["0-1"] * 1001}], "at most 1000 ranges"),
    ],
)
async def test_what_is_no_batch_is_refused_as_a_whole(items: Any, said: str) -> None:
    async with http_frontend() as frontend:
        for name in ("get", "head", "delete"):
            refused = await batch(frontend, name, items)
            assert refused.status == 400
            assert said in refused.json()["detail"] or name != "get"
        assert (await batch(frontend, "get", None, body=b"[")).status == 400
        assert (await batch(frontend, "get", None, body=b"\xff")).status == 400
        assert (await batch(frontend, "get", ["x"], {"Content-Type": "text/plain"})).status == 415
        assert (await batch(frontend, "get", None, body=b" " * ((1 << 20) + 1))).status == 413


@pytest.mark.parametrize("item", ["", "/", {"id": "/"}])
async def test_an_id_without_anything_in_it_is_an_item_that_is_wrong(item: Any) -> None:
    """It was taken for a name that nobody had looked up: 500."""
    async with http_frontend() as frontend:
        blob_id = await frontend.put(b"x")
        for call in ("get", "head"):
            parts = parts_of(await batch(frontend, call, [blob_id, item], AS_FRAMES))
            assert {index: head[names.BATCH_STATUS] for (index, _), (head, _) in parts.items()} == {0: "200", 1: "400"}
        told = (await batch(frontend, "delete", [item, blob_id])).json()["items"]
        assert [each["status"] for each in told] == [400, 202]


async def test_a_thousand_are_a_batch() -> None:
    async with http_frontend() as frontend:
        blob_id = await frontend.put(b"x")
        parts = parts_of(await batch(frontend, "get", [blob_id] * 1000, AS_FRAMES))
        assert {body for _, body in parts.values()} == {b"x"} and len(parts) == 1000


async def test_each_delete_is_for_itself_and_again_is_fine() -> None:
    async with http_frontend() as frontend:
        ids = [await frontend.put(b"x") for _ in range(40)]
        missing = str(some_id())
        for _ in range(2):
            answer = await batch(frontend, "delete", [*ids, missing, "nonsense"])
            assert answer.status == 200
            told = answer.json()["items"]
            assert [item["index"] for item in told] == list(range(42))
            assert [item["status"] for item in told] == [202] * 40 + [404, 400]
            assert (told[40]["code"], told[40]["id"]) == ("BlobNotFound", missing)
        assert (await frontend.call("GET", f"/{ids[0]}")).status == 410
        assert frontend.cluster.pool.visible() == set()


@pytest.mark.parametrize("name", ["get", "head", "delete"])
async def test_every_header_and_condition_is_understood_or_refused(name: str) -> None:
    async with http_frontend() as frontend:
        blob_id = await frontend.put(b"x")
        for header in (names.TTL, names.BLOB_ID, names.GET_OPTION, "x-ambry-nonsense", "Content-Range", "x-ambry-um-a"):
            assert (await batch(frontend, name, [blob_id], {header: "1"})).status == 400, header
        assert (await batch(frontend, name, [blob_id], {"If-Match": "*"})).status == 412
        assert (await batch(frontend, name, [blob_id], {names.SERVICE_ID: "s", "If-None-Match": "*"})).status == 200
        assert (await frontend.call("GET", f"/batch/{name}")).status == 405
        assert (await frontend.call("PUT", "/batch")).status == 400
        if name != "delete":
            assert (await frontend.call("GET", f"/{blob_id}")).status == 200


async def test_a_blob_that_is_deleted_or_expired_is_never_told_from_memory() -> None:
    async with http_frontend() as frontend:
        deleted, expired = await frontend.put(b"x"), await frontend.put(b"y")
        for peer in frontend.cluster.pool:
            peer.learn(BlobId.parse(deleted).raw, BlobState(0, True, 0))
            peer.records[BlobId.parse(expired).raw].state = BlobState(0, False, 1)
        parts = parts_of(await batch(frontend, "get", [deleted, expired], AS_FRAMES))
        assert [parts[number, None][0][names.BATCH_STATUS] for number in (0, 1)] == ["410", "410"]


# --- names ---


@pytest.fixture
async def with_names(tmp_path: Path) -> AsyncIterator[HttpFrontend]:
    cluster = make_cluster(((3,),) * 4, clock=SystemClock())
    async with (
        opened(sqlite_store(tmp_path / "meta.sqlite")) as store,
        http_frontend(cluster, metadata=store) as made,
    ):
        yield made


async def named(frontend: HttpFrontend, name: str, body: bytes, container: str = "default") -> str:
    answer = await frontend.call("PUT", f"/named/default/{container}/{quote(name)}", {}, body)
    assert answer.status == 201, answer.body
    return answer.blob_id


async def test_names_stand_beside_ids_and_are_looked_up_together(
    with_names: HttpFrontend, monkeypatch: pytest.MonkeyPatch
) -> None:
    frontend = with_names
    small, large = b"small", content(1, 3 * CHUNK)
    ids = [await named(frontend, "a//b \u00fc?", small), await named(frontend, "large", large)]
    other = await named(frontend, "a//b \u00fc?", b"another container", "other")
    await named(frontend, "gone", b"x")
    await frontend.call("DELETE", "/named/default/default/gone")
    reads: list[int] = []
    get_many = SqliteStore.get_many

    async def counted(self: SqliteStore, space: Space, scope: int, keys: Sequence[bytes]) -> list[Version | None]:
        reads.append(len(keys))
        return await get_many(self, space, scope, keys)

    monkeypatch.setattr(SqliteStore, "get_many", counted)
    items = [
        {"name": "default/default/a//b \u00fc?"},
        {"name": "default/default/large", "ranges": ["1-3", "-2"]},
        ids[0],
        {"name": "default/other/a//b \u00fc?"},
        {"name": "default/default/gone"},
        {"name": "default/default/never"},
        {"name": "default/nowhere/x"},
        {"name": "no-slashes"},
        {"name": "default/default/large"},
        {"name": "default/default/"},
    ]
    parts = parts_of(await batch(frontend, "get", items, AS_FRAMES))
    assert reads == [4, 1]
    for place, blob_id, body in (
        ((0, None), ids[0], small),
        ((1, 0), ids[1], large[1:4]),
        ((1, 1), ids[1], large[-2:]),
        ((2, None), ids[0], small),
        ((3, None), other, b"another container"),
        ((8, None), ids[1], large),
    ):
        headers, got = parts[place]
        assert (headers[names.BLOB_ID], got) == (blob_id, body)
        assert headers.get("content-location") == (None if place == (2, None) else f"/{blob_id}")
    for index, status, code in (
        (4, "410", "NameDeleted"),
        (5, "404", "NameNotFound"),
        (6, "400", "InvalidRequest"),
        (7, "400", "InvalidRequest"),
        (9, "400", "InvalidRequest"),
    ):
        headers, _ = parts[index, None]
        assert (headers[names.BATCH_STATUS], headers[names.ERROR_CODE]) == (status, code)
        assert names.BLOB_ID not in headers
    heads = parts_of(await batch(frontend, "head", [items[0], items[5]], AS_FRAMES))
    assert (heads[0, None][0][names.BLOB_SIZE], heads[1, None][0][names.BATCH_STATUS]) == ("5", "404")


async def test_names_are_deleted_with_their_blobs(with_names: HttpFrontend) -> None:
    frontend = with_names
    blob_id = await named(frontend, "a", b"one")
    bound = await frontend.put(b"two")
    action = json.dumps({"op": "bind", "id": bound}).encode()
    assert (await frontend.call("POST", "/named/default/default/b", {}, action)).status == 200
    items = [{"name": f"default/default/{name}"} for name in ("a", "b", "never")]
    for _ in range(2):
        answer = await frontend.call("POST", "/batch/delete", {}, json.dumps(items).encode())
        assert [item["status"] for item in answer.json()["items"]] == [202, 202, 404]
    assert (await frontend.call("GET", f"/{blob_id}")).status == 410
    assert (await frontend.call("GET", f"/{bound}")).body == b"two"
    assert (await frontend.call("GET", "/named/default/default/b")).status == 410


async def test_a_name_with_an_id_is_deleted_while_it_points_to_that_blob(with_names: HttpFrontend) -> None:
    frontend = with_names
    old = await named(frontend, "a", b"same bytes")
    answer = await frontend.call("PUT", "/named/default/default/a", {names.NAMED_UPSERT: "true"}, b"same bytes")
    new, name = answer.blob_id, "default/default/a"
    items = [{"name": name, "id": old}, {"name": name, "id": "nonsense"}, {"name": "default/default/never", "id": old}]
    told = (await batch(frontend, "delete", items)).json()["items"]
    assert [(item["status"], item["code"]) for item in told] == [
        (412, "PreconditionFailed"),
        (400, "InvalidBlobId"),
        (404, "NameNotFound"),
    ]
    assert (await frontend.call("GET", f"/named/{name}")).body == b"same bytes"
    for _ in range(2):
        told = (await batch(frontend, "delete", [{"name": name, "id": new}])).json()["items"]
        assert [item["status"] for item in told] == [202], "again is fine"
    assert (await frontend.call("GET", f"/{new}")).status == 410
    assert (await batch(frontend, "get", [{"name": name, "id": new}])).status == 400, "only a delete takes both"


async def test_what_stands_twice_in_a_batch_is_deleted_as_if_the_request_was_repeated(with_names: HttpFrontend) -> None:
    frontend = with_names
    owned, other = await named(frontend, "a", b"one"), await frontend.put(b"two")
    name = {"name": "default/default/a"}
    items = [name, other, f"/{other}.png", name, {"id": other}, "nonsense", "nonsense"]
    told = (await batch(frontend, "delete", items)).json()["items"]
    assert [item["index"] for item in told] == list(range(7))
    assert [item["status"] for item in told] == [202] * 5 + [400] * 2
    assert [item.get("id") for item in told] == [None, other, other, None, other, "nonsense", "nonsense"]
    for blob_id in (owned, other):
        assert (await frontend.call("GET", f"/{blob_id}")).status == 410


@pytest.mark.parametrize("name_first", [True, False])
async def test_a_name_and_the_blob_under_it_are_deleted_together(with_names: HttpFrontend, name_first: bool) -> None:
    frontend = with_names
    blob_id = await named(frontend, "a", b"one")
    name = {"name": "default/default/a"}
    items = [name, blob_id] if name_first else [blob_id, name]
    for _ in range(2):
        assert [item["status"] for item in (await batch(frontend, "delete", items)).json()["items"]] == [202, 202]
    assert (await frontend.call("GET", f"/{blob_id}")).status == 410
    assert (await frontend.call("GET", "/named/default/default/a")).status == 410


@pytest.mark.parametrize("item", [{"id": "a", "name": "b"}, {}, {"name": ""}, {"name": 5}])
async def test_an_item_is_an_id_or_a_name(with_names: HttpFrontend, item: Any) -> None:
    for call in ("get", "head", *(() if item.get("id") else ("delete",))):
        answer = await with_names.call("POST", f"/batch/{call}", {}, json.dumps([item]).encode())
        assert answer.status == 400, answer.body


async def test_without_a_metadata_store_names_are_refused() -> None:
    async with http_frontend() as frontend:
        answer = await frontend.call("POST", "/batch/get", {}, b'[{"name": "default/default/x"}]')
        assert answer.status == 400 and b"metadata store" in answer.body


class _Away:
    """Containers of which nothing is known while the store, or another datacenter, is away."""

    def __init__(self, error: type[AmbryError]) -> None:
        self.asked: list[str] = []
        self._error = error

    def known(self, _account: str, _container: str) -> None:
        return None

    async def resolve(self, account: str, container: str) -> Container:
        self.asked.append(container)
        raise self._error(f"{account}/{container}")


@pytest.mark.parametrize(("error", "asked"), [(Unavailable, ["c0"]), (InvalidRequest, ["c0", "c1"])])
async def test_containers_of_names_are_asked_for_once_and_not_while_nobody_answers(
    error: type[AmbryError], asked: list[str]
) -> None:
    """Each of up to 1,000 was waited for as long as a request waits for another datacenter, one after the other."""
    away: Any = _Away(error)
    nobody: Any = None
    wanted = [f"a/c{number % 2}/n" for number in range(6)]
    found = await BatchNames(nobody, away).find(ANYBODY, wanted, Role.READ)
    assert away.asked == asked
    assert [type(each) for each in found] == [error] * 6
