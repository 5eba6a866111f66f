"""Values of Ambry's own headers as text and back: time to live, durability, digests."""

from __future__ import annotations

from ambry.checksum import DIGEST_SIZE
from ambry.durability import Durability
from ambry.errors import InvalidRequest
from ambry.rest import names
from ambry.rest.text import one_of

TTL_SECONDS_MAX = 10**11
TIME_MS_MAX = 253_402_300_799_999
"""The last millisecond of the year 9999, since 1970: what calendars have."""
"""Over 3,000 years; whoever means longer means for ever."""
FOREVER = "-1"

DEFAULT_NAME = "default"
"""Of the account and of the container that a blob belongs to when nothing is said."""

_DURABILITIES = {each.name.lower(): each for each in Durability}
_FLAGS = {"true": True, "false": False}


def ttl_text(seconds: int | None) -> str:
    """`x-ambry-ttl` of whole seconds, None for ever."""
    return FOREVER if seconds is None else str(seconds)


def ttl_seconds(text: str) -> int | None:
    """The seconds that an `x-ambry-ttl` says, None for ever. Raises InvalidRequest.

    The text may have any length: what is too long for a number that we take is never made one.
    """
    if text == FOREVER:
        return None
    digits = text.lstrip("0") if text.isascii() and text.isdigit() else ""
    if not digits or len(digits) > len(str(TTL_SECONDS_MAX)) or int(digits) > TTL_SECONDS_MAX:
        shown = text if len(text) <= 40 else f"{text[:40]}..."
        raise InvalidRequest(
            f"{names.TTL} is a number of seconds from 1 to {TTL_SECONDS_MAX}, or -1 for ever, not {shown!r}"
        )
    return int(digits)


def durability_text(durability: Durability) -> str:
    return durability.name.lower()


def durability(text: str) -> Durability:
    """Raises InvalidRequest."""
    return _DURABILITIES[one_of(names.DURABILITY, text, _DURABILITIES)]


def flag(what: str, text: str) -> bool:
    """Raises InvalidRequest."""
    return _FLAGS[one_of(what, text, _FLAGS)]


def digest(text: str) -> bytes:
    """The bytes of an `x-ambry-digest`. Raises InvalidRequest."""
    try:
        # fromhex() would pass over spaces.
        raw = bytes.fromhex(text) if len(text) == 2 * DIGEST_SIZE else b""
    except ValueError:
        raw = b""
    if len(raw) != DIGEST_SIZE:
        raise InvalidRequest(f"{names.DIGEST} is the xxh3-128 of the body in {2 * DIGEST_SIZE} hexadecimal digits")
    return raw


def digest_text(digest: bytes, parts: int = 0) -> str:
    """`x-ambry-digest` of a blob: the xxh3-128 of its bytes, or that of the digests of its parts, and `-<parts>`."""
    return f"{digest.hex()}-{parts}" if parts else digest.hex()


def is_of_parts(text: str) -> bool:
    """Whether an `x-ambry-digest` is of the digests of parts: nobody can compare it with the bytes. Raises InvalidRequest."""
    whole, dash, count = text.partition("-")
    digest(whole)
    if dash and not (count.isascii() and count.isdigit() and 0 < len(count) <= 5):
        raise InvalidRequest(f"{names.DIGEST}: behind the dash stands the number of parts, not {count[:20]!r}")
    return bool(dash)
