"""Versions of datasets as bytes, and which comes next. Pure. What they are as texts: ambry/rest/versions.py."""

from __future__ import annotations

import struct

from ambry.errors import DataCorrupt, InvalidRequest, UpdateConflict
from ambry.rest.versions import PART_MAX, RAISED, DatasetVersion, VersionSchema, VersionToken, is_passed, text_of

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
    raised = schema.parts - 1 if token is VersionToken.LATEST else RAISED.index(token)
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
        raise UpdateConflict(is_passed(text_of(version), text_of(newest)))
