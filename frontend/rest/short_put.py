"""`POST /` and `PUT /` of a short body that came with its head, the short way (frontend/http/short.py)."""

from __future__ import annotations

from ambry.clock import Clock
from ambry.durability import Durability
from ambry.errors import AmbryError
from ambry.rest.access import Role
from frontend.access.verified import Access
from frontend.containers.resolver import Containers
from frontend.http.connections import Connection
from frontend.http.pipeline import Pipeline
from frontend.http.plain import PlainUpload, PlainUploads
from frontend.http.short import Shortcut, nowhere
from frontend.http.short_request import ShortRequest
from frontend.request import RequestContext
from frontend.rest.entry import known_target
from frontend.rest.upload import BegunUpload, told
from frontend.rest.upload_headers import Asked
from frontend.router.budget import Need
from frontend.router.context import RouterContext
from frontend.router.put import PutOperation
from frontend.router.quorum_write import Confirmed, WriteOutcome
from frontend.router.values import PutSpec


class ShortPuts:
    """The shortcut for uploads of short bodies."""

    def __init__(
        self,
        pipeline: Pipeline,
        router: RouterContext,
        containers: Containers,
        access: Access,
        *,
        uploads: PlainUploads[Asked],
        clock: Clock,
        size_max: int,
    ) -> None:
        """A body has at most `size_max` bytes."""
        self.pipeline = pipeline
        self.router = router
        self.clock = clock
        self.containers = containers
        self.access = access
        self._uploads = uploads
        self._size_max = size_max
        self.otherwise: Shortcut = nowhere
        """For what is no upload to the root."""

    def __call__(self, connection: Connection, data: bytes) -> bool:
        upload = self._uploads.upload(data)
        if upload is None:
            return self.otherwise(connection, data)
        if len(upload.body) > self._size_max:
            return False
        container = known_target(upload.headers, self.containers)
        if container is None or not container.plain_uploads:
            return False
        who = self.access.at_once(upload.headers.get("authorization"))
        if who is None or not who.may(Role.WRITE, container):
            return False
        context = self.pipeline.let_in(
            who, connection, container, changes=True, traceparent=upload.headers.get("traceparent", "")
        )
        if context is None:
            return False
        spec = upload.meaning.spec(self.clock.wall_ms(), container.durability)
        if spec.durability is Durability.GEO or not self.router.budget.try_take(len(upload.body), Need.READY):
            return False
        put = PutOperation(context, self.router, spec, None)
        try:
            begun = BegunUpload(put, put.begin_simple(upload.body))
        except BaseException as error:
            self.router.budget.give_back(len(upload.body))
            if isinstance(error, AmbryError):
                return False
            raise
        short = ShortPut(self, connection, data, upload, spec, context, begun)
        try:
            begun.write.write.begin(short.came_out)
        except BaseException:
            short.drop()
            raise
        return True


class ShortPut(ShortRequest):
    """One of them."""

    __slots__ = ("_begun", "_held", "_puts", "_spec")

    def __init__(
        self,
        puts: ShortPuts,
        connection: Connection,
        request: bytes,
        upload: PlainUpload[Asked],
        spec: PutSpec,
        context: RequestContext,
        begun: BegunUpload,
        *,
        op: str = "put",
    ) -> None:
        size = len(upload.body)
        super().__init__(
            puts.pipeline, puts.clock, connection, request, context, op=op, method=upload.method, received=size
        )
        self._puts = puts
        self._spec = spec
        self._begun = begun
        self._held = size
        """Of the budget of uploads, bytes."""

    def go_on(self, outcome: WriteOutcome) -> None:
        if not isinstance(outcome, Confirmed):
            self._begun.write.outcome = outcome
            if self.connection.short is self:
                self.turn_back(self._begun, self.drop)
            else:
                self.drop()
            return
        if self.stands():
            self.acknowledge()

    def stands(self) -> bool:
        """Whether it would still be let in. Where not the ordinary way says why, and nothing of it is kept."""
        try:
            self.context.check_standing()
        except AmbryError:
            self.anew()
            return False
        return True

    def anew(self) -> None:
        """The ordinary way does it, from the beginning."""
        self.drop()
        if self.connection.short is self:
            self.turn_back(None, lambda: None)

    def acknowledge(self) -> None:
        """It is stored, and stays, also where nobody waits for the answer any more: as on the ordinary way."""
        self._begun.taken = True
        self.drop()
        if self.connection.short is self:
            write = self._begun.write
            result = self._begun.put.result(write.id, write.record)
            new = told(result, self._spec)
            self.noted["blob"], self.noted["size"] = new.id, result.size
            self.send(self.whole(201, new.lines, new.body))

    def drop(self) -> None:
        held, self._held = self._held, 0
        if held:
            self._puts.router.budget.give_back(held)
        if not self._begun.taken:
            # Nobody goes on with it.
            self._begun.taken = True
            self._begun.put.forget()
