"""What an argument of `ambry cp`, `sync`, `mv` and `verify` names: files here, or blobs in a store.

    -                                   the standard input or output
    ambry://account/container/name      a name; one that ends with a slash, or a container alone, is a folder
    ambry://account/container/a/*.bin   a pattern: `*` within a part of the name, `**` over parts, `[a-z]` one character
    an id, a URL of the API             a blob, or a name
    anything else                       a file or a folder here

A name of the store is always written in full: `models/a` is a file, so that no typing mistake sends a file elsewhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from ambry.client.refs import SCHEME, NameRef, prefix_place, written_place
from ambry.errors import InvalidRequest
from ambry.ids import BlobId

PIPE = "-"
_MAGIC = re.compile(r"\*\*/|\*\*|\*|\[!?[^\]/]+\]")

_CLASS_SIGNS = re.compile(r"[\\^\[\]]")


@dataclass(frozen=True, slots=True)
class Pipe:
    """The standard input, or the standard output."""

    def __str__(self) -> str:
        return PIPE


@dataclass(frozen=True, slots=True)
class Here:
    """A path of this machine, as it was typed."""

    path: str

    @property
    def says_folder(self) -> bool:
        return self.path.endswith("/") or self.path in (".", "..") or self.path.endswith(("/.", "/.."))

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob by its id."""

    id: BlobId

    def __str__(self) -> str:
        return str(self.id)


@dataclass(frozen=True, slots=True)
class There:
    """A name of a store, or a folder of names."""

    place: NameRef

    @property
    def says_folder(self) -> bool:
        return not self.place.name or self.place.name.endswith("/")

    def __str__(self) -> str:
        return str(self.place)


@dataclass(frozen=True, slots=True)
class Pattern:
    """The names below `folder` of which all that follows fits."""

    text: str
    folder: NameRef
    rest: re.Pattern[str]

    def __str__(self) -> str:
        return self.text


Side = Pipe | Here | Blob | There | Pattern


def side_of(text: str) -> Side:
    """What somebody typed. Raises InvalidRequest."""
    if text == PIPE:
        return Pipe()
    if text.startswith(SCHEME):
        return _pattern(text) or There(prefix_place(text, account="", container=""))
    found = written_place(text)
    if found is not None:
        return Blob(found) if isinstance(found, BlobId) else There(found)
    if not text:
        raise InvalidRequest("an argument is empty; write a path, or ambry://<account>/<container>/<name>")
    return Here(text)


def _pattern(text: str) -> Pattern | None:
    """What is escaped in a name means itself: `%2A` is a star."""
    first = _MAGIC.search(text)
    if first is None:
        return None
    folder = text[: text.rfind("/", 0, first.start()) + 1]
    if folder == SCHEME or folder.count("/") < 4:
        raise InvalidRequest(f"{text!r} has a pattern where an account and a container stand; only names have patterns")
    place = prefix_place(folder, account="", container="")
    return Pattern(text, place, name_pattern(text[len(folder) :]))


def name_pattern(text: str) -> re.Pattern[str]:
    """What a pattern matches: the whole of a name, or of what follows a folder."""
    found = ""
    end = 0
    for magic in _MAGIC.finditer(text):
        found += re.escape(unquote(text[end : magic.start()]))
        end = magic.end()
        sign = magic[0]
        if sign == "**/":
            found += "(?:.*/)?"
        elif sign == "**":
            found += ".*"
        elif sign == "*":
            found += "[^/]*"
        else:
            inner = unquote(sign[1:-1])
            negated = inner.startswith("!")
            signs = _CLASS_SIGNS.sub(r"\\\g<0>", inner[negated:])
            found += f"[^/{signs}]" if negated else f"[{signs}]"
    try:
        return re.compile(found + re.escape(unquote(text[end:])), re.DOTALL)
    except re.error as cause:
        raise InvalidRequest(f"{text!r} is no pattern: {cause}") from cause
