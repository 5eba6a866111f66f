"""Parts of models are stored once: a blob for each content, named by its SHA-256 beside the dataset.

    <dataset>.parts/sha256/<64 hexadecimal digits>      of models; trees of jobs have a folder of their own beside it
    <dataset>.parts/reused/<digits>                     without bytes: the content was handed in again then, last
    <dataset>.parts/unused/<blob>/<digits>              set aside by a delete of unused ones (stored_parts.py)

A part that is there is reused only if its size and the digest that the store keeps are those of the file at hand: the name
alone proves nothing. One that is something else stays where manifests have it, by its id, and the name is given what it says:
deleting the name would take the blob with it. Whoever loads a part compares its SHA-256.

Whoever reuses a content notes that first, and looks then whether the name still has it. A delete of unused ones takes the name
away first, and looks then for such notes: one of the two sees the other, and nobody who was killed in between leaves a version
without a part. A note is one put without bytes, 2 to 5 ms, takes the place of the one before, and lives for a year. What a
delete set aside, and has not deleted yet or was killed before it did, is given its name again where it is handed in.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import xxhash

from ambry.client.beside import is_ours
from ambry.client.names import NameEntry
from ambry.client.refs import NameRef, VersionRef
from ambry.client.sync.client import AmbryClient
from ambry.client.tree_walk import walk_tree
from ambry.errors import (
    AccessDenied,
    AlreadyExists,
    BlobNotFound,
    InvalidBlobId,
    InvalidRequest,
    RetentionLocked,
    UpdateConflict,
)
from ambry.ids import BlobId
from ambry.ml.models.manifest import ModelPart, check_path

PARTS = "parts"
STORED, REUSED, UNUSED = "sha256", "reused", "unused"
"""Folders in it."""
NOTE_TTL = timedelta(days=366)
"""For so long it is known that a content was handed in again."""
_TRIES_MAX = 5
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class FileDigest:
    """Of a file: `checksum` is the store's own, xxh3-128."""

    size: int
    sha256: str
    checksum: str


def digest_of(source: Path | bytes) -> FileDigest:
    """One pass over the file. Raises OSError."""
    sha256, checksum, size = hashlib.sha256(), xxhash.xxh3_128(), 0
    for chunk in _chunks(source):
        sha256.update(chunk)
        checksum.update(chunk)
        size += len(chunk)
    return FileDigest(size, sha256.hexdigest(), checksum.hexdigest())


def store_part(
    client: AmbryClient, place: VersionRef, path: str, source: Path | bytes, *, folder: str = PARTS
) -> ModelPart:
    """Store a file, or find it where the same content is there already, which has the age of this moment then; durable on
    return.
    """
    found = digest_of(source)
    name = part_name(place, found.sha256, folder)
    for _ in range(_TRIES_MAX):
        held = _held(client, name, found)
        if held is None and brought_back(client, place, found.sha256, folder):
            continue
        if isinstance(held, BlobId):
            if renewed(client, name, held):
                return ModelPart(path, held, found.size, found.sha256)
            continue  # It was deleted, as nobody used it, in this moment.
        try:
            made = _put(client, name, source, found, if_absent=held is None)
        except AlreadyExists:
            continue  # Somebody else stored it in this moment.
        return ModelPart(path, made, found.size, found.sha256)
    return ModelPart(path, _put(client, name, source, found, if_absent=False), found.size, found.sha256)


def renewed(client: AmbryClient, name: NameRef, blob: BlobId) -> bool:
    """Note that a content is used again; whether its name has that blob still. Nothing that is unused for less than `older`
    from now on is deleted.
    """
    folder, sha256 = name.name.rsplit(f"/{STORED}/", 1)
    note = NameRef(f"{folder}/{REUSED}/{sha256}", name.account, name.container)
    try:
        with suppress(UpdateConflict):  # Somebody else noted it while we did.
            client.put(b"", name=note, ttl=NOTE_TTL)
    except RetentionLocked:  # There is one, which nobody may replace.
        client.put(b"", name=NameRef(f"{note.name}/{secrets.token_hex(8)}", name.account, name.container), ttl=NOTE_TTL)
    try:
        return client.head(name).id == blob
    except BlobNotFound:
        return False


