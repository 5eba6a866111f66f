"""User metadata as headers: `x-ambry-um-<key>: <plain text>`, or `x-ambry-enc-um-<key>: <percent-encoded UTF-8>`.

A key is part of a header name, so it is a token (RFC 9110 section 5.6.2) in lower case. A value is any Unicode text.
The bounds are on the headers as they travel, so what was accepted can be sent back to every client.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ambry.errors import HeadersTooLarge, InvalidRequest
from ambry.rest.names import ENCODED_METADATA_PREFIX, METADATA_PREFIX
from ambry.rest.text import header_text, is_plain, percent_decoded, percent_encoded

KEYS_MAX = 64
SIZE_MAX = 8 << 10
"""Bytes of all names and values of the metadata's headers, prefixes and percent-encoding included.

One header alone then fits the shortest line that a client we know of takes (8,190 bytes of value, aiohttp).
"""

_KEY = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")


def encode(pairs: Mapping[str, str]) -> dict[str, str]:
    """Metadata as headers; never raises for pairs that `check` took."""
    headers: dict[str, str] = {}
    for key, text in pairs.items():
        if is_plain(text):
            headers[METADATA_PREFIX + key] = text
        else:
            headers[ENCODED_METADATA_PREFIX + key] = percent_encoded(f"the metadata value of {key!r}", text)
    return headers


def check(pairs: Mapping[str, str]) -> dict[str, str]:
    """Metadata as headers, every rule enforced. Raises InvalidRequest, HeadersTooLarge."""
    for key, text in pairs.items():
        _check_pair(key, text)
    headers = encode(pairs)
    size = sum(len(name) + len(value) for name, value in headers.items())
    if size > SIZE_MAX or len(headers) > KEYS_MAX:
        raise HeadersTooLarge(
            f"user metadata has at most {KEYS_MAX} keys and {SIZE_MAX} bytes as headers, this has {len(headers)} and "
            f"{size}; put larger things into a blob"
        )
    return headers


def _check_pair(key: object, text: object) -> None:
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise InvalidRequest(
            f"the metadata key {key!r} travels in a header's name: use the characters a-z, 0-9, '-', '_' and '.'"
        )
    if not isinstance(text, str):
        raise InvalidRequest(f"the metadata value of {key!r} must be text, not {type(text).__name__}")


def decode(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The metadata among headers, whose names are in lower case; others are passed over.

    Raises InvalidRequest for a key without a name or given twice, and for a value that is no text.
    """
    pairs: dict[str, str] = {}
    for name, value in headers:
        if name.startswith(METADATA_PREFIX):
            key = name[len(METADATA_PREFIX) :]
            text = header_text(name, value)
        elif name.startswith(ENCODED_METADATA_PREFIX):
            key = name[len(ENCODED_METADATA_PREFIX) :]
            text = percent_decoded(name, value)
        else:
            continue
        if not key or key in pairs:
            raise InvalidRequest(f"the user metadata key {key!r} is empty or stands there twice")
        pairs[key] = text
    return pairs
