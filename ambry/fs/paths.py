"""Paths of the file system, and what they stand for. Pure.

    ""                          where the accounts are
    account                     where its containers are
    account/container           where its names are
    account/container/name      a name, exactly as it is: nothing in a path is decoded
    ID                          a blob

In a URL escapes are decoded, as everywhere in ambry (ambry/client/refs.py): a path is what stands between.
"""

from __future__ import annotations

from dataclasses import dataclass

from ambry.client.refs import ID_SCHEME, SCHEME, NameRef, decoded, id_of
from ambry.errors import InvalidBlobId
from ambry.ids import ID_TEXT_SIZE, BlobId


@dataclass(frozen=True, slots=True)
class Where:
    """What a path stands for; `blob` for one that is an id. What is empty is not said."""

    account: str = ""
    container: str = ""
    name: str = ""
    blob: BlobId | None = None

    @property
    def ref(self) -> BlobId | NameRef:
        """What the client calls it. Raises FileNotFoundError for a place above all names."""
        if self.blob is not None:
            return self.blob
        if not self.name:
            raise FileNotFoundError(f"{self.path or '/'} is a directory: a file is account/container/name")
        return NameRef(self.name, self.account, self.container)

    @property
    def path(self) -> str:
        if self.blob is not None:
            return str(self.blob)
        return "/".join(each for each in (self.account, self.container, self.name) if each)


def path_of(text: str) -> str:
    """The path of a URL, and of a path itself. Raises InvalidRequest for an escape or an id that is none."""
    if text.startswith(ID_SCHEME):
        written = text.removeprefix(ID_SCHEME).strip("/")
        return str(id_of(written)) if written else ""
    if text.startswith(SCHEME):
        text = decoded(text, text.removeprefix(SCHEME))
    return text.strip("/")


def url_of(path: str) -> str:
    """The URL that stands for a path."""
    where = where_of(path)
    if where.blob is not None:
        return f"{ID_SCHEME}{where.blob}"
    return SCHEME + path.replace("%", "%25")


def where_of(path: str) -> Where:
    blob = _id_of(path)
    if blob is not None:
        return Where(blob=blob)
    account, _, rest = path.partition("/")
    container, _, name = rest.partition("/")
    return Where(account, container, name)


def _id_of(path: str) -> BlobId | None:
    if len(path) != ID_TEXT_SIZE or "/" in path:
        return None
    try:
        return BlobId.parse(path)
    except InvalidBlobId:
        return None
