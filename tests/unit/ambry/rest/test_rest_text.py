from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.errors import InvalidRequest
from ambry.rest import text as rules

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@given(TEXTS)
def test_any_text_travels_in_visible_ascii_and_comes_back(text: str) -> None:
    value = rules.percent_encoded("x", text)
    assert value.isascii() and value.isprintable() and " " not in value
    assert rules.percent_decoded("x", value) == text


@given(st.binary(max_size=40))
def test_any_bytes_in_a_header_are_text_that_can_be_stored_or_refused(data: bytes) -> None:
    received = data.decode("utf-8", "surrogateescape")
    try:
        assert rules.header_text("x", received).encode() == data
    except InvalidRequest:
        with pytest.raises(UnicodeDecodeError):
            data.decode()


@pytest.mark.parametrize("value", ["%", "%4", "%zz", "a%", "%FF", "%ED%A0%80", "%C0%80", "é", "\udcff", "a\tb", "%é0"])
def test_what_is_not_percent_encoded_utf_8_is_refused(value: str) -> None:
    with pytest.raises(InvalidRequest):
        rules.percent_decoded("x", value)


def test_lone_surrogates_are_no_text() -> None:
    with pytest.raises(InvalidRequest, match="the metadata value of 'k' is text that UTF-8 can hold"):
        rules.percent_encoded("the metadata value of 'k'", "a\ud800")


@pytest.mark.parametrize(
    ("text", "plain"),
    [("", True), ("a b", True), ("~!", True), (" a", False), ("a ", False), (" ", False), ("\t", False), ("é", False),
     ("\x7f", False), ("a\nb", False)],
)  # fmt: skip
def test_text_that_a_header_carries_as_it_is(text: str, plain: bool) -> None:
    assert rules.is_plain(text) is plain


@pytest.mark.parametrize(
    "value",
    [
        "text/plain",
        "text/plain;charset=utf-8",
        'multipart/mixed; boundary="a, b;\\"c"',
        "a/b ; x=y;; z=1;",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ],
)
def test_media_types(value: str) -> None:
    assert rules.media_type("Content-Type", value) == value


@pytest.mark.parametrize(
    "value",
    ["", "text", "/", "text/", "/plain", "a/b/c", "text/html, text/plain", "text/html;=x", 'a/b;x="', "a/b;x", "a /b",
     "*/* q", "a/b\nc", "é/b", "a/" + "b" * 254],
)  # fmt: skip
def test_what_is_no_media_type_is_refused(value: str) -> None:
    with pytest.raises(InvalidRequest):
        rules.media_type("Content-Type", value)


@pytest.mark.parametrize("value", ["", "gzip,", ",gzip", "gzip,,br", "gzip br", "gzip;q=1", "é", "g" * 256])
def test_what_is_no_list_of_codings_is_refused(value: str) -> None:
    assert rules.content_codings("Content-Encoding", "gzip , br") == "gzip , br"
    with pytest.raises(InvalidRequest):
        rules.content_codings("Content-Encoding", value)


@pytest.mark.parametrize("value", [" a", "a ", "a\tb", "é", "a" * 256, "\x00"])
def test_what_is_no_plain_text_is_refused(value: str) -> None:
    assert rules.plain_text("x", "") == "" and len(rules.plain_text("x", "a" * 255)) == 255
    with pytest.raises(InvalidRequest):
        rules.plain_text("x", value)


@pytest.mark.parametrize(
    "name", ["a", "a b", "é" * 127, 'say "x".txt', "%41", "..a", "a;b", " a ", "名前.bin", "\u200fא"]
)
def test_file_names(name: str) -> None:
    assert rules.filename("x", name) == name


@pytest.mark.parametrize(
    "name",
    [".", "..", "a/b", "a\\b", "/", "a\x00", "\n", "\x7f", "\x85", "a\u2028", "exe.\u202etxt", "\u2066a", "\udcff",
     "é" * 128],
)  # fmt: skip
def test_what_no_file_should_be_called_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest):
        rules.filename("x", name)


def test_a_choice_is_in_any_case_and_what_is_none_is_shown_shortened() -> None:
    assert rules.one_of("x", "DISK", ("disk", "geo")) == "disk"
    with pytest.raises(InvalidRequest) as refused:
        rules.one_of("x", "a" * 5000, ("disk", "geo"))
    assert len(refused.value.message) < 100


@pytest.mark.parametrize(
    ("sentence", "header", "read"),
    [
        ("the key k has no read, see `ambry key show`", "the key k has no read, see `ambry key show`", None),
        ("100% of 'é'\r\nSet-Cookie: a=b", "100%25 of '%C3%A9'%0D%0ASet-Cookie: a=b", None),
        (" spaces ", "spaces", "spaces"),
        ("a\ud800b", "a?b", "a?b"),
        ("x" * 511 + "é", "x" * 511, "x" * 511),
        ("x" * 508 + "éé", "x" * 508 + "%C3", "x" * 508 + "\N{REPLACEMENT CHARACTER}"),
        ("", "", None),
    ],
)
def test_a_sentence_travels_in_a_header_which_is_bounded(sentence: str, header: str, read: str | None) -> None:
    assert rules.sentence_in_header(sentence) == header
    assert rules.sentence_of_header(header) == (sentence if read is None else read)


@given(st.text(max_size=60))
def test_no_sentence_is_more_than_a_header_takes(sentence: str) -> None:
    header = rules.sentence_in_header(sentence * 50)
    assert len(header) <= 512 and header.isascii() and rules.is_plain(header)
    rules.sentence_of_header(header)
