"""Idempotency keys: a put with a key that was acknowledged before is that put.

A key is a row, of a container and of who sends it. A put writes its id there before anything is sent under it, and is
acknowledged in the group that writes down what was made; so there is one acknowledged blob for a key, whichever frontends are
asked and wherever one of them is killed. Nobody waits for anybody: a put that finds another one under way takes the row over,
and the other one, where it still lives, finds that out before it acknowledges anything and lets its blob go. What nobody was
told of is never adopted: its intent (frontend/names/intents.py) lets it go.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from msgspec.structs import replace

from ambry.clock import Clock
from ambry.errors import Unavailable, UpdateConflict, must_have
from ambry.ids import BlobId
from frontend.container import Container
from frontend.idempotency.rows import KeyRow, about_seal, decode_row, encode_row, keyed_blob, row_key, sealed_row
from frontend.metadata.spaces import LocalSpace, Space
from frontend.metadata.store import Change, Conflict, Expect, LocalPut, LocalRow, MetadataStore
from frontend.names.intents import Intents, WrittenIntent
from frontend.names.rows import IntentKind, NamePlace
from frontend.router.records import Announce
from frontend.router.sealing_keys import ContainerKeys
from frontend.router.values import PutResult
from frontend.uploads.row_seal import RowSeal, WrappedBy, new_row_seal, open_row_seal

CHANCE_SIZE = 8
AGAIN = 8
"""Attempts at a row that others change at the same time."""
ASK_AGAIN_S = 1.0


class IdempotencyKeys:
    """Those of one datacenter; a key is remembered for `kept_s` seconds after its put."""

    def __init__(
        self,
        store: MetadataStore,
        intents: Intents,
        encryption: ContainerKeys,
        *,
        clock: Clock,
        random_source: random.Random,
        kept_s: float,
    ) -> None:
        """`encryption`: the keys of containers, which seal what their rows must not show."""
        self._store = store
        self._encryption = encryption
        self._intents = intents
        self._clock = clock
        self._random = random_source
        self._kept_s = kept_s

    async def find(self, container: Container, who: str, text: str) -> KeyedPut:
        """What is known of a key that somebody, the id of an API key, sends for a container.

        Raises what the store raises; KeysUnavailable, EncryptionKeyDeleted where what was made cannot be told of.
        """
        key = row_key(container.scope, who, text)
        found = await self._store.local(LocalSpace.IDEMPOTENCY, key)
        row = None if found is None else decode_row(found.value)
        made = None
        if row is not None and row.made is not None:
            made = await self._opened(container, key, row)
        return KeyedPut(self, container, key, None if found is None else found.value, made)

    async def _opened(self, container: Container, key: bytes, row: KeyRow) -> KeyRow:
        if row.key is None:
            return row
        wrapping = await self._encryption.find_soon(container.scope, row.key.version)
        return sealed_row(key, row, open_row_seal(wrapping, row.key, about_seal(key)).open)

    async def _new_seal(self, container: Container, key: bytes) -> tuple[WrappedBy, RowSeal] | None:
        """For the row of a put into a container; None where that is not encrypted. Raises KeysUnavailable."""
        if not container.settings.encrypted:
            return None
        keys = self._encryption
        return new_row_seal(keys.current(container) or await keys.current_soon(container), about_seal(key))

    def _put(self, key: bytes, value: bytes, condition: Expect | bytes) -> LocalPut:
        end_ms = self._clock.wall_ms() + round(self._kept_s * 1000)
        return LocalPut(LocalSpace.IDEMPOTENCY, key, value, end_ms, condition)


class KeyedPut:
    """One put with a key, or another one of the same."""

    def __init__(
        self, keys: IdempotencyKeys, container: Container, key: bytes, stands: bytes | None, made: KeyRow | None
    ) -> None:
        self._keys = keys
        self._container = container
        self._key = key
        self._stands = stands
        self._row: KeyRow | None = None
        """Ours, once something is announced."""
        self._intent: WrittenIntent | None = None
        self._seal: RowSeal | None = None
        self.made = made
        """What was acknowledged under the key before, open."""

    async def announce(self, blob_id: BlobId) -> None:
        """See frontend/router/records.py.

        Raises UpdateConflict where another put took this one's place; Unavailable where one was acknowledged meanwhile.
        """
        keys = self._keys
        seal = await keys._new_seal(self._container, self._key)
        wrapped, self._seal = (None, None) if seal is None else seal
        row = KeyRow(blob_id.raw, keys._random.randbytes(CHANCE_SIZE), key=wrapped)
        value = encode_row(row)
        put, intent = keys._intents.row(
            IntentKind.KEY, blob_id, NamePlace(Space.NAME, self._container.scope, self._key)
        )
        for _ in range(AGAIN):
            condition = Expect.ABSENT if self._stands is None else self._stands
            try:
                await keys._store.write([keys._put(self._key, value, condition), put])
            except Conflict as conflict:
                if self._row is not None:
                    raise _superseded() from None
                self._stands = _still_open(conflict)
                continue
            self._stands, self._row, self._intent = value, row, intent
            return
        raise _superseded()

    def announcing(self, first: Announce | None) -> Announce:
        """`announce`, after somebody else's."""
        if first is None:
            return self.announce

        async def both(blob_id: BlobId) -> None:
            await first(blob_id)
            await self.announce(blob_id)

        return both

    def kept(self, result: PutResult, said: bytes, version: str = "") -> list[Change]:
        """What goes along with the acknowledgement; refused where another put took this one's place.

        `version` is what a dataset got by it.
        """
        announced = must_have(self._row, "the row that announces a keyed put")
        intent = must_have(self._intent, "the intent of a keyed put")
        row = replace(announced, made=keyed_blob(result, said, version))
        if self._seal is not None:
            row = sealed_row(self._key, row, self._seal.close)
        return [self._keys._put(self._key, encode_row(row), encode_row(announced)), intent.kept()]

    async def keep(self, changes: Sequence[Change]) -> None:
        """Write down what was made: then it may be acknowledged. Raises UpdateConflict where it must not be."""
        try:
            await self._keys._store.write(changes)
        except Conflict:
            raise _superseded() from None


def _still_open(conflict: Conflict) -> bytes | None:
    """What stands there now, to be taken over. Raises Unavailable where it is acknowledged."""
    current = conflict.current
    if not isinstance(current, LocalRow):
        return None
    if decode_row(current.value).made is not None:
        raise Unavailable(
            "another upload with this idempotency key was acknowledged in this moment; ask again for its answer",
            retry_after_s=ASK_AGAIN_S,
        )
    return current.value


def _superseded() -> UpdateConflict:
    return UpdateConflict(
        "another upload with this idempotency key came later and took the place of this one, of which nothing is kept; "
        "send it again to hear how that one ended"
    )
