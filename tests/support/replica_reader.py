"""Reading blobs replica by replica: from one named data node over its RPC, past every frontend.

`GET /<id>` shows that somebody holds a blob; this shows that *this* node holds it, every record and every byte, and in
which state. Bytes are compared with what the seed says they are (tests/support/content.py), never with the store's own
digests. A read of a damaged copy makes the data node repair it, as any read does; so ask again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Self

from ambry.blob import BlobState
from ambry.checksum import digest
from ambry.errors import AmbryError, BlobNotFound, DataCorrupt, ReplicaUnavailable
from ambry.format import composite as composite_format
from ambry.format.record import PAYLOAD_SIZE_MAX
from ambry.ids import BlobId, IdKind
from ambry.network.connection import RpcConnection
from ambry.network.tcp import tune
from ambry.protocol.frame import MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.base import Hello
from ambry.protocol.messages.blobs import GetReply, GetRequest
from ambry.protocol.messages.replication import Change, ChangesCursor, ChangesReply, ChangesRequest
from deploy.local_cluster import LocalCluster
from deploy.local_layout import Member
from tests.support.content import content_digest, content_range

NOTHING_KNOWN = BlobState()
REQUEST_TIMEOUT_S = 20.0
IN_FLIGHT = 8
CHANGES_MAX = 1_000


class Held(StrEnum):
    """What a node says about a record."""

    PRESENT = "present"
    STATE_ONLY = "state only"
    ABSENT = "absent"
    UNSURE = "unsure"
    DAMAGED = "damaged"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """One record as one node holds it."""

    node: str
    id: str
    held: Held
    state: BlobState = NOTHING_KNOWN
    payload: bytes = b""
    detail: str = ""

    @property
    def digest(self) -> str:
        """xxh3-128 of the payload's bytes, hexadecimal."""
        return digest(self.payload).hex()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A blob that was acknowledged, and what is in it."""

    id: str
    seed: int
    size: int
    durability: str = "disk"
    deleted: bool = False

    @property
    def digest(self) -> str:
        return content_digest(self.seed, self.size)


class ReplicaReader:
    """A connection to one data node; an async context manager."""

    def __init__(self, cluster: str, node: Member) -> None:
        self.node = node
        self._cluster = cluster
        self._connection: RpcConnection | None = None
        self._room = asyncio.Semaphore(IN_FLIGHT)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(REQUEST_TIMEOUT_S):
            transport, connection = await loop.create_connection(RpcConnection, self.node.host, self.node.port)
        tune(transport)
        hello = Hello(self._cluster, "test-replica-reader", self.node.name)
        await connection.request(MessageType.HELLO, hello, timeout_s=REQUEST_TIMEOUT_S)
        self._connection = connection
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            self._connection.abort()

    async def read(self, blob_id: str | bytes) -> Copy:
        """The whole record as this node holds it, in whatever state."""
        wanted = BlobId(blob_id) if isinstance(blob_id, bytes) else BlobId.parse(blob_id)
        assert self._connection is not None, "use it in an async with"
        request = GetRequest("test-replica-reader", wanted.raw, 0, PAYLOAD_SIZE_MAX, any_state=True)
        name, text = self.node.name, str(wanted)
        try:
            async with self._room:
                frame = await self._connection.request(MessageType.GET, request, timeout_s=REQUEST_TIMEOUT_S)
        except BlobNotFound as error:
            return Copy(node=name, id=text, held=Held.ABSENT, detail=error.message)
        except ReplicaUnavailable as error:
            return Copy(node=name, id=text, held=Held.UNSURE, detail=error.message)
        except DataCorrupt as error:
            return Copy(node=name, id=text, held=Held.DAMAGED, detail=error.message)
        except AmbryError as error:
            return Copy(node=name, id=text, held=Held.UNREACHABLE, detail=f"{type(error).__name__}: {error.message}")
        reply = messages.decode(frame.header, GetReply)
        if not reply.present:
            return Copy(node=name, id=text, held=Held.STATE_ONLY, state=reply.state)
        payload = bytes(frame.body)
        if len(payload) != reply.payload_size:
            detail = f"{len(payload)} of {reply.payload_size} bytes came"
            return Copy(node=name, id=text, held=Held.DAMAGED, state=reply.state, detail=detail)
        return Copy(node=name, id=text, held=Held.PRESENT, state=reply.state, payload=payload)

    async def changes(self, partitions: Iterable[int]) -> dict[bytes, Change]:
        """The latest change of every blob of these partitions, by its id."""
        assert self._connection is not None, "use it in an async with"
        found: dict[bytes, Change] = {}
        cursors = {number: ChangesCursor(number, b"", 0) for number in partitions}
        while cursors:
            request = ChangesRequest(list(cursors.values()), CHANGES_MAX, 0, 0)
            frame = await self._connection.request(MessageType.CHANGES, request, timeout_s=REQUEST_TIMEOUT_S)
            for told in messages.decode(frame.header, ChangesReply).partitions:
                found |= {change.id: change for change in told.changes}
                if told.next_lsn >= told.end_lsn:
                    del cursors[told.partition]
                else:
                    cursors[told.partition] = ChangesCursor(told.partition, told.incarnation, told.next_lsn, told.epoch)
        return found

    async def complaints(self, blob: Stored) -> list[str]:
        """What is wrong with this node's copy of a blob: nothing, where every record of it is here, right to the byte."""
        copy = await self.read(blob.id)
        if copy.held is Held.STATE_ONLY and blob.deleted and copy.state.deleted:
            return []
        if copy.held is not Held.PRESENT:
            return [f"{blob.id} ({blob.size} bytes) on {copy.node}: {copy.held} {copy.detail}".rstrip()]
        if copy.state.deleted != blob.deleted:
            return [f"{blob.id} on {copy.node}: its state is {copy.state}, expected deleted={blob.deleted}"]
        if BlobId.parse(blob.id).kind is not IdKind.COMPOSITE:
            return [] if copy.digest == blob.digest else [f"{blob.id} on {copy.node}: WRONG BYTES"]
        if blob.deleted:
            return []
        return await self._chunk_complaints(blob, copy)

    async def _chunk_complaints(self, blob: Stored, copy: Copy) -> list[str]:
        composite = composite_format.decode(copy.payload)
        found: list[str] = []
        if composite.total_size != blob.size:
            found.append(f"{blob.id} on {copy.node}: WRONG SIZE {composite.total_size}, not {blob.size}")
        first = 0
        for index, ref in enumerate(composite.chunks):
            chunk = await self.read(ref.id)
            end = first + ref.size
            if chunk.held is not Held.PRESENT:
                found.append(f"{blob.id} chunk {index} on {copy.node}: {chunk.held} {chunk.detail}".rstrip())
            elif chunk.payload != content_range(blob.seed, first, min(end, blob.size)):
                found.append(f"{blob.id} chunk {index} on {copy.node}: WRONG BYTES")
            elif chunk.state.deleted:
                found.append(f"{blob.id} chunk {index} on {copy.node}: deleted")
            first = end
        return found


