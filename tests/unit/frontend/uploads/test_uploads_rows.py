"""Rows of upload sessions: what is written is what is read, and what cannot be read says so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ambry.blob import BlobProperties, ChunkRef
from ambry.durability import Durability
from ambry.errors import DataCorrupt, FormatUnknown
from ambry.ids import BlobId, IdKind
from frontend.metadata.store import KEY_BYTES_MAX, VALUE_BYTES_MAX
from frontend.uploads.row_seal import RowSeal, WrappedBy, new_seal_key
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
    open_session,
    place_of,
)
from tests.support.samples import blob_id

ID = bytes(range(16))
SEAL = RowSeal(new_seal_key())
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


@pytest.mark.parametrize("seal", [None, SEAL], ids=["plain", "sealed"])
@given(number=st.integers(1, 10_000), chunks=st.integers(0, 3 * REFS_PER_ROW), replaced=st.booleans())
def test_the_rows_of_a_part_hold_all_its_chunks_in_order(
    number: int, chunks: int, replaced: bool, seal: RowSeal | None
) -> None:
    refs = tuple(ChunkRef(index.to_bytes(36, "big"), index, b"d" * 16) for index in range(chunks))
    part = UploadPart(number, 9, b"d" * 16, 3, refs)
    rows = encode_part(ID, part, replaced=b"12345678" if replaced else b"", seal=seal)
    decoded = [decode_part_row(key, value, seal) for key, value in rows]
    assert {row.digest for row in decoded} == {b"d" * 16}
    assert seal is None or not any(b"d" * 16 in value for _, value in rows)
    assert tuple(ref for row in decoded for ref in row.refs) == refs
    assert {row.rows for row in decoded} == {len(rows)}
    assert [place_of(key) for key, _ in rows] == [(REPLACED if replaced else number, row) for row in range(len(rows))]
    assert sorted(key for key, _ in rows) == [key for key, _ in rows]


@pytest.mark.parametrize("seal", [None, SEAL], ids=["plain", "sealed"])
def test_a_full_row_fits_into_the_store(seal: RowSeal | None) -> None:
    part = UploadPart(10_000, 1 << 42, b"d" * 16, 1 << 42, (REF,) * REFS_PER_ROW)
    [(key, value)] = encode_part(ID, part, seal=seal)
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
        decode_part_row(b"", value)


def test_a_session_whose_blob_has_no_id_is_called_damaged() -> None:
    with pytest.raises(DataCorrupt, match="id"):
        decode_session(encode_session(replace(session(), blob=b"b" * 36)))


def test_a_row_of_a_newer_release_is_refused() -> None:
    with pytest.raises(FormatUnknown):
        decode_session(b"\x03" + encode_session(session())[1:])


def test_a_sealed_session_hides_what_it_says_and_is_not_taken_for_a_plain_one() -> None:
    done = Completion((1,), 5, b"PLANTEDdigest-16", True, 7, b"PLANTEDchosen-16", False, WrappedBy(1, b"wrapped"))
    plain = replace(session(SessionState.DONE, done), metadata=b"PLANTED", key=WrappedBy(1, b"wrapped"))
    written = encode_session(plain, SEAL)
    assert b"PLANTED" not in written and b"m.bin" not in written
    assert written == encode_session(decode_session(written)) == encode_session(plain, SEAL)
    assert open_session(decode_session(written), SEAL) == plain
    for row in (b"\x01" + written[1:], b"\x02" + encode_session(session())[1:]):
        with pytest.raises(DataCorrupt, match="sealed"):
            decode_session(row)


def test_a_plain_row_is_not_taken_for_a_part_of_a_sealed_session() -> None:
    [(key, value)] = encode_part(ID, UploadPart(1, 1, b"d" * 16, 0))
    with pytest.raises(DataCorrupt, match="plain row"):
        decode_part_row(key, value, SEAL)


def test_a_key_of_another_length_is_called_damaged() -> None:
    with pytest.raises(DataCorrupt):
        place_of(b"short")
