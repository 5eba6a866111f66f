"""`PUT /named/<account>/<container>/<name>` of a short body that came with its head, the short way (frontend/http/short.py).

The steps are those of the ordinary way (frontend/rest/named.py): an intent, the blob, and the name with the intent's end in one
group, each durable before the next begins. The name must be new, which the group that writes the intent looks at too, so that
no blob is written for a name that exists.
"""

from __future__ import annotations

import asyncio
from typing import Any

from ambry.durability import Durability
from ambry.errors import AmbryError
from ambry.rest.access import Role
from ambry.rest.accounts import NamedBlobMode
from frontend.containers.standing import StandingRules
from frontend.http.connections import Connection
from frontend.http.plain_names import PlainNamedUploads
from frontend.metadata.spaces import Space
from frontend.metadata.store import Conflict, Expect, Require
from frontend.names.intents import Intents, WrittenIntent
from frontend.names.names import Names, refusal
from frontend.names.rows import NamedBlob, NamePlace
from frontend.rest.entry import OF_BLOB
from frontend.rest.named import FailedPut
from frontend.rest.short_put import ShortPut, ShortPuts
from frontend.rest.upload import BegunUpload
from frontend.rest.upload_headers import Asked
from frontend.router.budget import Need
from frontend.router.put import PutOperation
from frontend.router.quorum_write import Confirmed, WriteOutcome


class ShortNamedPuts:
    """The shortcut for uploads of short bodies under new names."""

    def __init__(
        self,
        puts: ShortPuts,
        names: Names,
        intents: Intents,
        standing: StandingRules,
        *,
        uploads: PlainNamedUploads[Asked],
        size_max: int,
    ) -> None:
        """As ShortPuts."""
        self._puts = puts
        self._names = names
        self._intents = intents
        self._standing = standing
        self._uploads = uploads
        self._size_max = size_max

    def __call__(self, connection: Connection, data: bytes) -> bool:
        found = self._uploads.upload(data)
        if found is None:
            return False
        name, upload = found
        puts = self._puts
        container = puts.containers.known(name.account, name.container)
        if (
            container is None
            or not container.plain_uploads
            or container.settings.named_blob_mode is NamedBlobMode.DISABLED
            or len(upload.body) > self._size_max
            or not OF_BLOB.isdisjoint(upload.headers)
        ):
            return False
        who, roles = puts.access.at_once(upload.headers.get("authorization")), Role.WRITE | Role.NAME
        if who is None or not (who.may(roles, container) or who.may(roles, container, name.key.decode())):
            return False
        place = NamePlace(Space.NAME, container.scope, name.key)
        known = self._names.known(place.scope, place.key)
        if known is not None and known.blob is not None:
            return False
        context = puts.pipeline.let_in(
            who, connection, container, changes=True, traceparent=upload.headers.get("traceparent", "")
        )
        if context is None:
            return False
        context.path = f"/named/{name.account}/{name.container}/{name.key.decode()}"
        spec = upload.meaning.spec(puts.clock.wall_ms(), container.durability)
        if spec.durability is Durability.GEO or not puts.router.budget.try_take(len(upload.body), Need.READY):
            return False
        put = PutOperation(context, puts.router, spec, None)
        try:
            # Nothing is sent under its id before it was announced, so there is nothing to forget.
            begun = BegunUpload(put, put.begin_simple(upload.body), taken=True)
            announced, intent = self._intents.begin_announcing(begun.write.id, place, Expect.ABSENT)
        except BaseException as error:
            puts.router.budget.give_back(len(upload.body))
            if isinstance(error, AmbryError):
                return False
            raise
        short = ShortNamedPut(puts, connection, data, upload, spec, context, begun, op="named_put")
        short.under(self._names, place, intent, self._standing.of(container))
        announced.add_done_callback(short.announced)
        return True


class ShortNamedPut(ShortPut):
    """One of them."""

    __slots__ = ("_intent", "_names", "_place", "_require")

    _names: Names
    _place: NamePlace
    _intent: WrittenIntent
    _require: Require

    def under(self, names: Names, place: NamePlace, intent: WrittenIntent, require: Require) -> None:
        """What it is put under, and what must still hold then."""
        self._names, self._place, self._intent, self._require = names, place, intent, require

    def announced(self, done: asyncio.Future[Any]) -> None:
        """The intent is durable, or not."""
        try:
            error = done.exception()
            if error is None:
                self._begun.taken = False
                self._begun.write.write.begin(self.came_out)
            elif isinstance(error, Conflict):
                self.anew()
            else:
                self._fails(error)
        except Exception:
            self.breaks()

    def go_on(self, outcome: WriteOutcome) -> None:
        if not isinstance(outcome, Confirmed):
            self.anew()  # which lets go of what was sent, and its intent is seen to by the janitor
            return
        if not self.stands():
            return
        record, place = self._begun.write.record, self._place
        blob = NamedBlob(self._begun.write.id.raw, len(record.data), self._spec.expires_at_ms, owned=True)
        try:
            pointed = self._names.begin_point(
                place.scope, place.key, blob, Expect.ABSENT, [self._intent.kept(), self._require]
            )
            pointed.add_done_callback(self._pointed)
        except AmbryError as error:
            self._fails(error)
        except BaseException:
            self._begun.taken = True  # the name may get it all the same: as below
            raise

    def _pointed(self, done: asyncio.Future[Any]) -> None:
        """The name points to it, or not."""
        try:
            error = done.exception()
            if error is None:
                self.acknowledge()
            elif not isinstance(error, Conflict):
                # The name may have got it all the same, so the blob stays; the janitor finds out.
                self._begun.taken = True
                self._fails(error)
            elif error.change == self._require:
                self.anew()  # what the container lets is looked at again
            else:
                self._fails(refusal(error))
        except Exception:
            self.breaks()

    def _fails(self, error: BaseException) -> None:
        """The ordinary way says so."""
        self.drop()
        if self.connection.short is self:
            self.turn_back(FailedPut(error), lambda: None)
