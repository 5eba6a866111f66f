"""Batches of puts: each blob is stored as it would be alone, or its item says why not; a bad batch stores nothing."""

from __future__ import annotations

from typing import Any

import pytest

from ambry.checksum import digest
from ambry.errors import QuorumNotReached, ReplicaUnavailable
from ambry.ids import BlobId
from ambry.protocol.frame import MessageType
from ambry.rest import frames, names
from tests.support.content import content
from tests.support.fake_peers import fails, silent
from tests.support.http_frontend import Answer, HttpFrontend, http_frontend, request, until

AS_FRAMES = {"Content-Type": frames.CONTENT_TYPE}


def body_of(*blobs: tuple[dict[str, str], bytes]) -> bytes:
    return b"".join(frames.encode_frame(headers, body) for headers, body in blobs)


async def put(frontend: HttpFrontend, body: bytes, headers: dict[str, str] | None = None) -> Answer:
    return await frontend.call("POST", "/batch/put", {**AS_FRAMES, **(headers or {})}, body)


async def items(frontend: HttpFrontend, body: bytes, headers: dict[str, str] | None = None) -> list[dict[str, Any]]:
    answer = await put(frontend, body, headers)
    assert answer.status == 200, answer.body
    return list(answer.json()["items"])


@pytest.mark.parametrize("durability", ["memory", "disk"])
async def test_the_answer_names_the_class_of_what_was_stored(durability: str) -> None:
    async with http_frontend() as frontend:
        answer = await put(frontend, body_of(({}, b"a"), ({}, b"b")), {names.DURABILITY: durability})
    assert (answer.status, answer.headers[names.DURABILITY]) == (200, durability)


@pytest.mark.parametrize("chunked", [False, True])
async def test_each_is_stored_as_it_would_be_alone(chunked: bool) -> None:
    bodies = [content(number, size) for number, size in enumerate((0, 1, 4096, 100_000, 1 << 20))]
    async with http_frontend() as frontend:
        raw = body_of(
            *(
                ({"x-ambry-um-n": str(number), "x-ambry-filename": f"{number}.bin"}, body)
                for number, body in enumerate(bodies)
            )
        )
        headers = {names.TTL: "100", names.CONTAINER_NAME: "other", names.OWNER_ID: "me"}
        if chunked:
            async with frontend.connected() as client:
                await client.send(
                    request("POST", "/batch/put", {**AS_FRAMES, **headers, "Transfer-Encoding": "chunked"})
                )
                for start in range(0, len(raw), 70_001):
                    piece = raw[start : start + 70_001]
                    await client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
                await client.send(b"0\r\n\r\n")
                told = (await client.answer()).json()["items"]
        else:
            told = await items(frontend, raw, headers)
        assert [(item["index"], item["status"], item["size"]) for item in told] == [
            (number, 201, len(body)) for number, body in enumerate(bodies)
        ]
        for number, (item, body) in enumerate(zip(told, bodies, strict=True)):
            got = await frontend.call("GET", f"/{item['id']}")
            assert (got.status, got.body, got.headers[names.DIGEST]) == (200, body, item["digest"])
            assert got.headers["x-ambry-um-n"] == str(number)
            assert got.headers[names.FILENAME] == f"{number}.bin"
            assert (got.headers[names.CONTAINER_NAME], got.headers[names.TTL]) == ("other", "100")
            assert (got.headers[names.OWNER_ID], got.headers["content-type"]) == ("me", "application/octet-stream")
        assert frontend.cluster.budget.free == frontend.cluster.budget.size
        assert len({BlobId.parse(item["id"]).partition for item in told}) <= 2, "those of a group share a partition"


async def test_five_hundred_take_one_question_to_each_replica() -> None:
    async with http_frontend() as frontend:
        told = await items(frontend, body_of(*(({}, content(number, 4096)) for number in range(500))))
        assert {item["status"] for item in told} == {201}
        assert len({item["id"] for item in told}) == 500
        assert len(frontend.cluster.pool.calls(MessageType.PUTS)) == 3
        assert frontend.cluster.pool.calls(MessageType.PUT) == []


async def test_an_item_that_is_wrong_is_told_and_the_others_are_stored() -> None:
    async with http_frontend() as frontend:
        good = digest(b"good").hex()
        told = await items(
            frontend,
            body_of(
                ({names.DIGEST: good}, b"good"),
                ({names.DIGEST: good}, b"evil"),
                ({names.TTL: "never"}, b"x"),
                ({names.CONTAINER_NAME: "other"}, b"x"),
                ({"content-md5": "x"}, b"x"),
                ({"nonsense": "x"}, b"x"),
                ({names.TTL: "5"}, b"y"),
            ),
        )
        assert [item["status"] for item in told] == [201, 400, 400, 400, 400, 400, 201]
        assert told[1]["code"] == "ChecksumMismatch"
        assert len(frontend.cluster.pool.visible()) == 2


async def test_what_is_no_batch_is_refused_and_stores_nothing() -> None:
    async with http_frontend() as frontend:
        one = body_of(({}, b"x"))
        large = frames.frame_head("", (1 << 20) + 1)
        for body, status in (
            (b"", 400),
            (one + one[:-1], 400),
            (one * 1001, 400),
            (body_of(*[({}, content(1, 300_000))] * 10) + large, 413),
        ):
            refused = await put(frontend, body)
            assert refused.status == status, refused.body
        assert (await put(frontend, one, {"Content-Type": "application/json"})).status == 415
        assert (await put(frontend, one, {names.DURABILITY: "geo"})).status == 400
        assert (await put(frontend, one, {names.DIGEST: "0" * 32})).status == 400
        assert (await put(frontend, one, {"If-Match": "*"})).status == 412
        assert (await put(frontend, one, {names.CONTAINER_NAME: "none"})).status == 400
        await until(lambda: frontend.cluster.pool.visible() == set(), "what was stored meanwhile is deleted again")
        assert frontend.cluster.budget.free == frontend.cluster.budget.size


@pytest.mark.parametrize("fault", [fails(ReplicaUnavailable("opening")), silent()])
async def test_one_replica_that_fails_keeps_nothing(fault: Any) -> None:
    async with http_frontend() as frontend:
        frontend.cluster.peer(1).script(fault, type=MessageType.PUTS)
        told = await items(frontend, body_of(*(({}, content(number, 10)) for number in range(20))))
        assert {item["status"] for item in told} == {201}
        assert frontend.cluster.pool.calls(MessageType.PUT) == []


async def test_what_is_not_confirmed_together_is_put_alone_and_its_first_id_is_deleted() -> None:
    async with http_frontend() as frontend:
        for peer in frontend.cluster.peers()[:2]:
            peer.script(fails(ReplicaUnavailable("opening"), applies=True), type=MessageType.PUTS)
        told = await items(frontend, body_of(*(({}, content(number, 10)) for number in range(20))))
        assert {item["status"] for item in told} == {201}
        for number, item in enumerate(told):
            assert (await frontend.call("GET", f"/{item['id']}")).body == content(number, 10)
        stored = {BlobId.parse(item["id"]).raw for item in told}
        await until(lambda: frontend.cluster.pool.visible() == stored, "the first ones are deleted")


async def test_where_nothing_can_be_stored_each_item_says_so() -> None:
    async with http_frontend() as frontend:
        for peer in frontend.cluster.peers()[:2]:
            peer.script(fails(QuorumNotReached("no")))
        told = await items(frontend, body_of(({}, b"x"), ({}, b"y")))
        assert {item["status"] for item in told} == {503}
