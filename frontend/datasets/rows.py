"""Datasets and aliases as registers of the metadata store; the scope is a container's.

space    key                                        value
DATASET  the dataset's name                         version 1 and a Dataset in msgpack
DATASET  the name, 0, "newest"                      how many parts it has, and the packed newest version that ever was
VERSION  the dataset's name, 0, the packed version  as of a name (frontend/names/rows.py)
DATASET  the name, 0, "aliases"                     nothing: its stamp tells when an alias was moved last
ALIAS    the dataset's name, 0, the alias           version 1 and an AliasMove in msgpack
"""

from __future__ import annotations

import re

import msgspec

from ambry.errors import DataCorrupt, FormatUnknown, InvalidRequest
from ambry.rest.versions import VersionSchema

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,149}")
_VERSION = b"\x01"
TAGS_MAX = 64
TAG_CHARACTERS_MAX = 256
WHY_CHARACTERS_MAX = 1_024
RETENTION_MAX = (1 << 53) - 1


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for a dataset; its schema never changes."""

    schema: VersionSchema
    retention_count: int | None = None
    """So many of the newest versions are kept."""
    retention_s: int | None = None
    """Versions are kept for so long."""
    tags: dict[str, str] = {}


class AliasMove(msgspec.Struct, frozen=True, kw_only=True):
    """What an alias points to, and since when and why; those before it are its history."""

    version: str
    who: str = ""
    why: str = ""


_dataset = msgspec.msgpack.Decoder(Dataset)
_move = msgspec.msgpack.Decoder(AliasMove)
_encode = msgspec.msgpack.Encoder().encode


def checked_name(what: str, name: str) -> str:
    """Raises InvalidRequest for what is no name of a dataset or of an alias."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"{what} is a letter or a digit and up to 149 more of them, dots, dashes and underscores, and not {name[:60]!r}"
        )
    return name


def dataset_key(name: str) -> bytes:
    return name.encode()


def newest_key(name: str) -> bytes:
    return name.encode() + b"\0newest"


def moved_key(name: str) -> bytes:
    """Sorts before `newest_key`: a list of datasets goes on behind both."""
    return name.encode() + b"\0aliases"


def version_prefix(name: str) -> bytes:
    """What the keys of all versions and of all aliases of a dataset begin with."""
    return name.encode() + b"\0"


def encode_dataset(dataset: Dataset) -> bytes:
    return _VERSION + _encode(dataset)


def decode_dataset(value: bytes) -> Dataset:
    """Raises DataCorrupt, FormatUnknown."""
    _check_version(value)
    try:
        return _dataset.decode(memoryview(value)[1:])
    except msgspec.DecodeError as cause:
        raise DataCorrupt(f"a dataset cannot be read: {cause}") from cause


def encode_move(move: AliasMove) -> bytes:
    return _VERSION + _encode(move)


def decode_move(value: bytes) -> AliasMove:
    """Raises DataCorrupt, FormatUnknown."""
    _check_version(value)
    try:
        return _move.decode(memoryview(value)[1:])
    except msgspec.DecodeError as cause:
        raise DataCorrupt(f"an alias cannot be read: {cause}") from cause


def _check_version(value: bytes) -> None:
    if value[:1] != _VERSION:
        raise FormatUnknown("a dataset was written by a newer release; upgrade to read it")
