"""Opening what replicas answer of a sealed record (ambry/format/sealed.py), where it stands in memory, and as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec.structs import replace

from ambry.checksum import BLOCK_SIZE, Buffer
from ambry.errors import AmbryError, DataCorrupt, InternalError, KeysUnavailable
from ambry.format import sealed
from ambry.format.properties import decode_properties, encode_properties
from ambry.format.record import TAG_SIZE
from ambry.format.sealed import SealedSection
from ambry.ids import BlobId
from ambry.network.pool import Peer
from ambry.protocol.messages.blobs import GetReply
from ambry.service.logs import get_logger
from frontend.container import scope_of
from frontend.router.answers import Found, cut
from frontend.router.sealing_keys import ContainerKeys, WrappingKey

log = get_logger()


class SealedAnswer:
    """The answer of a replica with a sealed record. It is opened where it stands, as far as it came.

    `reply` is as of a record that was not sealed, but for its `features`.
    """

    __slots__ = ("_failed", "_key", "_memory", "_opened", "_sealed", "reply")

    def __init__(self, blob_id: BlobId, reply: GetReply, section: SealedSection, key: WrappingKey) -> None:
        """Raises KeyMismatch, DataCorrupt."""
        self._sealed = reply
        self._key = sealed.DataKey(key.unwrap(section.wrapped, sealed.about_key(blob_id.raw)))
        self._memory = memoryview(b"")
        """Where the body stands, which is nobody else's while this is."""
        self._opened = 0
        """Bytes of it that are plain."""
        self._failed = False
        secrets = sealed.open_secrets(self._key, reply.kind, reply.payload_size, reply.properties, section.secrets)
        properties = replace(decode_properties(reply.properties), digest=secrets.digest, filename=secrets.filename)
        self.reply = replace(reply, properties=encode_properties(properties), metadata=secrets.metadata, tags=b"")

    def open(self, body: Buffer) -> memoryview:
        """The body, or its beginning in whole blocks, as it was before it was sealed. Raises DataCorrupt.

        One that can be written to is changed: what was opened of it is not opened again when there is more of it, in the
        same memory.
        """
        view = memoryview(body)
        if view.readonly:
            opened = memoryview(bytearray(len(view)))
            self._open(view, 0, opened)
            return opened
        if view.obj is not self._memory.obj:
            self._opened, self._failed = 0, False
        self._memory = view
        if self._failed:
            raise DataCorrupt("an encrypted payload was not what was sealed")
        if self._opened < len(view):
            self._failed = True
            rest = view[self._opened :]
            self._open(rest, self._opened, rest)
            self._failed = False
            self._opened = len(view)
        return view

    def _open(self, blocks: memoryview, start: int, into: memoryview) -> None:
        """Open those that stand in the body from byte `start` on."""
        reply = self._sealed
        end = start + len(blocks)
        tags = reply.tags[start // BLOCK_SIZE * TAG_SIZE : -(-end // BLOCK_SIZE) * TAG_SIZE]
        first = (reply.start + start) // BLOCK_SIZE
        sealed.open_blocks(self._key, reply.kind, reply.payload_size, first, blocks, tags, into)


def opening_now(keys: ContainerKeys, blob_id: BlobId, reply: GetReply) -> SealedAnswer | None:
    """To open this answer with; None where its key must be asked for. Raises KeyMismatch, DataCorrupt, FormatUnknown."""
    section = sealed.decode_section(reply.metadata)
    key = keys.find(scope_of(blob_id.account, blob_id.container), section.key_version)
    return None if key is None else SealedAnswer(blob_id, reply, section, key)


async def opening_soon(keys: ContainerKeys, blob_id: BlobId, reply: GetReply) -> SealedAnswer:
    """As `opening_now`; asks. Raises KeysUnavailable and EncryptionKeyDeleted too."""
    section = sealed.decode_section(reply.metadata)
    key = await keys.find_soon(scope_of(blob_id.account, blob_id.container), section.key_version)
    return SealedAnswer(blob_id, reply, section, key)


class SealedAnswers:
    """The sealed answers to one read of bytes `first` to `end`, by who gave them. `drop` them in any case."""

    __slots__ = ("_blob_id", "_deadline", "_end", "_first", "_keys", "_parts", "_waiting")

    def __init__(self, keys: ContainerKeys, blob_id: BlobId, *, first: int, end: int, deadline: float) -> None:
        self._keys = keys
        self._blob_id = blob_id
        self._first = first
        self._end = end
        self._deadline = deadline
        self._parts: dict[Peer, SealedAnswer] = {}
        """Of which a part is here."""
        self._waiting: set[asyncio.Task[None]] = set()
        """For a key."""

    def part(self, peer: Peer, reply: GetReply, beginning: memoryview) -> memoryview | None:
        """The beginning of an answer, opened; None where that cannot be done now: its end tells."""
        if not reply.features:
            return None
        try:
            answer = self._parts.get(peer) or opening_now(self._keys, self._blob_id, reply)
            if answer is None:
                return None
            self._parts[peer] = answer
            return answer.open(beginning)
        except AmbryError:
            return None

    def forget(self, peer: Peer) -> None:
        """The answer of which it gave a part does not come; another one may."""
        self._parts.pop(peer, None)

    def open(self, peer: Peer, reply: GetReply, body: Buffer, done: Callable[[Found | AmbryError], None]) -> None:
        """Open a whole answer, at once where its key is known. `done` hears once; never after `drop`."""
        try:
            answer = self._parts.pop(peer, None) or opening_now(self._keys, self._blob_id, reply)
            if answer is not None:
                outcome: Found | AmbryError = self._found(answer, body)
        except AmbryError as error:
            outcome, answer = error, None
        else:
            if answer is None:
                self._waiting.add(asyncio.get_running_loop().create_task(self._open_soon(reply, body, done)))
                return
        done(outcome)

    async def _open_soon(self, reply: GetReply, body: Buffer, done: Callable[[Found | AmbryError], None]) -> None:
        try:
            async with asyncio.timeout_at(self._deadline):
                answer = await opening_soon(self._keys, self._blob_id, reply)
            outcome: Found | AmbryError = self._found(answer, body)
        except TimeoutError:
            outcome = KeysUnavailable(f"the key of blob {self._blob_id} did not come in time; retry")
        except AmbryError as error:
            outcome = error
        except Exception as error:
            log.exception("sealed record not opened", blob=str(self._blob_id))
            outcome = InternalError(f"blob {self._blob_id} was not opened: {type(error).__name__}")
        own = asyncio.current_task()
        if own in self._waiting:
            self._waiting.discard(own)
            done(outcome)

    def _found(self, answer: SealedAnswer, body: Buffer) -> Found:
        return Found(answer.reply, cut(answer.reply, answer.open(body), self._first, self._end))

    def drop(self) -> None:
        """Nobody waits for any of them."""
        waiting, self._waiting = self._waiting, set()
        for task in waiting:
            task.cancel()
