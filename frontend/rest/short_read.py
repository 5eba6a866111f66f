"""`GET /<id>` of a small blob, the short way (frontend/http/short.py)."""

from __future__ import annotations

from ambry.clock import Clock
from ambry.errors import AmbryError, InvalidBlobId, InvariantBroken
from ambry.ids import ID_TEXT_SIZE, BlobId, IdKind
from ambry.rest.access import Role
from ambry.service.listener import unconfirmed
from frontend.access.verified import Access
from frontend.container import Container
from frontend.http.connections import Connection
from frontend.http.pipeline import Pipeline
from frontend.http.plain import PlainReads
from frontend.http.short import Shortcut, nowhere
from frontend.http.short_request import ShortRequest
from frontend.request import RequestContext
from frontend.rest.blob import BlobFinder, lines_of
from frontend.rest.read import WHOLE_BYTES
from frontend.router.answers import Found, ReadOutcome
from frontend.router.context import RouterContext
from frontend.router.get import FirstRead
from frontend.router.quorum_read import Fetch, head_of
from frontend.router.reading import need_of


class ShortReads:
    """The shortcut for reads of whole blobs of one record."""

    def __init__(
        self,
        pipeline: Pipeline,
        router: RouterContext,
        finder: BlobFinder,
        access: Access,
        *,
        heads: PlainReads,
        clock: Clock,
    ) -> None:
        self.router = router
        self.reading = router.reading
        self._heads = heads
        self.pipeline = pipeline
        self.finder = finder
        self.access = access
        self.clock = clock
        self.otherwise: Shortcut = nowhere
        """For what is no read by an id."""

    def __call__(self, connection: Connection, data: bytes) -> bool:
        plain = self._heads.target(data, ID_TEXT_SIZE)
        if plain is None:
            return self.otherwise(connection, data)
        text = plain.target
        try:
            blob_id = BlobId.parse(text)
        except InvalidBlobId:
            return False
        container = self.finder.containers.known_id(blob_id.account, blob_id.container)
        if blob_id.kind is not IdKind.SIMPLE or container is None or not container.plain_reads:
            return False
        who = self.access.at_once(plain.authorization)
        if who is None or not who.may(Role.READ, container):
            return False
        context = self.pipeline.let_in(who, connection, container, traceparent=plain.traceparent)
        if context is None:
            return False
        size = self.reading.first_bytes()
        try:
            fetch = Fetch(context, self.router, blob_id, first=0, end=size)
        except AmbryError:
            return False
        if not self.reading.budget.try_take(size, need_of(size)):
            return False
        read = ShortRead(self, connection, data, blob_id, context, container, fetch, size)
        read.noted["blob"] = text.decode()
        fetch.begin(read.came_out, small=True)
        return True


class ShortRead(ShortRequest):
    """One of them. `held` bytes were taken for it from the budget of downloads, which it gives back."""

    __slots__ = ("_container", "_fetch", "_id", "_named", "_reads", "handed_at", "held")

    def __init__(
        self,
        reads: ShortReads,
        connection: Connection,
        request: bytes,
        blob_id: BlobId,
        context: RequestContext,
        container: Container,
        fetch: Fetch,
        held: int,
        *,
        op: str = "get",
        named: bool = False,
    ) -> None:
        super().__init__(reads.pipeline, reads.clock, connection, request, context, op=op, method="GET")
        self._reads = reads
        self._id = blob_id
        self._container = container
        self._fetch = fetch
        self._named = named
        self.held = held
        self.handed_at: float | None = None
        """When its client was handed what it is still taking, on the event loop's clock."""

    def go_on(self, outcome: ReadOutcome | AmbryError) -> None:
        made = self._made(outcome) if isinstance(outcome, Found) else None
        if made is not None:
            self.send(made)
            return
        held, self.held = self.held, 0
        self.otherwise(FirstRead(outcome, self._reads.reading.budget, held))

    def otherwise(self, first: FirstRead) -> None:
        """It is not answered the short way."""
        self.turn_back(first, first.give_back)

    def _made(self, found: Found) -> bytes | None:
        """The whole answer; None where it is not a plain one."""
        body = found.data
        size = len(body)
        if size != found.reply.payload_size or size > WHOLE_BYTES:
            return None
        try:
            head = head_of(self._id, found.reply)
            if head.properties.size != size:
                return None
            return self.whole(200, lines_of(head, self._container, named=self._named), body)
        except (AmbryError, InvariantBroken):
            return None

    def drop(self) -> None:
        held, self.held = self.held, 0
        if held:
            self._reads.reading.budget.give_back(held)
        if self.handed_at is not None:
            self._reads.reading.leave(self)

    def given_up(self) -> None:
        self._fetch.give_up()
        self.drop()

    # --- what the memory of all downloads asks of one (frontend/router/reading.py) ---

    def waits(self) -> None:
        """From now on it may be ended for others, and holds no more than its answer."""
        surplus, self.held = self.held, min(self.held, self.size)
        self._reads.reading.budget.give_back(surplus - self.held)
        self.handed_at = self.connection.server.now()
        self._reads.reading.join(self)

    def taken(self) -> int:
        return max(0, self.size - unconfirmed(self.connection.transport))

    def drop_ahead(self) -> bool:
        return False

    def end(self) -> bool:
        self.connection.abort("takes its answer too slowly while others wait for memory")
        return True
