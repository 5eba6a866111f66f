from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.errors import HeadersTooLarge, InvalidRequest
from ambry.rest import metadata

KEYS = st.from_regex(r"[a-z0-9!#$%&'*+.^_`|~-]{1,20}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@given(st.dictionaries(KEYS, TEXTS, max_size=10))
def test_user_metadata_comes_back_whatever_text_it_is(pairs: dict[str, str]) -> None:
    headers = metadata.check(pairs)
    assert len(headers) == len(pairs)
    for name, value in headers.items():
        assert value.isascii() and value.isprintable() and value == value.strip(), "a header could not carry it"
        assert name.startswith(("x-ambry-um-", "x-ambry-enc-um-"))
    assert metadata.decode(headers.items()) == pairs


@pytest.mark.parametrize("text", [" a", "a ", " ", "\t", "a\tb", "é", "a\nb", "\x7f", "x\r\nSet-Cookie: y\x00"])
def test_what_a_header_would_lose_goes_out_encoded(text: str) -> None:
    ((name, value),) = metadata.encode({"k": text}).items()
    assert name == "x-ambry-enc-um-k" and value.isascii() and value.isprintable() and " " not in value
    assert metadata.decode([(name, value)]) == {"k": text}


@pytest.mark.parametrize("text", ["", "%41", "a b", "a=b; c"])
def test_plain_text_goes_out_as_it_is(text: str) -> None:
    assert metadata.encode({"k": text}) == {"x-ambry-um-k": text}


def test_utf_8_in_a_plain_header_is_text_and_other_bytes_are_refused() -> None:
    assert metadata.decode([("x-ambry-um-title", "été"), ("host", "x")]) == {"title": "été"}
    for name in ("x-ambry-um-k", "x-ambry-enc-um-k"):
        with pytest.raises(InvalidRequest):
            metadata.decode([(name, b"\xff".decode("utf-8", "surrogateescape"))])


@pytest.mark.parametrize(
    "headers",
    [
        [("x-ambry-um-", "x")],
        [("x-ambry-enc-um-", "x")],
        [("x-ambry-um-a", "1"), ("x-ambry-enc-um-a", "1")],
        [("x-ambry-um-a", "1"), ("x-ambry-um-a", "1")],
    ],
)
def test_a_key_without_a_name_or_given_twice_is_refused(headers: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidRequest):
        metadata.decode(headers)


@pytest.mark.parametrize("key", ["", "A", "a b", "a:b", "é", "a\n", 5])
def test_a_key_that_would_not_come_back_is_refused(key: str) -> None:
    with pytest.raises(InvalidRequest):
        metadata.check({key: "x"})


@pytest.mark.parametrize("value", [5, None, b"x", "\ud800"])
def test_a_value_that_is_no_text_is_refused(value: str) -> None:
    with pytest.raises(InvalidRequest):
        metadata.check({"k": value})


def test_the_bounds_are_on_what_travels() -> None:
    assert len(metadata.check({f"{n:02}": "" for n in range(metadata.KEYS_MAX)})) == metadata.KEYS_MAX
    with pytest.raises(HeadersTooLarge):
        metadata.check({f"{n:02}": "" for n in range(metadata.KEYS_MAX + 1)})
    room = metadata.SIZE_MAX - len("x-ambry-um-k")
    metadata.check({"k": "v" * room})
    with pytest.raises(HeadersTooLarge):
        metadata.check({"k": "v" * (room + 1)})
    with pytest.raises(HeadersTooLarge):
        metadata.check({"k": "é" * (room // 3)})
