"""Content that browsers run is never run under our name: what an answer with a user's bytes in it says to a browser."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import quote

INERT_TYPES = frozenset({
    "application/json", "application/octet-stream", "audio/aac", "audio/flac", "audio/mp4", "audio/mpeg", "audio/ogg",
    "audio/wav", "audio/webm", "audio/x-wav", "image/apng", "image/avif", "image/bmp", "image/gif", "image/jpeg", "image/png",
    "image/webp", "image/x-icon", "image/vnd.microsoft.icon", "text/csv", "text/markdown", "text/plain", "video/mp4",
    "video/mpeg", "video/ogg", "video/quicktime", "video/webm",
})  # fmt: skip
"""Types that hold nothing a browser would run or load. Left out on purpose: everything of HTML, XML, SVG and XSLT, PDF (its
viewers run scripts), scripts and style sheets, and multipart (of which a part may be any type)."""

GUARDS = {
    "X-Content-Type-Options": "nosniff",
    # Whatever shows it, it has no origin, no scripts, no forms (W3C CSP 3, section 6.3.2).
    "Content-Security-Policy": "sandbox",
}

_ATTR_CHARS = "!#$&+-.^_`|~"
_UNQUOTED = frozenset('"\\%')


def is_inert(content_type: str) -> bool:
    """Whether a browser may show it. What is not one plain media type is not inert."""
    return content_type.partition(";")[0].strip(" \t").lower() in INERT_TYPES


@lru_cache(maxsize=512)
def disposition(content_type: str, filename: str) -> str | None:
    """The Content-Disposition of an answer (RFC 6266), None where none is needed.

    `filename` is one that ambry.rest.text takes, or empty.
    """
    kind = "inline" if is_inert(content_type) else "attachment"
    if not filename:
        return None if kind == "inline" else kind
    if filename.isascii() and filename.isprintable() and _UNQUOTED.isdisjoint(filename):
        return f'{kind}; filename="{filename}"'
    # For readers that know nothing of RFC 8187 a stand-in comes first.
    plain = "".join(c if " " <= c <= "~" and c not in _UNQUOTED else "_" for c in filename)
    encoded = quote(filename, safe=_ATTR_CHARS, errors="replace")
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{encoded}"
