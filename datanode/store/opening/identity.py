"""Who a replica's directory belongs to, and the past of its log: a small file, written anew at every opening.

    {"version": 1, "cluster": "...", "partition": 7, "incarnation": "<32 hex digits>",
     "lineage": {"epoch": "<16 hex digits>", "past": [["<epoch>", end LSN], ...], "former": ["<incarnation>", ...],
                 "elders": ["<incarnation>", ...],
                 "young": true, "purged_lsn": 4096, "sure_epoch": "<epoch>", "put_back": "why"},
     "check": "<xxh3-64 of the others>"}

The incarnation is a random uuid of this very copy. A replica that comes back empty or was put back from a backup gets a new
one, so that no peer takes its log for the old one (datanode/store/lineage.py). Defaults of the lineage are left out. It stands
here and not in the index, because a replica whose index is lost is not one that was put back.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from ambry.checksum import xxh64
from ambry.errors import DataCorrupt, FormatUnknown, ReplicaUnavailable, StoreMismatch
from datanode.store.files import Files, read_whole
from datanode.store.lineage import Lineage
from datanode.store.writing import write_atomically

FILE_NAME = "identity.json"
VERSION = 1


class Identity(msgspec.Struct, frozen=True):
    version: int
    cluster: str
    partition: int
    incarnation: str
    lineage: Lineage = Lineage()
    check: str = ""

    def sealed(self) -> Identity:
        """With the check that belongs to the other fields."""
        text = f"{self.version}|{self.cluster}|{self.partition}|{self.incarnation}"
        if self.lineage != Lineage():
            text += f"|{msgspec.json.encode(self.lineage).decode()}"
        return msgspec.structs.replace(self, check=f"{xxh64(text.encode()):016x}")

    @property
    def incarnation_bytes(self) -> bytes:
        return bytes.fromhex(self.incarnation)

    @property
    def incarnations(self) -> list[bytes] | None:
        """Those by which this replica ever went; None where this was made anew, and no opening has ended well since."""
        if not self.lineage.epoch and not self.lineage.former:
            return None
        return [self.incarnation_bytes, *(bytes.fromhex(name) for name in self.lineage.former)]

    def adopting(self, incarnations: Iterable[bytes]) -> Identity:
        """For a log that is older than this: by these names, those of its segments, it is known from now on."""
        if self.incarnations is not None:
            return self
        former = sorted({name.hex() for name in incarnations} - {self.incarnation})
        return self.with_lineage(msgspec.structs.replace(self.lineage, former=tuple(former)))

    def with_lineage(self, lineage: Lineage) -> Identity:
        return msgspec.structs.replace(self, lineage=lineage).sealed()

    def renewed(self, random_source: random.Random) -> Identity:
        """Under a new incarnation: another log, as far as peers are concerned."""
        lineage = self.lineage.renewed(self.incarnation)
        return msgspec.structs.replace(self, incarnation=_incarnation(random_source), lineage=lineage).sealed()


decode: Callable[[bytes], Identity] = msgspec.json.Decoder(Identity).decode
"""Raises msgspec.DecodeError. Whether it is `sealed` is another question."""


def _incarnation(random_source: random.Random) -> str:
    return f"{random_source.getrandbits(128):032x}"


def save(files: Files, directory: Path, identity: Identity) -> None:
    """Write it, durable on return. Blocking. Raises OSError: then the old one or this one is there."""
    write_atomically(files, directory / FILE_NAME, msgspec.json.encode(identity))


class IdentityFile:
    """The identity of an open replica, as it stands on the disk. Methods block, on any thread.

    Those that change it raise OSError, and then it is as it was; ReplicaUnavailable after `close`.
    """

    def __init__(self, files: Files, directory: Path, identity: Identity) -> None:
        self._files = files
        self._directory = directory
        self._guard = threading.Lock()
        self._identity = identity
        self._closed = False

    @property
    def lineage(self) -> Lineage:
        return self._identity.lineage

    @property
    def incarnation(self) -> str:
        return self._identity.incarnation

    @property
    def partition(self) -> int:
        return self._identity.partition

    @property
    def incarnations(self) -> list[bytes] | None:
        """As of the Identity."""
        return self._identity.incarnations

    def adopt(self, incarnations: Iterable[bytes]) -> None:
        """As `Identity.adopting`; durable with the next change."""
        with self._guard:
            self._identity = self._identity.adopting(incarnations)

    def begin(self, epoch: str, end_lsn: int, *, served: bool, filled: bool) -> None:
        """As `Lineage.begun`; durable on return. Raises OSError."""
        with self._guard:
            self._save(self.lineage.begun(epoch, end_lsn, served=served, filled=filled))

    def note_purged(self, lsn: int) -> None:
        """Tombstones before `lsn` may be left out from now on; durable on return. Raises OSError."""
        with self._guard:
            if lsn > self.lineage.purged_lsn:
                self._save(msgspec.structs.replace(self.lineage, purged_lsn=lsn))

    def note_sure(self) -> None:
        """All peers know no more of the log than there is; durable on return. Raises OSError."""
        with self._guard:
            if self.lineage.sure_epoch != self.lineage.epoch:
                self._save(msgspec.structs.replace(self.lineage, sure_epoch=self.lineage.epoch))

    def note_elder(self, incarnation: bytes) -> None:
        """A copy by that name was there before this one; durable on return. Raises OSError."""
        with self._guard:
            self._save(self.lineage.with_elder(incarnation))

    def note_put_back(self, why: str) -> None:
        """It counts as put back from a backup until it has a new incarnation; durable on return. Raises OSError."""
        with self._guard:
            if not self.lineage.put_back:
                self._save(msgspec.structs.replace(self.lineage, put_back=why))

    def close(self) -> None:
        """Whoever is late changes nothing any more: the next opening of the directory has the file."""
        with self._guard:
            self._closed = True

    def renew(self, random_source: random.Random) -> None:
        """Give a replica that is closed now a new incarnation; durable on return. Raises OSError."""
        with self._guard:
            save(self._files, self._directory, self._identity.renewed(random_source))

    def succeed(self, other: IdentityFile) -> None:
        """This fresh replica takes the place of another; durable on return. Raises OSError.

        It begins with tombstones missing, and in a log of its own: the LSN where the other's were dropped means nothing there.
        No peer has heard of it, so its first opening is that in the other's place.
        """
        former = (*other.lineage.former, other.incarnation)
        with self._guard:
            self._save(Lineage(former=former, elders=other.lineage.elders, young=True, purged_lsn=1))

    def _save(self, lineage: Lineage) -> None:
        if self._closed:
            raise ReplicaUnavailable(f"partition {self._identity.partition} is closed")
        identity = self._identity.with_lineage(lineage)
        save(self._files, self._directory, identity)
        self._identity = identity


class OwnIdentity(msgspec.Struct, frozen=True):
    """Of a directory that belongs here; `is_new`: it was made just now."""

    identity: Identity
    is_new: bool


def load_or_create(
    files: Files, directory: Path, *, cluster: str, partition: int, random_source: random.Random
) -> OwnIdentity:
    """The identity of `directory`, made where there is none, or an empty file: nothing of ours leaves one, and it says nothing.

    Raises StoreMismatch when it belongs to another cluster or partition, DataCorrupt when it cannot be read.
    """
    path = directory / FILE_NAME
    found = read_whole(files, path) if files.exists(path) else b""
    if not found:
        identity = Identity(VERSION, cluster, partition, _incarnation(random_source), Lineage(young=True)).sealed()
        save(files, directory, identity)
        return OwnIdentity(identity, is_new=True)
    try:
        identity = decode(found)
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


def identity_in(files: Files, directory: Path) -> Identity | None:
    """That of a directory which nobody uses; None where there is none, or it cannot be read. Raises OSError."""
    if not files.exists(directory / FILE_NAME):
        return None
    try:
        identity = decode(read_whole(files, directory / FILE_NAME))
    except msgspec.DecodeError:
        return None
    return identity if identity.sealed() == identity else None
