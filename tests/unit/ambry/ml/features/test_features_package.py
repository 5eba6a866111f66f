"""Packages of strangers: what would become far more than it is gets a sentence."""

from __future__ import annotations

import io
import zipfile

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
