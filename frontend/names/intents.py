"""Intents: what is written down before a blob is made for a name, or goes with one, so that a kill leaves no half step.

A name points to a blob only after the blob is durable, and in the same group the intent goes. So where a frontend ends
between the two, the row is left, and the janitor (frontend/names/janitor.py) lets the blob go. Before it does, it takes the
row over: a frontend that was only asleep finds its intent taken, and its name is not changed.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import msgspec

from ambry.clock import Clock
from ambry.ids import BlobId, IdKind
from frontend.metadata.spaces import LocalSpace
from frontend.metadata.store import Condition, Conflict, Expect, LocalDelete, LocalPut, MetadataStore, Require, Version
from frontend.names.rows import Intent, IntentKind, NamePlace, encode_intent, lives_key

KEY_SIZE = 16
MARGIN_S = 60.0
"""Beyond the time that a step may take."""


class WrittenIntent(msgspec.Struct, frozen=True):
    """A row that is there."""

    key: bytes
    value: bytes
    blob: BlobId

    def kept(self) -> LocalDelete:
        """The change that says it was done; refused where somebody took it over."""
        return LocalDelete(LocalSpace.INTENT, self.key, self.value)


class Intents:
    """Those of one frontend. `request_s`: how long a request may wait for us; `upload_max_s`: how long an upload may take."""

    def __init__(
        self, store: MetadataStore, *, clock: Clock, random_source: random.Random, request_s: float, upload_max_s: float
    ) -> None:
        self._store = store
        self._clock = clock
        self._random = random_source
        self._request_s = request_s
        self._upload_max_s = upload_max_s

    def row(
        self,
        kind: IntentKind,
        blob_id: BlobId,
        place: NamePlace,
        *,
        after: int = 0,
        life: int = 0,
        instead: WrittenIntent | None = None,
    ) -> tuple[LocalPut, WrittenIntent]:
        """An intent that is to be written in a group with something else, or in place of another of ours.

        Of a blob's lives there is one at a time: the put is refused where somebody else's is there.
        """
        of_lives = kind in (IntentKind.BURY, IntentKind.REVIVE)
        takes_s = 3 * self._request_s
        if blob_id.kind is IdKind.COMPOSITE and not of_lives:
            takes_s = self._upload_max_s
        due_ms = self._clock.wall_ms() + round(1000 * (takes_s + MARGIN_S))
        value = encode_intent(
            Intent(kind, blob_id.raw, place.scope, place.key, due_ms, after, space=place.space, life=life)
        )
        key = lives_key(blob_id) if of_lives else self._random.randbytes(KEY_SIZE)
        condition: Expect | bytes = Expect.ANY
        if instead is not None:
            condition = instead.value
        elif of_lives:
            condition = Expect.ABSENT
        return LocalPut(LocalSpace.INTENT, key, value, condition=condition), WrittenIntent(key, value, blob_id)

    def begin_announcing(
        self, blob_id: BlobId, place: NamePlace, condition: Condition
    ) -> tuple[asyncio.Future[list[Version]], WrittenIntent]:
        """Write one for a blob that a name is to get, if a condition holds for that. Fails with Conflict; else as `write`."""
        put, written = self.row(IntentKind.POINT, blob_id, place)
        return self._store.begin_write([Require(place.space, place.scope, place.key, condition), put]), written

    async def write(self, kind: IntentKind, blob_id: BlobId, place: NamePlace) -> WrittenIntent:
        """Write one; durable on return. Raises MetadataUnavailable, InsufficientStorage."""
        put, written = self.row(kind, blob_id, place)
        await self._store.write([put])
        return written

    async def end(self, intent: WrittenIntent) -> None:
        """It was done. Raises MetadataUnavailable; then the janitor finds out."""
        with suppress(Conflict):  # the janitor has ended it
            await self._store.write([intent.kept()])

    def announcing(self, place: NamePlace) -> AnnouncedPut:
        """For a put whose blob is to get a name."""
        return AnnouncedPut(self, place)


class AnnouncedPut:
    """The ids under which a put was tried; the last is the blob's if it succeeds."""

    def __init__(self, intents: Intents, place: NamePlace) -> None:
        self._intents = intents
        self._place = place
        self.last: WrittenIntent | None = None

    async def announce(self, blob_id: BlobId) -> None:
        """See frontend/router/records.py. What a put gave up before keeps its row, and the janitor sees to it."""
        self.last = await self._intents.write(IntentKind.POINT, blob_id, self._place)

    def kept(self) -> list[LocalDelete]:
        """What goes along with the change that gives the name its blob."""
        return [] if self.last is None else [self.last.kept()]
