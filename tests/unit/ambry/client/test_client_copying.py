"""What `ambry cp`, `mv`, `sync` and the file system copy by, with clients that hold nothing."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import pytest

from ambry import BlobId, BlobInfo, Metadata, NameRef, Unavailable, UploadedPart
from ambry.client.copying import copy_blob
from ambry.client.wire.uploads import PARTS_MAX

BLOB = BlobId.parse("AQAAAQAAAAEAAAABAAAAAwGiHdujIHY_lfSzsuSwbOaKY0Py")
TO = NameRef("copy", "default", "default")


class Piece:
    def __init__(self, size: int) -> None:
        self.size = size


class Gate:
    def hold(self, size: int) -> AbstractContextManager[None]:
        return nullcontext()


@dataclass
class Source:
    info: BlobInfo
    _memory: Gate = field(default_factory=Gate)

    def head(self, blob: BlobId) -> BlobInfo:
        return self.info

    def get_bytes(self, blob: BlobId, *, range: tuple[int, int]) -> Piece:
        return Piece(range[1] - range[0])


@dataclass
class Target:
    fails: int = 0
    sent: dict[int, int] = field(default_factory=dict)
    checksum: str | None = None
    aborted: bool = False

    def start_upload(self, **said: Any) -> Self:
        return self

    def write_part(self, number: int, piece: Piece) -> UploadedPart:
        if number == self.fails:
            raise Unavailable("no room for this part")
        self.sent[number] = piece.size
        return UploadedPart(part=number, size=piece.size, checksum="")

    def complete(self, parts: list[UploadedPart], *, checksum: str | None) -> str:
        assert [each.part for each in parts] == list(range(1, len(parts) + 1))
        self.checksum = checksum
        return "made"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.aborted = error is not None


def info_of(size: int) -> BlobInfo:
    return BlobInfo(
        id=BLOB,
        size=size,
        created=datetime(2026, 11, 27, tzinfo=UTC),
        expires=None,
        content_type="a/b",
        metadata=Metadata(),
        checksum="0" * 32,
    )


def copied(source: Source, target: Target) -> Any:
    reading: Any = source
    writing: Any = target
    return copy_blob(reading, writing, BLOB, TO)


def test_the_largest_blob_there_can_be_is_copied_in_as_many_parts_as_there_may_be() -> None:
    """Part 10,001 was refused, after 80 GB had gone over."""
    size = 1 << 40
    target = Target()
    assert copied(Source(info_of(size)), target) == "made"
    assert len(target.sent) <= PARTS_MAX and sum(target.sent.values()) == size


def test_all_bytes_that_arrived_are_compared_with_the_digest_that_the_source_has() -> None:
    target = Target()
    copied(Source(info_of(20 << 20)), target)
    assert target.checksum == "0" * 32 and sorted(target.sent.values()) == [4 << 20, 8 << 20, 8 << 20]
    unknown = Target()
    copied(Source(replace(info_of(20 << 20), checksum="")), unknown)
    assert unknown.checksum is None


def test_a_part_that_fails_ends_the_copy_with_its_own_error() -> None:
    target = Target(fails=2)
    with pytest.raises(Unavailable, match="no room for this part"):
        copied(Source(info_of(200 << 20)), target)
    assert target.aborted and len(target.sent) < 25
