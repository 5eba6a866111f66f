"""Versions of datasets: their text, their order, and which comes next. Pure.

A schema says what a version looks like: TIMESTAMP and MONOTONIC are one number, SEMANTIC is `1.2.3`, SEMANTIC_LONG `1.2.3.4`. A
token may stand in the place of a version: LATEST is the newest; MAJOR, MINOR, PATCH and REVISION of a put raise that part.
"""

from __future__ import annotations

import struct
from enum import Enum

from ambry.errors import DataCorrupt, InvalidRequest, UpdateConflict

NUMBER_MAX = (1 << 63) - 1
PART_MAX = 999


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


class VersionToken(Enum):
    LATEST = "LATEST"
    MAJOR = "MAJOR"
    MINOR = "MINOR"
    PATCH = "PATCH"
    REVISION = "REVISION"


DatasetVersion = tuple[int, ...]
"""The numbers of a version; they compare as versions do."""

_RAISED = (VersionToken.MAJOR, VersionToken.MINOR, VersionToken.PATCH, VersionToken.REVISION)
_NUMBER = struct.Struct(">Q")
_PARTS = {3: struct.Struct(">HHH"), 4: struct.Struct(">HHHH")}


def pack(version: DatasetVersion) -> bytes:
    """As bytes that are ordered as the versions of one schema are."""
    return _NUMBER.pack(*version) if len(version) == 1 else _PARTS[len(version)].pack(*version)


def unpack(schema: VersionSchema, raw: bytes) -> DatasetVersion:
    """Raises DataCorrupt for one of another schema."""
    return unpack_parts(schema.parts, raw)


def unpack_parts(parts: int, raw: bytes) -> DatasetVersion:
    """A version of so many numbers. Raises DataCorrupt for one that has not so many.

    Such a one is there where two datacenters made the same dataset with two schemas while they were cut apart.
    """
    layout = _NUMBER if parts == 1 else _PARTS[parts]
    if len(raw) != layout.size:
        raise DataCorrupt(
            f"a version of {parts} numbers has {layout.size} bytes, this one {len(raw)}: {raw[:40].hex()}"
        )
    return layout.unpack(raw)


def text_of(version: DatasetVersion) -> str:
    return ".".join(map(str, version))


def parse(schema: VersionSchema, text: str) -> DatasetVersion | VersionToken:
    """A version, or a token in its place. Raises InvalidRequest for what is neither."""
    if text.upper() in VersionToken.__members__:
        token = VersionToken[text.upper()]
        if token is VersionToken.LATEST or token in _RAISED[: schema.parts if schema.parts > 1 else 0]:
            return token
        raise InvalidRequest(f"a dataset with versions of the schema {schema.value} has no {token.value}")
    pieces = text.split(".")
    largest = NUMBER_MAX if schema.parts == 1 else PART_MAX
    if len(pieces) != schema.parts or not all(_is_number(piece, largest) for piece in pieces):
        shape = (
            "one number"
            if schema.parts == 1
            else f"{schema.parts} numbers from 0 to {PART_MAX}, as in {text_of(tuple(range(1, schema.parts + 1)))}"
        )
        raise InvalidRequest(f"a version of the schema {schema.value} is {shape}, and not {text[:40]!r}")
    return tuple(map(int, pieces))


def _is_number(text: str, largest: int) -> bool:
    plain = text.isascii() and text.isdigit() and len(text) <= len(str(largest)) and str(int(text)) == text
    return plain and int(text) <= largest


def next_version(
    schema: VersionSchema, newest: DatasetVersion | None, token: VersionToken, *, now_ms: int
) -> DatasetVersion:
    """What a put to a token gets, given the newest version that ever was. Raises InvalidRequest where there is none left."""
    if schema is VersionSchema.TIMESTAMP:
        return (max(now_ms, 1 if newest is None else newest[0] + 1),)
    if schema is VersionSchema.MONOTONIC:
        return (1 if newest is None else newest[0] + 1,)
    if newest is None:
        newest = (0,) * schema.parts
    raised = schema.parts - 1 if token is VersionToken.LATEST else _RAISED.index(token)
    number = newest[raised] + 1
    if number > PART_MAX:
        raise InvalidRequest(
            f"a part of a version is at most {PART_MAX}, and {text_of(newest)} is the newest: raise a part before it"
        )
    return (*newest[:raised], number, *(0,) * (schema.parts - raised - 1))


def check_new(schema: VersionSchema, version: DatasetVersion, newest: DatasetVersion | None) -> None:
    """Raises UpdateConflict for a version that goes backwards where versions only rise.

    A semantic one may: a patch of an older line is made after a newer line began.
    """
    if schema.parts == 1 and newest is not None and version <= newest:
        raise UpdateConflict(
            f"versions of the schema {schema.value} only rise, and {text_of(newest)} was there before {text_of(version)}; "
            "give a later one, or LATEST for the next"
        )