def contents_of(client: AmbryClient, place: VersionRef, folder: str, within: str) -> Iterator[tuple[NameEntry, str]]:
    """What lies within one of the folders, each with the SHA-256 in its name; names of another shape are passed over."""
    prefix = part_name(place, "", folder, within=within)
    for entry in client.list(str(prefix) if place.account else prefix.name):
        pieces = entry.name.removeprefix(prefix.name).split("/")
        sha256 = pieces[-1] if within == UNUSED else pieces[0]
        if not _SHA256.fullmatch(sha256):
            continue
        if len(pieces) == (2 if within == UNUSED else 1) or (within == REUSED and len(pieces) == 2):
            yield entry, sha256


def meant(entry: NameEntry) -> BlobId | None:
    """Which blob a name that is set aside was for; None for one of another shape."""
    try:
        return BlobId.parse(entry.name.rsplit("/", 2)[1])
    except InvalidBlobId:
        return None


def brought_back(client: AmbryClient, place: VersionRef, sha256: str, folder: str, blob: BlobId | None = None) -> bool:
    """Give a content that a delete set aside, or the one `blob` of it, its name again; whether that was done."""
    for entry, found in contents_of(client, place, folder, UNUSED):
        if found == sha256 and entry.id is not None and entry.id == meant(entry) == (blob or entry.id):
            with suppress(AccessDenied, AlreadyExists, BlobNotFound, RetentionLocked, UpdateConflict):
                client.rename(entry.ref, part_name(place, sha256, folder))
                return True
    return False


def part_name(place: VersionRef, sha256: str, folder: str = PARTS, *, within: str = STORED) -> NameRef:
    """Where a content lies, or what is `within` another of the folders."""
    return NameRef(f"{place.dataset}.{folder}/{within}/{sha256}", place.account, place.container)


def files_of(source: Path | Mapping[str, Path | bytes]) -> dict[str, Path | bytes]:
    """The files of a model by their paths: of a file, a directory, or as they are said.

    Raises InvalidRequest for what is none, and for links out of a directory; OSError for what cannot be listed.
    """
    if isinstance(source, Mapping):
        return {check_path(path): file for path, file in source.items()}
    if source.is_file():
        return {check_path(source.name): source}
    if not source.is_dir():
        raise FileNotFoundError(f"there is no file or directory {source}")
    files: dict[str, Path | bytes] = dict(_below(source))
    if not files:
        raise InvalidRequest(f"the directory {source} has no files in it")
    return files


def _below(root: Path) -> Iterable[tuple[str, Path]]:
    inside = root.resolve()
    for path in sorted(walk_tree(root)):
        if is_ours(path.name):
            continue
        if not path.is_file():
            what = "a link to a directory, or to nothing," if path.is_symlink() else "no file"
            raise InvalidRequest(f"{path} is {what} and cannot be a part of a model; put a file there, or take it away")
        if not path.resolve().is_relative_to(inside):
            raise InvalidRequest(f"{path} is a link out of the directory; copy the file, or leave the link out")
        yield check_path(path.relative_to(root).as_posix()), path


class _SomethingElse:
    """What a name holds that does not hold what it says."""


def _held(client: AmbryClient, name: NameRef, found: FileDigest) -> BlobId | _SomethingElse | None:
    """The blob of this content, if the name of it has that, which has no TTL from then on; None where there is none."""
    try:
        info = client.head(name)
    except BlobNotFound:
        return None
    if info.size != found.size or (info.checksum and info.checksum != found.checksum):
        return _SomethingElse()
    if not info.checksum:
        # Stored without a digest of the whole: it is read once.
        kept = hashlib.sha256()
        with client.get(name) as reader:
            for chunk in reader.iter_chunks(_CHUNK):
                kept.update(chunk)
        if kept.hexdigest() != found.sha256:
            return _SomethingElse()
    if info.expires is not None:
        # Somebody else put it for a time; the model is to be there for ever.
        try:
            lasting = client.update_ttl(name, None)
        except BlobNotFound:
            return None
        if lasting.id != info.id or lasting.expires is not None:
            return _SomethingElse()
    return info.id


def _put(client: AmbryClient, name: NameRef, source: Path | bytes, found: FileDigest, *, if_absent: bool) -> BlobId:
    """Raises AlreadyExists."""
    stored = "application/octet-stream"
    if isinstance(source, bytes):
        return client.put(source, name=name, content_type=stored, checksum=found.checksum, if_absent=if_absent).id
    return client.put_file(source, name=name, content_type=stored, checksum=found.checksum, if_absent=if_absent).id


def _chunks(source: Path | bytes) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
        return
    with source.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
