"""Paths and URLs of the file system: each says the same as the other, and names come through exactly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.client.refs import NameRef, parse_uri
from ambry.errors import InvalidRequest
from ambry.fs.paths import Where, path_of, url_of, where_of
from ambry.ids import BlobId
from tests.support.samples import blob_id

BLOB = BlobId(blob_id(7))
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("text", "path", "where"),
    [
        ("ambry://team/models/a/b c.bin", "team/models/a/b c.bin", Where("team", "models", "a/b c.bin")),
        ("ambry://team/models/a%20b%2Fc", "team/models/a b/c", Where("team", "models", "a b/c")),
        ("team/models/a%20b", "team/models/a%20b", Where("team", "models", "a%20b")),
        ("/team/models/", "team/models", Where("team", "models")),
        ("ambry://team", "team", Where("team")),
        ("ambry://", "", Where()),
        ("ambry://team/models/x?.b#[1-2]*", "team/models/x?.b#[1-2]*", Where("team", "models", "x?.b#[1-2]*")),
        (f"ambry+id://{BLOB}", str(BLOB), Where(blob=BLOB)),
        (str(BLOB), str(BLOB), Where(blob=BLOB)),
    ],
)
def test_what_a_text_stands_for(text: str, path: str, where: Where) -> None:
    assert path_of(text) == path
    assert where_of(path) == where


@given(NAMES)
def test_a_path_has_a_url_that_stands_for_it_and_a_path_stays_as_it_is(name: str) -> None:
    path = f"team/models/{name}".strip("/")
    assert path_of(path) == path
    assert path_of(url_of(path)) == path
    assert where_of(path).path == path


@given(NAMES)
def test_the_client_reads_a_url_as_the_file_system_does(name: str) -> None:
    path = f"team/models/{name}"
    if path.strip("/") != path or any(each in name for each in "?#"):
        return
    said = parse_uri(url_of(path))
    assert (said.account, said.container, said.name) == ("team", "models", name)
    assert where_of(path).ref == NameRef(name, "team", "models")


def test_what_is_no_file_has_no_reference() -> None:
    for path in ("", "team", "team/models"):
        with pytest.raises(FileNotFoundError, match="is a directory"):
            where_of(path).ref  # noqa: B018
    with pytest.raises(InvalidRequest):
        path_of("ambry://team/models/100%")


@pytest.mark.parametrize("text", ["ambry+id://abc", "ambry+id://team/models/x", f"ambry+id://{BLOB}x"])
def test_only_an_id_stands_behind_the_scheme_of_ids(text: str) -> None:
    """It was taken for an account."""
    with pytest.raises(InvalidRequest):
        path_of(text)
