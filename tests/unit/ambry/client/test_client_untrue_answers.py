"""Answers that do not hold what they say, and a service that has no time: right bytes or an error of ours, nothing half."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ambry import (
    AmbryError,
    ChecksumMismatch,
    PeerConnectionLost,
    ProtocolViolation,
    RetryPolicy,
    Timeout,
    Unavailable,
)
from tests.support.content import content
from tests.support.reads import READS, WHOLE, reads_of
from tests.support.scripted_frontend import DATA, Answer, Asked, Bend, ScriptedFrontend
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
        server.bend = true
        assert read(client, tmp_path / name), name


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
    for name, read in READS.items():
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
    for name, read in READS.items():
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
    for name, read in READS.items():
        (tmp_path / name).mkdir()
        before = len(server.requests)
        with pytest.raises(Unavailable):
            read(client, tmp_path / name)
        assert len(server.requests) == before + 1, name
