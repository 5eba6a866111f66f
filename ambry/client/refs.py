"""What a caller calls a blob by, and where that stands: the one place that makes a path of it, and a text that can be pasted.

    BlobId, or its 48 characters                a blob, whatever names it has; also as ID.ext, and as ambry+id://ID
    ambry://<account>/<container>/<name...>     what a name points to; percent-decoded once
    http://host:port/ID, .../named/a/c/name     the blob, or the name, of a URL of the API; who is asked is the client's, and
                                                what stands behind ? does not count: a URL that was signed is pasted as it is
    NameRef, or any other text                  the same, in the account and the container of the client; exactly as it is
    VersionRef                                  a version of a dataset

A name is any text. One that looks like an id is written as ambry:// or as a NameRef: a text that is an id means the blob, and
one that is nearly an id is refused, so that nobody takes a mistyped id for a name that is not there.

In ambry:// all but the slashes may be percent-encoded, and `%`, `?` and `#` must be, and an @ of an account or a container.
`str()` of a NameRef is such a text: it leaves nothing in it that a shell, a terminal or a clipboard would change, and says the
same name when it is read again.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from ambry.errors import InvalidBlobId, InvalidRequest
from ambry.ids import ID_TEXT_SIZE, BlobId
from ambry.rest import names
from ambry.rest.text import percent_decoded
from ambry.shown_urls import shown_place

if TYPE_CHECKING:
    from ambry.client.model import BlobInfo

SCHEME = "ambry://"
ID_SCHEME = "ambry+id://"
LATEST = "LATEST"

_NEARLY_AN_ID = re.compile(r"\s*/?[A-Za-z0-9_-]{45,51}(?:/|[?#].*)?\s*", re.DOTALL)
_WRITTEN_ID = re.compile(r"(?:ambry\+id://|/)?([A-Za-z0-9_-]{48})(?:\.[A-Za-z0-9]{1,16})?")
_ID_URL = re.compile(r"https?://[^\s?#]*/([A-Za-z0-9_-]{48})(?:\.[A-Za-z0-9]{1,16})?/?(?:[?#].*)?")
_NAME_URL = re.compile(r"https?://[^\s?#]+?/named/([^/?#]+)/([^/?#]+)/([^?#]+)(?:[?#].*)?")
_NO_DATASET = re.compile(r"[\x00-\x1f\x7f]|://")
_OR_URI = f"or {SCHEME}<account>/<container>/<name>"
_KEPT = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/")


@dataclass(frozen=True, slots=True)
class NameRef:
    """A name, exactly. An account or a container that is empty is the client's."""

    name: str
    account: str = ""
    container: str = ""

    def __str__(self) -> str:
        """As it can be pasted, where account and container are known."""
        return f"{SCHEME}{_shown(self.account)}/{_shown(self.container)}/{_shown(self.name, '/')}"


@dataclass(frozen=True, slots=True)
class PinnedName(NameRef):
    """A name, and the blob that it pointed to when it was looked up. What is read is that blob and no other.

    It is asked for by the name as long as that points there, and by its id then: a key for a name prefix reads no ids.
    """

    blob: BlobId = field(kw_only=True)
    etag: str = field(default="", kw_only=True)


@dataclass(frozen=True, slots=True)
class VersionRef:
    """A version of a dataset: its number, LATEST, or `@` and an alias. What is empty is the client's."""

    dataset: str
    version: str = LATEST
    account: str = ""
    container: str = ""

    def __str__(self) -> str:
        return f"version {self.version} of dataset {self.dataset}"


Ref = BlobId | NameRef | VersionRef | str
"""What a call takes for a blob."""

Place = BlobId | NameRef | VersionRef
"""A Ref that is understood: a NameRef or VersionRef says its account and container."""

P = TypeVar("P", NameRef, VersionRef)


def place_of(ref: Ref | object, *, account: str, container: str) -> Place:
    """What a caller means; `account` and `container` are the client's.

    Raises InvalidRequest for what cannot be one, TypeError for what is no Ref at all.
    """
    if isinstance(ref, BlobId):
        return ref
    if isinstance(ref, VersionRef):
        return _filled(ref, account, container)
    if isinstance(ref, NameRef):
        return _filled(ref, account, container)
    if not isinstance(ref, str):
        raise TypeError(
            "a blob is named by its id (as text or BlobId), by a name (text or NameRef) or by a VersionRef, "
            f"not by {type(ref).__name__}"
        )
    if ref.startswith(SCHEME):
        return parse_uri(ref)
    if _NEARLY_AN_ID.fullmatch(ref) or ref.startswith(ID_SCHEME):
        return id_of(ref)
    return written_place(ref) or name_place(ref, account=account, container=container)


