"""Answers that do not hold what they say, and a service that has no time: right bytes or an error of ours, nothing half."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ambry import (
    AmbryError,
    ChecksumMismatch,
    PeerConnectionLost,
    ProtocolViolation,
    RetryPolicy,
    Timeout,
    TooLarge,
    Unavailable,
)
from ambry.client.wire import uploads
from ambry.rest import frames
from tests.support.content import content
from tests.support.reads import BATCHES, READS, WHOLE, reads_of
from tests.support.scripted_frontend import BLOB, DATA, Answer, Asked, Bend, ScriptedFrontend
from tests.support.stub_frontend import hexdigest
from tests.support.twins import Twins

NEVER = RetryPolicy(max_attempts=1)
PATIENT = Timeout(connect=60, read=60)
SIZE = len(DATA)
OTHER = content(6, SIZE)
OF_PARTS = ("get_range", "fs.cat of a range")


def true(asked: Asked, answer: Answer) -> Answer:
    return answer


@pytest.fixture
def server() -> Iterator[ScriptedFrontend]:
    with ScriptedFrontend() as made:
        yield made


def of_gets(change: Bend) -> Bend:
    return lambda asked, answer: change(asked, answer) if asked.method == "GET" else answer


def chunked(body: bytes, *, ended: bool) -> bytes:
    chunk = b"%x\r\n%s\r\n" % (len(body), body) if body else b""
    return chunk + (b"0\r\n\r\n" if ended else b"")


def longer(asked: Asked, answer: Answer) -> Answer:
    return answer.having(content_length=str(len(answer.body) + 5)).cut(1 << 20, "close")


def longer_in_all(asked: Asked, answer: Answer) -> Answer:
    told = None if asked.range == "" else f"bytes {first_of(asked)}-{SIZE + 4}/{SIZE + 5}"
    bent = answer.having(content_length=str(len(answer.body) + 5), x_ambry_blob_size=str(SIZE + 5), content_range=told)
    return bent.cut(1 << 20, "close")


def shorter(asked: Asked, answer: Answer) -> Answer:
    return answer.having(content_length=str(len(answer.body) - 1)).cut(1 << 20, "close")


def shorter_in_all(asked: Asked, answer: Answer) -> Answer:
    """The blob is said to be one byte shorter than it is, and its digest is what it was."""
    first = first_of(asked)
    told = f"bytes {first}-{SIZE - 2}/{SIZE - 1}" if asked.range else None
    body = DATA[first : SIZE - 1]
    return answer.having(body, content_length=str(len(body)), x_ambry_blob_size=str(SIZE - 1), content_range=told)


def no_length(asked: Asked, answer: Answer) -> Answer:
    """The end of the connection is that of the body, and comes early."""
    return answer.having(answer.body[:-1], content_length=None).cut(1 << 20, "close")


def chunks_that_end_early(asked: Asked, answer: Answer) -> Answer:
    return answer.having(chunked(answer.body[:-1], ended=True), content_length=None, transfer_encoding="chunked")


def chunks_without_end(asked: Asked, answer: Answer) -> Answer:
    bent = answer.having(chunked(answer.body[:-1], ended=False), content_length=None, transfer_encoding="chunked")
    return bent.cut(1 << 20, "close")


def more_chunks(asked: Asked, answer: Answer) -> Answer:
    body = chunked(answer.body, ended=False) + chunked(b"HTTP/1.1 200 OK\r\n\r\n" * 1000, ended=False)
    return answer.having(body, content_length=None, transfer_encoding="chunked")


def two_lengths(asked: Asked, answer: Answer) -> Answer:
    return answer.having(content_length=f"{len(answer.body)}, {len(answer.body) - 1}")


def length_and_chunks(asked: Asked, answer: Answer) -> Answer:
    return answer.having(chunked(answer.body[:-1], ended=True), transfer_encoding="chunked")


def other_bytes(asked: Asked, answer: Answer) -> Answer:
    first = first_of(asked)
    return answer.having(OTHER[first : first + len(answer.body)])


def wrong_digest(asked: Asked, answer: Answer) -> Answer:
    return answer.having(x_ambry_digest=hexdigest(OTHER), etag=f'"{hexdigest(OTHER)}"')


def no_digest(asked: Asked, answer: Answer) -> Answer:
    return answer.having(x_ambry_digest=None)


def no_size(asked: Asked, answer: Answer) -> Answer:
    return answer.having(x_ambry_blob_size=None)


def nothing(asked: Asked, answer: Answer) -> Answer:
    return answer.having(b"", 204, content_length=None)


def partial_without_range(asked: Asked, answer: Answer) -> Answer:
    return answer.having(status=206, content_range=None)


def first_of(asked: Asked) -> int:
    return int(asked.range.removeprefix("bytes=").partition("-")[0]) if asked.range else 0


UNTRUE: dict[Bend, tuple[type[AmbryError], ...]] = {
    longer: (ProtocolViolation,),
    longer_in_all: (PeerConnectionLost, ProtocolViolation),
    shorter: (ProtocolViolation,),
    shorter_in_all: (ChecksumMismatch, ProtocolViolation),
    no_length: (PeerConnectionLost,),
    chunks_that_end_early: (PeerConnectionLost,),
    chunks_without_end: (PeerConnectionLost,),
    two_lengths: (ProtocolViolation,),
    length_and_chunks: (ProtocolViolation, PeerConnectionLost),
    other_bytes: (ChecksumMismatch,),
    wrong_digest: (ChecksumMismatch,),
    no_digest: (ProtocolViolation,),
    no_size: (ProtocolViolation,),
    nothing: (PeerConnectionLost, ProtocolViolation),
    partial_without_range: (ProtocolViolation,),
}
"""What a read makes of each."""
NOT_OF_A_PART = (longer_in_all, shorter_in_all, other_bytes, wrong_digest, no_digest)
"""Lies that a read of a part may believe: nothing that it has proves them wrong."""


@pytest.mark.parametrize("lie", UNTRUE, ids=lambda lie: lie.__name__)
def test_an_answer_that_is_not_true_is_told_and_nothing_of_it_is_kept(
    server: ScriptedFrontend, twins: Twins, tmp_path: Path, lie: Bend
) -> None:
    client = twins.connect(server.url, retry=NEVER, timeout=PATIENT)
    for name, read in reads_of(twins, server.url, NEVER).items():
        if name in OF_PARTS and lie in NOT_OF_A_PART:
            continue
        (tmp_path / name).mkdir()
        server.bend = of_gets(lie)
        with pytest.raises(UNTRUE[lie]) as caught:
            assert read(client, tmp_path / name), name
        assert str(caught.value) != "", name
        if "does not speak HTTP" not in str(caught.value):
            assert caught.value.request_id == "scripted", name
        assert "\\x" not in str(caught.value), "bytes of a blob are in a message"
        server.bend = true
        assert read(client, tmp_path / name), name


def test_what_is_wrong_with_an_answer_names_its_request(server: ScriptedFrontend, twins: Twins) -> None:
    """A cut list, a part that was stored as another one and a blob that is too large were told without it."""
    client = twins.connect(server.url, retry=NEVER, timeout=PATIENT)
    server.bend = lambda asked, answer: answer.cut(len(answer.raw) - 1, "close")
    with pytest.raises(PeerConnectionLost, match=r"broke .* \(request scripted\)"):
        list(client.list("a/"))
    server.bend = true
    with pytest.raises(TooLarge, match=r"\(request scripted\)"):
        client.get_bytes(BLOB, max_size=SIZE - 1)
    reader = client.get(BLOB)
    assert reader.request_id == "scripted"
    reader.close()
    with pytest.raises(ChecksumMismatch, match=r"part 3 was sent .* send it again \(request r-3\)"):
        uploads.check_acknowledged({"x-ambry-digest": "ab" * 16, "x-ambry-request-id": "r-3"}, 3, "cd" * 16)


# --- batches ---

Frames = list[tuple[dict[str, str], bytes]]


def of_parts(change: Callable[[Frames], Frames]) -> Bend:
    """The parts of a batch, changed; each of its frames is whole."""

    def bent(asked: Asked, answer: Answer) -> Answer:
        parts = [(each.headers, each.body) for each in frames.FrameReader(body_size_max=1 << 20).feed(answer.body)]
        body = b"".join(frames.encode_frame(headers, data) for headers, data in change(parts))
        return answer.having(body, content_length=str(len(body)))

    return bent


def first(**told: str | None) -> Callable[[Frames], Frames]:
    """The first part, with other headers."""

    def change(parts: Frames) -> Frames:
        said = parts[0][0] | {name.replace("_", "-"): value for name, value in told.items() if value is not None}
        gone = {name.replace("_", "-") for name, value in told.items() if value is None}
        return [({name: value for name, value in said.items() if name not in gone}, parts[0][1]), *parts[1:]]

    return change


def with_body(bend: Callable[[bytes], bytes]) -> Callable[[Frames], Frames]:
    return lambda parts: [(parts[0][0], bend(parts[0][1])), *parts[1:]]


UNTRUE_PARTS: dict[str, tuple[Callable[[Frames], Frames], type[AmbryError]]] = {
    "a part is missing": (lambda parts: parts[:-1], PeerConnectionLost),
    "one part comes twice and the other not": (lambda parts: [parts[0], parts[0]], ProtocolViolation),
    "no part": (lambda parts: [], PeerConnectionLost),
    "bytes are missing": (with_body(lambda body: body[:-1]), ProtocolViolation),
    "no bytes": (with_body(lambda body: b""), ProtocolViolation),
    "a byte too many": (with_body(lambda body: body + b"x"), ProtocolViolation),
    "another size of the blob": (first(x_ambry_blob_size=str(SIZE + 1)), ProtocolViolation),
    "no size": (first(x_ambry_blob_size=None), ProtocolViolation),
    "of an item that was not asked for": (first(x_ambry_batch_index="7"), ProtocolViolation),
    "of no item": (first(x_ambry_batch_index=None), ProtocolViolation),
    "no status": (first(x_ambry_batch_status="x"), ProtocolViolation),
}
"""What a client makes of parts that are not true, of whole blobs and of ranges."""
UNTRUE_WHOLES: dict[str, tuple[Callable[[Frames], Frames], type[AmbryError]]] = {
    "other bytes": (with_body(lambda body: OTHER), ChecksumMismatch),
    "another digest": (first(x_ambry_digest=hexdigest(OTHER)), ChecksumMismatch),
    "no digest": (first(x_ambry_digest=None), ProtocolViolation),
    "a part of it": (first(x_ambry_batch_status="206", content_range=f"bytes 0-{SIZE - 2}/{SIZE}"), ProtocolViolation),
}
UNTRUE_RANGES: dict[str, tuple[Callable[[Frames], Frames], type[AmbryError]]] = {
    "another range": (first(content_range=f"bytes 1-5/{SIZE}"), ProtocolViolation),
    "no range": (first(content_range=None), ProtocolViolation),
    "said to be all": (first(x_ambry_batch_status="200"), ProtocolViolation),
    "of a range that was not asked for": (first(x_ambry_batch_range="1"), ProtocolViolation),
}


@pytest.mark.parametrize("name", ["get_many", "get_ranges"])
def test_parts_that_are_not_true_are_told_and_never_taken_for_bytes_of_a_blob(
    server: ScriptedFrontend, twins: Twins, tmp_path: Path, name: str
) -> None:
    """A part with fewer bytes than the blob was the blob, and one of another range was the range that was asked for."""
    client = twins.connect(server.url, retry=NEVER, timeout=PATIENT)
    for lie, (change, error) in (UNTRUE_PARTS | (UNTRUE_WHOLES if name == "get_many" else UNTRUE_RANGES)).items():
        server.bend = of_parts(change)
        with pytest.raises(error) as caught:
            assert BATCHES[name](client, tmp_path), lie
        assert str(caught.value) != "", lie
        server.bend = true
        assert BATCHES[name](client, tmp_path), lie


@pytest.mark.parametrize("name", ["put_many", "delete_many"])
def test_what_is_said_of_items_is_of_those_that_were_sent(
    server: ScriptedFrontend, twins: Twins, tmp_path: Path, name: str
) -> None:
    """Items in another order were results of others: the id of one blob stood for another."""
    client = twins.connect(server.url, retry=NEVER, timeout=PATIENT)
    lies: dict[str, Callable[[list[Any]], object]] = {
        "another order": lambda items: {"items": items[::-1]},
        "one twice": lambda items: {"items": [items[0]] * len(items)},
        "one fewer": lambda items: {"items": items[1:]},
        "no list": lambda items: {"items": 7},
        "nothing": lambda items: {},
        "no status": lambda items: {"items": [{"index": each["index"]} for each in items]},
    }
    for lie, change in lies.items():

        def bent(asked: Asked, answer: Answer, change: Callable[[list[Any]], object] = change) -> Answer:
            body = msgspec.json.encode(change(msgspec.json.decode(answer.body)["items"]))
            return answer.having(body, content_length=str(len(body)))

        server.bend = bent
        with pytest.raises(PeerConnectionLost, match="cannot be read"):
            assert BATCHES[name](client, tmp_path), lie
        server.bend = true
        assert BATCHES[name](client, tmp_path), lie


def test_what_follows_a_body_is_not_the_next_answer(server: ScriptedFrontend, twins: Twins, tmp_path: Path) -> None:
    """A blob in chunks is whole before its last chunk has come: what was left was the answer to what came next."""
    client = twins.connect(server.url, retry=NEVER, timeout=PATIENT)
    left = 0
    late = b"0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"

    def chunks(asked: Asked, answer: Answer) -> Answer:
        nonlocal left
        before, left = late if asked.connection == left else b"", asked.connection
        whole = answer.having(chunked(answer.body, ended=False), content_length=None, transfer_encoding="chunked")
        return replace(whole, before=before)

    for name, read in WHOLE.items():
        (tmp_path / name).mkdir()
        for _ in range(3):
            server.bend = of_gets(chunks)
            assert read(client, tmp_path / name), name


def test_a_body_without_end_ends_where_the_blob_does(server: ScriptedFrontend, twins: Twins, tmp_path: Path) -> None:
    client = twins.connect(server.url, retry=NEVER, timeout=PATIENT)
    server.bend = of_gets(more_chunks)
    for name, read in reads_of(twins, server.url, NEVER).items():
        (tmp_path / name).mkdir()
        try:
            assert read(client, tmp_path / name), name
        except ProtocolViolation as error:
            assert "more bytes" in str(error), name


# --- no time ---


def busy(asked: Asked, answer: Answer) -> Answer:
    said = {
        "x-ambry-request-id": "scripted",
        "x-ambry-error-code": "Unavailable",
        "content-length": "0",
        "retry-after": "2",
    }
    return Answer(status=503, headers=said, body=b"")


def test_a_storm_of_503_costs_a_share_of_requests_more_and_no_call_asks_for_ever(
    server: ScriptedFrontend, twins: Twins, tmp_path: Path
) -> None:
    client = twins.connect(server.url, retry=RetryPolicy(max_attempts=4), timeout=PATIENT, fake_time=True)
    server.bend = busy
    calls = 0
    for name, read in (READS | BATCHES).items():
        (tmp_path / name).mkdir()
        for _ in range(5):
            calls += 1
            before, waits = len(server.requests), len(twins.clock.slept)
            with pytest.raises(Unavailable) as caught:
                read(client, tmp_path / name)
            assert caught.value.retry_after_s == 2.0 and caught.value.request_id == "scripted", name
            assert len(server.requests) - before == caught.value.attempts <= 4, name
            # Each of the retries waited for as long as it was told to.
            waited = [each for each in twins.clock.slept[waits:] if each]
            assert len(waited) == caught.value.attempts - 1 and all(each >= 2.0 for each in waited), (name, waited)
    assert len(server.requests) <= calls * 1.1 + 10 + 1


def test_a_storm_that_passes_is_not_noticed(server: ScriptedFrontend, twins: Twins, tmp_path: Path) -> None:
    client = twins.connect(server.url, timeout=PATIENT, fake_time=True, retry=RetryPolicy(budget=1.0))
    for name, read in (READS | BATCHES).items():
        (tmp_path / name).mkdir()
        for refused in range(4):
            left = [busy] * refused
            server.bend = lambda asked, answer, left=left: left.pop()(asked, answer) if left else answer  # type: ignore[misc]
            for _ in range(4):  # Each call earns one retry.
                assert read(client, tmp_path / name), name
            assert not left


def test_a_503_that_asks_for_more_patience_than_there_is_is_handed_on_at_once(
    server: ScriptedFrontend, twins: Twins, tmp_path: Path
) -> None:
    client = twins.connect(server.url, retry=RetryPolicy(retry_after_max=1.5), timeout=PATIENT, fake_time=True)
    server.bend = busy
    for name, read in (READS | BATCHES).items():
        (tmp_path / name).mkdir()
        before = len(server.requests)
        with pytest.raises(Unavailable):
            read(client, tmp_path / name)
        assert len(server.requests) == before + 1, name
