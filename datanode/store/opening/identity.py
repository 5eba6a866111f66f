"""Who a replica's directory belongs to: a small file that is written once.

    {"version": 1, "cluster": "...", "partition": 7, "incarnation": "<32 hex digits>", "check": "<xxh3-64 of the others>"}

The incarnation is a random uuid of this very copy. A replica that comes back empty gets a new one, so that no peer takes its
log for the old one.
"""

from __future__ import annotations

import random
from pathlib import Path

import msgspec

from ambry.checksum import xxh64
from ambry.errors import DataCorrupt, FormatUnknown, StoreMismatch
from datanode.store.files import Files, read_whole, write_atomically

FILE_NAME = "identity.json"
VERSION = 1


class Identity(msgspec.Struct, frozen=True):
    version: int
    cluster: str
    partition: int
    incarnation: str
    check: str = ""

    def sealed(self) -> Identity:
        """With the check that belongs to the other fields."""
        text = f"{self.version}|{self.cluster}|{self.partition}|{self.incarnation}"
        return msgspec.structs.replace(self, check=f"{xxh64(text.encode()):016x}")

    @property
    def incarnation_bytes(self) -> bytes:
        return bytes.fromhex(self.incarnation)


class OwnIdentity(msgspec.Struct, frozen=True):
    """Of a directory that belongs here; `is_new`: it was made just now."""

    identity: Identity
    is_new: bool


def load_or_create(
    files: Files, directory: Path, *, cluster: str, partition: int, random_source: random.Random
) -> OwnIdentity:
    """The identity of `directory`, made where there is none.

    Raises StoreMismatch when it belongs to another cluster or partition, DataCorrupt when it cannot be read.
    """
    path = directory / FILE_NAME
    if not files.exists(path):
        incarnation = f"{random_source.getrandbits(128):032x}"
        identity = Identity(VERSION, cluster, partition, incarnation).sealed()
        write_atomically(files, path, msgspec.json.encode(identity))
        return OwnIdentity(identity, is_new=True)
    try:
        identity = msgspec.json.decode(read_whole(files, path), type=Identity)
    except msgspec.DecodeError as cause:
        raise DataCorrupt(f"{path} cannot be read: {cause}; restore it or move the directory away") from cause
    if identity.version != VERSION:
        raise FormatUnknown(f"{path} has version {identity.version}, written by a newer release; upgrade to read it")
    if identity.sealed() != identity:
        raise DataCorrupt(f"{path} fails its checksum; restore it or move the directory away")
    if (identity.cluster, identity.partition) != (cluster, partition):
        raise StoreMismatch(
            f"{directory} belongs to partition {identity.partition} of cluster {identity.cluster}, "
            f"not to partition {partition} of cluster {cluster}; check data_dir and the layout"
        )
    return OwnIdentity(identity, is_new=False)
