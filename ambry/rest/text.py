"""What may stand in a header, and how text travels in one so that every HTTP library gives it back unchanged.

Header values reach a program as Latin-1 in one library and as UTF-8 in another, and all trim spaces at the ends. So text
travels plain only where it is printable ASCII without a space at either end; anything else goes percent-encoded as UTF-8
(RFC 3986 section 2.1), under a header name of its own that says so: nothing is ever guessed from a value.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from urllib.parse import quote, unquote_to_bytes

from ambry.errors import InvalidRequest

TEXT_SIZE_MAX = 255
"""Bytes of a content type, a content encoding, a service id or an owner id."""
FILENAME_SIZE_MAX = 255
"""Bytes of a file name in UTF-8: what file systems take, so that every name can be saved under."""

SENTENCE_SIZE_MAX = 512
"""Bytes of a sentence in a header, as it stands there."""

_VISIBLE = "".join(map(chr, range(0x21, 0x7F))).replace("%", "")
_CUT_ESCAPE = re.compile(r"%[0-9A-F]?\Z")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # nosec B105 # of RFC 9110
_QUOTED = r'"(?:[\t !#-\[\]-~]|\\[\t -~])*"'
# RFC 9110 sections 8.3.1 and 5.6.6: a parameter may be missing between two semicolons.
# Spaces match in one way only, so that no text makes the expression try many.
_MEDIA_TYPE = re.compile(rf"{_TOKEN}/{_TOKEN}(?:[ \t]*;(?:[ \t]*{_TOKEN}=(?:{_TOKEN}|{_QUOTED}))?)*")
_CODINGS = re.compile(rf"{_TOKEN}(?:[ \t]*,[ \t]*{_TOKEN})*")
# Controls of both sets, the separators of lines, and what turns the direction of the text around it (Unicode TR 36).
_UNSAFE_IN_NAME = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069/\\]")


def is_plain(text: str) -> bool:
    """Whether a header carries `text` as it is; the empty text it does."""
    return text.isascii() and text.isprintable() and text == text.strip(" ")


def percent_encoded(what: str, text: str) -> str:
    """`text` as UTF-8 in visible ASCII; `what` is named in errors.

    Raises InvalidRequest for lone surrogates, which are no text.
    """
    try:
        return quote(text, safe=_VISIBLE)
    except UnicodeEncodeError:
        raise InvalidRequest(f"{what} is text that UTF-8 can hold, and not {text!r}") from None


def percent_decoded(what: str, value: str) -> str:
    """The text that a percent-encoded value stands for; `what` is named in errors.

    Raises InvalidRequest where the value is not visible ASCII, has a % without two digits, or does not encode UTF-8.
    """
    if not (value.isascii() and value.isprintable()) or _BAD_ESCAPE.search(value):
        raise InvalidRequest(
            f"{what} is percent-encoded UTF-8: visible ASCII, with two hexadecimal digits after each %"
        )
    try:
        return unquote_to_bytes(value).decode()
    except UnicodeDecodeError:
        raise InvalidRequest(f"{what} is percent-encoded, but not UTF-8") from None


def sentence_in_header(text: str) -> str:
    """A sentence as a header carries it: printable ASCII stays, all else and % is percent-encoded UTF-8, and it may be cut."""
    encoded = quote(text[:SENTENCE_SIZE_MAX], safe=_VISIBLE + " ", errors="replace")
    if len(encoded) > SENTENCE_SIZE_MAX:
        # Not within an escape; what is left of a character is shown as such.
        encoded = _CUT_ESCAPE.sub("", encoded[:SENTENCE_SIZE_MAX])
    return encoded.strip(" ")


_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]")


def without_controls(text: str, instead: str = "?") -> str:
    """Text of a stranger without what could control a terminal or turn its direction."""
    return _CONTROLS.sub(instead, text)


def sentence_of_header(value: str) -> str:
    """What `sentence_in_header` made of a sentence; whatever else is sent is read as far as it can be."""
    return unquote_to_bytes(value).decode(errors="replace")


def header_text(what: str, value: str) -> str:
    """Text in a header that was sent as it is, which may be UTF-8 then.

    `value` is as a parser gives it: decoded as UTF-8, other bytes as surrogates. Raises InvalidRequest for those.
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"{what} is not UTF-8; send it percent-encoded under its -enc- name") from None
    return value


def plain_text(what: str, value: str) -> str:
    """A value that is printable ASCII of at most TEXT_SIZE_MAX bytes. Raises InvalidRequest."""
    if len(value) > TEXT_SIZE_MAX or not is_plain(value):
        raise InvalidRequest(f"{what} is printable ASCII of at most {TEXT_SIZE_MAX} bytes, without spaces at its ends")
    return value


@lru_cache(maxsize=256)
def media_type(what: str, value: str) -> str:
    """One media type with its parameters (RFC 9110 section 8.3.1), as it was given. Raises InvalidRequest."""
    if not _MEDIA_TYPE.fullmatch(plain_text(what, value)):
        raise InvalidRequest(f"{what} is one media type such as text/plain;charset=utf-8, not {value!r}")
    return value


def content_codings(what: str, value: str) -> str:
    """A list of content codings (RFC 9110 section 8.4), as it was given. Raises InvalidRequest."""
    if not _CODINGS.fullmatch(plain_text(what, value)):
        raise InvalidRequest(f"{what} lists content codings such as gzip, not {value!r}")
    return value


def filename(what: str, name: str) -> str:
    """A file name that can be shown and saved under. Raises InvalidRequest.

    It is one name and no path, and holds nothing that a screen, a header or a file system would take for something else.
    """
    if len(name.encode("utf-8", "surrogatepass")) > FILENAME_SIZE_MAX:
        raise InvalidRequest(f"{what} has at most {FILENAME_SIZE_MAX} bytes of UTF-8")
    if any("\ud800" <= character <= "\udfff" for character in name):
        raise InvalidRequest(f"{what} is text, and has bytes that are not UTF-8")
    if name in (".", "..") or _UNSAFE_IN_NAME.search(name):
        raise InvalidRequest(
            f"{what} is the name of one file: no slash or backslash, no control characters, none that turn the "
            "direction of writing"
        )
    return name


def one_of(what: str, value: str, known: Collection[str]) -> str:
    """`value` in lower case. Raises InvalidRequest where it is not one of `known`, which are in lower case."""
    lowered = value.lower()
    if lowered not in known:
        raise InvalidRequest(f"{what} is one of {', '.join(known)}, not {value[:40]!r}")
    return lowered
