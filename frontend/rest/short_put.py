"""`POST /` and `PUT /` of a short body that came with its head, the short way (frontend/http/short.py)."""

from __future__ import annotations

import asyncio
from functools import partial

from ambry.blob import Durability
from ambry.clock import Clock
from ambry.errors import AmbryError
from frontend import metrics
from frontend.http.access_log import STATUS_CLIENT_GONE
from frontend.http.connections import Connection
from frontend.http.fields import http_date
from frontend.http.pipeline import Pipeline
from frontend.http.plain import PlainUpload, PlainUploads
from frontend.http.short import Begun, ShortAnswer
from frontend.http.wire import answer_head
from frontend.metadata.accounts import DEFAULT, Accounts
from frontend.request import RequestContext
from frontend.rest.upload import TARGETS, BegunUpload, put_spec, target_container, told
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
        accounts: Accounts,
        *,
        uploads: PlainUploads,
        prefixes: tuple[str, ...],
        clock: Clock,
        size_max: int,
    ) -> None:
        """`prefixes` are those of user metadata; a body has at most `size_max` bytes."""
        self.pipeline = pipeline
        self.router = router
        self.clock = clock
        self._accounts = accounts
        self._default = accounts.resolve(DEFAULT, DEFAULT)
        self._uploads = uploads
        self._prefixes = prefixes
        self._size_max = size_max

    def __call__(self, connection: Connection, data: bytes) -> bool:
        upload = self._uploads.upload(data)
        if upload is None or len(upload.body) > self._size_max:
            return False
        headers = upload.headers
        context = self.pipeline.context()
        try:
            context.container = (
                self._default if TARGETS.isdisjoint(headers) else target_container(headers, self._accounts)
            )
            has_metadata = any(name.startswith(self._prefixes) for name in headers)
            spec = put_spec(headers, filename="", now_ms=self.clock.wall_ms(), has_metadata=has_metadata)
        except AmbryError:
            return False
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
        ShortPut(self, connection, data, upload, spec, context, begun)
        return True


class ShortPut(ShortAnswer):
    """One of them."""

    __slots__ = ("_begun", "_context", "_held", "_noted", "_puts", "_sent", "_spec", "_started", "_upload")

    def __init__(
        self,
        puts: ShortPuts,
        connection: Connection,
        request: bytes,
        upload: PlainUpload,
        spec: PutSpec,
        context: RequestContext,
        begun: BegunUpload,
    ) -> None:
        super().__init__(connection, request)
        self._puts = puts
        self._upload = upload
        self._spec = spec
        self._context = context
        self._begun = begun
        self._held = len(upload.body)
        """Of the budget of uploads, bytes."""
        self._sent = 0
        self._noted: dict[str, object] = {}
        self._started = puts.clock.monotonic()
        metrics.begun.value += 1
        begun.write.outcome.add_done_callback(partial(self.guarded, self._written))

    def _written(self, outcome: asyncio.Future[WriteOutcome]) -> None:
        confirmed = isinstance(outcome.result(), Confirmed)
        if self.connection.short is self:
            if confirmed:
                self._answer()
            else:
                self._turn_back()
        elif confirmed:
            # Nobody waits for the answer; as on the ordinary way what was stored stays.
            self._give_back()
        else:
            self._drop()

    def _turn_back(self) -> None:
        metrics.over.value += 1  # there it begins again
        self.go_the_ordinary_way(
            Begun(
                context=self._context,
                started=self._started,
                what=self._begun,
                drop=self._drop,
                lost=self._lost_on_its_way,
            )
        )

    def _answer(self) -> None:
        puts, write = self._puts, self._begun.write
        self._give_back()
        result = self._begun.put.result(write.id, write.record)
        text, headers, body = told(result, self._spec)
        self._noted = {"blob": text, "size": result.size}
        headers.update(puts.pipeline.common(self._context))
        headers["Content-Length"] = str(len(body))
        headers["Date"] = http_date(puts.clock.wall_ms() // 1000)
        if self.is_last:
            headers["Connection"] = "close"
        answer = answer_head(201, headers) + body
        self._sent = len(answer)
        self.send(answer)

    def _give_back(self) -> None:
        held, self._held = self._held, 0
        if held:
            self._puts.router.budget.give_back(held)

    def _drop(self) -> None:
        """Nobody goes on with it, unless somebody took it."""
        self._give_back()
        if not self._begun.taken:
            self._begun.taken = True
            self._begun.put.forget()

    def ended(self) -> None:
        metrics.over.value += 1
        self._tell(201)

    def lost(self) -> None:
        super().lost()
        metrics.over.value += 1
        self._tell_of_loss()

    def _lost_on_its_way(self) -> None:
        self._drop()
        self._tell_of_loss()

    def _tell_of_loss(self) -> None:
        self._noted["error"] = self.connection.broken or "the client went away"
        self._tell(STATUS_CLIENT_GONE)

    def _tell(self, status: int) -> None:
        self._puts.pipeline.log.tell(
            "put",
            self._upload.method,
            self.connection,
            self._context,
            status=status,
            seconds=self._puts.clock.monotonic() - self._started,
            received=len(self._upload.body),
            sent=self._sent,
            noted=self._noted,
        )