def found_as(info: BlobInfo) -> BlobId | PinnedName:
    """What a blob is read by once it was looked up: by the name that it was asked for by, else by its id."""
    if not info.name:
        return info.id
    return PinnedName(info.name, info.account, info.container, blob=info.id, etag=info.etag)


def found_entry(ref: NameRef, blob: BlobId, etag: str = "") -> PinnedName:
    """What a blob is read by that a list of names told, which has no ETags."""
    return PinnedName(ref.name, ref.account, ref.container, blob=blob, etag=etag)


def id_in(found: BlobId | PinnedName) -> BlobId:
    """The blob that was found."""
    return found.blob if isinstance(found, PinnedName) else found


def name_place(name: object, *, account: str, container: str) -> NameRef:
    """The name that a caller means where nothing but a name can stand: an id is one here. Raises InvalidRequest, TypeError."""
    if isinstance(name, NameRef):
        return _filled(name, account, container)
    if not isinstance(name, str):
        raise TypeError(f"a name is text or a NameRef, not {type(name).__name__}")
    if name.startswith(SCHEME):
        return parse_uri(name)
    if name.startswith(ID_SCHEME):
        raise InvalidRequest(
            f"{shown_place(name)!r} is the blob of an id, and here stands a name; a NameRef means even such a text"
        )
    if "://" in name and (shown := shown_place(name)) != name:
        raise InvalidRequest(f"{shown!r} is a URL with what may open it, and no name; a NameRef means even such a text")
    return _filled(NameRef(name), account, container)


def dataset_place(name: object, version: str, *, account: str, container: str) -> VersionRef:
    """The dataset that a caller means. Raises InvalidRequest, TypeError."""
    if not isinstance(name, str):
        raise TypeError(f"a dataset is named by text, not by {type(name).__name__}")
    place = VersionRef(name, version)
    if name.startswith(SCHEME):
        said = parse_uri(name)
        place = VersionRef(said.name, version, said.account, said.container)
    return _filled(place, account, container)


def id_of(ref: Ref | object) -> BlobId:
    """The id that a caller means where nothing but an id can stand. Raises InvalidRequest, TypeError."""
    if isinstance(ref, BlobId):
        return ref
    if not isinstance(ref, str):
        raise TypeError(f"this takes the id of a blob, as text or BlobId, not {type(ref).__name__}")
    if (found := _written_id(ref)) is not None:
        return found
    shown = shown_place(ref)  # It may be the end of a URL that was signed, too.
    written = ref.removeprefix("/")  # As it stands in a Location header.
    if len(written) != ID_TEXT_SIZE:
        raise InvalidRequest(
            f"{shown!r} is not a blob id: an id has {ID_TEXT_SIZE} characters; if it is a name, write it as "
            f"{SCHEME}<account>/<container>/<name>"
        )
    try:
        return BlobId.parse(written)
    except InvalidBlobId as cause:
        raise InvalidBlobId(f"{shown!r} is not a blob id: {cause.message}") from None


def written_place(text: str) -> BlobId | NameRef | None:
    """The blob of an id, of `ID.ext` or of a URL, or the name of one; None for all other text. Raises InvalidRequest."""
    found = _NAME_URL.fullmatch(text)
    if found is not None:
        return parse_uri(f"{SCHEME}{found[1]}/{found[2]}/{found[3]}")
    return _written_id(text)


def _written_id(text: str) -> BlobId | None:
    """The id in `ID.ext`, or in the URL of a blob; None where no id stands there, whose check says so.

    Raises InvalidBlobId for a URL where one should stand.
    """
    found = _WRITTEN_ID.fullmatch(text) or _ID_URL.fullmatch(text)
    if found is None:
        return None
    try:
        return BlobId.parse(found[1])
    except InvalidBlobId as cause:
        if text.startswith(("http://", "https://", ID_SCHEME)):
            raise InvalidBlobId(f"{shown_place(text)!r} has no blob id in it: {cause.message}") from None
        return None


def parse_uri(text: str) -> NameRef:
    """The name that an ambry:// says. Raises InvalidRequest."""
    place = _parse_prefix(text)
    if not place.name:
        raise InvalidRequest(f"{text!r} names no blob; write {SCHEME}<account>/<container>/<name>")
    return place


def prefix_place(prefix: object, *, account: str, container: str) -> NameRef:
    """What names begin with: a `name` that may be empty. Raises InvalidRequest, TypeError."""
    if not isinstance(prefix, str):
        raise TypeError(f"a prefix is text, not {type(prefix).__name__}")
    if prefix.startswith(SCHEME):
        return _parse_prefix(prefix)
    _utf8("a prefix", prefix)
    return NameRef(prefix, *_checked(account, container))


