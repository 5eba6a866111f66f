"""Versions of datasets as texts: what a schema takes for one, and what may stand in its place.

    TIMESTAMP, MONOTONIC    7          one number, of 63 bits
    SEMANTIC                1.2.3      three numbers up to 999
    SEMANTIC_LONG           1.2.3.4    four

A number is written in ASCII digits without a sign and without a 0 before it, so that a version has one text. A token may stand
in the place of a version, in any case: LATEST is the newest; MAJOR, MINOR, PATCH and REVISION of a put raise that part.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from ambry.errors import InvalidRequest

NUMBER_MAX = (1 << 63) - 1
PART_MAX = 999

DatasetVersion = tuple[int, ...]
"""The numbers of a version; they compare as versions do."""


class VersionToken(Enum):
    LATEST = "LATEST"
    MAJOR = "MAJOR"
    MINOR = "MINOR"
    PATCH = "PATCH"
    REVISION = "REVISION"


RAISED = (VersionToken.MAJOR, VersionToken.MINOR, VersionToken.PATCH, VersionToken.REVISION)
"""By the part that each raises."""


class VersionSchema(Enum):
    """The names are Ambry's."""

    TIMESTAMP = "TIMESTAMP"
    MONOTONIC = "MONOTONIC"
    SEMANTIC = "SEMANTIC"
    SEMANTIC_LONG = "SEMANTIC_LONG"

    @property
    def parts(self) -> int:
        """How many numbers a version has."""
        return {"SEMANTIC": 3, "SEMANTIC_LONG": 4}.get(self.value, 1)

    @property
    def tokens(self) -> tuple[VersionToken, ...]:
        """What may stand in the place of one."""
        return (VersionToken.LATEST, *(RAISED[: self.parts] if self.parts > 1 else ()))

    @property
    def shape(self) -> str:
        """What a version is, for a message."""
        if self.parts == 1:
            return "one number"
        return f"{self.parts} numbers from 0 to {PART_MAX}, as in {text_of(tuple(range(1, self.parts + 1)))}"


def text_of(version: DatasetVersion) -> str:
    return ".".join(map(str, version))


# What is told who comes too late for a version, by whoever finds out: the frontend, the library or Spark's driver.


def is_there(version: str, then: str = "say another version, or LATEST for the next") -> str:
    """`version` as it is shown, which has been there for long, or since a moment ago; `then` is what to do next."""
    return f"{version} is there, and a version is never written over: {then}"


def was_there(version: str) -> str:
    """`version` as it is shown, which is deleted."""
    return f"{version} was deleted, and a version is given once: say another version, or LATEST for the next"


def is_passed(version: str, newest: str, then: str = "say a later version, or LATEST for the next") -> str:
    """Of a dataset whose versions only rise; both as they are shown."""
    return f"versions of a dataset like this only rise, and {newest} was there before {version}: {then}"


def is_outrun(dataset: str) -> str:
    """Each number that was tried had been given to somebody else by then."""
    return f"others give versions to {dataset} all the time; nothing was changed, try again"


def parse(schema: VersionSchema, text: str) -> DatasetVersion | VersionToken:
    """A version, or a token in its place. Raises InvalidRequest for what is neither."""
    if text.upper() in VersionToken.__members__:
        token = VersionToken[text.upper()]
        if token in schema.tokens:
            return token
        raise InvalidRequest(f"a dataset with versions of the schema {schema.value} has no {token.value}")
    found = _numbers(text.split("."), schema.parts)
    if found is None:
        raise InvalidRequest(f"a version of the schema {schema.value} is {schema.shape}, and not {text[:40]!r}")
    return found


def numbers_of(text: str) -> DatasetVersion:
    """A version of whichever schema. Raises InvalidRequest for what is none of any."""
    pieces = text.split(".")
    for schema in VersionSchema:
        if (found := _numbers(pieces, schema.parts)) is not None:
            return found
    raise InvalidRequest(f"{text[:40]!r} is no version of a dataset: one number, or three or four as in 1.2.3")


def _numbers(pieces: Sequence[str], parts: int) -> DatasetVersion | None:
    largest = NUMBER_MAX if parts == 1 else PART_MAX
    if len(pieces) != parts or not all(_is_number(piece, largest) for piece in pieces):
        return None
    return tuple(map(int, pieces))


def _is_number(text: str, largest: int) -> bool:
    plain = text.isascii() and text.isdigit() and len(text) <= len(str(largest)) and str(int(text)) == text
    return plain and int(text) <= largest
