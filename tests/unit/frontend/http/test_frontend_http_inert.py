"""What a browser may show, and under which name the rest is saved (RFC 6266, RFC 8187)."""

from __future__ import annotations

from email.message import Message
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend.http.inert import INERT_TYPES, disposition, is_inert


@pytest.mark.parametrize("content_type", sorted(INERT_TYPES))
def test_inert_types_are_shown(content_type: str) -> None:
    assert is_inert(content_type) and is_inert(f"{content_type.upper()} ; charset=utf-8")
    assert disposition(content_type, "") is None


@pytest.mark.parametrize(
    "content_type",
    [
        "text/html", "Text/HTML ; charset=x", "image/svg+xml", "application/xhtml+xml", "application/xml", "text/xml;x=y",
        "application/atom+xml", "text/xsl", "application/pdf", "text/javascript", "application/javascript", "text/css",
        "multipart/x-mixed-replace;boundary=a", "multipart/mixed", "application/x-shockwave-flash", "text/vbscript",
        "message/rfc822", "text/html, text/plain", "text/plain, text/html;q=1", "text/plain,text/html", "text", "", "x/y",
        "text/plain\ttext/html",
    ],
)  # fmt: skip
def test_everything_else_is_for_saving(content_type: str) -> None:
    assert not is_inert(content_type)
    assert disposition(content_type, "") == "attachment"


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("a b.bin", 'attachment; filename="a b.bin"'),
        ("é.bin", "attachment; filename=\"_.bin\"; filename*=UTF-8''%C3%A9.bin"),
        ('a"b', "attachment; filename=\"a_b\"; filename*=UTF-8''a%22b"),
        ("100%", "attachment; filename=\"100_\"; filename*=UTF-8''100%25"),
        ("a;b=c", 'attachment; filename="a;b=c"'),
        ("a*b'c(d)", 'attachment; filename="a*b\'c(d)"'),
    ],
)
def test_the_file_name_stands_there_safely(filename: str, expected: str) -> None:
    assert disposition("text/html", filename) == expected


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\"), min_size=1, max_size=40))
def test_any_name_is_one_header_and_comes_back(filename: str) -> None:
    value = disposition("text/html", filename)
    assert value is not None and value.isascii() and value.isprintable()
    message = Message()
    message["Content-Disposition"] = value
    parameters = dict(message.get_params(header="content-disposition") or [])
    assert set(parameters) <= {"attachment", "filename", "filename*"}
    if "filename*" in value:
        assert unquote(value.partition("filename*=UTF-8''")[2]) == filename
    else:
        assert parameters["filename"] == filename
