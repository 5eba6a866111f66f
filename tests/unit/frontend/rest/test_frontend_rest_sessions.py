"""`/uploads` over HTTP: a session's life, what it answers, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ambry.checksum import digest
from ambry.clock import SystemClock
from ambry.ids import BlobId
from frontend.config import UploadsSection
from tests.support.content import content
from tests.support.fake_cluster import CHUNK, make_cluster
from tests.support.http_frontend import Answer, HttpFrontend, http_frontend
from tests.support.metadata_stores import opened, sqlite_store


@pytest.fixture
async def frontend(tmp_path: Path) -> AsyncIterator[HttpFrontend]:
    cluster = make_cluster(((3,),) * 4, clock=SystemClock())
    async with (
        opened(sqlite_store(tmp_path / "meta.sqlite")) as store,
        http_frontend(cluster, metadata=store) as made,
    ):
        yield made


async def begin(frontend: HttpFrontend, **headers: str) -> dict[str, Any]:
    answer = await frontend.call("POST", "/uploads", {"Content-Length": "0", **headers})
    assert answer.status == 201, answer.body
    told: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/uploads/{told['upload']}"
    return told


async def send(frontend: HttpFrontend, upload: str, number: object, body: bytes, **headers: str) -> Answer:
    return await frontend.call("PUT", f"/uploads/{upload}/{number}", headers, body)


async def finish(frontend: HttpFrontend, upload: str, asked: object = None, **headers: str) -> Answer:
    body = b"" if asked is None else json.dumps(asked).encode()
    return await frontend.call("POST", f"/uploads/{upload}/complete", headers, body)


@pytest.mark.parametrize("durability", ["memory", "disk"])
async def test_parts_and_their_blob_name_the_class_that_they_are_acknowledged_with(
    frontend: HttpFrontend, durability: str
) -> None:
    upload = (await begin(frontend, **{"x-ambry-durability": durability}))["upload"]
    part = await send(frontend, upload, 1, b"hello")
    assert (part.status, part.headers["x-ambry-durability"]) == (200, durability)
    for _ in range(2):
        done = await finish(frontend, upload)
        assert (done.status, done.headers["x-ambry-durability"]) == (201, durability)


async def test_a_blob_comes_in_parts_of_any_order_and_is_read_by_the_id_that_was_told_first(
    frontend: HttpFrontend,
) -> None:
    body = content(1, 3 * CHUNK + 5)
    begun = await begin(frontend, **{"x-ambry-filename": "model.bin", "x-ambry-um-run": "7"})
    upload = begun["upload"]
    for number, part in ((2, body[CHUNK + 1 :]), (1, body[: CHUNK + 1])):
        answer = await send(frontend, upload, number, part, **{"x-ambry-digest": digest(part).hex()})
        assert answer.status == 200, answer.body
        assert answer.headers["x-ambry-digest"] == digest(part).hex()
    shown = (await frontend.call("GET", f"/uploads/{upload}")).json()
    assert [(part["part"], part["size"]) for part in shown["parts"]] == [(1, CHUNK + 1), (2, 2 * CHUNK + 4)]
    assert (shown["state"], shown["next"]) == ("open", None)
    assert (await frontend.call("GET", f"/{begun['id']}")).status == 404
    done = await finish(frontend, upload)
    assert (done.status, done.blob_id) == (201, begun["id"])
    of_parts = digest(digest(body[: CHUNK + 1]) + digest(body[CHUNK + 1 :])).hex()
    assert done.headers["x-ambry-digest"] == f"{of_parts}-2"
    read = await frontend.call("GET", f"/{begun['id']}")
    assert (read.status, read.body) == (200, body)
    assert read.headers["etag"] == f'"{of_parts}-2"'
    assert (read.headers["x-ambry-filename"], read.headers["x-ambry-um-run"]) == ("model.bin", "7")
    again = await finish(frontend, upload)
    assert (again.status, again.body) == (201, done.body)
    other = await finish(frontend, upload, {"parts": [{"part": 1, "digest": digest(b"other").hex()}, {"part": 2}]})
    assert (other.status, other.headers["x-ambry-error-code"]) == (409, "UpdateConflict")
    assert (await finish(frontend, upload, **{"x-ambry-digest": digest(body).hex()})).status == 409


async def test_a_whole_digest_is_verified_and_told(frontend: HttpFrontend) -> None:
    begun = await begin(frontend)
    await send(frontend, begun["upload"], 1, b"hello ")
    await send(frontend, begun["upload"], 2, b"world")
    wrong = await finish(frontend, begun["upload"], **{"x-ambry-digest": digest(b"other").hex()})
    assert (wrong.status, wrong.headers["x-ambry-error-code"]) == (400, "ChecksumMismatch")
    whole = digest(b"hello world").hex()
    done = await finish(frontend, begun["upload"], **{"x-ambry-digest": whole})
    assert (done.status, done.headers["x-ambry-digest"]) == (201, whole)


async def test_the_parts_of_the_blob_may_be_named(frontend: HttpFrontend) -> None:
    begun = await begin(frontend)
    for number, body in ((1, b"a"), (2, b"b"), (9, b"c")):
        await send(frontend, begun["upload"], number, body)
    assert (await finish(frontend, begun["upload"])).status == 400
    named = [{"part": 1, "size": 1, "digest": digest(b"a").hex()}, {"part": 9}]
    done = await finish(frontend, begun["upload"], {"parts": named})
    assert (await frontend.call("GET", f"/{done.blob_id}")).body == b"ac"
    assert (await finish(frontend, begun["upload"], {"parts": [{"part": 2}]})).status == 409


async def test_a_session_is_completed_by_what_its_container_asks_for_by_then(frontend: HttpFrontend) -> None:
    """A blob that lives for ever came into a container whose blobs need a time to live since the session began."""

    async def ttl_required(asked: bool) -> None:
        body = json.dumps({"containers": [{"containerId": 1, "ttlRequired": asked}]}).encode()
        headers = {"x-ambry-target-account-name": "default"}
        assert (await frontend.call("POST", "/accounts/containers", headers, body)).status == 200

    begun = await begin(frontend)
    upload = begun["upload"]
    assert (await send(frontend, upload, 1, b"x")).status == 200
    await ttl_required(True)
    refused = await finish(frontend, upload)
    assert (refused.status, "x-ambry-ttl" in refused.json()["detail"]) == (400, True)
    await ttl_required(False)
    done = await finish(frontend, upload)
    assert (done.status, done.blob_id) == (201, begun["id"])
    await ttl_required(True)
    assert (await finish(frontend, upload)).status == 201, "it is done, whatever is asked for since"


async def test_an_aborted_session_is_gone(frontend: HttpFrontend) -> None:
    begun = await begin(frontend)
    path = f"/uploads/{begun['upload']}"
    assert (await frontend.call("DELETE", path)).status == 202
    for method, below, body in (
        ("GET", "", None),
        ("PUT", "/1", b"x"),
        ("POST", "/complete", b""),
        ("DELETE", "", None),
    ):
        answer = await frontend.call(method, path + below, {}, body)
        assert answer.status == 410, (method, answer.body)


async def test_a_session_that_made_a_blob_cannot_be_aborted(frontend: HttpFrontend) -> None:
    begun = await begin(frontend)
    await send(frontend, begun["upload"], 1, b"hello")
    await finish(frontend, begun["upload"])
    assert (await frontend.call("DELETE", f"/uploads/{begun['upload']}")).status == 409
    assert (await send(frontend, begun["upload"], 2, b"more")).status == 409
    assert (await frontend.call("GET", f"/{begun['id']}")).body == b"hello"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/uploads/nothing", None, 400),
        ("GET", "/uploads/" + "0" * 32, None, 404),
        ("PUT", "/uploads/" + "0" * 32 + "/1", b"x", 404),
        ("GET", "/uploads", None, 405),
        ("POST", "/uploads/" + "0" * 32, b"", 405),
    ],
)
async def test_what_is_no_session_is_refused(
    frontend: HttpFrontend, method: str, path: str, body: bytes | None, status: int
) -> None:
    answer = await frontend.call(method, path, {}, body)
    assert answer.status == status, answer.body


@pytest.mark.parametrize("number", ["0", "10001", "-1", "1.5", "x", "9999999"])
async def test_a_part_has_a_number(frontend: HttpFrontend, number: str) -> None:
    begun = await begin(frontend)
    assert (await send(frontend, begun["upload"], number, b"x")).status in (400, 413)


@pytest.mark.parametrize(
    "asked",
    [{"parts": [{"part": "1"}]}, {"parts": 5}, {"part": []}, {"parts": [{"part": 1, "digest": "zz"}]}, {"parts": []}],
)
async def test_a_list_of_parts_that_is_none_is_refused(frontend: HttpFrontend, asked: object) -> None:
    begun = await begin(frontend)
    await send(frontend, begun["upload"], 1, b"x")
    assert (await finish(frontend, begun["upload"], asked)).status == 400
    assert (await frontend.call("GET", f"/uploads/{begun['upload']}")).json()["state"] == "open"


async def test_a_part_whose_digest_does_not_match_does_not_count(frontend: HttpFrontend) -> None:
    begun = await begin(frontend)
    answer = await send(frontend, begun["upload"], 1, b"hello", **{"x-ambry-digest": digest(b"other").hex()})
    assert answer.status == 400
    assert (await send(frontend, begun["upload"], 1, b"")).status == 400
    assert (await frontend.call("GET", f"/uploads/{begun['upload']}")).json()["parts"] == []


async def test_many_parts_are_shown_page_by_page(frontend: HttpFrontend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frontend.rest.sessions.PARTS_SHOWN", 2)
    begun = await begin(frontend)
    for number in (1, 2, 5, 6, 7):
        await send(frontend, begun["upload"], number, b"x")
    seen: list[int] = []
    after: int | None = 0
    while after is not None:
        page = (await frontend.call("GET", f"/uploads/{begun['upload']}?after={after}")).json()
        seen += [part["part"] for part in page["parts"]]
        after = page["next"]
    assert seen == [1, 2, 5, 6, 7]
    assert BlobId.parse(begun["id"])


async def test_open_uploads_are_bounded_told_and_free_their_places(tmp_path: Path) -> None:
    cluster = make_cluster(((3,),) * 4, clock=SystemClock())
    uploads = UploadsSection(sessions_max=3)
    async with (
        opened(sqlite_store(tmp_path / "meta.sqlite")) as store,
        http_frontend(cluster, metadata=store, uploads=uploads) as frontend,
    ):
        told = [await begin(frontend, **{"x-ambry-um-about": "x" * 1_000}) for _ in range(3)]
        refused = await frontend.call("POST", "/uploads", {"Content-Length": "0"})
        assert (refused.status, refused.json()["code"], refused.headers["retry-after"]) == (429, "QuotaExceeded", "60")
        assert (
            "3 uploads in parts are open in the container default/default, which may be 3" in refused.json()["detail"]
        )
        chunk = {"x-ambry-chunk-upload": "true", "x-ambry-session": "mine", "x-ambry-max-upload-size": "10"}
        assert (await frontend.call("POST", "/", chunk, b"chunk")).status == 429, "a stitched one is one of them"
        [used] = [
            each
            for each in (await frontend.call("GET", "/usage")).json()["containers"]
            if each["container"] == "default" and each["account"] == "default"
        ]
        assert used["openUploads"] == 3 and 3_000 < used["openUploadBytes"] < 6_000
        assert (await frontend.call("DELETE", f"/uploads/{told[0]['upload']}")).status == 202
        assert (await frontend.call("POST", "/", chunk, b"chunk")).status == 201
        assert (await send(frontend, told[1]["upload"], 1, b"hello")).status == 200
        for _ in range(2):
            done = await finish(frontend, told[1]["upload"])
            assert (done.status, done.blob_id) == (201, told[1]["id"])
        head = await frontend.call("HEAD", f"/{told[1]['id']}")
        assert head.headers["x-ambry-um-about"] == "x" * 1_000
        await begin(frontend)
        assert (await frontend.call("POST", "/uploads", {"Content-Length": "0"})).status == 429
