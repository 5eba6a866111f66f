"""What an argument of `ambry cp` names."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry import InvalidRequest, NameRef
from ambry.cli.sides import Blob, Here, Pattern, Pipe, There, name_pattern, side_of

ID = "AQAAAQAAAAEAAAABAAAAAwGiHdujIHY_lfSzsuSwbOaKY0Py"


def test_files_pipes_blobs_and_names_are_told_apart() -> None:
    assert side_of("-") == Pipe()
    assert side_of("models/a") == Here("models/a")
    assert side_of(f"./{ID}") == Here(f"./{ID}")
    assert side_of(ID[:-1]) == Here(ID[:-1])
    blob = side_of(ID)
    assert isinstance(blob, Blob) and str(blob) == ID
    assert side_of("ambry://team/models/a%2Ab") == There(NameRef("a*b", "team", "models"))
    for text in ("ambry://team/models", "ambry://team/models/", "ambry://team/models/a/"):
        folder = side_of(text)
        assert isinstance(folder, There) and folder.says_folder
    assert Here("a/").says_folder and Here(".").says_folder and not Here("a").says_folder


@pytest.mark.parametrize("text", ["", "ambry://", "ambry://a", "ambry://*/b/c", "ambry://a/*", "ambry://a/b/c?d"])
def test_what_names_nothing_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        side_of(text)


@pytest.mark.parametrize(
    ("pattern", "fits", "not_this"),
    [
        ("*.bin", ["a.bin", ".bin"], ["a/b.bin", "a.bin.x"]),
        ("**/*.bin", ["a.bin", "x/a.bin", "x/y/a.bin"], ["a.txt"]),
        ("a/**", ["a/b", "a/b/c"], ["a", "b/a"]),
        ("v[0-9].bin", ["v1.bin"], ["va.bin", "v10.bin"]),
        ("v[!0-9]", ["va"], ["v1", "v/"]),
        ("%2A%5B", ["*["], ["a["]),
        ("a\nb*", ["a\nbc"], ["a b"]),
        ("[]^\\]", [], []),
    ],
)
def test_patterns(pattern: str, fits: list[str], not_this: list[str]) -> None:
    found = name_pattern(pattern)
    assert all(found.fullmatch(each) for each in fits)
    assert not any(found.fullmatch(each) for each in not_this)


def test_the_folder_of_a_pattern_ends_before_its_first_sign() -> None:
    side = side_of("ambry://team/data/2026/x*/y.bin")
    assert isinstance(side, Pattern) and side.folder == NameRef("2026/", "team", "data")
    assert side.rest.fullmatch("x1/y.bin")


@given(st.text(alphabet="ab*[]!^\\-/%.é", max_size=10))
def test_every_text_is_a_pattern_or_is_refused(text: str) -> None:
    with suppress(InvalidRequest):
        name_pattern(text).fullmatch("ab/a")
