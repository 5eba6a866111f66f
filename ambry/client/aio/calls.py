"""One call: its attempts at the endpoints, until it is answered well or given up."""

from __future__ import annotations

from collections.abc import Callable

from ambry.client.aio.transport import AsyncResponse, AsyncTransport
from ambry.client.aio.waiting import Sleep, pause
from ambry.client.model import Timeout
from ambry.client.options import ClientBase
from ambry.client.retry import Attempts
from ambry.client.transfer import BlobDownload, BlobUpload
from ambry.client.wire import refusals
from ambry.client.wire.message import ApiRequest, Headers
from ambry.errors import AmbryError


class AsyncCalls(ClientBase):
    """What every resource of the API is called through."""

    _sleep: Sleep
    _transport: AsyncTransport

    def _start(self, sleep: Sleep | None) -> None:
        self._sleep = sleep or pause
        self._transport = AsyncTransport(self._clock)

    async def _simple(self, request: ApiRequest, timeout: Timeout | None) -> Headers:
        """A request without a body, whose answer's body does not matter."""
        response = await self._repeat(self._attempts(timeout), lambda: request, timeout, None)
        await response.done()
        return response.headers

    async def _repeat(
        self,
        attempts: Attempts,
        request: Callable[[], ApiRequest],
        timeout: Timeout | None,
        download: BlobDownload | None,
    ) -> AsyncResponse:
        """Send a request without a body, which may be repeated at will, until it is answered well."""
        while True:
            endpoint = attempts.begin()
            response = None
            try:
                response = await self._exchange(endpoint, request(), timeout or self._timeout, attempts.deadline)
                if download is not None:
                    download.accept(response.status, response.headers)
            except AmbryError as error:
                if response is not None:
                    refusals.note_request(error, response.headers)
                    response.abort()
                await self._sleep(attempts.failed(error))
            else:
                attempts.succeeded()
                return response

    async def _send(self, upload: BlobUpload, attempts: Attempts, timeout: Timeout | None) -> Headers:
        """Send a body, again if it can be had again."""
        while True:
            endpoint = attempts.begin()
            try:
                response = await self._exchange(
                    endpoint, upload.request, timeout or self._timeout, attempts.deadline, upload
                )
            except AmbryError as error:
                await self._sleep(attempts.failed(error, repeatable=upload.repeatable))
            else:
                attempts.succeeded()
                await response.done()
                return response.headers

    async def _exchange(
        self,
        endpoint: str,
        request: ApiRequest,
        timeout: Timeout,
        deadline: float | None,
        upload: BlobUpload | None = None,
    ) -> AsyncResponse:
        """One attempt at one endpoint. Raises what the answer refuses, and ProtocolViolation for one that is not ours."""
        response = await self._transport.exchange(
            endpoint, request, self._headers(request), upload=upload, timeout=timeout, deadline=deadline
        )
        if not refusals.is_ours(response.headers):
            response.abort()
            raise refusals.foreign(endpoint, request, response.status)
        return response