async def complaints_async(
    cluster: LocalCluster, blobs: Iterable[tuple[str, Stored]]
) -> dict[tuple[str, str], list[str]]:
    """Per (node, blob id) asked for: what is wrong with it, where something is."""
    by_node: dict[str, list[Stored]] = {}
    for name, blob in blobs:
        by_node.setdefault(name, []).append(blob)

    async def check(name: str, wanted: list[Stored]) -> dict[tuple[str, str], list[str]]:
        try:
            async with ReplicaReader(cluster.shape.cluster, cluster.member(name)) as reader:
                found = await asyncio.gather(*(reader.complaints(blob) for blob in wanted))
        except (OSError, AmbryError) as error:
            return {(name, blob.id): [f"{blob.id} on {name}: {type(error).__name__} {error}"] for blob in wanted}
        return {(name, blob.id): wrong for blob, wrong in zip(wanted, found, strict=True) if wrong}

    merged: dict[tuple[str, str], list[str]] = {}
    for part in await asyncio.gather(*(check(name, wanted) for name, wanted in by_node.items())):
        merged |= part
    return merged


def every_copy_is_right(
    cluster: LocalCluster,
    blobs: Mapping[str, Stored] | Iterable[Stored],
    *,
    timeout_s: float = 60.0,
    nodes: Iterable[str] | None = None,
) -> int:
    """Wait until every data node holds every blob, right to the byte; returns how many copies were checked.

    Expects a layout in which every node holds every partition. Wrong bytes fail at once, whatever is missing may still
    come. AssertionError with what is wrong in the end.
    """
    listed = list(blobs.values()) if isinstance(blobs, Mapping) else list(blobs)
    names = list(nodes) if nodes is not None else [member.name for member in cluster.nodes()]
    left = [(name, blob) for name in names for blob in listed]
    count = len(left)
    deadline = time.monotonic() + timeout_s
    while left:
        wrong = asyncio.run(complaints_async(cluster, left))
        said = [text for texts in wrong.values() for text in texts]
        for text in said:
            assert "WRONG" not in text, text
        left = [(name, blob) for name, blob in left if (name, blob.id) in wrong]
        if left and time.monotonic() >= deadline:
            shown = "\n  ".join(said[:12])
            raise AssertionError(f"{len(left)} of {count} copies are not right after {timeout_s:g} s:\n  {shown}")
        if left:
            time.sleep(0.1)  # a poll interval of the bounded wait above
    return count


def read_copy(cluster: LocalCluster, node: str, blob_id: str | bytes) -> Copy:
    """One record of one node."""

    async def read() -> Copy:
        async with ReplicaReader(cluster.shape.cluster, cluster.member(node)) as reader:
            return await reader.read(blob_id)

    return asyncio.run(read())


def read_changes(cluster: LocalCluster, node: str) -> dict[bytes, Change]:
    """The latest change of every blob of one node."""

    async def read() -> dict[bytes, Change]:
        async with ReplicaReader(cluster.shape.cluster, cluster.member(node)) as reader:
            return await reader.changes(range(cluster.shape.partitions))

    return asyncio.run(read())


def chunk_ids(copy: Copy) -> list[bytes]:
    """The ids of the data chunks that a composite record lists."""
    return [chunk.id for chunk in composite_format.decode(copy.payload).chunks]
