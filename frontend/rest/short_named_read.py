"""`GET /named/<account>/<container>/<name>` of a small blob, the short way (frontend/http/short.py)."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ambry.errors import AmbryError
from ambry.ids import BlobId, IdKind
from ambry.rest.access import Role
from ambry.rest.accounts import NamedBlobMode
from frontend.http.connections import Connection
from frontend.http.plain_names import PlainNamedReads
from frontend.names.names import Names
from frontend.rest.read import WHOLE_BYTES
from frontend.rest.short_read import ShortRead, ShortReads
from frontend.router.get import FirstRead
from frontend.router.quorum_read import Fetch
from frontend.router.reading import need_of


class _Pointed(NamedTuple):
    """An id, and how it is written."""

    id: BlobId
    text: str


@lru_cache(maxsize=4_096)
def _pointed(raw: bytes) -> _Pointed:
    """What names point to again and again."""
    blob_id = BlobId(raw)
    return _Pointed(blob_id, str(blob_id))


class ShortNamedReads:
    """The shortcut for reads by names that are known at once (frontend/metadata/store.py, `known`)."""

    def __init__(self, reads: ShortReads, names: Names, *, heads: PlainNamedReads) -> None:
        self._reads = reads
        self._names = names
        self._heads = heads

    def __call__(self, connection: Connection, data: bytes) -> bool:
        plain = self._heads.read(data)
        if plain is None:
            return False
        name = plain.name
        reads = self._reads
        container = reads.finder.containers.known(name.account, name.container)
        if (
            container is None
            or not container.plain_reads
            or container.settings.named_blob_mode is NamedBlobMode.DISABLED
        ):
            return False
        who = reads.access.at_once(plain.authorization)
        if who is None or not (who.may(Role.READ, container) or who.may(Role.READ, container, name.key.decode())):
            return False
        found = self._names.known(container.scope, name.key)
        blob = None if found is None else found.blob
        if blob is None or blob.size > WHOLE_BYTES:
            return False
        blob_id, text = _pointed(blob.id)
        if blob_id.kind is not IdKind.SIMPLE:
            return False
        context = reads.pipeline.let_in(who, connection, container, traceparent=plain.traceparent)
        if context is None:
            return False
        size = reads.reading.first_bytes()
        try:
            fetch = Fetch(context, reads.router, blob_id, first=0, end=size)
        except AmbryError:
            return False
        if not reads.reading.budget.try_take(size, need_of(size)):
            return False
        read = ShortNamedRead(
            reads, connection, data, blob_id, context, container, fetch, size, op="named_get", named=True
        )
        read.noted["blob"] = text
        fetch.begin(read.came_out, small=True)
        return True


class ShortNamedRead(ShortRead):
    """One of them."""

    __slots__ = ()

    def otherwise(self, first: FirstRead) -> None:
        # The name may point to another blob by now: the ordinary way begins anew.
        first.give_back()
        self.turn_back(None, lambda: None)
