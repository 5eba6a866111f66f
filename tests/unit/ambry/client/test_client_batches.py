"""What batches are as bytes, and answers to them that are cut off or wrong. Against processes: test_sdk_batches.py."""

from __future__ import annotations

import pickle
from collections.abc import Mapping

import msgspec
import pytest

from ambry import BatchResult
from ambry.checksum import digest
from ambry.client.model import ByteRange
from ambry.client.wire import batches as wire
from ambry.errors import (
    BlobDeleted,
    ChecksumMismatch,
    InsufficientStorage,
    InvalidRequest,
    PeerConnectionLost,
    ProtocolViolation,
    TooLarge,
)
from ambry.ids import BlobId, IdKind
from ambry.rest import frames, names

HEADERS = {names.REQUEST_ID: "r"}


def blob(number: int) -> BlobId:
    return BlobId.make(kind=IdKind.SIMPLE, datacenter=1, account=1, container=1, partition=1, uuid=number.to_bytes(16))


def part(index: int, body: bytes, status: int = 200, more: Mapping[str, str] | None = None) -> bytes:
    told = {
        names.BATCH_INDEX: str(index),
        names.BATCH_STATUS: str(status),
        names.BLOB_SIZE: str(len(body)),
        names.DIGEST: digest(body).hex(),
        **(more or {}),
    }
    return frames.encode_frame(told, body)


def reader(*ids: BlobId) -> wire.PartReader:
    (batch,) = wire.list_requests("get", ids)
    return wire.PartReader("http://f", batch, "always", 0)


def test_lists_are_cut_at_a_thousand() -> None:
    ids = [blob(number) for number in range(2001)]
    made = list(wire.list_requests("head", ids))
    assert [len(batch.subjects) for batch in made] == [1000, 1000, 1]
    assert msgspec.json.decode(made[2].body) == [str(ids[2000])]
    assert (made[0].request.method, made[0].request.path) == ("POST", "/batch/head")
    (ranged,) = wire.list_requests("get", ids[:1], [[ByteRange(1, 5), ByteRange(-3)]])
    assert msgspec.json.decode(ranged.body) == [{"id": str(ids[0]), "ranges": ["1-4", "-3"]}]


def test_puts_are_cut_by_count_and_by_bytes() -> None:
    assert [len(batch.subjects) for batch in wire.put_requests([b"x"] * 1001, {}, {})] == [1000, 1]
    assert [len(batch.subjects) for batch in wire.put_requests([bytes(1 << 20)] * 17, {}, {})] == [16, 1]
    (batch,) = wire.put_requests([b"abc"], {"a": "b"}, {"x-ambry-um-n": "1"})
    (frame,) = frames.FrameReader(body_size_max=100).feed(batch.body)
    assert frame.body == b"abc" and frame.headers == {"x-ambry-um-n": "1", names.DIGEST: digest(b"abc").hex()}
    assert (batch.request.headers["a"], batch.request.headers["content-type"]) == ("b", frames.CONTENT_TYPE)


def test_what_cannot_be_asked_for_has_a_result_of_its_own_in_its_place() -> None:
    large, wrong = bytes((1 << 20) + 1), dict[int, BatchResult]()
    given = [large, b"a", large, large, b"b", large]
    assert list(wire.small_enough(given, wrong)) == [b"a", b"b"] and sorted(wrong) == [0, 2, 3, 5]
    assert isinstance(wrong[3].error, InvalidRequest) and "blob 3 of the batch" in wrong[3].error.message
    asked = [BatchResult(id=None, data=b"a"), BatchResult(id=None, data=b"b")]
    found = wire.left_in(asked, wrong)
    assert [each.data or each.error for each in found] == [
        wrong[0].error,
        b"a",
        wrong[2].error,
        wrong[3].error,
        b"b",
        wrong[5].error,
    ]
    assert wire.left_in([], {0: wrong[0]}) == [wrong[0]] and wire.left_in(asked, {}) == asked


def test_parts_are_found_in_any_order_and_an_error_is_the_item_s_own() -> None:
    found = reader(blob(1), blob(2))
    problem = msgspec.json.encode({"code": "BlobDeleted", "detail": "gone"})
    found.feed(part(1, problem, 410, {"content-type": "application/problem+json"}), HEADERS)
    with pytest.raises(PeerConnectionLost):
        found.ended([1, 1])
    found.feed(part(0, b"abc"), HEADERS)
    found.ended([1, 1])
    assert (found.found[0, 0].data, found.found[0, 0].ok) == (b"abc", True)
    assert isinstance(found.found[1, 0].error, BlobDeleted) and found.found[1, 0].id == blob(2)