def _parse_prefix(text: str) -> NameRef:
    account, _, rest = text.removeprefix(SCHEME).partition("/")
    container, inner, name = rest.partition("/")
    if "@" in account or ("@" in container and inner):
        raise InvalidRequest(f"{SCHEME} has no user and no password; write %40 for an @ of account or container")
    for reserved, escape in (("?", "%3F"), ("#", "%23")):
        if reserved in text:
            # What stands behind it opens something in other URLs.
            raise InvalidRequest(f"behind {shown_place(text)!r} write {escape} where the name has a {reserved}")
    if not account or not container:
        raise InvalidRequest(f"{text!r} says no account and container; write {SCHEME}<account>/<container>/<name>")
    return NameRef(decoded(text, name), *_checked(decoded(text, account), decoded(text, container)))


def uri_part(text: str) -> str:
    """Text as a part of an ambry://."""
    return _shown(text)


def shown(place: NameRef, *, account: str, container: str) -> str:
    """As it can be pasted where these are the account and the container: the name as it is, if nothing in it would be changed,
    or taken for something else."""
    same = (place.account, place.container) == (account, container)
    plain = _shown(place.name, "/") == place.name and not place.name.startswith(("-", "~"))
    is_id = _NEARLY_AN_ID.fullmatch(place.name) or _written_id(place.name) is not None
    return place.name if same and plain and not is_id else str(place)


def path_of(place: Place) -> str:
    """The path of a request about it."""
    if isinstance(place, BlobId):
        return f"/{place}"
    names_path = f"{list_path(place.account, place.container)}/"
    if isinstance(place, VersionRef):
        return f"{names_path}{_quoted(place.dataset)}/{_quoted(place.version)}"
    # A segment of dots alone would be taken off by whoever tidies paths up.
    segments = _quoted(place.name, "/").split("/")
    return names_path + "/".join(each.replace(".", "%2E") if each in (".", "..") else each for each in segments)


def list_path(account: str, container: str) -> str:
    """The path of the names of a container."""
    return f"/named/{_quoted(account)}/{_quoted(container)}"


def versions_path(place: VersionRef) -> str:
    """The path of all versions of a dataset."""
    return f"{list_path(place.account, place.container)}/{_quoted(place.dataset)}"


def headers_of(place: Place) -> dict[str, str]:
    """What a request about it says beside its path."""
    return {names.DATASET_VERSION_QUERY: "true"} if isinstance(place, VersionRef) else {}


def subject_of(place: Place) -> str:
    """What messages call it."""
    if isinstance(place, BlobId):
        return f"blob {place}"
    return f"name {place}" if isinstance(place, NameRef) else str(place)


def _filled(place: P, account: str, container: str) -> P:
    """Raises InvalidRequest for text that is none."""
    said = place.name if isinstance(place, NameRef) else place.dataset
    if isinstance(place, VersionRef):
        check_version(place.version)
    what = "a name" if isinstance(place, NameRef) else "a dataset's name"
    if not said:
        raise InvalidRequest(f"{what} is empty; write 1 to 1,024 bytes of text")
    _utf8(what, said)
    if isinstance(place, VersionRef) and _NO_DATASET.search(said):
        # It stands in a header, which a line end would cut in two; of a URL the answer would tell what opens it.
        raise InvalidRequest(f"{what} is letters, digits, dots, dashes and underscores, {_OR_URI}")
    account, container = _checked(place.account or account, place.container or container)
    return replace(place, account=account, container=container)


def check_version(version: object) -> None:
    """Raises TypeError for a number: versions are text, for 1.10 and 1.1 are two."""
    if not isinstance(version, str):
        raise TypeError(f"a version is text, as it is written, not {version!r}: write {str(version)!r}")


def _checked(account: str, container: str) -> tuple[str, str]:
    """Raises InvalidRequest."""
    # Not before it is needed, so that `ambry --help` is quick.
    from ambry.rest.accounts import name_of

    return name_of("account", account), name_of("container", container)


def _utf8(what: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"{what} is text that UTF-8 can hold, and not {text!r}") from None


def _quoted(text: str, kept: str = "") -> str:
    _utf8("a name", text)
    return quote(text, safe=kept)


def decoded(uri: str, text: str) -> str:
    """Text of a URL, which may be encoded in part: characters that are beyond ASCII, spaces and the like may stand as they are.

    Raises InvalidRequest for an escape that is none.
    """
    _utf8("a name", text)
    return percent_decoded(f"the name in {uri!r}", quote(text, safe="%!\"#$&'()*+,/:;<=>?@[\\]^`{|}"))


def _shown(text: str, kept: str = "") -> str:
    """Letters, digits and signs of all scripts stand as they are, unless a clipboard might compose them anew."""
    wide = text.isascii() or unicodedata.is_normalized("NFC", text)
    return "".join(
        each
        if (each in _KEPT and (each != "/" or kept)) or (wide and not each.isascii() and _is_sign(each))
        else quote(each, safe="", errors="replace")
        for each in text
    )


def _is_sign(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character) == "So"
