"""Rows of upload sessions: what is written is what is read, and what cannot be read says so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ambry.blob import BlobProperties, ChunkRef, Durability
from ambry.errors import DataCorrupt, FormatUnknown
from ambry.ids import BlobId, IdKind
from frontend.metadata.store import KEY_BYTES_MAX, VALUE_BYTES_MAX
from frontend.uploads.rows import (
    REFS_PER_ROW,
    REPLACED,
    Completion,
    Session,
    SessionState,
    UploadPart,
    decode_part_row,
    decode_session,
    encode_part,
    encode_session,
    place_of,
)
from tests.support.samples import blob_id

ID = bytes(range(16))
BLOB = BlobId(blob_id(1, kind=IdKind.COMPOSITE))
REF = ChunkRef(b"\xff" * 36, 0xFFFFFFFF, b"\xff" * 16)


def session(state: SessionState = SessionState.OPEN, completion: Completion | None = None) -> Session:
    return Session(
        blob=BLOB.raw,
        properties=BlobProperties(size=0, digest=b"", filename="m.bin"),
        metadata=b"",
        ttl_s=None,
        durability=Durability.GEO,
        created_at_ms=5,
        state=state,
        completion=completion,
    )


def test_a_session_comes_back_with_all_it_was_completed_to() -> None:
    done = Completion(tuple(range(1, 10_001)), 1 << 42, b"d" * 16, True, 7, b"c" * 16)
    written = encode_session(session(SessionState.DONE, done))
    assert decode_session(written) == session(SessionState.DONE, done)
    assert len(written) <= VALUE_BYTES_MAX


@given(st.integers(1, 10_000), st.integers(0, 3 * REFS_PER_ROW), st.booleans())
def test_the_rows_of_a_part_hold_all_its_chunks_in_order(number: int, chunks: int, replaced: bool) -> None:
    refs = tuple(ChunkRef(index.to_bytes(36, "big"), index, b"d" * 16) for index in range(chunks))
    rows = encode_part(ID, UploadPart(number, 9, b"d" * 16, 3, refs), replaced=b"12345678" if replaced else b"")
    decoded = [decode_part_row(value) for _, value in rows]
    assert tuple(ref for row in decoded for ref in row.refs) == refs
    assert {row.rows for row in decoded} == {len(rows)}
    assert [place_of(key) for key, _ in rows] == [(REPLACED if replaced else number, row) for row in range(len(rows))]
    assert sorted(key for key, _ in rows) == [key for key, _ in rows]


def test_a_full_row_fits_into_the_store() -> None:
    [(key, value)] = encode_part(ID, UploadPart(10_000, 1 << 42, b"d" * 16, 1 << 42, (REF,) * REFS_PER_ROW))
    assert len(key) <= KEY_BYTES_MAX
    assert len(value) <= VALUE_BYTES_MAX


def test_parts_are_listed_before_those_that_others_took_the_place_of() -> None:
    [(last, _)] = encode_part(ID, UploadPart(10_000, 1, b"d" * 16, 0))
    [(replaced, _)] = encode_part(ID, UploadPart(1, 1, b"d" * 16, 0), replaced=b"\0" * 8)
    assert last < replaced


@pytest.mark.parametrize("value", [b"\x01", b"\x01\xff", b"\x01\x80"])
def test_what_is_no_row_is_called_damaged(value: bytes) -> None:
    with pytest.raises(DataCorrupt):
        decode_session(value)
    with pytest.raises(DataCorrupt):
        decode_part_row(value)


def test_a_session_whose_blob_has_no_id_is_called_damaged() -> None:
    with pytest.raises(DataCorrupt, match="id"):
        decode_session(encode_session(replace(session(), blob=b"b" * 36)))


def test_a_row_of_a_newer_release_is_refused() -> None:
    with pytest.raises(FormatUnknown):
        decode_session(b"\x02" + encode_session(session())[1:])


def test_a_key_of_another_length_is_called_damaged() -> None:
    with pytest.raises(DataCorrupt):
        place_of(b"short")
