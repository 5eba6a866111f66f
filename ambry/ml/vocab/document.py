"""What is proposed for a vocabulary, and what was said of it: two small JSON documents that never change.

    {"format": 1, "dimension": "flagship/feedActions-1-0", "names": ["Repost"], "author": "ann", "reason": "new in spring",
     "created_ms": 1795000000000}
    {"format": 1, "proposal": "5c0f7d2a91be", "verdict": "accepted", "names": ["Repost"], "author": "bob", "reason": "...",
     "created_ms": 1795000060000}

Canonical (names sorted, no white space), so that a proposal is called by the beginning of its SHA-256.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ambry.errors import MALFORMED, DataCorrupt, InvalidRequest
from ambry.ml.features.urn import Reference
from ambry.ml.features.vocabulary import Vocabulary

FORMAT = 1
CONTENT_TYPE = "application/json"
DOCUMENT_SIZE_MAX = 4 << 20
"""Bytes."""
PROPOSAL_SIZE_MAX = 2 << 20
"""Bytes. Less, as a review repeats the names."""
NAMES_MAX = 10_000
"""Of one proposal."""
AUTHOR_CHARACTERS_MAX = 100
REASON_CHARACTERS_MAX = 500
CREATED_MS_MAX = 253_402_300_799_999
"""The end of the year 9999."""
ID_SIZE = 12
ACCEPTED = "accepted"
REJECTED = "rejected"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class VocabProposal:
    """Names for the vocabulary of a dimension, in the order in which they are to get their ids."""

    dimension: Reference
    names: tuple[str, ...]
    author: str
    reason: str
    created_ms: int

    def __post_init__(self) -> None:
        """Raises InvalidRequest."""
        if self.dimension.namespace is None:
            raise InvalidRequest(f"write the dimension with its namespace, such as flagship/{self.dimension}")
        if not 1 <= len(self.names) <= NAMES_MAX:
            raise InvalidRequest(f"a proposal has 1 to {NAMES_MAX} names, and not {len(self.names)}")
        for name in self.names:
            if not isinstance(name, str) or not name.isprintable():
                raise InvalidRequest(f"{name!r} is no name to propose; take printable text")
        Vocabulary.of(self.names)
        check_signature(self.author, self.reason, self.created_ms)
        if (size := len(self.encode())) > PROPOSAL_SIZE_MAX:
            raise InvalidRequest(
                f"a proposal of {size} bytes is more than {PROPOSAL_SIZE_MAX}; propose the names in parts"
            )

    @property
    def id(self) -> str:
        return hashlib.sha256(self.encode()).hexdigest()[:ID_SIZE]

    def encode(self) -> bytes:
        return _canonical(
            dimension=str(self.dimension),
            names=list(self.names),
            author=self.author,
            reason=self.reason,
            created_ms=self.created_ms,
        )

    @classmethod
    def parse(cls, data: bytes, place: str = "") -> VocabProposal:
        """`place` says where it lies. Raises DataCorrupt."""

        def read(said: Mapping[str, Any]) -> VocabProposal:
            return cls(
                dimension=Reference.parse(said["dimension"]),
                names=tuple(said["names"]),
                author=said["author"],
                reason=said["reason"],
                created_ms=int(said["created_ms"]),
            )

        return _parsed(data, read, "proposal for a vocabulary", place)


@dataclass(frozen=True, slots=True, kw_only=True)
class VocabReview:
    """What was decided of a proposal, once and for all. `names` are those that were accepted."""

    proposal: str
    verdict: str
    names: tuple[str, ...]
    author: str
    reason: str
    created_ms: int

    def __post_init__(self) -> None:
        """Raises InvalidRequest."""
        if self.verdict not in (ACCEPTED, REJECTED) or (self.verdict == ACCEPTED) != bool(self.names):
            raise InvalidRequest(f"a review is {ACCEPTED} with names or {REJECTED} without, and not {self.verdict!r}")
        check_signature(self.author, self.reason, self.created_ms)

    def encode(self) -> bytes:
        return _canonical(
            proposal=self.proposal,
            verdict=self.verdict,
            names=list(self.names),
            author=self.author,
            reason=self.reason,
            created_ms=self.created_ms,
        )

    @classmethod
    def parse(cls, data: bytes, made: VocabProposal, place: str = "") -> VocabReview:
        """The review of `made`. Raises DataCorrupt, also for one of another proposal."""

        def read(said: Mapping[str, Any]) -> VocabReview:
            review = cls(
                proposal=said["proposal"],
                verdict=said["verdict"],
                names=tuple(said["names"]),
                author=said["author"],
                reason=said["reason"],
                created_ms=int(said["created_ms"]),
            )
            if review.proposal != made.id or not set(review.names) <= set(made.names):
                raise DataCorrupt(f"{place}: this is no review of the proposal {made.id}")
            return review

        return _parsed(data, read, "review of a proposal", place)


def published_version(data: bytes, place: str) -> str:
    """What the `published.json` there says. Raises DataCorrupt."""
    try:
        version = json.loads(data)["version"]
    except MALFORMED as error:
        raise DataCorrupt(f"{place}: this names no version: {error}; delete it and accept again") from error
    if not isinstance(version, str):
        raise DataCorrupt(f"{place}: {version!r} is no version; delete it and accept again")
    return version


def encode_published(version: str) -> bytes:
    return json.dumps({"version": version}).encode()


def check_signature(author: str, reason: str, created_ms: int) -> None:
    """Raises InvalidRequest: who changes a vocabulary says who they are and why."""
    if not 0 <= created_ms <= CREATED_MS_MAX:
        raise InvalidRequest(f"{created_ms} ms is no time from 1970 to 9999")
    for what, text, most in (
        ("who", author, AUTHOR_CHARACTERS_MAX),
        ("why", reason, REASON_CHARACTERS_MAX),
    ):
        if not text.strip() or len(text) > most or not text.isprintable():
            raise InvalidRequest(f"say {what}, in one line of 1 to {most} characters; {text[:most]!r} was said")


def _canonical(**said: Any) -> bytes:
    """Raises InvalidRequest for text that is no Unicode."""
    try:
        return json.dumps(
            {"format": FORMAT, **said}, sort_keys=True, separators=(",", ":"), ensure_ascii=False
        ).encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"a text is not Unicode: {error}") from None


def _parsed(data: bytes, read: Callable[[Mapping[str, Any]], T], what: str, place: str) -> T:
    where = f"{place}: " if place else ""
    try:
        said = json.loads(data)
        if said["format"] != FORMAT:
            raise DataCorrupt(
                f"{where}this is a {what} of the format {said['format']!r}, which this release does not read"
            )
        return read(said)
    except MALFORMED as error:
        raise DataCorrupt(f"{where}this is no {what}: {error}; delete it if it is nobody's") from error
