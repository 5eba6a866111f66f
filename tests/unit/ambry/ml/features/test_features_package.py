"""Packages of strangers: what would become far more than it is gets a sentence."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
import zlib

import pytest

from ambry.errors import InvalidRequest
from ambry.ml.features import package, text
from ambry.ml.features.package import unpack

CONF = 'kinds: {type: categorical : {idMappingFile: "kinds.csv"}}\n'
CSV = "0, OUT_OF_VOCAB\n" + "".join(f"{at}, n{at}\n" for at in range(1, 20))


def zipped(files: dict[str, str], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", how) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


WHOLE = {"n/features.conf": CONF, "n/kinds.csv": CSV}


@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_what_other_tools_pack_is_read(how: int) -> None:
    assert unpack(zipped(WHOLE, how)).namespaces["n"].vocabularies["kinds.csv"].size == 20


@pytest.mark.parametrize("how", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packings_without_a_bound_of_memory_are_not_read(how: int) -> None:
    with pytest.raises(InvalidRequest, match="is packed in a way that is not read"):
        unpack(zipped(WHOLE, how))


def test_members_bytes_and_rows_are_bounded_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    many = {**WHOLE, "m/features.conf": CONF, "m/kinds.csv": CSV}
    with monkeypatch.context() as patched:
        patched.setattr(package, "MEMBERS_MAX", 3)
        with pytest.raises(InvalidRequest, match="it has 4 files"):
            unpack(zipped(many))
    with monkeypatch.context() as patched:
        patched.setattr(package, "PACKAGE_SIZE_MAX", 400)
        with pytest.raises(InvalidRequest, match="more than 400 bytes"):
            unpack(zipped(many))
    monkeypatch.setattr(package, "VOCABULARY_ROWS_MAX", 30)
    assert unpack(zipped(WHOLE)).namespaces.keys() == {"n"}
    with pytest.raises(InvalidRequest, match="more than 30 rows in all"):
        unpack(zipped(many))


def test_gaps_between_rows_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    named = "".join(f"// (v{at}.csv)\n0, OUT_OF_VOCAB\n" for at in range(30))
    again = "".join(f"// (v{at}.csv)\n1, a\n" for at in range(30))
    monkeypatch.setattr(text, "GAP_LINES_MAX", 2_000)
    assert text.parse_text(f"a: 1\n{named}{again}").rows[29].lines[-1] == "1, a"
    with pytest.raises(text.DefinitionInvalid, match="lines lie between rows"):
        text.parse_text("a: 1\n" + named + "\n" * 100 + again)


def test_no_more_is_unpacked_than_a_file_says_that_it_has() -> None:
    """A directory that lies: 10 bytes of the 256 MiB that there are, with their checksum."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(256)) + packer.flush()
    name, said = b"a/features.conf", bytes(10)
    common = struct.pack("<HHHHIIIHH", 0, 8, 0, 0x21, zlib.crc32(said), len(packed), len(said), len(name), 0)
    body = struct.pack("<IH", 0x04034B50, 20) + common + name + packed
    entry = struct.pack("<IHH", 0x02014B50, 20, 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 1, 1, len(entry), len(body), 0)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequest):
            unpack(body + entry + end)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_a_file_without_a_name_is_told() -> None:
    """It was an IndexError of zipfile."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("x", "")
    header = bytearray(packed.getvalue())
    central = header.index(b"PK\x01\x02")
    header[central + 28] = 0
    del header[central + 46]
    end = header.index(b"PK\x05\x06")
    header[end + 12 : end + 16] = (end - central).to_bytes(4, "little")
    with pytest.raises(InvalidRequest, match="this is no package of definitions"):
        unpack(bytes(header))