def test_an_answer_that_is_cut_off_is_no_answer() -> None:
    for cut in (1, 50):
        found = reader(blob(1))
        found.feed(part(0, b"abc") + part(0, b"abc")[:cut], HEADERS)
        with pytest.raises(PeerConnectionLost):
            found.ended([1])


def test_bytes_that_are_not_those_of_their_digest_are_not_given_out() -> None:
    found = reader(blob(1))
    found.feed(part(0, b"abc", 200, {names.DIGEST: digest(b"abd").hex()}), {**HEADERS, names.REQUEST_ID: "r-1"})
    error = found.found[0, 0].error
    assert isinstance(error, ChecksumMismatch) and found.found[0, 0].data == b""
    assert error.request_id == "r-1"


@pytest.mark.parametrize(
    "raw", [b"<html>" * 20, part(5, b"x"), frames.encode_frame({}, b""), part(0, b"", 0) + b"\xff" * 50]
)
def test_what_is_no_batch_of_ours_is_a_violation(raw: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        reader(blob(1)).feed(raw, HEADERS)


def announced(size: int) -> bytes:
    """The beginning of a part of so many bytes."""
    return frames.frame_head(f"{names.BATCH_INDEX}: 0\r\n{names.BATCH_STATUS}: 200\r\n", size)


def test_a_part_that_is_more_than_what_was_asked_for_is_not_waited_for() -> None:
    # A frame might have 1 TiB: an answer to two ranges of ten bytes filled the memory.
    (batch,) = wire.list_requests("get", [blob(1), blob(2)], [[ByteRange(0, 10)], [ByteRange(-100_000)]])
    ranged = wire.PartReader("http://f", batch, "always", 0)
    with pytest.raises(ProtocolViolation, match="asked for"):
        ranged.feed(announced(100_001), HEADERS)
    wire.PartReader("http://f", batch, "always", 0).feed(announced(100_000), HEADERS)
    (heads,) = wire.list_requests("head", [blob(1)])
    with pytest.raises(ProtocolViolation, match="asked for"):
        wire.PartReader("http://f", heads, "always", 0).feed(announced(100_001), HEADERS)
    with pytest.raises(TooLarge, match="get what is larger by itself"):
        reader(blob(1)).feed(announced(wire.WHOLE_BYTES_MAX + 1), HEADERS)


def test_all_blobs_of_an_answer_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "ANSWER_WHOLE_MAX", 5)
    found = reader(blob(1), blob(2))
    found.feed(part(0, b"abc"), HEADERS)
    with pytest.raises(TooLarge, match="ask for fewer at a time"):
        found.feed(part(1, b"abc"), HEADERS)


@pytest.mark.parametrize("again", [part(0, b"abc"), part(0, b"abc", 200, {names.BATCH_RANGE: "1"}), part(-1, b"abc")])
def test_each_part_comes_once_and_no_other_does(again: bytes) -> None:
    found = reader(blob(1), blob(2))
    found.feed(part(0, b"abc"), HEADERS)
    with pytest.raises(ProtocolViolation, match="comes again"):
        found.feed(again, HEADERS)


def test_items_of_a_put_are_held_against_what_was_sent() -> None:
    (batch,) = wire.put_requests([b"a", b"b", b"c"], {}, {})

    def item(index: int, sent: bytes) -> dict[str, object]:
        told = {"index": index, "status": 201, "id": str(blob(index)), "size": len(sent)}
        return {**told, "digest": digest(sent).hex()}

    full = {"index": 2, "status": 507, "code": "InsufficientStorage", "detail": "no room"}
    body = msgspec.json.encode({"items": [item(0, b"a"), item(1, b"x"), full]})
    told = {**HEADERS, "x-ambry-durability": "disk", names.REQUEST_ID: "r-2"}
    one, two, three = wire.parse_items("http://f", batch, told, body, now_ms=0)
    assert one.ok and one.info is not None and one.info.checksum == digest(b"a").hex()
    assert one.info.durability == "disk"
    assert isinstance(two.error, ChecksumMismatch) and two.id == blob(1)
    assert isinstance(three.error, InsufficientStorage) and three.id is None
    assert two.error.request_id == three.error.request_id == "r-2"
    for bad in (body[:-1], b"{}", b'{"items": [1, 2, 3]}', b'{"items": []}', b"\xff"):
        with pytest.raises(PeerConnectionLost):
            wire.parse_items("http://f", batch, HEADERS, bad, now_ms=0)


def test_a_result_travels_between_processes() -> None:
    result = BatchResult(id=blob(1), data=b"x")
    assert pickle.loads(pickle.dumps(result)) == result
