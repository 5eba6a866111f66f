"""What a model, a snapshot or definitions are called: a dataset, and which version of it.

fraud                           the newest version of the dataset of the client's container
fraud@1.2.0                     that version
fraud@champion                  where the alias points now
fraud@sha256:9f86d081...        the version that has this digest, whichever it is: all 64 digits (digests.py finds it)
ambry://team/models/fraud@...   the same of another container
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from ambry.client.refs import LATEST, SCHEME, NameRef, VersionRef, parse_uri
from ambry.errors import InvalidRequest
from ambry.rest.versions import VersionToken
from ambry.shown_urls import shown_place

DIGEST_MARK = "sha256:"
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Placed(Protocol):
    """What was published or opened: a model, a snapshot, an experiment."""

    @property
    def place(self) -> VersionRef:
        """With its number."""


@dataclass(frozen=True, slots=True)
class SettledVersion:
    """A version that was looked up before, with its number: who is handed it looks it up no more, and it may be gone since."""

    place: VersionRef


Place = str | VersionRef | Placed
"""Whatever says which version is meant."""


def version_of(text: Place) -> VersionRef:
    """Raises InvalidRequest for what names no dataset."""
    if isinstance(text, VersionRef):
        return text
    if not isinstance(text, str):
        place = getattr(text, "place", None)
        if not isinstance(place, VersionRef):
            raise InvalidRequest(
                f"a {type(text).__name__} names no version; write NAME, NAME@1.2.0, NAME@ALIAS or NAME@sha256:DIGEST"
            )
        return place
    dataset, at, wanted = text.rpartition("@") if "@" in text.rpartition("/")[2] else (text, "", "")
    if not dataset or (at and not wanted):
        raise InvalidRequest(
            f"{shown_place(text)!r} names no version; write NAME, NAME@1.2.0, NAME@ALIAS or NAME@sha256:DIGEST"
        )
    return in_dataset(dataset, _wanted(wanted))


def in_dataset(dataset: str, version: str = LATEST) -> VersionRef:
    """`version` of a dataset that may be said with its container, ambry://<account>/<container>/<dataset>.

    Raises InvalidRequest.
    """
    if not dataset.startswith(SCHEME):
        return VersionRef(dataset, version)
    said = parse_uri(dataset)
    return VersionRef(said.name, version, said.account, said.container)


def digest_version(digest: str) -> str:
    """What stands in the place of a version where a digest names it. Raises InvalidRequest."""
    if not _SHA256.fullmatch(digest.lower()):
        raise InvalidRequest(f"a digest is a SHA-256, 64 hexadecimal digits, and not {digest!r}")
    return DIGEST_MARK + digest.lower()


def settled(exact: str) -> Place:
    """Of text with a number, as `shown_version` made it; empty text is none. Raises InvalidRequest."""
    return SettledVersion(version_of(exact)) if exact else ""


def dataset_of(said: Place) -> str:
    """The dataset, where a text names it alone and all else names a version of it. Raises InvalidRequest."""
    return said if isinstance(said, str) else dataset_text(version_of(said))


def dataset_text(place: VersionRef) -> str:
    """The dataset as `in_dataset` reads it again."""
    return str(NameRef(place.dataset, place.account, place.container)) if place.account else place.dataset


def shown_version(place: VersionRef) -> str:
    """As `version_of` reads it again, with its container where one is said."""
    return f"{dataset_text(place)}@{place.version.removeprefix('@')}"


def _wanted(wanted: str) -> str:
    """Numbers begin with a digit; what does not is a digest or an alias."""
    if not wanted:
        return LATEST
    if wanted.lower().startswith(DIGEST_MARK):
        return digest_version(wanted[len(DIGEST_MARK) :])
    return wanted if wanted[0].isdigit() or wanted in VersionToken.__members__ else f"@{wanted}"
