from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ambry.blob import BlobProperties
from ambry.errors import DataCorrupt, FormatUnknown
from ambry.format import properties as format

SAMPLE = BlobProperties(size=5, digest=b"d" * 16, filename="é.bin", private=True, chunk_index=3)
GOLDEN = (
    "0185a473697a6505a6646967657374c410"
    + "64" * 16
    + "a866696c656e616d65a6c3a92e62696ea770726976617465c3ab6368756e6b5f696e64657803"
)


def test_the_bytes_of_properties_never_change() -> None:
    assert format.encode_properties(SAMPLE).hex() == GOLDEN
    assert format.decode_properties(bytes.fromhex(GOLDEN)) == SAMPLE


@given(
    st.builds(
        BlobProperties,
        size=st.integers(0, 1 << 60),
        digest=st.binary(min_size=16, max_size=16),
        content_type=st.text(max_size=20),
        owner_id=st.text(max_size=20),
        private=st.booleans(),
        parent=st.binary(max_size=36),
        chunk_index=st.integers(0, 1 << 30),
    )
)
@settings(derandomize=True)
def test_properties_survive_their_bytes(properties: BlobProperties) -> None:
    assert format.decode_properties(memoryview(format.encode_properties(properties))) == properties


@given(st.dictionaries(st.text(max_size=10), st.text(max_size=30), max_size=10))
@settings(derandomize=True)
def test_user_metadata_survives_its_bytes(pairs: dict[str, str]) -> None:
    assert format.decode_metadata(memoryview(format.encode_metadata(pairs))) == pairs


def test_no_metadata_takes_no_bytes() -> None:
    assert format.encode_metadata({}) == b""


def test_keys_of_a_newer_release_are_ignored() -> None:
    section = b"\x01" + msgspec.msgpack.encode({"size": 1, "digest": b"", "colour": "blue"})
    assert format.decode_properties(section) == BlobProperties(size=1, digest=b"")


@pytest.mark.parametrize("section", [b"", b"\x02\x80", b"\x00"])
def test_another_version_is_refused_clearly(section: bytes) -> None:
    with pytest.raises(FormatUnknown, match="upgrade"):
        format.decode_properties(section)


@pytest.mark.parametrize(
    "section",
    [
        b"\x01",
        b"\x01\x80",
        b"\x01\xc1",
        b"\x01\x81\xa4size\xa1x",
        bytes.fromhex(GOLDEN)[:-1],
        # A text that is not UTF-8 used to come out as UnicodeDecodeError.
        b"\x01\x83\xa4size\x01\xa6digest\xc4\x00\xa8filename\xa2\xff\xfe",
    ],
)
def test_a_section_that_cannot_be_read_is_corrupt(section: bytes) -> None:
    with pytest.raises(DataCorrupt):
        format.decode_properties(section)


def test_metadata_that_cannot_be_read_is_corrupt() -> None:
    for section in (b"\x01\x81\xa1k\x01", b"\x01\x81\xa1k", b"\x01\x81\xa1k\xa1\xff"):
        with pytest.raises(DataCorrupt):
            format.decode_metadata(section)
