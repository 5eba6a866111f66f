"""Answers that take a wait: for a disk thread, or for something to change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from ambry.errors import AmbryError, InternalError, Overloaded, ReplicaUnavailable
from ambry.network.responding import Responder
from ambry.service.logs import get_logger

log = get_logger()


class Later:
    """The requests that wait: a task each, ended when the process stops."""

    def __init__(self, *, own_name: str) -> None:
        self._own_name = own_name
        self._tasks: dict[asyncio.Task[None], None] = {}

    def answer(self, responder: Responder, work: Coroutine[Any, Any, None]) -> None:
        """Let `work` answer a request; an error that it raises is the answer. Where nobody waits for it, it is cancelled."""
        task = asyncio.get_running_loop().create_task(self._run(responder, work))
        responder.on_abandoned = task.cancel
        self._tasks[task] = None

        def ended(_task: object) -> None:
            self._tasks.pop(task, None)
            work.close()  # it may have been given up before it began

        task.add_done_callback(ended)

    def call(self, responder: Responder, function: Callable[[], None]) -> None:
        """Call what goes on with a request; an error that it raises is the answer."""
        try:
            function()
        except AmbryError as error:
            responder.fail(error)
        except Exception as error:
            self._fail(responder, error)

    def _fail(self, responder: Responder, error: Exception) -> None:
        if isinstance(error, MemoryError):
            log.warning("no memory for a request", error=str(error))
            responder.fail(Overloaded(f"{self._own_name} is out of memory; retry shortly"))
            return
        log.error("request failed", exc_info=error)
        responder.fail(InternalError(f"{type(error).__name__} in {self._own_name}; its log has the details"))

    async def _run(self, responder: Responder, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except AmbryError as error:
            responder.fail(error)
        except asyncio.CancelledError:
            responder.fail(ReplicaUnavailable(f"{self._own_name} is shutting down"))
            raise
        except Exception as error:
            self._fail(responder, error)

    async def stop(self) -> None:
        """End the requests that wait: each is answered that the process is shutting down."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
